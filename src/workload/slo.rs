use crate::caveat::{Caveat, CaveatKind};
use crate::error::{Error, Result};
use crate::units::{Fraction, Time, UnitError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A percentile, as a share strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percentile(f64);

impl Percentile {
    /// The median.
    pub const P50: Self = Self(0.5);
    /// Nine requests in ten.
    pub const P90: Self = Self(0.9);
    /// Nineteen requests in twenty.
    pub const P95: Self = Self(0.95);
    /// Ninety-nine requests in a hundred.
    pub const P99: Self = Self(0.99);
    /// The percentiles that reports show.
    pub const SHOWN: [Self; 4] = [Self::P50, Self::P90, Self::P95, Self::P99];

    /// Takes a share strictly between 0 and 1.
    ///
    /// # Errors
    /// Refuses 0, 1, anything beyond, and NaN.
    pub fn new(share: f64) -> Result<Self, UnitError> {
        if share > 0.0 && share < 1.0 {
            Ok(Self(share))
        } else {
            Err(UnitError::new(format!(
                "a percentile must lie strictly between 0 and 100, but is {}",
                share * 100.0
            )))
        }
    }

    /// The share between 0 and 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The share of requests that may miss the limit: 1 − the percentile.
    #[must_use]
    pub fn misses(self) -> f64 {
        1.0 - self.0
    }
}

impl Eq for Percentile {}
impl PartialOrd for Percentile {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Percentile {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl TryFrom<f64> for Percentile {
    type Error = UnitError;
    fn try_from(value: f64) -> Result<Self, UnitError> {
        Self::new(value)
    }
}

impl From<Percentile> for f64 {
    fn from(value: Percentile) -> f64 {
        value.0
    }
}

impl From<Percentile> for Fraction {
    fn from(value: Percentile) -> Fraction {
        Fraction::saturating(value.0)
    }
}

impl FromStr for Percentile {
    type Err = UnitError;

    /// `p95`, `P99.9`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.trim().strip_prefix(['p', 'P']);
        number
            .and_then(|n| n.parse::<f64>().ok())
            .ok_or_else(|| {
                UnitError::new(format!(
                    "`{text}` is not a percentile: write `p95` or `p99.9`"
                ))
            })
            .and_then(|percent| Self::new(percent / 100.0))
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = format!("{:.4}", self.0 * 100.0);
        write!(
            f,
            "p{}",
            percent.trim_end_matches('0').trim_end_matches('.')
        )
    }
}

/// A service level objective: this percentile of the latency is at most this.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Which share of the requests.
    pub percentile: Percentile,
    /// How long they may take, from arrival to answer.
    pub latency: Time,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ≤ {}", self.percentile, self.latency)
    }
}

/// The objectives that must all hold: one or more, by rising percentile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Slo>", into = "Vec<Slo>")]
pub struct Slos(Vec<Slo>);

impl Slos {
    /// Takes objectives in any order.
    ///
    /// # Errors
    /// Refuses an empty list, a limit of zero, and two limits for the same
    /// percentile.
    pub fn new(mut slos: Vec<Slo>) -> Result<Self> {
        if slos.is_empty() {
            return Err(Error::bad_input("there is no latency objective")
                .hint("give at least one, such as `--p95 120ms`"));
        }
        slos.sort_by_key(|slo| slo.percentile);
        if let Some(slo) = slos.iter().find(|slo| slo.latency.is_zero()) {
            return Err(Error::bad_input(format!(
                "the objective for {} is a latency of 0, which nothing can hold",
                slo.percentile
            ))
            .hint(format!("write, for example, `--{} 120ms`", slo.percentile)));
        }
        slos.dedup();
        for pair in slos.windows(2) {
            if let [a, b] = pair
                && a.percentile == b.percentile
            {
                return Err(Error::bad_input(format!(
                    "{} has two limits, {} and {}",
                    a.percentile, a.latency, b.latency
                ))
                .hint("give one limit per percentile"));
            }
        }
        Ok(Self(slos))
    }

    /// One objective.
    ///
    /// # Errors
    /// Refuses a limit of zero.
    pub fn one(percentile: Percentile, latency: Time) -> Result<Self> {
        Self::new(vec![Slo {
            percentile,
            latency,
        }])
    }

    /// The objectives by rising percentile, at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[Slo] {
        &self.0
    }

    /// The tightest latency of all.
    #[must_use]
    pub fn tightest(&self) -> Time {
        self.0
            .iter()
            .map(|slo| slo.latency)
            .min()
            .unwrap_or_default()
    }

    /// What is odd about the objectives without making them wrong: a limit for
    /// a lower percentile that is not tighter than one for a higher percentile
    /// says nothing.
    #[must_use]
    pub fn caveats(&self) -> Vec<Caveat> {
        let mut caveats = Vec::new();
        for pair in self.0.windows(2) {
            if let [low, high] = pair
                && low.latency >= high.latency
            {
                caveats.push(Caveat::new(
                    CaveatKind::Limit,
                    format!("the objective {low} has no effect, since {high} implies it"),
                ));
            }
        }
        caveats
    }
}

impl TryFrom<Vec<Slo>> for Slos {
    type Error = Error;
    fn try_from(slos: Vec<Slo>) -> Result<Self> {
        Self::new(slos)
    }
}

impl From<Slos> for Vec<Slo> {
    fn from(slos: Slos) -> Self {
        slos.0
    }
}

impl fmt::Display for Slos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, slo) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{slo}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo(percentile: Percentile, millis: f64) -> Slo {
        Slo {
            percentile,
            latency: Time::from_millis(millis),
        }
    }

    #[test]
    fn percentiles_parse_and_show() {
        for (text, share) in [("p95", 0.95), ("P50", 0.5), ("p99.9", 0.999)] {
            let percentile: Percentile = text.parse().unwrap();
            assert!((percentile.get() - share).abs() < 1e-12);
            assert_eq!(percentile.to_string(), text.to_lowercase());
        }
        for bad in ["95", "p0", "p100", "pNaN", "", "p"] {
            assert!(bad.parse::<Percentile>().is_err(), "{bad}");
        }
        assert_eq!(Percentile::new(0.95).unwrap(), Percentile::P95);
    }

    #[test]
    fn objectives_are_sorted_and_checked() {
        let slos = Slos::new(vec![
            slo(Percentile::P99, 200.0),
            slo(Percentile::P50, 50.0),
        ])
        .unwrap();
        assert_eq!(slos.to_string(), "p50 ≤ 50.0 ms, p99 ≤ 200 ms");
        assert_eq!(slos.tightest(), Time::from_millis(50.0));
        assert!(slos.caveats().is_empty());
        assert!(Slos::new(vec![]).is_err());
        assert!(Slos::one(Percentile::P95, Time::ZERO).is_err());
        let twice = Slos::new(vec![slo(Percentile::P95, 1.0), slo(Percentile::P95, 2.0)]);
        assert!(twice.unwrap_err().message().contains("two limits"));
    }

    #[test]
    fn an_implied_objective_is_pointed_out() {
        let slos = Slos::new(vec![
            slo(Percentile::P50, 300.0),
            slo(Percentile::P99, 200.0),
        ])
        .unwrap();
        assert_eq!(slos.caveats().len(), 1);
        assert!(
            slos.caveats()[0]
                .message
                .contains("p50 ≤ 300 ms has no effect")
        );
    }
}
