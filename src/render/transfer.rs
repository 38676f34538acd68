//! How wrong the predictions for other hardware are, as a report.

use super::{Report, Table};
use crate::plan::transfer::{Bar, DATASHEET, Errors, Fitted, Regret, Split};

/// A regret table for the prices of one provider, or of all.
#[derive(Debug, Clone)]
pub struct PricedRegret {
    /// Whose prices.
    pub prices: String,
    /// The figures.
    pub rows: Vec<Regret>,
}

/// All held-out splits with the datasheet ratios beside them, then what wrong
/// choices cost.
#[must_use]
pub fn transfer_report(splits: &[Split], regrets: &[PricedRegret]) -> Report {
    let mut report = Report::default();
    let barred = splits.iter().filter(|split| split.bar.is_some()).count();
    let met = splits
        .iter()
        .filter(|split| split.meets_bar() == Some(true))
        .count();
    report.answer(format!(
        "{} ways of holding out; {met} of {barred} that have a bar meet it.",
        splits.len()
    ));
    report.paragraph(
        "Absolute relative errors in per cent, median / 90th / 95th percentile; the interval is one of nominally 90 %, tested on groups that had no part in its width.",
    );
    let mut table = Table::new(&[
        "predicted, and what was held out",
        ">n",
        ">throughput",
        ">latency",
        ">in interval",
        ">± width",
        "bar",
    ]);
    for split in splits {
        table.push([
            split.name.clone(),
            split.cases.to_string(),
            three(&split.throughput),
            three(&split.latency),
            split
                .coverage
                .map_or_else(String::new, |c| format!("{:.1} %", c.share * 100.0)),
            split.coverage.map_or_else(String::new, |c| {
                format!("{:.0} %", c.median_half_width * 100.0)
            }),
            bar(split),
        ]);
    }
    report.heading("Held out").table(table);
    let columns: Vec<String> = DATASHEET.iter().map(|name| format!(">{name}")).collect();
    let mut names = vec!["predicted, and what was held out", ">ours"];
    names.extend(columns.iter().map(String::as_str));
    let mut table = Table::new(&names);
    for split in splits {
        let mut cells = vec![split.name.clone(), two(&split.throughput)];
        cells.extend(
            split
                .datasheet
                .iter()
                .map(|errors| errors.as_ref().map_or_else(|| "–".to_owned(), two)),
        );
        table.push(cells);
    }
    report
        .heading("Datasheet ratios on the same rows (throughput, median / 95th percentile)")
        .table(table);
    let mut table = Table::new(&[
        "prices",
        "questions",
        ">n",
        ">paid too much",
        ">CPU or GPU right",
        ">CPU cheapest",
        ">SLO broken",
    ]);
    for priced in regrets {
        for row in &priced.rows {
            table.push([
                priced.prices.clone(),
                row.name.clone(),
                row.questions.to_string(),
                format!(
                    "{} / {} / {} %",
                    percent(row.median),
                    percent(row.p90),
                    percent(row.p95)
                ),
                row.kind_right
                    .map_or_else(|| "–".to_owned(), |share| share.to_string()),
                row.cpu_cheapest.to_string(),
                row.broken.to_string(),
            ]);
        }
    }
    report
        .heading("Regret: cost of the plan chosen, over the cheapest in truth (median / 90th / 95th percentile)")
        .table(table);
    report
}

/// What a fit came to and where it lies.
#[must_use]
pub fn fit_report(fitted: &Fitted, (file, changed): (&str, Changed)) -> Report {
    let mut report = Report::default();
    let rows: usize = fitted.source.iter().map(|source| source.rows).sum();
    report.answer(match changed {
        Changed::Yes => format!("Fitted to {rows} rows; written to {file}."),
        Changed::No => format!("Fitted to {rows} rows; {file} already says the same."),
    });
    let percent = |half: f64| format!("÷ and × {:.2}", half.exp());
    let (gpu, cpu) = (&fitted.gpu, &fitted.cpu);
    report.heading("Widths of the 90 % intervals").facts([
        ("GPU to GPU", percent(gpu.half_width.carried)),
        (
            "new network on a GPU of the tables",
            percent(gpu.half_width.new_network),
        ),
        ("GPU not in the tables", percent(gpu.half_width.new_device)),
        ("neither known", percent(gpu.half_width.both_new)),
        ("another framework", percent(gpu.half_width.other_stack)),
        (
            "ONNX Runtime for PyTorch",
            percent(gpu.onnxruntime.half_width),
        ),
        ("CPU, same design", percent(cpu.same_design)),
        ("CPU, other design", percent(cpu.other_design)),
    ]);
    let mut table = Table::new(&["file", ">rows", "SHA-256"]);
    for source in &fitted.source {
        table.push([
            source.file.clone(),
            source.rows.to_string(),
            source.sha256.clone(),
        ]);
    }
    report.heading("Data").table(table);
    report
}

/// Whether a fit differs from the file that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It does, or there was none.
    Yes,
    /// It is the same but for the day.
    No,
}

fn bar(split: &Split) -> String {
    let Some(Bar { median, p95 }) = split.bar else {
        return String::new();
    };
    let tail = p95.map_or_else(String::new, |p95| format!(", p95 ≤ {}", percent(p95)));
    let word = if split.meets_bar() == Some(true) {
        "met"
    } else {
        "MISSED"
    };
    format!("{word}: median ≤ {}{tail} %", percent(median))
}

fn three(errors: &Errors) -> String {
    format!(
        "{} / {} / {}",
        percent(errors.median),
        percent(errors.p90),
        percent(errors.p95)
    )
}

fn two(errors: &Errors) -> String {
    format!("{} / {}", percent(errors.median), percent(errors.p95))
}

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}
