//! Calibrations as reports.

use super::{Report, Table};
use crate::{
    estimate::Source,
    profile::{
        calibration::{Calibration, Row},
        settings::server_settings,
    },
    stats::{Sample, requests_needed},
    units::{Fraction, Time},
};

/// What was measured, per device: a row per layout and batch size, what it cost
/// to start, what waiting does, what to set, what was left out, the doubts.
#[must_use]
pub fn calibration_report(calibrations: &[Calibration]) -> Report {
    let mut report = Report::default();
    for calibration in calibrations {
        one(&mut report, calibration);
    }
    if calibrations.len() > 1 {
        side_by_side(&mut report, calibrations);
    }
    report
}

/// The first result, before it is refined.
#[must_use]
pub fn first_look(calibration: &Calibration) -> Report {
    let mut table = Table::new(&[
        "instances × threads",
        ">batch",
        ">mean",
        ">± 95%",
        ">items/s",
    ]);
    for row in &calibration.rows {
        let cells = cells(calibration, row);
        let [layout, batch, mean, width, _, _, _, rate, ..] = cells;
        table.push([layout, batch, mean, width, rate]);
    }
    let mut report = Report::default();
    report
        .paragraph(format!(
            "First look at {} on {}, being refined:",
            calibration.model.name, calibration.device
        ))
        .table(table);
    report
}

fn one(report: &mut Report, calibration: &Calibration) {
    report.heading(format!(
        "{} on {}",
        calibration.model.name, calibration.device
    ));
    report.facts(facts(calibration));
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
        table.push(cells(calibration, row));
    }
    report.table(table);
    report.table(starts(calibration));
    idle_gaps(report, calibration);
    for settings in server_settings(calibration) {
        report.list(
            &format!(
                "To set for {} ({}, batch {}, {})",
                settings.purpose, settings.layout, settings.batch_size, settings.rate
            ),
            settings
                .set
                .iter()
                .map(|setting| format!("{}: {}", setting.name, setting.value))
                .collect(),
        );
    }
    report.list("Dropped early", dropped(calibration));
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

fn facts(calibration: &Calibration) -> Vec<(&'static str, String)> {
    let model = &calibration.model;
    let mut facts = vec![
        ("machine", calibration.fingerprint.cpu.clone()),
        (
            "ONNX Runtime",
            format!(
                "{}, {}",
                calibration.fingerprint.runtime, calibration.fingerprint.execution_provider
            ),
        ),
        ("measured", calibration.taken_at.clone()),
    ];
    if let Some(steadiness) = calibration.steadiness {
        facts.push(("measurement", steadiness.to_string()));
    }
    facts.push((
        "model",
        format!(
            "{} parameters, {} of weights, {} per item{}",
            model.parameters,
            model.weight_bytes,
            model.flops_per_item,
            match model.max_batch {
                Some(1) => ", one item at a time: batching is off",
                _ => "",
            }
        ),
    ));
    facts.extend(overheads(calibration));
    if let Some(between) = &calibration.between_runs {
        let basis = match between.runs {
            0 => "assumed, as nothing was measured before".to_owned(),
            1 => "mostly assumed, after 1 earlier calibration".to_owned(),
            n => format!("from {n} earlier calibrations"),
        };
        facts.push((
            "between runs",
            format!(
                "± {} ({basis}), in the interval",
                between.relative_deviation
            ),
        ));
    }
    facts.push(("fingerprint", calibration.fingerprint.short()));
    facts
}

fn overheads(calibration: &Calibration) -> Vec<(&'static str, String)> {
    let overheads = &calibration.overheads;
    let mut facts = Vec::new();
    let mut parts = Vec::new();
    if let Some(empty) = overheads.empty_session {
        parts.push(format!("an empty session takes {empty}"));
    }
    if let Some(harness) = overheads.harness {
        parts.push(format!("measuring adds {harness}"));
    }
    if !parts.is_empty() {
        facts.push((
            "per inference",
            format!("{}; both are in the times below", parts.join(", ")),
        ));
    }
    if let Some(outside) = overheads.outside_inference {
        facts.push(("processor time outside inference", outside.to_string()));
    }
    for copies in &overheads.copies {
        facts.push((
            "copies",
            format!(
                "batch {}: {} to the device, {} back, {} between",
                copies.batch_size, copies.to_device, copies.from_device, copies.compute
            ),
        ));
    }
    facts
}

