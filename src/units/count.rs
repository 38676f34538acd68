use super::{UnitError, split_number};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A number of things (parameters, items, requests), exact.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// Takes an exact number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The exact number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Count {
    type Err = UnitError;

    /// `40`, `5M`, `7B`, `1.3B`, `200k`, `1_000`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("count", text)?;
        let scale = match unit {
            "" => 1.0,
            "k" | "K" => 1e3,
            "m" | "M" => 1e6,
            "b" | "B" | "g" | "G" => 1e9,
            "t" | "T" => 1e12,
            other => {
                return Err(UnitError::new(format!(
                    "`{text}` has an unknown suffix `{other}`: write `5M` (million), `7B` (billion) or `200k`"
                )));
            }
        };
        let scaled = value * scale;
        if scaled < 0.0 {
            return Err(UnitError::new(format!("`{text}` is negative")));
        }
        // Beyond 2^53 a float no longer tells neighbouring counts apart.
        if scaled > 9_007_199_254_740_992.0 {
            return Err(UnitError::new(format!("`{text}` is too large")));
        }
        let whole = scaled.round();
        if (scaled - whole).abs() > 1e-6 * scaled.max(1.0) {
            return Err(UnitError::new(format!("`{text}` is not a whole number")));
        }
        Ok(Self(whole as u64))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0 as f64;
        let (value, suffix) = match v {
            v if v < 9_999.5 => return write!(f, "{}", self.0),
            v if v < 999_500.0 => (v / 1e3, "k"),
            v if v < 999.5e6 => (v / 1e6, "M"),
            v if v < 999.5e9 => (v / 1e9, "B"),
            v => (v / 1e12, "T"),
        };
        super::write_significant(f, value)?;
        f.write_str(suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_parse_as_people_write_them() {
        for (text, value) in [
            ("40", 40),
            ("5M", 5_000_000),
            ("7B", 7_000_000_000),
            ("1.3B", 1_300_000_000),
            ("200k", 200_000),
            ("1_000", 1000),
        ] {
            assert_eq!(text.parse::<Count>().unwrap().get(), value);
        }
        for bad in ["7X", "-1", "1.5", "", "1e30"] {
            assert!(bad.parse::<Count>().is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_show_three_digits() {
        assert_eq!(Count::new(9_999).to_string(), "9999");
        assert_eq!(Count::new(109_482_240).to_string(), "109M");
        assert_eq!(Count::new(999_600).to_string(), "1.00M");
        assert_eq!(Count::new(7_000_000_000).to_string(), "7.00B");
    }
}
