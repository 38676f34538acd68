use super::Balancer;
use crate::error::{Error, Result};
use crate::units::Time;
use std::sync::Arc;

/// The rhythm in which requests arrive; how many per second is said elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrivals {
    /// Independent users: the time between two requests is exponential.
    Poisson,
    /// A clock: the time between two requests is always the same.
    Deterministic,
    /// Gamma-distributed times between requests: with a coefficient of
    /// variation above 1 requests come in bursts, below 1 more evenly than
    /// Poisson (which is the case of exactly 1).
    Gamma {
        /// Standard deviation of the time between requests over its mean,
        /// between 0.01 and 100.
        coefficient_of_variation: f64,
    },
    /// What really arrived, sped up or slowed down to the offered load and
    /// begun again when it runs out.
    Trace(Timestamps),
}

/// Times of arrival, from the first on, never going back.
#[derive(Debug, Clone, PartialEq)]
pub struct Timestamps(Arc<[f64]>);

impl Timestamps {
    /// Takes times of arrival since any origin.
    ///
    /// # Errors
    /// Refuses fewer than two timestamps, timestamps that go back in time, and
    /// ones that are all the same.
    pub fn new(times: &[Time]) -> Result<Self> {
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Err(Error::bad_input("the trace of arrivals is empty"));
        };
        if let Some(at) = times.windows(2).position(|w| matches!(w, [a, b] if b < a)) {
            return Err(Error::bad_input(format!(
                "the trace of arrivals goes back in time after timestamp {}",
                at + 1
            ))
            .hint("sort the timestamps"));
        }
        if last <= first {
            return Err(Error::bad_input(
                "the trace of arrivals spans no time: it needs at least two different timestamps",
            ));
        }
        Ok(Self(times.iter().map(|t| t.get() - first.get()).collect()))
    }

    /// Seconds since the first arrival, never falling; at least two.
    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.0
    }
}

impl Arrivals {
    /// Gamma-distributed times between requests.
    ///
    /// # Errors
    /// Refuses a coefficient of variation outside 0.01 to 100: below, take
    /// deterministic arrivals; above, no run is long enough to hold the bursts.
    pub fn gamma(coefficient_of_variation: f64) -> Result<Self> {
        if (0.01..=100.0).contains(&coefficient_of_variation) {
            Ok(Self::Gamma {
                coefficient_of_variation,
            })
        } else {
            Err(Error::bad_input(format!(
                "a coefficient of variation of {coefficient_of_variation} is outside 0.01 to 100"
            ))
            .hint("1 is as random as Poisson arrivals, 2 to 4 is bursty"))
        }
    }

    /// What one of `replicas` sees of these arrivals behind `balancer`, where
    /// that has a name of its own; none where the replicas must be simulated
    /// together.
    ///
    /// A random split of Poisson arrivals is Poisson again; every n-th of them
    /// comes after a sum of n exponential times, which is gamma-distributed
    /// with the coefficient of variation 1/√n (Erlang).
    #[must_use]
    pub fn at_replica(&self, balancer: Balancer, replicas: u32) -> Option<Self> {
        if replicas <= 1 {
            return Some(self.clone());
        }
        let nth = |variation: f64| Self::Gamma {
            coefficient_of_variation: (variation / f64::from(replicas).sqrt()).max(0.01),
        };
        match (self, balancer) {
            (Self::Poisson, Balancer::Random) => Some(Self::Poisson),
            (Self::Deterministic, Balancer::RoundRobin) => Some(Self::Deterministic),
            (Self::Poisson, Balancer::RoundRobin) => Some(nth(1.0)),
            (
                Self::Gamma {
                    coefficient_of_variation,
                },
                Balancer::RoundRobin,
            ) => Some(nth(*coefficient_of_variation)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_must_go_forward() {
        let t = |ms: f64| Time::from_millis(ms);
        assert!(Timestamps::new(&[]).is_err());
        assert!(Timestamps::new(&[t(1.0)]).is_err());
        assert!(Timestamps::new(&[t(1.0), t(1.0)]).is_err());
        let error = Timestamps::new(&[t(1.0), t(3.0), t(2.0)]).unwrap_err();
        assert!(error.message().contains("after timestamp 2"));
        let trace = Timestamps::new(&[t(5.0), t(5.0), t(8.0)]).unwrap();
        assert_eq!(trace.seconds().len(), 3);
        assert!((trace.seconds()[2] - 0.003).abs() < 1e-12);
    }

    #[test]
    fn a_replica_sees_a_share_of_the_arrivals() {
        assert_eq!(
            Arrivals::Poisson.at_replica(Balancer::Random, 4),
            Some(Arrivals::Poisson)
        );
        assert_eq!(
            Arrivals::Poisson.at_replica(Balancer::RoundRobin, 4),
            Some(Arrivals::gamma(0.5).unwrap())
        );
        assert_eq!(
            Arrivals::Poisson.at_replica(Balancer::LeastOutstanding, 4),
            None
        );
        assert_eq!(
            Arrivals::Poisson.at_replica(Balancer::LeastOutstanding, 1),
            Some(Arrivals::Poisson)
        );
        assert!(Arrivals::gamma(0.0).is_err());
        assert!(Arrivals::gamma(f64::NAN).is_err());
    }
}
