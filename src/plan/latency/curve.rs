//! A latency curve: service time by batch size, for one session layout on one
//! device, with its interval and its spread.

use crate::{
    error::{Error, Result},
    estimate::{Estimate, Source},
    profile::{
        calibration::{Calibration, Row, SessionLayout},
        hold_ups::HoldUpRate,
        interference::{Interference, InterferenceTrace},
    },
    units::Time,
};
use std::sync::Arc;

/// Visits below which a slowdown after waiting is not used: the median of three
/// holds against one that was disturbed.
const LEAST_IDLE_VISITS: u32 = 3;

/// Service times of one layout on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyCurve {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// One point per known batch size, ascending; never empty.
    pub points: Vec<BatchPoint>,
    /// Factors on the service time after idle gaps, gaps ascending; empty where
    /// they were not measured.
    pub idle: Vec<(Time, f64)>,
    /// How instances are held up, at all batch sizes alike; in the means, not in
    /// the single service times. None where it was not measured.
    pub hold_ups: Option<HoldUpRate>,
    /// How the pace of an instance changes from millisecond to millisecond; none
    /// where that was not measured. The single service times hold it as well, one by
    /// one: their spread counts it a second time, without its length.
    pub interference: Option<InterferenceTrace>,
    /// Where the curve came from.
    pub source: Source,
}

/// Service time of one batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPoint {
    /// Items per inference.
    pub batch_size: u32,
    /// Mean service time with all instances busy.
    pub busy: Estimate<Time>,
    /// Mean service time with one instance busy.
    pub alone: Time,
    /// Single service times relative to their mean, ascending.
    pub relative: Arc<[f64]>,
}

/// Which end of the interval to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything as fast as the interval allows.
    Optimistic,
    /// The estimate itself.
    Middle,
    /// Everything as slow as the interval allows.
    Pessimistic,
}

impl LatencyCurve {
    /// The curves of all layouts in a calibration.
    ///
    /// # Errors
    /// The calibration has no usable row.
    pub fn from_calibration(calibration: &Calibration, source: &Source) -> Result<Vec<Self>> {
        let mut layouts: Vec<SessionLayout> =
            calibration.rows.iter().map(|row| row.layout).collect();
        layouts.sort();
        layouts.dedup();
        let curves: Vec<Self> = layouts
            .into_iter()
            .filter_map(|layout| Self::of_layout(calibration, layout, source))
            .collect();
        if curves.is_empty() {
            return Err(Error::bad_input(format!(
                "the calibration of {} holds no measurement",
                calibration.model.name
            ))
            .hint("measure it again with `--recalibrate`"));
        }
        Ok(curves)
    }

    fn of_layout(
        calibration: &Calibration,
        layout: SessionLayout,
        source: &Source,
    ) -> Option<Self> {
        let hold_ups =
            HoldUpRate::of_rows(calibration.rows.iter().filter(|row| row.layout == layout));
        // What a row met of them is chance; what the layout met is in all its means.
        let mut met = Interference::default();
        for row in calibration.rows.iter().filter(|row| row.layout == layout) {
            met.add(&row.interference);
        }
        let usual = hold_ups.as_ref().map_or(1.0, HoldUpRate::factor);
        let mut points: Vec<BatchPoint> = calibration
            .rows
            .iter()
            .filter(|row| row.layout == layout)
            .filter_map(|row| {
                let between = calibration.between_runs.as_ref();
                let busy = row
                    .service_time(between, source)?
                    .map(|time| time.scaled(row.undisturbed().get() * usual));
                let alone = calibration
                    .rows
                    .iter()
                    .find(|other| {
                        other.layout.instances == 1
                            && other.layout.intra_op_threads == layout.intra_op_threads
                            && other.batch_size == row.batch_size
                    })
                    .and_then(|other| {
                        let alone = other.service_time(between, source)?.value;
                        Some(alone.scaled(other.undisturbed().get() * usual))
                    })
                    .map_or(busy.value, |alone| alone.min(busy.value));
                Some(BatchPoint {
                    batch_size: row.batch_size,
                    busy,
                    alone,
                    relative: relative(row),
                })
            })
            .collect();
        points.sort_by_key(|point| point.batch_size);
        (!points.is_empty()).then(|| Self {
            layout,
            points,
            idle: idle(calibration, layout),
            hold_ups,
            interference: InterferenceTrace::new(&met),
            source: source.clone(),
        })
    }

