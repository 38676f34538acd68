//! One row in the making, and when it has had enough visits.

use crate::{
    measure::probe::power::Drawn,
    profile::calibration::{Row, SessionLayout},
    stats::{Sample, interval_of_next_mean},
    units::{Fraction, Time},
};

/// Rounds below which no interval is trusted.
pub(super) const LEAST_ROUNDS: usize = 6;

/// Rounds after which a row may be dropped for a better one.
const ROUNDS_TO_DROP: usize = 3;

/// By how much another row must be better, at the ends of both ranges of
/// rounds, in latency and in throughput.
const CLEAR_MARGIN: f64 = 1.1;

/// A row with what is needed to measure it.
#[derive(Debug)]
pub(super) struct Point {
    /// Which child has its sessions.
    pub child: usize,
    /// What one inference takes, roughly.
    pub expected: Time,
    /// What was measured.
    pub row: Row,
    /// Nothing more is to be had from it.
    pub failed: bool,
    /// Rounds that this run added (a journal may have brought others).
    pub visits: usize,
    /// The energy of these.
    pub drawn: Drawn,
}

impl Point {
    fn means(&self) -> impl Iterator<Item = f64> + '_ {
        self.row.rounds.iter().map(|round| round.mean.get())
    }

    /// Whether the interval of the mean, as far as more rounds can narrow it,
    /// is as narrow as asked (or no more can be measured).
    pub fn is_done(&self, precision: Fraction) -> bool {
        if self.failed || self.row.dropped_for.is_some() {
            return true;
        }
        self.row.rounds.len() >= LEAST_ROUNDS
            && relative_half_width(&self.means().collect::<Vec<_>>())
                .is_some_and(|width| width <= precision.get())
    }

    /// Fastest and slowest round; none before there are enough of them.
    fn range(&self) -> Option<(f64, f64)> {
        (self.row.rounds.len() >= ROUNDS_TO_DROP).then(|| {
            self.means().fold((f64::MAX, 0.0_f64), |(low, high), mean| {
                (low.min(mean), high.max(mean))
            })
        })
    }
}

fn relative_half_width(means: &[f64]) -> Option<f64> {
    let sample = Sample::new(means.to_vec()).ok()?;
    let interval = interval_of_next_mean(&sample, Fraction::ZERO, Fraction::saturating(0.95))?;
    Some(interval.half_width() / sample.mean())
}

/// Drops rows that another layout beats clearly in latency and throughput at
/// the same batch size: every round of the other was faster than every one of
/// this, by a margin.
///
/// The row of a single instance stays as long as a fuller layout of as many
/// threads is alive at that batch size: it tells how fast one of its instances
/// is alone.
pub(super) fn drop_hopeless(points: &mut [Point]) {
    let verdicts: Vec<Option<SessionLayout>> = points
        .iter()
        .map(|point| beaten_by(point, points))
        .collect();
    for (point, verdict) in points.iter_mut().zip(verdicts) {
        if point.row.dropped_for.is_none() {
            point.row.dropped_for = verdict;
        }
    }
}

fn beaten_by(point: &Point, all: &[Point]) -> Option<SessionLayout> {
    let of_batch = || {
        all.iter().filter(|other| {
            other.row.batch_size == point.row.batch_size
                && other.row.layout != point.row.layout
                && !other.failed
                && other.row.dropped_for.is_none()
        })
    };
    let layout = point.row.layout;
    let needed = layout.instances == 1
        && of_batch().any(|other| other.row.layout.intra_op_threads == layout.intra_op_threads);
    if needed || point.failed {
        return None;
    }
    let (fastest, _) = point.range()?;
    of_batch()
        .find(|other| {
            other.range().is_some_and(|(_, slowest)| {
                let latency = slowest * CLEAR_MARGIN < fastest;
                // Items per second of all instances, at the wrong ends.
                let most = f64::from(layout.instances) / fastest;
                let least = f64::from(other.row.layout.instances) / slowest;
                latency && least > most * CLEAR_MARGIN
            })
        })
        .map(|other| other.row.layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::Round;

    fn point((instances, intra_op_threads): (u32, u32), means_ms: &[f64]) -> Point {
        let layout = SessionLayout {
            instances,
            intra_op_threads,
            spinning: false,
        };
        let mut row = Row::new(layout, 1);
        row.rounds = means_ms
            .iter()
            .map(|ms| Round {
                inferences: 1,
                mean: Time::from_millis(*ms),
                at: Time::ZERO,
            })
            .collect();
        Point {
            child: 0,
            expected: Time::ZERO,
            row,
            failed: false,
            visits: means_ms.len(),
            drawn: Drawn::default(),
        }
    }

    #[test]
    fn a_row_that_is_beaten_in_every_round_is_dropped() {
        let mut points = vec![
            point((1, 4), &[10.0, 10.5, 9.9]),
            point((1, 2), &[20.0, 19.0, 21.0]),
        ];
        drop_hopeless(&mut points);
        assert_eq!(points[1].row.dropped_for, Some(points[0].row.layout));
        assert_eq!(points[0].row.dropped_for, None);
    }

    #[test]
    fn more_throughput_or_too_few_rounds_save_a_row() {
        // Twice as slow, but four of them: more items per second.
        let mut points = vec![
            point((1, 4), &[10.0, 10.5, 9.9]),
            point((4, 1), &[20.0, 19.0, 21.0]),
        ];
        drop_hopeless(&mut points);
        assert!(points.iter().all(|p| p.row.dropped_for.is_none()));
        let mut points = vec![point((1, 4), &[10.0, 10.5]), point((1, 2), &[20.0, 19.0])];
        drop_hopeless(&mut points);
        assert!(points.iter().all(|p| p.row.dropped_for.is_none()));
    }

    #[test]
    fn a_single_instance_stays_while_its_fuller_layout_is_alive() {
        let mut points = vec![
            point((1, 2), &[10.0, 10.5, 9.9]),
            point((1, 1), &[20.0, 19.0, 21.0]),
            point((2, 1), &[20.0, 19.0, 21.0]),
        ];
        drop_hopeless(&mut points);
        assert_eq!(points[1].row.dropped_for, None);
    }

    #[test]
    fn a_row_is_done_when_its_rounds_agree() {
        let precision = Fraction::saturating(0.03);
        assert!(point((1, 1), &[10.0, 10.1, 9.9, 10.0, 10.1, 9.9]).is_done(precision));
        assert!(!point((1, 1), &[10.0, 10.1, 9.9]).is_done(precision));
        assert!(!point((1, 1), &[10.0, 13.0, 8.0, 10.0, 12.0, 9.0]).is_done(precision));
    }
}
