use super::{UnitError, float_quantity, split_number};
use crate::units::Time;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A rate of requests (or items), per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

float_quantity!(Rate, "a rate", "requests per second");

impl Rate {
    /// The mean time between two requests; none at a rate of zero.
    #[must_use]
    pub fn interval(self) -> Option<Time> {
        (self.0 > 0.0).then(|| Time::saturating(1.0 / self.0))
    }
}

/// More requests per second than are typed on purpose.
const MOST_TYPED: f64 = 1e12;

impl FromStr for Rate {
    type Err = UnitError;

    /// `40`, `40/s`, `2.5k`, `4M`, `90/min`, `1000/h`; at most 10¹² per second.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("request rate", text)?;
        let (multiple, per) = unit.split_once('/').unwrap_or((unit, "s"));
        let multiple = match multiple.trim() {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            _ => {
                return Err(UnitError::new(format!(
                    "`{text}` is not a request rate: write `40`, `2.5k` or `90/min`"
                )));
            }
        };
        let seconds = match per.trim() {
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" | "day" => 86400.0,
            _ => {
                return Err(UnitError::new(format!(
                    "`{text}` is not a request rate: per `{per}` is not known, use /s, /min, /h or /d"
                )));
            }
        };
        let rate = value * multiple / seconds;
        if rate > MOST_TYPED {
            return Err(UnitError::new(format!(
                "`{text}` is too large a request rate: at most 1e12 per second"
            )));
        }
        Self::new(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} req/s", grouped(self.0))
    }
}

/// Three significant digits below a thousand, thousands grouped above.
fn grouped(value: f64) -> String {
    if value < 999.5 {
        let text = format!("{value:.*}", super::decimals_for(value));
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_parse_and_show() {
        for (text, shown) in [
            ("40", "40 req/s"),
            ("40/s", "40 req/s"),
            ("90/min", "1.5 req/s"),
            ("2.5k", "2,500 req/s"),
            ("4M", "4,000,000 req/s"),
            ("0.001", "0.001 req/s"),
            ("999.6", "1,000 req/s"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown, "{text}");
        }
        assert!("40 rps".parse::<Rate>().is_err());
        assert!("-1".parse::<Rate>().is_err());
        assert!("40/fortnight".parse::<Rate>().is_err());
        assert!("1e12".parse::<Rate>().is_ok());
        assert!("1e300".parse::<Rate>().is_err());
    }
}
