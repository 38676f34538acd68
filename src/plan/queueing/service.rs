//! How long a batch occupies an instance.

use super::idle::{IdleSlowdown, Idling};
use crate::error::{Error, Result};
use crate::estimate::Source;
use crate::profile::{hold_ups::HoldUpRate, interference::InterferenceTrace};
use crate::units::{Fraction, Rate, Time};
use std::sync::Arc;

/// Entries of a table of relative service times. A longer list is cut down to
/// this many, each the mean of its share of the values, which keeps the mean
/// exactly and the variance of an exponential distribution to 0.2 %.
const TABLE: usize = 1024;

/// The service times of one measured batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePoint {
    /// The batch size.
    pub batch: u32,
    /// The mean service time when 1, 2, … instances are busy at the same time
    /// (this one among them). A single value means that others do not slow it.
    pub mean_by_busy: Vec<Time>,
    /// Service times over their mean, in any order; empty means constant.
    pub relative: Vec<f64>,
}

/// Service times for every batch size from 1 to the largest measured, every
/// number of busy instances, and every quantile of their spread.
///
/// Means and spreads between two measured batch sizes are interpolated
/// linearly; sizes below the smallest measured one take its values.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceTimes {
    /// Mean seconds, by batch size and then by busy instances.
    means: Arc<[f64]>,
    /// One over each mean: how much of a batch is done per second.
    paces: Arc<[f64]>,
    busy: usize,
    tables: Arc<[Box<[f32]>]>,
    blends: Arc<[Blend]>,
    idle: Option<Arc<IdleSlowdown>>,
    hold_ups: Option<HoldUpRate>,
    interference: Option<InterferenceTrace>,
    /// Seconds from when a batch is due to when it begins.
    dispatch: f64,
}

/// Between which tables a batch size lies, and how far.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Blend {
    below: usize,
    above: usize,
    share: f32,
}

impl ServiceTimes {
    /// Takes what was measured at some batch sizes, in any order, and how idle
    /// gaps slow the next batch.
    ///
    /// # Errors
    /// Refuses no points, the same batch size twice, a batch size of 0, a mean
    /// of zero, points that know a different number of busy instances, and
    /// relative service times that are negative, not finite, or all zero.
    pub fn new(mut points: Vec<ServicePoint>, idle: Option<IdleSlowdown>) -> Result<Self> {
        points.sort_by_key(|p| p.batch);
        let Some(first) = points.first() else {
            return Err(Error::bad_input("there are no service times"));
        };
        let busy = first.mean_by_busy.len();
        for point in &points {
            point.check(busy)?;
        }
        for pair in points.windows(2) {
            if let [a, b] = pair
                && a.batch == b.batch
            {
                return Err(Error::bad_input(format!(
                    "batch size {} has service times twice",
                    a.batch
                )));
            }
        }
        let tables = points
            .iter()
            .map(|p| table(&p.relative))
            .collect::<Arc<[_]>>();
        let largest = points.last().map_or(0, |p| p.batch);
        let mut means = Vec::with_capacity(largest as usize * busy);
        let mut blends = Vec::with_capacity(largest as usize);
        for batch in 1..=largest {
            let above = points.partition_point(|p| p.batch < batch);
            let exact = points.get(above).is_some_and(|p| p.batch == batch);
            let below = if exact || above == 0 {
                above
            } else {
                above - 1
            };
            let (Some(low), Some(high)) = (points.get(below), points.get(above)) else {
                continue;
            };
            let share = if high.batch == low.batch {
                0.0
            } else {
                f64::from(batch - low.batch) / f64::from(high.batch - low.batch)
            };
            for (a, b) in low.mean_by_busy.iter().zip(&high.mean_by_busy) {
                means.push(a.get() + share * (b.get() - a.get()));
            }
            blends.push(Blend {
                below,
                above,
                share: share as f32,
            });
        }
        Ok(Self {
            paces: means.iter().map(|m| 1.0 / m).collect(),
            means: means.into(),
            busy,
            tables,
            blends: blends.into(),
            idle: idle.map(Arc::new),
            hold_ups: None,
            interference: None,
            dispatch: 0.0,
        })
    }

    /// The same with hold-ups on top, which the means so far leave out.
    #[must_use]
    pub fn with_hold_ups(self, hold_ups: Option<HoldUpRate>) -> Self {
        Self { hold_ups, ..self }
    }

    /// The same with a pace that changes from millisecond to millisecond; the
    /// means stay those of an instance that is never idle.
    #[must_use]
    pub fn with_interference(self, interference: Option<InterferenceTrace>) -> Self {
        Self {
            interference,
            ..self
        }
    }

