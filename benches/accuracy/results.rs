//! The cells as lines, as a summary and as files.

use crate::judging::{Cell, Compared};
use advisor::{profile::calibration::Fingerprint, units::Time, workload::Percentile};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
};

pub const HEADINGS: &str = "model              inst×thr batch window  util asked/real     req/s requests   p95 measured       by chance  model err  indep err  total err  covered   3 waits      M/M/c  headroom   steal  others   drift  service/calib  late p99";

#[derive(Serialize)]
struct File<'f> {
    schema: u32,
    taken_at: String,
    fingerprint: &'f Fingerprint,
    load_average: Option<String>,
    cells: &'f [Cell],
}

fn p95(cell: &Cell) -> Option<&Compared> {
    cell.percentiles
        .iter()
        .find(|p| p.percentile == Percentile::P95)
}

fn percent(error: Option<f64>) -> String {
    error.map_or_else(|| "overload".to_owned(), |e| format!("{:+.1}%", e * 100.0))
}

/// By how much the p95 of like runs differs.
fn by_chance(cell: &Cell) -> String {
    let Some(p) = p95(cell) else {
        return String::new();
    };
    let [low, high] = chance(cell, p);
    format!("{:+.0} {:+.0}%", low * 100.0, high * 100.0)
}

fn chance(cell: &Cell, p: &Compared) -> [f64; 2] {
    let (low, high) = cell.like_runs;
    [low, high].map(|end| end.ratio(p.measured) - 1.0)
}

fn rule_error(cell: &Cell, predicted: Option<Time>) -> Option<f64> {
    Some(predicted?.ratio(p95(cell)?.measured) - 1.0)
}

/// The fields of a cell, in the order of the headings.
fn fields(cell: &Cell) -> Vec<String> {
    let p = p95(cell);
    vec![
        cell.model.clone(),
        format!("{}×{}", cell.instances, cell.threads),
        cell.max_batch.to_string(),
        format!("{:.0} ms", cell.window.as_millis()),
        format!(
            "{:.2}/{:.2}",
            cell.utilisation_asked,
            cell.utilisation.get()
        ),
        format!("{:.1}", cell.offered.get()),
        cell.requests.to_string(),
        p.map_or_else(String::new, |p| p.measured.to_string()),
        by_chance(cell),
        percent(p.and_then(Compared::model_error)),
        percent(p.and_then(Compared::independent_error)),
        percent(p.and_then(Compared::total_error)),
        p.map_or("", |p| if p.covered { "yes" } else { "no" })
            .to_owned(),
        percent(rule_error(cell, cell.closed_forms.three_waits)),
        percent(rule_error(cell, cell.closed_forms.mmc)),
        percent(rule_error(cell, cell.closed_forms.headroom)),
        cell.steal
            .map_or_else(|| "?".to_owned(), |s| format!("{:.1}%", s.get() * 100.0)),
        cell.others_cores
            .map_or_else(|| "?".to_owned(), |c| format!("{c:.2}")),
        format!("{:+.1}%", (cell.drift - 1.0) * 100.0),
        format!("{:.3}", cell.service_over_calibration),
        cell.lateness.p99.to_string(),
    ]
}

