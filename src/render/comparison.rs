//! Comparisons as reports.

use super::{Report, Table};
use crate::{
    profile::{calibration::Calibration, comparison::Compared},
    units::Fraction,
};

/// Lines side by side, what was asked for and is missing, and the doubts.
#[must_use]
pub fn comparison_report(
    lines: &[Compared],
    calibrations: &[Calibration],
    missing: &[String],
) -> Report {
    let mut table = Table::new(&[
        "model",
        "device",
        "instances × threads",
        ">batch",
        ">mean",
        ">p50",
        ">p95",
        ">per item",
        ">speed-up",
        ">transfer",
        ">launch",
        ">weights",
        ">memory",
        ">n",
    ]);
    let share = |part: Option<Fraction>| part.map_or_else(|| "–".to_owned(), |p| p.to_string());
    for line in lines {
        table.push([
            line.model.clone(),
            line.device.clone(),
            line.layout.to_string(),
            line.batch_size.to_string(),
            line.mean.value.to_string(),
            line.p50.to_string(),
            line.p95.to_string(),
            line.per_item.to_string(),
            format!("{:.2} ×", line.speed_up),
            share(line.transfer),
            share(line.launch),
            line.weight_bytes.to_string(),
            line.peak_memory_bytes
                .map_or_else(|| "–".to_owned(), |bytes| bytes.to_string()),
            line.inferences.to_string(),
        ]);
    }
    let mut report = Report::default();
    report.table(table);
    report.paragraph(
        "Speed-up is against the first line of the same batch size; launch is what an empty session takes on that device, memory the highest resident set (or device memory) of the process up to that batch size.",
    );
    report.list("Missing", missing.to_vec());
    report.caveats(calibrations.iter().flat_map(|c| &c.caveats));
    report
}
