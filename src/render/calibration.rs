//! Calibrations as reports.

use super::{Report, Table};
use crate::{
    profile::calibration::{Calibration, Row},
    stats::{Sample, interval_of_mean, requests_needed},
    units::{Fraction, Time},
};

/// What was measured, per device: a row per layout and batch size, what it cost
/// to start, what was left out, the doubts.
#[must_use]
pub fn calibration_report(calibrations: &[Calibration]) -> Report {
    let mut report = Report::default();
    for calibration in calibrations {
        let model = &calibration.model;
        report.heading(format!("{} on {}", model.name, calibration.device));
        report.facts([
            ("machine", calibration.fingerprint.cpu.clone()),
            (
                "ONNX Runtime",
                format!(
                    "{}, {}",
                    calibration.fingerprint.runtime, calibration.fingerprint.execution_provider
                ),
            ),
            ("measured", calibration.taken_at.clone()),
            (
                "model",
                format!(
                    "{} parameters, {} of weights, {} per item",
                    model.parameters, model.weight_bytes, model.flops_per_item
                ),
            ),
            ("fingerprint", calibration.fingerprint.short()),
        ]);
        let mut table = Table::new(&[
            "instances × threads",
            ">batch",
            ">mean",
            ">± 95%",
            ">p50",
            ">p95",
            ">per item",
            ">items/s",
            ">memory",
            ">n",
        ]);
        for row in &calibration.rows {
            table.push(cells(row));
        }
        report.table(table);
        let mut starts = Table::new(&[
            "instances × threads",
            ">load",
            ">first inference",
            ">memory loaded",
        ]);
        for start in &calibration.starts {
            starts.push([
                start.layout.to_string(),
                start.load.to_string(),
                start.first_inference.to_string(),
                start
                    .loaded_memory_bytes
                    .map_or_else(|| "unknown".to_owned(), |b| b.to_string()),
            ]);
        }
        report.table(starts);
        report.list(
            "Left out",
            calibration
                .left_out
                .iter()
                .map(|left| match left.batch_size {
                    Some(batch) => format!("{}, batch {batch}: {}", left.layout, left.why),
                    None => format!("{}: {}", left.layout, left.why),
                })
                .collect(),
        );
        report.caveats(&calibration.caveats);
    }
    report
}

fn cells(row: &Row) -> [String; 10] {
    let means: Vec<f64> = row.rounds.iter().map(|round| round.mean.get()).collect();
    let rounds = Sample::new(means).ok();
    let mean = rounds
        .as_ref()
        .map_or(Time::ZERO, |sample| Time::saturating(sample.mean()));
    let width = rounds
        .as_ref()
        .and_then(|sample| interval_of_mean(sample, Fraction::saturating(0.95)))
        .map_or_else(
            || "unknown".to_owned(),
            |interval| Fraction::saturating(interval.half_width() / mean.get()).to_string(),
        );
    let per_item = mean.scaled(1.0 / f64::from(row.batch_size.max(1)));
    let rate = f64::from(row.layout.instances) / per_item.get();
    [
        row.layout.to_string(),
        row.batch_size.to_string(),
        mean.to_string(),
        width,
        quantile(row, 0.5),
        quantile(row, 0.95),
        per_item.to_string(),
        if rate.is_finite() {
            format!("{rate:.*}", usize::from(rate < 100.0))
        } else {
            "unknown".to_owned()
        },
        row.peak_memory_bytes
            .map_or_else(|| "unknown".to_owned(), |b| b.to_string()),
        row.inferences().to_string(),
    ]
}

/// A quantile of the samples; marked with `*` where they are too few to prove it.
fn quantile(row: &Row, share: f64) -> String {
    let samples: Vec<f64> = row.samples.iter().map(|sample| sample.get()).collect();
    let Ok(sample) = Sample::new(samples) else {
        return "unknown".to_owned();
    };
    let value = Time::saturating(sample.quantile(Fraction::saturating(share)));
    let enough = share <= 0.5 || row.inferences() >= needed(share);
    format!("{value}{}", if enough { "" } else { "*" })
}

/// Inferences that prove a percentile with 99 % confidence and no miss.
fn needed(share: f64) -> u64 {
    requests_needed(Fraction::saturating(share), 0, Fraction::saturating(0.99)).unwrap_or(u64::MAX)
}
