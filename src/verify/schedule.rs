//! The arrivals of a run.

use crate::{
    error::Result,
    plan::queueing::Streams,
    units::{Rate, Time},
    workload::Arrivals,
};

/// The least requests that the simulator draws at once.
const LEAST_DRAWN: usize = 1000;

/// When every request of a run is to arrive, laid down before it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    arrivals: Vec<Time>,
    rate: Rate,
}

impl Schedule {
    /// Arrivals at `rate` for about `length`, at least 20 and at most `most`.
    ///
    /// # Errors
    /// Arrivals that cannot be drawn.
    pub fn new(
        arrivals: &Arrivals,
        rate: Rate,
        (length, most): (Time, u32),
        seed: u64,
    ) -> Result<Self> {
        let wanted = (rate.get() * length.get()).round() as usize;
        let count = wanted.clamp(20, most.max(20) as usize);
        let streams = Streams::new(arrivals, count.max(LEAST_DRAWN) as u32, seed)?;
        Ok(Self {
            arrivals: streams.arrivals(rate, count).collect(),
            rate,
        })
    }

    /// Requests at these times, which never fall.
    #[must_use]
    pub fn at(arrivals: Vec<Time>) -> Self {
        let mut schedule = Self {
            arrivals,
            rate: Rate::ZERO,
        };
        schedule.rate = schedule.realised();
        schedule
    }

    /// The times of arrival, never falling.
    #[must_use]
    pub fn arrivals(&self) -> &[Time] {
        &self.arrivals
    }

    /// The rate asked for.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The first requests only: those that a run that was stopped has answered.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self {
            arrivals: self.arrivals.iter().take(count).copied().collect(),
            rate: self.rate,
        }
    }

    /// The rate that these arrivals come to: gaps per time between the first
    /// and the last.
    #[must_use]
    pub fn realised(&self) -> Rate {
        let span = match (self.arrivals.first(), self.arrivals.last()) {
            (Some(first), Some(last)) => last.get() - first.get(),
            _ => 0.0,
        };
        Rate::saturating((self.arrivals.len() as f64 - 1.0).max(0.0) / span.max(1e-9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_the_rate_and_length_asked_for() {
        let rate = Rate::new(400.0).unwrap();
        let length = (Time::saturating(10.0), 100_000);
        let schedule = Schedule::new(&Arrivals::Poisson, rate, length, 1).unwrap();
        assert_eq!(schedule.arrivals().len(), 4000);
        assert!((schedule.realised().ratio(rate) - 1.0).abs() < 0.01);
        let short = Schedule::new(&Arrivals::Poisson, rate, (length.0, 100), 1).unwrap();
        assert_eq!(short.arrivals().len(), 100);
        assert_eq!(schedule.first(10).arrivals().len(), 10);
    }
}
