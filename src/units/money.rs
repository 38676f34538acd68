use super::{Rate, Time, UnitError, float_quantity, split_number};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An amount of money, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Usd(f64);

float_quantity!(Usd, "an amount of money", "US dollars");

impl FromStr for Usd {
    type Err = UnitError;

    /// `20`, `$20`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || {
            UnitError::new(format!(
                "`{text}` is not an amount of US dollars: write `20` or `$20`"
            ))
        };
        let bare = text.trim();
        let bare = bare.strip_prefix('$').unwrap_or(bare);
        let (value, unit) = split_number("amount", bare).map_err(|_| refused())?;
        if !unit.is_empty() {
            return Err(refused());
        }
        Self::new(value)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", dollars(self.0))
    }
}

/// A price of running something, in US dollars per hour.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct UsdPerHour(f64);

float_quantity!(UsdPerHour, "a price", "US dollars per hour");

impl UsdPerHour {
    /// What a million requests cost when this price serves `rate`; none at a rate of zero.
    #[must_use]
    pub fn per_million(self, rate: Rate) -> Option<UsdPerMillion> {
        (!rate.is_zero()).then(|| UsdPerMillion::saturating(self.0 / (rate.get() * 3600.0) * 1e6))
    }

    /// What running for `time` costs, without billing granularity.
    #[must_use]
    pub fn over(self, time: Time) -> Usd {
        Usd::saturating(self.0 * time.get() / 3600.0)
    }
}

impl FromStr for UsdPerHour {
    type Err = UnitError;

    /// `2`, `$2`, `$2/h`, `1500/month` (a month is 730 hours, as clouds bill it).
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bare = text.trim();
        let bare = bare.strip_prefix('$').unwrap_or(bare);
        let (value, unit) = split_number("price", bare)
            .map_err(|_| UnitError::new(format!("`{text}` is not a price: write `2` or `$2/h`")))?;
        let hours = match unit.trim_start_matches('/').trim() {
            "" | "h" | "hr" | "hour" => 1.0,
            "d" | "day" => 24.0,
            "mo" | "month" => 730.0,
            "y" | "year" => 8760.0,
            _ => {
                return Err(UnitError::new(format!(
                    "`{text}` is not a price in US dollars per hour: write `2`, `$2/h` or `1500/month`"
                )));
            }
        };
        Self::new(value / hours)
    }
}

impl fmt::Display for UsdPerHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}/h", dollars(self.0))
    }
}

/// A cost of serving, in US dollars per million requests.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct UsdPerMillion(f64);

float_quantity!(UsdPerMillion, "a cost", "US dollars per million requests");

impl fmt::Display for UsdPerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${} per million", dollars(self.0))
    }
}

/// Cents are shown from a dollar up, three digits below it, thousands grouped.
fn dollars(value: f64) -> String {
    let text = match value {
        0.0 => return "0.00".to_owned(),
        v if v >= 0.9995 => format!("{v:.2}"),
        v if v >= 0.000_5 => format!("{v:.3}"),
        v => return format!("{v:.1e}"),
    };
    let (whole, cents) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(c);
    }
    format!("{grouped}.{cents}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_parse_and_show() {
        for (text, shown) in [
            ("2", "$2.00/h"),
            ("$2/h", "$2.00/h"),
            ("$0.526", "$0.526/h"),
            ("1460/month", "$2.00/h"),
            ("12345", "$12,345.00/h"),
        ] {
            assert_eq!(text.parse::<UsdPerHour>().unwrap().to_string(), shown);
        }
        for bad in ["free", "-1", "2 EUR", "nan"] {
            assert!(bad.parse::<UsdPerHour>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cost_per_million_follows_from_price_and_rate() {
        let cost = UsdPerHour::new(3.6)
            .unwrap()
            .per_million(Rate::new(1000.0).unwrap());
        assert!((cost.unwrap().get() - 1.0).abs() < 1e-12);
        assert_eq!(UsdPerHour::new(3.6).unwrap().per_million(Rate::ZERO), None);
    }
}