fn starts(calibration: &Calibration) -> Table {
    let mut starts = Table::new(&[
        "instances × threads",
        ">load",
        ">first inference",
        ">memory loaded",
        "nodes",
    ]);
    for start in &calibration.starts {
        let nodes: Vec<String> = start
            .nodes
            .iter()
            .map(|n| {
                format!(
                    "{} {}",
                    n.nodes,
                    n.provider.trim_end_matches("ExecutionProvider")
                )
            })
            .collect();
        starts.push([
            start.layout.to_string(),
            start.load.to_string(),
            start.first_inference.to_string(),
            start
                .loaded_memory_bytes
                .map_or_else(|| "unknown".to_owned(), |b| b.to_string()),
            nodes.join(", "),
        ]);
    }
    starts
}

fn idle_gaps(report: &mut Report, calibration: &Calibration) {
    let mut table = Table::new(&["after waiting", "layout", ">times as long", ">n"]);
    for gap in &calibration.idle_gaps {
        table.push([
            gap.gap.to_string(),
            gap.layout.to_string(),
            format!("{:.2}", gap.slowdown),
            gap.inferences.to_string(),
        ]);
    }
    report.table(table);
}

fn dropped(calibration: &Calibration) -> Vec<String> {
    calibration
        .rows
        .iter()
        .filter_map(|row| {
            let better = row.dropped_for?;
            Some(format!(
                "{}, batch {}: {better} is faster and carries more",
                row.layout, row.batch_size
            ))
        })
        .collect()
}

/// One line per calibration: size, memory, latency, throughput.
fn side_by_side(report: &mut Report, calibrations: &[Calibration]) {
    let mut table = Table::new(&[
        "model",
        "device",
        ">weights",
        ">memory loaded",
        ">one item",
        ">most items/s",
        ">speed-up",
    ]);
    let best = |calibration: &Calibration| {
        let one = calibration
            .rows
            .iter()
            .filter(|row| row.batch_size == 1)
            .map(mean)
            .min()?;
        let most = calibration
            .rows
            .iter()
            .map(|row| {
                f64::from(row.batch_size) * f64::from(row.layout.instances) / mean(row).get()
            })
            .fold(0.0, f64::max);
        Some((one, most))
    };
    let first = calibrations.first().and_then(best);
    for calibration in calibrations {
        let Some((one, most)) = best(calibration) else {
            continue;
        };
        let loaded = calibration
            .starts
            .iter()
            .filter(|start| start.layout.instances == 1)
            .filter_map(|start| start.loaded_memory_bytes)
            .min();
        table.push([
            calibration.model.name.clone(),
            calibration.device.to_string(),
            calibration.model.weight_bytes.to_string(),
            loaded.map_or_else(|| "unknown".to_owned(), |b| b.to_string()),
            one.to_string(),
            format!("{most:.*}", usize::from(most < 100.0)),
            first.map_or_else(String::new, |(base, _)| format!("{:.2} ×", base.ratio(one))),
        ]);
    }
    report.heading("Side by side").table(table);
}

fn mean(row: &Row) -> Time {
    let total: Time = row.rounds.iter().map(|round| round.mean).sum();
    total.scaled(1.0 / row.rounds.len().max(1) as f64)
}

fn cells(calibration: &Calibration, row: &Row) -> [String; 10] {
    let estimate = row.service_time(calibration.between_runs.as_ref(), &Source::Measured);
    let mean = mean(row);
    let width = estimate.map_or_else(
        || "unknown".to_owned(),
        |e| {
            // Drift may make one end longer; the longer one counts.
            let half = (e.high - e.value).max(e.value - e.low);
            let relative = half.ratio(e.value);
            if relative > 1.0 {
                "> 100 %".to_owned()
            } else {
                Fraction::saturating(relative).to_string()
            }
        },
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
    let samples: Vec<f64> = row.service_times().iter().map(|time| time.get()).collect();
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