pub fn row(cell: &Cell) -> String {
    const WIDTHS: [usize; 21] = [
        18, 8, 5, 6, 16, 9, 8, 14, 15, 10, 10, 10, 8, 9, 10, 9, 7, 7, 7, 14, 9,
    ];
    fields(cell)
        .iter()
        .zip(WIDTHS)
        .enumerate()
        .map(|(i, (field, width))| {
            if i == 0 {
                format!("{field:<width$}")
            } else {
                format!(" {field:>width$}")
            }
        })
        .collect()
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

fn line(name: &str, errors: impl Iterator<Item = Option<f64>>) -> String {
    let all: Vec<Option<f64>> = errors.collect();
    let mut sizes: Vec<f64> = all.iter().flatten().map(|e| e.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let lost = all.len() - sizes.len();
    let overload = if lost > 0 {
        format!(", {lost} said overload")
    } else {
        String::new()
    };
    format!(
        "{name:<22} median {:5.1}%   p90 {:6.1}%   worst {:6.1}%{overload}",
        quantile(&sizes, 0.5) * 100.0,
        quantile(&sizes, 0.9) * 100.0,
        quantile(&sizes, 1.0) * 100.0,
    )
}

/// The errors of all cells, by kind.
pub fn summary(cells: &[Cell]) -> String {
    let mut lines = vec![format!(
        "{} cells, error of the p95 (absolute)",
        cells.len()
    )];
    lines.push(line(
        "model error",
        cells.iter().map(|c| p95(c)?.model_error()),
    ));
    lines.push(line(
        "the same, independent",
        cells.iter().map(|c| p95(c)?.independent_error()),
    ));
    lines.push(line(
        "total error",
        cells.iter().map(|c| p95(c)?.total_error()),
    ));
    for percentile in [Percentile::P50, Percentile::P90, Percentile::P99] {
        let of = |cell: &Cell| -> Option<f64> {
            let entry = cell
                .percentiles
                .iter()
                .find(|p| p.percentile == percentile)?;
            entry.total_error()
        };
        lines.push(line(
            &format!("total error of {percentile}"),
            cells.iter().map(of),
        ));
    }
    lines.push(line(
        "service + 3 waits",
        cells
            .iter()
            .map(|c| rule_error(c, c.closed_forms.three_waits)),
    ));
    lines.push(line(
        "M/M/c",
        cells.iter().map(|c| rule_error(c, c.closed_forms.mmc)),
    ));
    lines.push(line(
        "20 % headroom",
        cells.iter().map(|c| rule_error(c, c.closed_forms.headroom)),
    ));
    // The half-width, as an error that chance alone makes in one cell of twenty.
    lines.push(line(
        "by chance, one in 20",
        cells.iter().map(|c| {
            let [low, high] = chance(c, p95(c)?);
            Some((high - low) / 2.0)
        }),
    ));
    let covered = cells
        .iter()
        .filter(|c| p95(c).is_some_and(|p| p.covered))
        .count();
    let width: Vec<f64> = {
        let mut widths: Vec<f64> = cells
            .iter()
            .filter_map(|c| {
                let total = p95(c)?.total.as_ref()?;
                Some((total.high - total.low).ratio(total.value) / 2.0)
            })
            .collect();
        widths.sort_by(f64::total_cmp);
        widths
    };
    lines.push(format!(
        "the interval held the measured p95 in {covered} of {} cells; its half-width was ± {:.0}% in the median",
        cells.len(),
        quantile(&width, 0.5) * 100.0
    ));
    lines.join("\n")
}

/// Writes the JSON and, beside it, the table as Markdown; returns the JSON's path.
pub fn keep(cells: &[Cell], fingerprint: &Fingerprint, folder: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let now = jiff::Timestamp::now().to_string();
    let day = now.get(..10).unwrap_or("undated");
    let name = format!("{day}-accuracy-{}", fingerprint.short());
    let file = File {
        schema: 1,
        taken_at: now.clone(),
        fingerprint,
        load_average: std::fs::read_to_string("/proc/loadavg")
            .ok()
            .map(|text| text.trim().to_owned()),
        cells,
    };
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(&file)? + "\n")?;
    let mut text = format!(
        "# Predicted against measured, {day}\n\n{}, {} threads, ONNX Runtime {}, fingerprint {}, taken {now}.\n\n```text\n{}\n```\n\n",
        fingerprint.cpu,
        fingerprint.usable_threads,
        fingerprint.runtime,
        fingerprint.short(),
        summary(cells)
    );
    text.push_str("| model | inst × thr | batch | window | utilisation asked/real | req/s | requests | p95 measured | of like runs | model error | the same, independent draws | total error | covered | 3 waits | M/M/c | headroom | steal | others | drift | service / calibration | late p99 |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for cell in cells {
        text.push_str(&format!("| {} |\n", fields(cell).join(" | ")));
    }
    std::fs::write(folder.join(format!("{name}.md")), text)?;
    Ok(path)
}
