use super::{float_quantity, write_significant};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount of arithmetic, in floating-point operations (a multiply-add is two).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Flops(f64);

float_quantity!(
    Flops,
    "an amount of arithmetic",
    "floating-point operations"
);

impl fmt::Display for Flops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = scale(self.0);
        write_significant(f, value)?;
        write!(f, " {unit}FLOP")
    }
}

/// A rate of arithmetic, in floating-point operations per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct FlopRate(f64);

float_quantity!(
    FlopRate,
    "a rate of arithmetic",
    "floating-point operations per second"
);

impl FlopRate {
    /// Takes teraFLOP/s (10^12), as datasheets give it.
    #[must_use]
    pub fn from_tera(value: f64) -> Self {
        Self::saturating(value * 1e12)
    }
}

impl fmt::Display for FlopRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = scale(self.0);
        write_significant(f, value)?;
        write!(f, " {unit}FLOP/s")
    }
}

fn scale(value: f64) -> (f64, &'static str) {
    match value {
        v if v < 999.5 => (v, ""),
        v if v < 999.5e3 => (v / 1e3, "k"),
        v if v < 999.5e6 => (v / 1e6, "M"),
        v if v < 999.5e9 => (v / 1e9, "G"),
        v if v < 999.5e12 => (v / 1e12, "T"),
        v => (v / 1e15, "P"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_shows_at_a_readable_scale() {
        assert_eq!(Flops::new(22.35e9).unwrap().to_string(), "22.4 GFLOP");
        assert_eq!(FlopRate::from_tera(121.0).to_string(), "121 TFLOP/s");
        assert_eq!(Flops::new(999.6e6).unwrap().to_string(), "1.00 GFLOP");
    }
}