    /// The same with hold-ups that are known from elsewhere.
    #[must_use]
    pub fn with_hold_ups(mut self, hold_ups: Option<HoldUpRate>) -> Self {
        let factor = |rate: &Option<HoldUpRate>| rate.as_ref().map_or(1.0, HoldUpRate::factor);
        let change = factor(&hold_ups) / factor(&self.hold_ups);
        self = self.paced(change);
        self.hold_ups = hold_ups;
        self
    }

    /// The same with interference that is known from elsewhere.
    #[must_use]
    pub fn with_interference(self, interference: Option<InterferenceTrace>) -> Self {
        Self {
            interference,
            ..self
        }
    }

    /// The same where everything takes so many times as long.
    #[must_use]
    pub fn paced(mut self, factor: f64) -> Self {
        for point in &mut self.points {
            point.busy = point.busy.map(|time| time.scaled(factor));
            point.alone = point.alone.scaled(factor);
        }
        self
    }

    /// The largest batch size for which the curve has a point.
    #[must_use]
    pub fn largest_batch(&self) -> u32 {
        self.points.last().map_or(1, |point| point.batch_size)
    }

    /// The point of exactly this batch size.
    #[must_use]
    pub fn point(&self, batch_size: u32) -> Option<&BatchPoint> {
        self.points
            .iter()
            .find(|point| point.batch_size == batch_size)
    }

    /// The throughput that no load can exceed: all instances busy with the
    /// batch size that gives most, in items per second.
    #[must_use]
    pub fn throughput_bound(&self, end: End, largest_batch: u32) -> crate::units::Rate {
        let best = self
            .points
            .iter()
            .filter(|point| point.batch_size <= largest_batch)
            .map(|point| f64::from(point.batch_size) / at(&point.busy, end).get())
            .fold(0.0, f64::max);
        crate::units::Rate::saturating(best * f64::from(self.layout.instances))
    }
}

/// The value of an estimate at one end.
#[must_use]
pub fn at(estimate: &Estimate<Time>, end: End) -> Time {
    match end {
        End::Optimistic => estimate.low,
        End::Middle => estimate.value,
        End::Pessimistic => estimate.high,
    }
}

/// What waiting does to an instance of this layout: measured on the layout of
/// one instance with as many threads, since instances wait each for itself.
fn idle(calibration: &Calibration, layout: SessionLayout) -> Vec<(Time, f64)> {
    let mut points: Vec<(Time, f64)> = calibration
        .idle_gaps
        .iter()
        .filter(|gap| gap.layout.intra_op_threads == layout.intra_op_threads)
        .filter(|gap| !gap.gap.is_zero() && gap.visits >= LEAST_IDLE_VISITS)
        .map(|gap| (gap.gap, gap.slowdown))
        .filter(|(_, slowdown)| *slowdown > 0.0 && *slowdown <= 1000.0)
        .collect();
    points.sort_by_key(|(gap, _)| *gap);
    points.dedup_by_key(|point| point.0);
    points
}

/// The samples divided by their mean, ascending.
fn relative(row: &Row) -> Arc<[f64]> {
    let mut samples: Vec<f64> = row.samples.iter().map(|sample| sample.get()).collect();
    let mean = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    if !(mean.is_finite() && mean > 0.0) {
        return Arc::from([1.0]);
    }
    for sample in &mut samples {
        *sample /= mean;
    }
    samples.sort_by(f64::total_cmp);
    samples.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{calibration::example, hold_ups::HoldUps};

    #[test]
    fn hold_ups_that_one_row_met_are_shared_by_its_layout() {
        let mut calibration = example(&[((1, 1), 1, 0.010), ((1, 1), 2, 0.020)]);
        // 12 inferences of 10 ms: half of the 120 ms lost in 3 hold-ups.
        calibration.rows[0].hold_ups = HoldUps {
            count: 3,
            lengths: vec![Time::from_millis(20.0)],
        };
        let curve = LatencyCurve::from_calibration(&calibration, &Source::Measured)
            .unwrap()
            .remove(0);
        let ms = |curve: &LatencyCurve, batch| curve.point(batch).unwrap().busy.value.as_millis();
        // 60 + 240 ms of service without them: 10 a second of 20 ms each.
        let met = curve.hold_ups.clone().unwrap();
        assert!((met.rate.get() - 10.0).abs() < 1e-9);
        assert!((ms(&curve, 1) - 6.0).abs() < 1e-9 && (ms(&curve, 2) - 24.0).abs() < 1e-9);
        let without = curve.with_hold_ups(None);
        assert!((ms(&without, 1) - 5.0).abs() < 1e-9 && (ms(&without, 2) - 20.0).abs() < 1e-9);
        assert!((ms(&without.paced(2.0), 1) - 10.0).abs() < 1e-9);
    }
}