    /// The same where a batch begins so long after it is due (dispatch delay):
    /// whoever comes meanwhile is aboard. Where a simulation does not go by the fast
    /// paths, a batch takes so much longer instead.
    #[must_use]
    pub fn with_dispatch(self, delay: Time) -> Self {
        Self {
            dispatch: delay.get(),
            ..self
        }
    }

    /// The same with every mean multiplied by `factor`: the slow or the fast
    /// end of an interval. A factor that is not positive and finite counts as 1.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let factor = if factor > 0.0 && factor.is_finite() {
            factor
        } else {
            1.0
        };
        Self {
            means: self.means.iter().map(|m| m * factor).collect(),
            paces: self.paces.iter().map(|p| p / factor).collect(),
            ..self.clone()
        }
    }

    /// The same with these relative service times at the places of the tables of
    /// all batch sizes, as they are: for draws that were chosen, not for random
    /// ones, whose mean they would change. None are taken where the list is empty.
    #[must_use]
    pub fn with_spread(&self, relative: &[f64]) -> Self {
        if relative.is_empty() {
            return self.clone();
        }
        let values: Box<[f32]> = relative.iter().map(|v| *v as f32).collect();
        Self {
            tables: Arc::new([values]),
            blends: self
                .blends
                .iter()
                .map(|_| Blend {
                    below: 0,
                    above: 0,
                    share: 0.0,
                })
                .collect(),
            ..self.clone()
        }
    }

    /// The largest batch size that is known.
    #[must_use]
    pub fn max_batch(&self) -> u32 {
        self.blends.len() as u32
    }

    /// The most instances for which contention is known; none when a single
    /// mean per batch size says that there is no contention.
    #[must_use]
    pub fn max_busy(&self) -> Option<u32> {
        (self.busy > 1).then_some(self.busy as u32)
    }

    /// The mean service time of a batch with that many busy instances, hold-ups
    /// included; none for a batch size or number of instances beyond what is known.
    #[must_use]
    pub fn mean(&self, batch: u32, busy: u32) -> Option<Time> {
        let known = batch >= 1
            && batch <= self.max_batch()
            && busy >= 1
            && self.max_busy().is_none_or(|most| busy <= most);
        let factor = self.hold_ups.as_ref().map_or(1.0, HoldUpRate::factor);
        known.then(|| Time::saturating(self.mean_seconds(batch as usize, busy as usize) * factor))
    }

    /// Requests per second when `instances` run batches of this size without pause.
    #[must_use]
    pub fn throughput(&self, batch: u32, instances: u32) -> Option<Rate> {
        let mean = self.mean(batch, instances)?;
        Some(Rate::saturating(
            f64::from(instances) * f64::from(batch) / mean.get(),
        ))
    }

    /// Seconds from when a batch is due to when it begins.
    #[inline]
    pub(super) fn dispatch(&self) -> f64 {
        self.dispatch
    }

    /// How idle an instance was before it served anything.
    pub(super) fn idling(&self) -> Idling {
        Idling::new(self.idle.as_deref())
    }

    /// Whether idle gaps slow the next batch.
    #[must_use]
    pub fn slows_when_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Whether something else on the machine holds instances up or slows them.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.hold_ups.is_some() || self.interference.is_some()
    }

    /// Whether busy neighbours change the service time of any batch up to this
    /// size among that many instances.
    pub(super) fn contends(&self, batch: usize, instances: usize) -> bool {
        self.busy > 1
            && self.means.chunks_exact(self.busy).take(batch).any(|m| {
                let alone = m.first().copied().unwrap_or_default();
                m.iter()
                    .take(instances)
                    .any(|v| v.to_bits() != alone.to_bits())
            })
    }

    /// How instances are held up.
    pub(super) fn hold_ups(&self) -> Option<&HoldUpRate> {
        self.hold_ups.as_ref()
    }

    /// How the pace of instances changes.
    pub(super) fn interference(&self) -> Option<&InterferenceTrace> {
        self.interference.as_ref()
    }

    /// Mean seconds without hold-ups; `batch` from 1, `busy` from 1. Both are within what is
    /// known once a configuration has been checked against these times.
    #[inline]
    pub(super) fn mean_seconds(&self, batch: usize, busy: usize) -> f64 {
        let column = busy.min(self.busy) - 1;
        self.means[(batch - 1) * self.busy + column]
    }

    /// Batches of that size that one instance does per second, for indices as above.
    #[inline]
    pub(super) fn pace(&self, batch: usize, busy: usize) -> f64 {
        let column = busy.min(self.busy) - 1;
        self.paces[(batch - 1) * self.busy + column]
    }

    /// How many times longer the rest of a batch takes when the number of busy
    /// instances changes; none when it takes as long.
    #[inline]
    pub(super) fn stretch(&self, batch: usize, before: usize, after: usize) -> Option<f64> {
        let row = (batch - 1) * self.busy;
        let (was, is) = (before.min(self.busy) - 1, after.min(self.busy) - 1);
        let changes = self.means[row + was].to_bits() != self.means[row + is].to_bits();
        changes.then(|| self.means[row + is] * self.paces[row + was])
    }

    /// How long a batch takes: its mean for that many busy instances, times the
    /// relative service time at place `code` (of 65536) of its table, plus what
    /// the idle gap before it costs.
    #[inline]
    pub(super) fn seconds(&self, batch: usize, busy: usize, code: u16, gap: f64) -> f64 {
        self.draw(batch, busy).seconds(code, gap)
    }

    /// Everything about batches of one size, looked up once.
    #[inline]
    pub(super) fn draw(&self, batch: usize, busy: usize) -> Draw<'_> {
        let blend = self.blends[batch - 1];
        Draw {
            mean: self.mean_seconds(batch, busy),
            below: &self.tables[blend.below],
            above: (blend.below != blend.above).then(|| &*self.tables[blend.above]),
            share: blend.share,
            idle: self.idle.as_deref(),
            single: self.means.first().copied().unwrap_or_default() / self.mean_seconds(batch, 1),
        }
    }
}

