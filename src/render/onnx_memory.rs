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
    /// [`OnnxMemoryReport::SCHEMA`].
    pub schema: u32,
    /// The model's name.
    pub model: String,
    /// One row per batch size.
    pub rows: Vec<OnnxMemoryRow>,
}

impl OnnxMemoryReport {
    /// The schema of the JSON; `schema/memory-model.schema.json` describes it.
    pub const SCHEMA: u32 = 1;
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
                    if is_within(f, measured) { "yes" } else { "no" }.to_owned(),
                ],
                None => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
            });
        }
        table.push(cells);
    }
    report.table(table);
    let of: Vec<bool> = memory
        .rows
        .iter()
        .filter_map(|row| Some(is_within(&row.footprint, row.measured?)))
        .collect();
    if !of.is_empty() {
        report.facts([(
            "Within 5 % or 64 MiB".to_owned(),
            format!(
                "{} of {}",
                of.iter().filter(|within| **within).count(),
                of.len()
            ),
        )]);
    }
    report.list(
        "Holds for",
        vec![
            "a process started with MALLOC_MMAP_THRESHOLD_=131072, as advisor measures: what loading frees goes back to the system; by default glibc keeps some of it, by chance"
                .to_owned(),
        ],
    );
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
fn is_within(footprint: &OnnxFootprint, measured: Bytes) -> bool {
    let off = footprint.total.value.get().abs_diff(measured.get());
    Bytes::new(off) <= OnnxFootprint::stated_error(measured)
}

/// The error in MiB and as a share of what was measured.
fn error(estimated: Bytes, measured: Bytes) -> String {
    let off = estimated.as_mib() - measured.as_mib();
    format!(
        "{off:+.0} MiB ({:+.1} %)",
        off / measured.as_mib().max(1.0) * 100.0
    )
}
