//! What waiting does to an instance.

use crate::error::{Error, Result};
use crate::units::Time;

/// How much slower an item runs alone on an instance that was idle before: a
/// piecewise linear function of the idle gap, 1 at a gap of 0 and constant
/// after the last point.
///
/// What it costs to wake up and to fill the caches again comes once per batch,
/// whatever its size, so a larger batch loses the same *time*, not the same
/// share. Seen for a small network after gaps of 0.2, 1, 5, 20 and 100 ms (2
/// threads of an AMD EPYC Turin, median of 12 visits): 6, 33, 120, 130 and
/// 143 µs on 4.8 µs for a single item; 8, 29, 132, 142 and 161 µs on 8.7 µs for
/// eight of them.
///
/// Short gaps have no such effect each: it is the mean of them that counts, for the
/// batches without a gap too. A tree ensemble that takes 17.9 µs back to back took,
/// under Poisson load at utilisation 0.3, 18.9 µs after no gap, 18.6 after up to
/// 20 µs, 18.7 after 50 to 100, and 20.2 after 100 to 300 (the same machine).
#[derive(Debug, Clone, PartialEq)]
pub struct IdleSlowdown {
    pieces: Vec<Piece>,
    /// The factor after the last point.
    last: f64,
    /// Gaps up to so many seconds are short.
    short: f64,
}

/// Seconds that a processor is kept in a wait, since nobody sleeps as short as
/// that: what comes before and after is warm.
const SHORT: f64 = 120e-6;

/// How much the latest gap counts in the mean of the short ones.
const LATEST: f64 = 1.0 / 64.0;

/// How idle one instance was of late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idling {
    short: f64,
    /// Mean gap, none counted as more than short.
    usual: f64,
}

impl Idling {
    pub(super) fn new(slowdown: Option<&IdleSlowdown>) -> Self {
        Self {
            short: slowdown.map_or(0.0, |idle| idle.short),
            usual: 0.0,
        }
    }

    /// The gap that counts for a batch that comes after a gap of that many seconds.
    #[inline]
    pub(super) fn after(&mut self, gap: f64) -> f64 {
        let counts = gap.max(self.usual);
        self.usual += (gap.min(self.short) - self.usual) * LATEST;
        counts
    }
}

/// A stretch of the function up to a gap, with its value and slope at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    from: f64,
    to: f64,
    factor: f64,
    slope: f64,
}

impl IdleSlowdown {
    /// Takes idle gaps with the factor on the service time after each.
    ///
    /// # Errors
    /// Refuses an empty list, gaps that do not rise, a factor that is not
    /// positive or above 1000, and a point at gap 0 with a factor other than 1.
    pub fn new(points: &[(Time, f64)]) -> Result<Self> {
        let mut kept = vec![(0.0, 1.0)];
        for &(gap, factor) in points {
            if !(factor > 0.0 && factor <= 1000.0) {
                return Err(Error::bad_input(format!(
                    "the slowdown after an idle gap of {gap} is {factor}, but must be positive and at most 1000"
                )));
            }
            if gap.is_zero() && (factor - 1.0).abs() < 1e-9 {
                continue;
            }
            if kept.last().is_some_and(|last| gap.get() <= last.0) {
                return Err(Error::bad_input(format!(
                    "the idle gap {gap} does not come after the one before it"
                ))
                .hint("sort the gaps; the factor at a gap of 0 is 1 by definition"));
            }
            kept.push((gap.get(), factor));
        }
        if kept.len() == 1 {
            return Err(Error::bad_input("there is no idle gap to learn from"));
        }
        let pieces = kept.windows(2).filter_map(|pair| match pair {
            [a, b] => Some(Piece {
                from: a.0,
                to: b.0,
                factor: a.1,
                slope: (b.1 - a.1) / (b.0 - a.0),
            }),
            _ => None,
        });
        Ok(Self {
            pieces: pieces.collect(),
            last: kept.last().map_or(1.0, |last| last.1),
            short: SHORT,
        })
    }

    /// The same where every gap is known to have had an effect of its own.
    #[must_use]
    pub fn of_each_gap(self) -> Self {
        Self { short: 0.0, ..self }
    }

    /// The factor after an idle gap.
    #[must_use]
    pub fn factor(&self, gap: Time) -> f64 {
        self.factor_after(gap.get())
    }

    /// What is lost after an idle gap of that many seconds, which may be infinite,
    /// in mean service times of a single item.
    #[inline]
    pub(super) fn extra_after(&self, gap: f64) -> f64 {
        self.factor_after(gap) - 1.0
    }

    /// The factor after an idle gap of that many seconds, which may be infinite.
    #[inline]
    pub(super) fn factor_after(&self, gap: f64) -> f64 {
        if gap <= 0.0 {
            return 1.0;
        }
        for piece in &self.pieces {
            if gap < piece.to {
                return piece.factor + (gap - piece.from) * piece.slope;
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: f64) -> Time {
        Time::from_millis(value)
    }

    #[test]
    fn the_slowdown_follows_its_points() {
        let idle = IdleSlowdown::new(&[(ms(1.0), 1.4), (ms(5.0), 2.4)]).unwrap();
        for (gap, factor) in [
            (0.0, 1.0),
            (0.5, 1.2),
            (1.0, 1.4),
            (3.0, 1.9),
            (5.0, 2.4),
            (100.0, 2.4),
        ] {
            assert!((idle.factor(ms(gap)) - factor).abs() < 1e-12);
        }
        assert!((idle.factor_after(f64::INFINITY) - 2.4).abs() < 1e-12);
        assert!(IdleSlowdown::new(&[]).is_err());
        assert!(IdleSlowdown::new(&[(ms(2.0), 1.1), (ms(1.0), 1.2)]).is_err());
        assert!(IdleSlowdown::new(&[(ms(2.0), f64::NAN)]).is_err());
    }

    #[test]
    fn of_short_gaps_the_mean_counts_and_long_ones_count_themselves() {
        let slowdown = IdleSlowdown::new(&[(ms(1.0), 1.4)]).unwrap();
        let mut idling = Idling::new(Some(&slowdown));
        assert!(idling.after(f64::INFINITY).is_infinite());
        for _ in 0..1000 {
            idling.after(0.0);
            idling.after(80e-6);
        }
        assert!((idling.after(0.0) - 40e-6).abs() < 2e-6);
        assert!((idling.after(5e-3) - 5e-3).abs() < 1e-12);
        for none in [Some(slowdown.of_each_gap()), None] {
            let mut each = Idling::new(none.as_ref());
            for gap in [f64::INFINITY, 80e-6, 0.0] {
                assert_eq!(each.after(gap).to_bits(), gap.to_bits());
            }
        }
    }
}