/// Service times of one batch size with one number of busy instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'s> {
    mean: f64,
    below: &'s [f32],
    above: Option<&'s [f32]>,
    share: f32,
    idle: Option<&'s IdleSlowdown>,
    /// The mean of a single item over that of this batch, both alone: idle slowdowns
    /// are measured by the former.
    single: f64,
}

impl Draw<'_> {
    #[inline]
    pub(super) fn seconds(&self, code: u16, gap: f64) -> f64 {
        self.mean * self.relative(code, gap)
    }

    /// The service time over the mean of an instance that is never idle.
    #[inline]
    pub(super) fn relative(&self, code: u16, gap: f64) -> f64 {
        let at = |table: &[f32]| table[(usize::from(code) * table.len()) >> 16];
        let below = at(self.below);
        let relative = match self.above {
            None => below,
            Some(above) => below + self.share * (at(above) - below),
        };
        let warm = f64::from(relative);
        match self.idle {
            None => warm,
            // Noise may make a factor less than 1; no batch takes nothing.
            Some(idle) => (warm + idle.extra_after(gap) * self.single).max(0.1 * warm),
        }
    }
}

impl ServicePoint {
    /// A batch size whose service time is always the same.
    #[must_use]
    pub fn constant(batch: u32, time: Time) -> Self {
        Self {
            batch,
            mean_by_busy: vec![time],
            relative: Vec::new(),
        }
    }

    fn check(&self, busy: usize) -> Result<()> {
        let batch = self.batch;
        if batch == 0 {
            return Err(Error::bad_input("there are service times for batch size 0"));
        }
        if batch > 65536 {
            return Err(Error::bad_input(format!(
                "batch size {batch} is above the largest supported, 65536"
            )));
        }
        if self.mean_by_busy.len() != busy || busy == 0 {
            return Err(Error::bad_input(format!(
                "batch size {batch} has service times for {} busy instances, another has {busy}",
                self.mean_by_busy.len()
            )));
        }
        if self.mean_by_busy.iter().any(|t| t.is_zero()) {
            return Err(Error::bad_input(format!(
                "the mean service time of batch size {batch} is 0"
            )));
        }
        let usable = |v: &f64| *v >= 0.0 && v.is_finite();
        let sum: f64 = self.relative.iter().sum();
        let zero = !self.relative.is_empty() && sum <= 0.0;
        if !self.relative.iter().all(usable) || zero || !sum.is_finite() {
            return Err(Error::bad_input(format!(
                "the relative service times of batch size {batch} must be positive numbers"
            )));
        }
        Ok(())
    }
}

/// The sorted table of relative service times with a mean of exactly 1.
fn table(relative: &[f64]) -> Box<[f32]> {
    if relative.is_empty() {
        return Box::new([1.0]);
    }
    let mut sorted = relative.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    if sorted.len() <= TABLE {
        return sorted.iter().map(|v| (v / mean) as f32).collect();
    }
    let width = sorted.len() as f64 / TABLE as f64;
    (0..TABLE)
        .map(|i| {
            let (from, to) = (i as f64 * width, (i + 1) as f64 * width);
            let mut sum = 0.0;
            for (k, v) in sorted
                .iter()
                .enumerate()
                .take(to.ceil() as usize)
                .skip(from as usize)
            {
                // A value that straddles two entries counts in both, by its share.
                let covered = (to.min(k as f64 + 1.0) - from.max(k as f64)).max(0.0);
                sum += covered * v;
            }
            (sum / width / mean) as f32
        })
        .collect()
}

