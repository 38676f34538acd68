//! Inferences that something else on the machine held up: an interrupt, another
//! process that got the core, a page that was moved.
//!
//! They come by the clock and not by the inference. Of inferences of
//! microseconds one in a hundred thousand is held up, by milliseconds: among the
//! samples of a batch size it would be there or not by chance, but what a layout
//! met over all its batch sizes gives a rate.

use super::calibration::Row;
use crate::{
    stats::condensed,
    units::{Rate, Time},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An inference that took more than this many times the median of its visit was
/// held up.
pub const HELD_UP: f64 = 4.0;

/// Inferences of a visit below which their median says too little.
const LEAST_INFERENCES: usize = 16;

/// Lengths kept while they are gathered; beyond, means of equal shares of them.
const GATHERED: usize = 4096;

/// Inferences that were held up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldUps {
    /// How many.
    pub count: u64,
    /// By how much longer than the median each took; where there were many, means
    /// of equal shares of the sorted ones.
    #[serde(rename = "lengths_s")]
    pub lengths: Vec<Time>,
}

impl HoldUps {
    /// Takes those that were held up out of the service times of a visit.
    #[must_use]
    pub fn taken_from(service: &mut Vec<Time>) -> Self {
        if service.len() < LEAST_INFERENCES {
            return Self::default();
        }
        let mut sorted = service.clone();
        let middle = sorted.len() / 2;
        let (_, median, _) = sorted.select_nth_unstable(middle);
        let median = *median;
        let most = median.scaled(HELD_UP);
        let lengths: Vec<Time> = service
            .iter()
            .filter(|time| **time > most)
            .map(|time| *time - median)
            .collect();
        service.retain(|time| *time <= most);
        Self {
            count: lengths.len() as u64,
            lengths: condensed(&lengths, GATHERED),
        }
    }

    /// The same with so many lengths at most: means of equal shares of them.
    #[must_use]
    pub fn condensed(&self, keep: usize) -> Self {
        Self {
            count: self.count,
            lengths: condensed(&self.lengths, keep),
        }
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0 || self.lengths.is_empty()
    }

    /// Adds those of another visit.
    pub fn add(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let all = self.count + other.count;
        let mut lengths = self.spread_over(all);
        lengths.extend(other.spread_over(all));
        self.count = all;
        self.lengths = condensed(&lengths, GATHERED);
    }

    /// The time that they took together.
    #[must_use]
    pub fn total(&self) -> Time {
        let sum: Time = self.lengths.iter().copied().sum();
        sum.scaled(self.count as f64 / self.lengths.len().max(1) as f64)
    }

    /// As many lengths as their share among `all` calls for.
    fn spread_over(&self, all: u64) -> Vec<Time> {
        if self.is_empty() {
            return Vec::new();
        }
        let wanted = if all <= GATHERED as u64 {
            self.count as usize
        } else {
            // Twice as many as are kept, so that condensing them loses little.
            let share = self.count as f64 / all as f64;
            ((share * 2.0 * GATHERED as f64).round() as usize).max(1)
        };
        (0..wanted)
            .filter_map(|i| self.lengths.get(i * self.lengths.len() / wanted).copied())
            .collect()
    }
}

/// How often an instance is held up, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldUpRate {
    /// Hold-ups per second of service.
    pub rate: Rate,
    /// How long they are, each as likely as the other; never empty.
    pub lengths: Arc<[Time]>,
    /// Worked out once: it is asked for with every batch.
    factor: f64,
}

impl HoldUpRate {
    /// The rate of hold-ups in so much time of service, they themselves not
    /// counted; none where there were none.
    #[must_use]
    pub fn new(hold_ups: &HoldUps, service: Time) -> Option<Self> {
        let rate = Rate::saturating(hold_ups.count as f64 / service.get());
        let sum: Time = hold_ups.lengths.iter().copied().sum();
        let mean = sum.get() / hold_ups.lengths.len().max(1) as f64;
        (!hold_ups.is_empty() && !service.is_zero() && !rate.is_zero()).then(|| Self {
            rate,
            lengths: hold_ups.lengths.as_slice().into(),
            factor: 1.0 + rate.get() * mean,
        })
    }

    /// The rate that the rows of one layout show together.
    #[must_use]
    pub fn of_rows<'r>(rows: impl Iterator<Item = &'r Row>) -> Option<Self> {
        let (mut met, mut service) = (HoldUps::default(), Time::ZERO);
        for row in rows {
            service = service + row.busy().scaled(row.undisturbed().get());
            met.add(&row.hold_ups);
        }
        Self::new(&met, service)
    }

    /// How many times longer everything takes because of them.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: f64) -> Time {
        Time::from_millis(value)
    }

    #[test]
    fn what_was_held_up_is_taken_out_and_told() {
        let mut service = vec![ms(1.0); 98];
        service.extend([ms(5.0), ms(2.0), ms(11.0)]);
        let hold_ups = HoldUps::taken_from(&mut service);
        assert_eq!(service.len(), 99);
        assert_eq!(
            (hold_ups.count, &*hold_ups.lengths),
            (2, &[ms(4.0), ms(10.0)][..])
        );
        assert_eq!(hold_ups.total(), ms(14.0));
        let mut few = vec![ms(1.0), ms(90.0), ms(1.0)];
        assert!(HoldUps::taken_from(&mut few).is_empty() && few.len() == 3);
    }

    #[test]
    fn lists_are_joined_by_how_many_each_stands_for() {
        let mut many = HoldUps {
            count: 90_000,
            lengths: vec![ms(1.0); 4096],
        };
        many.add(&HoldUps {
            count: 10_000,
            lengths: vec![ms(2.0)],
        });
        assert_eq!((many.count, many.lengths.len()), (100_000, 4096));
        assert_eq!(many.condensed(64).lengths.len(), 64);
        assert!((many.total().get() - 110.0).abs() < 0.2, "{}", many.total());
        many.add(&HoldUps::default());
        assert_eq!(many.count, 100_000);
    }

    #[test]
    fn a_rate_counts_by_time_of_service() {
        let hold_ups = HoldUps {
            count: 4,
            lengths: vec![ms(1.0), ms(3.0)],
        };
        let rate = HoldUpRate::new(&hold_ups, Time::saturating(2.0)).unwrap();
        assert!((rate.rate.get() - 2.0).abs() < 1e-12);
        assert!((rate.factor() - 1.004).abs() < 1e-12);
        assert_eq!(HoldUpRate::new(&HoldUps::default(), ms(1.0)), None);
        assert_eq!(HoldUpRate::new(&hold_ups, Time::ZERO), None);
    }
}
