//! Checked quantities. A value is finite and in range once, when it is made;
//! from then on its type says what it is and in which unit.
//!
//! Every type parses from what people write (`FromStr`), shows itself at a
//! readable scale (`Display`) and is a plain number in its base unit in TOML
//! and JSON, where a negative, infinite or NaN value is refused.

mod count;
mod energy;
mod fraction;
mod memory;
mod money;
mod rate;
mod time;
mod work;

pub use count::Count;
pub use energy::{Carbon, Energy, GridIntensity, Power};
pub use fraction::Fraction;
pub use memory::{Bandwidth, Bytes};
pub use money::{Usd, UsdPerHour, UsdPerMillion};
pub use rate::Rate;
pub use time::Time;
pub use work::{FlopRate, Flops};

use std::fmt;

/// Why a piece of text or a number is not the quantity asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnitError {
    message: String,
}

impl UnitError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Splits `"120ms"` into `(120.0, "ms")`.
///
/// The number may have a fraction, an exponent and `_` between digits; blanks
/// round the unit are dropped.
///
/// # Errors
/// Names `what` and the text when it does not start with a finite number.
pub(crate) fn split_number<'t>(what: &str, text: &'t str) -> Result<(f64, &'t str), UnitError> {
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let c = bytes[end];
        let exponent = matches!(c, b'e' | b'E')
            && end > 0
            && match bytes.get(end + 1) {
                Some(b'+' | b'-') => bytes.get(end + 2).is_some_and(u8::is_ascii_digit),
                Some(d) => d.is_ascii_digit(),
                None => false,
            };
        let sign = matches!(c, b'+' | b'-') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if c.is_ascii_digit() || matches!(c, b'.' | b'_') || exponent || sign {
            end += 1;
        } else {
            break;
        }
    }
    let (number, unit) = trimmed.split_at(end);
    let value: f64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| UnitError::new(format!("`{text}` is not a {what}: no number in it")))?;
    if !value.is_finite() {
        return Err(UnitError::new(format!(
            "`{text}` is not a {what}: too large"
        )));
    }
    Ok((value, unit.trim()))
}

/// Checks that a quantity is finite and not negative.
pub(crate) fn non_negative(what: &str, value: f64) -> Result<f64, UnitError> {
    if !value.is_finite() {
        return Err(UnitError::new(format!(
            "{what} must be a finite number, not {value}"
        )));
    }
    if value < 0.0 {
        return Err(UnitError::new(format!(
            "{what} must not be negative, but is {value}"
        )));
    }
    // Negative zero would show as `-0`.
    Ok(value + 0.0)
}

/// Writes `value` with three significant digits, as few decimals as show them.
pub(crate) fn write_significant(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let decimals = decimals_for(value);
    write!(f, "{value:.decimals$}")
}

/// Decimals that leave three significant digits of a value of at least 1, and
/// up to three places of a smaller one.
pub(crate) fn decimals_for(value: f64) -> usize {
    match value.abs() {
        // Rounding decides the scale: 99.96 shows as 100, not 100.0.
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    }
}

/// Implements what all `f64` quantities share: construction with a check,
/// serde as a bare number, ordering (total, since NaN cannot be made).
macro_rules! float_quantity {
    ($name:ident, $what:literal, $base:literal) => {
        impl $name {
            #[doc = concat!("Zero ", $base, ".")]
            pub const ZERO: Self = Self(0.0);

            #[doc = concat!("Takes a number of ", $base, ".")]
            ///
            /// # Errors
            /// Refuses a negative, infinite or NaN number.
            pub fn new(value: f64) -> Result<Self, $crate::units::UnitError> {
                $crate::units::non_negative($what, value).map(Self)
            }

            #[doc = concat!("Takes the result of arithmetic, in ", $base, ".")]
            ///
            /// Out-of-range results are pulled back to the nearest value that
            /// the type can hold (NaN becomes zero), so that arithmetic on
            /// checked quantities never panics.
            #[must_use]
            pub fn saturating(value: f64) -> Self {
                if value.is_nan() {
                    Self(0.0)
                } else {
                    Self(value.clamp(0.0, f64::MAX) + 0.0)
                }
            }

            #[doc = concat!("The number of ", $base, ".")]
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// Whether this is exactly zero.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0 == 0.0
            }

            /// This quantity times a pure number (a negative or NaN factor gives zero).
            #[must_use]
            pub fn scaled(self, factor: f64) -> Self {
                Self::saturating(self.0 * factor)
            }

            /// How many times `other` fits into this; infinite when `other` is zero.
            #[must_use]
            pub fn ratio(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }

        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.total_cmp(&other.0)
            }
        }
        impl std::ops::Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self::saturating(self.0 + other.0)
            }
        }
        /// Subtraction stops at zero.
        impl std::ops::Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self::saturating(self.0 - other.0)
            }
        }
        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::ZERO, |a, b| a + b)
            }
        }
        impl TryFrom<f64> for $name {
            type Error = $crate::units::UnitError;
            fn try_from(value: f64) -> Result<Self, Self::Error> {
                Self::new(value)
            }
        }
        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }
    };
}
pub(crate) use float_quantity;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_split_from_their_units() {
        assert_eq!(split_number("time", "120ms").unwrap(), (120.0, "ms"));
        assert_eq!(split_number("time", " 1.5 s ").unwrap(), (1.5, "s"));
        assert_eq!(split_number("count", "1e3").unwrap(), (1000.0, ""));
        assert_eq!(split_number("count", "1_000k").unwrap(), (1000.0, "k"));
        assert_eq!(split_number("x", "2e").unwrap(), (2.0, "e"));
        assert!(split_number("x", "").is_err());
        assert!(split_number("x", "ms").is_err());
        assert!(split_number("x", "nan").is_err());
        assert!(split_number("x", "1e999").is_err());
        assert!(split_number("x", "1.2.3").is_err());
    }
}
