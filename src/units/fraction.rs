use super::{UnitError, split_number};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A share between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(f64);

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);

    /// Takes a number between 0 and 1.
    ///
    /// # Errors
    /// Refuses a number outside that range, or NaN.
    pub fn new(value: f64) -> Result<Self, UnitError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value + 0.0))
        } else {
            Err(UnitError::new(format!(
                "a share must lie between 0 and 1, but is {value}"
            )))
        }
    }

    /// Takes the result of arithmetic, pulled into 0…1 (NaN becomes 0).
    #[must_use]
    pub fn saturating(value: f64) -> Self {
        if value.is_nan() {
            Self(0.0)
        } else {
            Self(value.clamp(0.0, 1.0) + 0.0)
        }
    }

    /// The number between 0 and 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = UnitError;
    fn try_from(value: f64) -> Result<Self, UnitError> {
        Self::new(value)
    }
}

impl From<Fraction> for f64 {
    fn from(value: Fraction) -> f64 {
        value.0
    }
}

impl FromStr for Fraction {
    type Err = UnitError;

    /// `0.05` or `5%`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("share", text)?;
        match unit {
            "" => Self::new(value),
            "%" => Self::new(value / 100.0),
            _ => Err(UnitError::new(format!(
                "`{text}` is not a share: write `5%` or `0.05`"
            ))),
        }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent == 0.0 || percent >= 9.95 {
            write!(f, "{percent:.0}%")
        } else {
            write!(f, "{percent:.1}%")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_parse_and_show() {
        assert_eq!("5%".parse::<Fraction>().unwrap().to_string(), "5.0%");
        assert_eq!("0.62".parse::<Fraction>().unwrap().to_string(), "62%");
        assert_eq!("9.96%".parse::<Fraction>().unwrap().to_string(), "10%");
        for bad in ["1.2", "120%", "-1%", "half", "5 pct"] {
            assert!(bad.parse::<Fraction>().is_err(), "{bad}");
        }
        assert!(Fraction::new(f64::NAN).is_err());
    }
}