/// Service times with the two ends of their interval: what the simulation is
/// run with to carry the doubt of the calibration through to the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRange {
    /// The best estimate.
    pub value: ServiceTimes,
    /// The optimistic end.
    pub fastest: ServiceTimes,
    /// The pessimistic end.
    pub slowest: ServiceTimes,
    /// How often the truth is expected between the ends.
    pub level: Fraction,
    /// Where the service times came from.
    pub source: Source,
}

impl ServiceRange {
    /// Takes service times whose ends are the same times multiplied by
    /// `fastest` (at most 1) and `slowest` (at least 1).
    #[must_use]
    pub fn scaled(
        value: ServiceTimes,
        (fastest, slowest): (f64, f64),
        level: Fraction,
        source: Source,
    ) -> Self {
        Self {
            fastest: value.scaled(fastest.min(1.0)),
            slowest: value.scaled(slowest.max(1.0)),
            value,
            level,
            source,
        }
    }

    /// The same where a batch begins so long after it is due.
    #[must_use]
    pub fn with_dispatch(self, delay: Time) -> Self {
        Self {
            value: self.value.with_dispatch(delay),
            fastest: self.fastest.with_dispatch(delay),
            slowest: self.slowest.with_dispatch(delay),
            ..self
        }
    }

    /// Service times that are known without doubt.
    #[must_use]
    pub fn exact(value: ServiceTimes, source: Source) -> Self {
        Self::scaled(value, (1.0, 1.0), Fraction::saturating(0.95), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: f64) -> Time {
        Time::from_millis(value)
    }

    fn curve() -> ServiceTimes {
        let point = |batch, one: f64, relative: &[f64]| ServicePoint {
            batch,
            mean_by_busy: vec![ms(one), ms(1.5 * one)],
            relative: relative.to_vec(),
        };
        let points = vec![point(5, 18.0, &[0.5, 1.5]), point(1, 10.0, &[1.0, 3.0])];
        ServiceTimes::new(points, None).unwrap()
    }

    #[test]
    fn means_are_interpolated_between_measured_sizes() {
        let s = curve();
        assert_eq!(s.max_batch(), 5);
        assert_eq!(s.mean(1, 1), Some(ms(10.0)));
        assert!((s.mean(3, 1).unwrap().as_millis() - 14.0).abs() < 1e-9);
        assert!((s.mean(5, 2).unwrap().as_millis() - 27.0).abs() < 1e-9);
        assert_eq!(s.mean(6, 1), None);
        assert_eq!(s.mean(1, 3), None);
        let throughput = s.throughput(5, 2).unwrap().get();
        assert!((throughput - 10.0 / 0.027).abs() < 1e-6);
    }

    #[test]
    fn spreads_are_normalised_and_interpolated() {
        let s = curve();
        let low = s.seconds(1, 1, 0, 0.0);
        let high = s.seconds(1, 1, u16::MAX, 0.0);
        assert!((low - 0.005).abs() < 1e-9 && (high - 0.015).abs() < 1e-9);
        // Halfway between batch sizes 1 and 5 the table reads 0.5 and 1.5 as well.
        assert!((s.seconds(3, 1, 0, 0.0) - 0.007).abs() < 1e-9);
        let slow = s.scaled(2.0);
        assert!((slow.seconds(1, 2, 0, 0.0) - 0.015).abs() < 1e-9);
    }

    #[test]
    fn a_long_list_keeps_its_mean_and_nearly_its_variance() {
        let n = 50_000;
        let exponential: Vec<f64> = (0..n)
            .map(|i| -(1.0 - (f64::from(i) + 0.5) / f64::from(n)).ln())
            .collect();
        let t = table(&exponential);
        assert_eq!(t.len(), TABLE);
        let mean = t.iter().map(|v| f64::from(*v)).sum::<f64>() / TABLE as f64;
        let variance = t.iter().map(|v| (f64::from(*v) - 1.0).powi(2)).sum::<f64>() / TABLE as f64;
        assert!((mean - 1.0).abs() < 1e-6, "{mean}");
        assert!((variance - 1.0).abs() < 2.5e-3, "{variance}");
    }

    #[test]
    fn what_cannot_be_a_service_time_is_refused() {
        let refuse = |points: Vec<ServicePoint>| ServiceTimes::new(points, None).unwrap_err();
        assert!(refuse(vec![]).message().contains("no service times"));
        let c = |b, t| ServicePoint::constant(b, ms(t));
        assert!(refuse(vec![c(1, 0.0)]).message().contains("is 0"));
        assert!(refuse(vec![c(0, 1.0)]).message().contains("batch size 0"));
        assert!(
            refuse(vec![c(2, 1.0), c(2, 1.0)])
                .message()
                .contains("twice")
        );
        let mut odd = c(1, 1.0);
        odd.relative = vec![1.0, f64::NAN];
        assert!(refuse(vec![odd.clone()]).message().contains("positive"));
        odd.relative = vec![0.0];
        assert!(refuse(vec![odd]).message().contains("positive"));
    }
}
