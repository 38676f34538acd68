use super::{UnitError, float_quantity, split_number};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An amount of memory, in bytes, exact.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// Takes an exact number of bytes.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Takes mebibytes (2^20 bytes).
    #[must_use]
    pub const fn from_mib(value: u64) -> Self {
        Self(value.saturating_mul(1 << 20))
    }

    /// Takes gibibytes (2^30 bytes), rounded to the byte; negative or NaN gives zero.
    #[must_use]
    pub fn from_gib(value: f64) -> Self {
        Self((value * 1_073_741_824.0).round() as u64)
    }

    /// Takes the result of arithmetic, rounded up to a whole byte; negative or NaN gives zero.
    #[must_use]
    pub fn saturating(value: f64) -> Self {
        Self(value.ceil() as u64)
    }

    /// The exact number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of gibibytes (2^30 bytes).
    #[must_use]
    pub fn as_gib(self) -> f64 {
        self.0 as f64 / 1_073_741_824.0
    }

    /// The number of mebibytes (2^20 bytes).
    #[must_use]
    pub fn as_mib(self) -> f64 {
        self.0 as f64 / 1_048_576.0
    }

    /// This amount times a pure number, rounded up to a whole byte.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self::saturating(self.0 as f64 * factor)
    }
}

impl std::ops::Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Subtraction stops at zero.
impl std::ops::Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Mul<u64> for Bytes {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, |a, b| a + b)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    /// `24GiB`, `24GB`, `512MiB`, `1.5G` (a bare `G` is binary, as memory is sold).
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (value, unit) = split_number("memory size", text)?;
        let scale: f64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "m" | "mib" => 1_048_576.0,
            "g" | "gib" => 1_073_741_824.0,
            "t" | "tib" => 1_099_511_627_776.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            other => {
                return Err(UnitError::new(format!(
                    "`{text}` has an unknown unit of memory `{other}`: use MiB, GiB, MB or GB"
                )));
            }
        };
        super::non_negative("a memory size", value * scale).map(|v| Self(v.round() as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0 as f64;
        let (value, unit) = match v {
            v if v < 1023.5 => return write!(f, "{} B", self.0),
            v if v < 1023.5 * 1024.0 => (v / 1024.0, "KiB"),
            v if v < 1023.5 * 1_048_576.0 => (v / 1_048_576.0, "MiB"),
            v if v < 1023.5 * 1_073_741_824.0 => (v / 1_073_741_824.0, "GiB"),
            v => (v / 1_099_511_627_776.0, "TiB"),
        };
        super::write_significant(f, value)?;
        write!(f, " {unit}")
    }
}

/// A rate of moving bytes, in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Bandwidth(f64);

float_quantity!(Bandwidth, "a bandwidth", "bytes per second");

impl Bandwidth {
    /// Takes gigabytes (10^9 bytes) per second, as datasheets give it.
    #[must_use]
    pub fn from_gb_per_s(value: f64) -> Self {
        Self::saturating(value * 1e9)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::write_significant(f, self.0 / 1e9)?;
        f.write_str(" GB/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_parses_and_shows() {
        assert_eq!("24GiB".parse::<Bytes>().unwrap(), Bytes::from_gib(24.0));
        assert_eq!("24GB".parse::<Bytes>().unwrap().get(), 24_000_000_000);
        assert_eq!("512m".parse::<Bytes>().unwrap(), Bytes::from_mib(512));
        assert!("-1GB".parse::<Bytes>().is_err());
        assert!("1 gallon".parse::<Bytes>().is_err());
        assert_eq!(Bytes::new(1023).to_string(), "1023 B");
        assert_eq!(Bytes::from_mib(1023).to_string(), "1023 MiB");
        assert_eq!(Bytes::new(1_073_700_000).to_string(), "1.00 GiB");
        assert_eq!(Bandwidth::from_gb_per_s(300.0).to_string(), "300 GB/s");
    }
}
