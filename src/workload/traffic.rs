use super::Arrivals;
use crate::error::{Error, Result};
use crate::units::Rate;

/// How many requests per second are offered, and in which rhythm.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    rate: Rate,
    arrivals: Arrivals,
}

impl Traffic {
    /// Takes the offered load and the rhythm of the arrivals.
    ///
    /// # Errors
    /// Refuses an offered load of zero.
    pub fn new(rate: Rate, arrivals: Arrivals) -> Result<Self> {
        if rate.is_zero() {
            return Err(
                Error::bad_input("the offered load is 0 requests per second")
                    .hint("give the requests per second to plan for, such as `--qps 40`"),
            );
        }
        Ok(Self { rate, arrivals })
    }

    /// The offered load, greater than zero.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The rhythm of the arrivals.
    #[must_use]
    pub const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_traffic_at_all_is_refused() {
        assert!(Traffic::new(Rate::ZERO, Arrivals::Poisson).is_err());
        let traffic = Traffic::new(Rate::new(40.0).unwrap(), Arrivals::Poisson).unwrap();
        assert_eq!(traffic.rate().to_string(), "40 req/s");
    }
}
