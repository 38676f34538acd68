//! A number that says how sure it is and where it came from.

use crate::units::Fraction;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a number came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// Measured on this very machine.
    Measured,
    /// Measured on another machine of the same kind.
    MeasuredElsewhere {
        /// The machine, as its profile names it.
        machine: String,
    },
    /// Read off a curve fitted through measurements of the same machine.
    Fitted,
    /// Taken from a hardware or price profile.
    Profile {
        /// The profile's name.
        name: String,
    },
    /// Measured on other hardware and carried over.
    Transferred {
        /// The machine it was measured on.
        from: String,
    },
    /// Assumed, for the reason given.
    Assumed {
        /// Why this value.
        why: String,
    },
}

impl Source {
    /// One word for a table.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::MeasuredElsewhere { .. } => "measured elsewhere",
            Self::Fitted => "fitted",
            Self::Profile { .. } => "profile",
            Self::Transferred { .. } => "transferred",
            Self::Assumed { .. } => "assumed",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeasuredElsewhere { machine } => write!(f, "measured on {machine}"),
            Self::Profile { name } => write!(f, "from profile {name}"),
            Self::Transferred { from } => write!(f, "transferred from {from}"),
            Self::Assumed { why } => write!(f, "assumed: {why}"),
            Self::Measured | Self::Fitted => f.write_str(self.label()),
        }
    }
}

/// A value with its interval and its source.
///
/// `low <= value <= high` always holds; `level` is the share of cases in which
/// the true value is expected inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate<T> {
    /// The best single value.
    pub value: T,
    /// The lower end of the interval.
    pub low: T,
    /// The upper end of the interval.
    pub high: T,
    /// How often the interval is expected to hold the truth.
    pub level: Fraction,
    /// Where the number came from.
    pub source: Source,
}

impl<T: Copy + PartialOrd> Estimate<T> {
    /// Joins a value, its interval and its source; ends on the wrong side of
    /// the value are moved onto it.
    pub fn new(value: T, (low, high): (T, T), level: Fraction, source: Source) -> Self {
        Self {
            value,
            low: if low < value { low } else { value },
            high: if high > value { high } else { value },
            level,
            source,
        }
    }

    /// A value that is known exactly (a count, a price from a list).
    pub fn exact(value: T, source: Source) -> Self {
        Self::new(value, (value, value), Fraction::saturating(1.0), source)
    }

    /// The same estimate in another quantity; `f` must not decrease.
    pub fn map<U: Copy + PartialOrd>(&self, f: impl Fn(T) -> U) -> Estimate<U> {
        Estimate::new(
            f(self.value),
            (f(self.low), f(self.high)),
            self.level,
            self.source.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;

    #[test]
    fn the_interval_always_holds_the_value() {
        let t = Time::from_millis;
        let level = Fraction::saturating(0.95);
        let estimate = Estimate::new(t(10.0), (t(12.0), t(9.0)), level, Source::Measured);
        assert_eq!((estimate.low, estimate.high), (t(10.0), t(10.0)));
        let doubled =
            Estimate::new(t(10.0), (t(8.0), t(13.0)), level, Source::Fitted).map(|v| v.scaled(2.0));
        assert_eq!(
            (doubled.low, doubled.value, doubled.high),
            (t(16.0), t(20.0), t(26.0))
        );
    }
}
