//! The memory of an ONNX model, estimated and measured.

use super::{Explain, Report, Table};
use crate::{plan::memory::OnnxFootprint, units::Bytes};
use serde::Serialize;

/// One batch size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxMemoryRow {
    /// The estimate.
    pub footprint: OnnxFootprint,
    /// The highest resident set of a fresh process, where it was measured.
    #[serde(rename = "measured_bytes")]
    pub measured: Option<Bytes>,
}

/// A model at several batch sizes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxMemoryReport {
    /// The model's name.
    pub model: String,
    /// One row per batch size.
    pub rows: Vec<OnnxMemoryRow>,
}

/// Lays the report out.
#[must_use]
pub fn onnx_memory_report(memory: &OnnxMemoryReport, explain: Explain) -> Report {
    let mut report = Report::default();
    let measured = memory.rows.iter().any(|row| row.measured.is_some());
    report.answer(format!(
        "Memory of {} in ONNX Runtime on the CPU, one session with one thread:",
        memory.model
    ));
    let mut columns = vec![">batch", ">loading", ">running", ">estimate", "interval"];
    if measured {
        columns.extend([">measured", ">error", "within"]);
    }
    let mut table = Table::new(&columns);
    for row in &memory.rows {
        let f = &row.footprint;
        let mut cells = vec![
            f.batch.to_string(),
            f.loading().to_string(),
            f.running().to_string(),
            f.total.value.to_string(),
            format!("{} – {}", f.total.low, f.total.high),
        ];
        if measured {
            cells.extend(match row.measured {
                Some(measured) => [
                    measured.to_string(),
                    error(f.total.value, measured),
                    within(f, measured),
                ],
                None => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
            });
        }
        table.push(cells);
    }
    report.table(table);
    if let (Explain::Yes, Some(last)) = (explain, memory.rows.last()) {
        let mut table = Table::new(&["part", ">bytes", "formula", "source"]);
        for part in &last.footprint.parts {
            table.push([
                part.name.to_owned(),
                part.bytes.to_string(),
                part.formula.clone(),
                part.source.to_owned(),
            ]);
        }
        report
            .heading(format!("At batch {}", last.footprint.batch))
            .table(table);
        let types = last
            .footprint
            .weights_by_type
            .iter()
            .map(|(element, bytes)| (element.to_string(), bytes.to_string()));
        report.heading("Weights by type").facts(types);
    }
    let reasons = memory
        .rows
        .first()
        .map(|row| row.footprint.reasons.clone())
        .unwrap_or_default();
    report.list("Not counted", reasons);
    report
}

/// Whether the error is within [`OnnxFootprint::stated_error`].
fn within(footprint: &OnnxFootprint, measured: Bytes) -> String {
    let bound = OnnxFootprint::stated_error(measured);
    let off = footprint.total.value.get().abs_diff(measured.get());
    if Bytes::new(off) <= bound {
        "yes"
    } else {
        "no"
    }
    .to_owned()
}

/// The error in MiB and as a share of what was measured.
fn error(estimated: Bytes, measured: Bytes) -> String {
    let off = estimated.as_mib() - measured.as_mib();
    format!(
        "{off:+.0} MiB ({:+.1} %)",
        off / measured.as_mib().max(1.0) * 100.0
    )
}
