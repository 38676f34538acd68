//! Rows of several calibrations side by side, relative to the first.

use super::calibration::{Calibration, Row, SessionLayout};
use crate::{
    estimate::{Estimate, Source},
    stats::Sample,
    units::{Bytes, Fraction, Time},
};
use serde::Serialize;

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The model (with its number format).
    pub model: String,
    /// The device.
    pub device: String,
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Items per inference.
    pub batch_size: u32,
    /// Mean service time, with its interval.
    #[serde(rename = "mean_s")]
    pub mean: Estimate<Time>,
    /// Median service time.
    #[serde(rename = "p50_s")]
    pub p50: Time,
    /// 95th percentile of the service time.
    #[serde(rename = "p95_s")]
    pub p95: Time,
    /// Inferences that these rest on.
    pub inferences: u64,
    /// Mean service time over the batch size.
    #[serde(rename = "per_item_s")]
    pub per_item: Time,
    /// How many times as fast as the first line of the same batch size.
    pub speed_up: f64,
    /// Share of the service time that copies between host and device take; none on a CPU.
    pub transfer: Option<Fraction>,
    /// Share of the service time that starting any inference takes (an empty
    /// session on the same device); none where it was not measured.
    pub launch: Option<Fraction>,
    /// Bytes of the model's weights in this number format.
    pub weight_bytes: Bytes,
    /// Highest resident set (or device memory) of the process up to this batch
    /// size; none where it was not measured.
    pub peak_memory_bytes: Option<Bytes>,
}

/// Puts all rows side by side, by batch size, in the order of the calibrations.
#[must_use]
pub fn compare(calibrations: &[Calibration]) -> Vec<Compared> {
    let mut lines: Vec<Compared> = Vec::new();
    for calibration in calibrations {
        lines.extend(
            calibration
                .rows
                .iter()
                .filter_map(|row| line(calibration, row)),
        );
    }
    lines.sort_by_key(|line| line.batch_size);
    let firsts: Vec<(u32, Time)> = lines
        .iter()
        .map(|line| (line.batch_size, line.mean.value))
        .collect();
    for line in &mut lines {
        let first = firsts.iter().find(|(batch, _)| *batch == line.batch_size);
        line.speed_up = first.map_or(1.0, |(_, first)| first.ratio(line.mean.value));
    }
    lines
}

fn line(calibration: &Calibration, row: &Row) -> Option<Compared> {
    let mean = row.service_time(calibration.between_runs.as_ref(), &Source::Measured)?;
    let sample = Sample::new(row.service_times().iter().map(|t| t.get()).collect()).ok()?;
    let quantile = |share| Time::saturating(sample.quantile(Fraction::saturating(share)));
    let share = |part: Time| Fraction::saturating(part.ratio(mean.value));
    let overheads = &calibration.overheads;
    Some(Compared {
        model: calibration.model.name.clone(),
        device: calibration.device.to_string(),
        layout: row.layout,
        batch_size: row.batch_size,
        p50: quantile(0.5),
        p95: quantile(0.95),
        inferences: row.inferences(),
        per_item: mean.value.scaled(1.0 / f64::from(row.batch_size.max(1))),
        speed_up: 1.0,
        transfer: overheads
            .copies
            .iter()
            .find(|copies| copies.batch_size == row.batch_size)
            .map(|copies| share(copies.to_device + copies.from_device)),
        launch: overheads.empty_session.map(share),
        weight_bytes: calibration.model.weight_bytes,
        peak_memory_bytes: row.peak_memory_bytes,
        mean,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::{Copies, example};

    #[test]
    fn lines_are_relative_to_the_first_of_their_batch_size() {
        let slow = example(&[((1, 1), 1, 0.010), ((1, 1), 8, 0.080)]);
        let mut fast = example(&[((1, 2), 1, 0.005), ((1, 2), 8, 0.020)]);
        fast.overheads.empty_session = Some(Time::from_millis(1.0));
        fast.overheads.copies = vec![Copies {
            batch_size: 8,
            to_device: Time::from_millis(4.0),
            from_device: Time::from_millis(1.0),
            compute: Time::from_millis(15.0),
        }];
        let lines = compare(&[slow, fast]);
        let seen: Vec<(u32, f64)> = lines.iter().map(|l| (l.batch_size, l.speed_up)).collect();
        for ((batch, speed_up), expected) in
            seen.iter().zip([(1, 1.0), (1, 2.0), (8, 1.0), (8, 4.0)])
        {
            assert_eq!(*batch, expected.0);
            assert!((speed_up - expected.1).abs() < 1e-9, "{seen:?}");
        }
        assert_eq!((lines[1].transfer, lines[0].launch), (None, None));
        assert!((lines[1].launch.unwrap().get() - 0.2).abs() < 1e-9);
        assert!((lines[3].transfer.unwrap().get() - 0.25).abs() < 1e-9);
        assert!((lines[3].per_item.as_millis() - 2.5).abs() < 1e-9);
    }
}
