//! Verifications as reports.

use super::{Report, Table};
use crate::{
    units::Time,
    verify::{Entry, Forecast, Judgement, Spread, Target, Verification},
    workload::Percentile,
};

/// The judgement, what was driven, the percentiles side by side, the doubts.
#[must_use]
pub fn verification_report(verification: &Verification) -> Report {
    let mut report = Report::default();
    report.answer(answer(verification));
    report.facts(facts(verification));
    let mut table = Table::new(&[
        "latency",
        ">predicted",
        ">for these arrivals",
        ">measured",
        ">error",
        ">model error",
    ]);
    for outcome in &verification.measured.percentiles {
        let p = outcome.percentile;
        let measured = match (outcome.value, outcome.low, outcome.high) {
            (Some(value), Some(low), Some(high)) => format!("{value}\n({})", span(low, high)),
            (Some(value), Some(low), None) if verification.measured.failed > 0 => {
                format!("{value}\n({low} – no answer)")
            }
            // Too few requests lie beyond it to say how far it reaches.
            (Some(value), Some(low), None) => format!("{value}\n({low} or more)"),
            (Some(value), ..) => value.to_string(),
            (None, ..) => "no answer".to_owned(),
        };
        let against = verification
            .replayed
            .as_ref()
            .or(verification.predicted.as_ref());
        table.push([
            p.to_string(),
            predicted(verification.predicted.as_ref(), p),
            predicted(verification.replayed.as_ref(), p),
            measured,
            error(against, p, outcome.value),
            error(verification.from_recorded.as_ref(), p, outcome.value),
        ]);
    }
    report.table(table);
    let mut load = Table::new(&["", ">predicted", ">measured"]);
    let measured = &verification.measured;
    load.push([
        "answered".to_owned(),
        verification
            .predicted
            .as_ref()
            .map_or_else(String::new, |f| {
                f.saturated_at
                    .unwrap_or(verification.rate)
                    .min(verification.rate)
                    .to_string()
            }),
        measured.throughput.to_string(),
    ]);
    if let Some(utilisation) = measured.utilisation {
        load.push([
            "utilisation".to_owned(),
            of_load(verification, |f| f.utilisation.to_string()),
            utilisation.to_string(),
        ]);
    }
    if let Some(batch) = measured.mean_batch {
        load.push([
            "mean batch".to_owned(),
            of_load(verification, |f| format!("{:.2}", f.mean_batch)),
            format!("{batch:.2}"),
        ]);
    }
    report.table(load);
    report.list("Objectives", objectives(verification));
    report.caveats(&verification.caveats);
    report
}

/// Of the forecast for these arrivals, else of the long run.
fn of_load(verification: &Verification, show: impl Fn(&Forecast) -> String) -> String {
    let forecast = verification
        .replayed
        .as_ref()
        .or(verification.predicted.as_ref());
    forecast.map_or_else(String::new, show)
}

fn answer(verification: &Verification) -> String {
    let measured = &verification.measured;
    let p95 = measured
        .percentile(Percentile::P95)
        .and_then(|p| p.value)
        .map_or_else(
            || "no p95, since too many requests got no answer".to_owned(),
            |value| format!("p95 {value}"),
        );
    let forecast = verification
        .replayed
        .as_ref()
        .or(verification.predicted.as_ref());
    let promised = forecast.map_or_else(String::new, |forecast| {
        forecast.saturated_at.map_or_else(
            || {
                forecast
                    .percentile(Percentile::P95)
                    .and_then(|p| p.latency.as_ref())
                    .map_or_else(String::new, |latency| {
                        format!(
                            ", predicted {} ({})",
                            latency.value,
                            span(latency.low, latency.high)
                        )
                    })
            },
            |rate| format!(", predicted overload: at most {rate}"),
        )
    });
    let verdict = match verification.judgement {
        Judgement::Holds => "The prediction HOLDS: ",
        Judgement::Off => "The prediction is OFF: ",
        Judgement::Unjudged => "Measured: ",
    };
    format!(
        "{verdict}{p95} at {}{promised}; {} requests, {} without an answer.",
        measured.offered, measured.counted, measured.failed
    )
}

fn facts(verification: &Verification) -> Vec<(String, String)> {
    let measured = &verification.measured;
    let configuration = &verification.configuration;
    let cores = if verification.own_cores {
        ", each instance on cores of its own"
    } else {
        ""
    };
    let mut facts = vec![("model".to_owned(), verification.model.clone())];
    facts.push(("served".to_owned(), verification.target.to_string()));
    if !matches!(verification.target, Target::Url { .. }) || verification.predicted.is_some() {
        facts.push(("setup".to_owned(), format!("{configuration}{cores}")));
    }
    facts.push((
        "load".to_owned(),
        format!(
            "Poisson arrivals at {}, open loop, latency from the scheduled arrival",
            verification.rate
        ),
    ));
    facts.push((
        "started late".to_owned(),
        format!(
            "{} in the median, {} for one in a hundred, {} at most",
            measured.lateness.p50, measured.lateness.p99, measured.lateness.max
        ),
    ));
    if let Some(delay) = verification.dispatch_delay {
        facts.push((
            "dispatch".to_owned(),
            format!("{delay} from when a batch is due to its begin, measured here and counted"),
        ));
    }
    if let Some(overhead) = verification.http_overhead {
        facts.push((
            "HTTP adds".to_owned(),
            format!("{overhead} to each request, over loopback"),
        ));
    }
    if let Some(fingerprint) = &verification.fingerprint {
        facts.push(("fingerprint".to_owned(), fingerprint.short()));
    }
    facts
}

fn predicted(forecast: Option<&Forecast>, percentile: Percentile) -> String {
    let Some(entry) = forecast.and_then(|f| f.percentile(percentile)) else {
        return String::new();
    };
    match &entry.latency {
        Some(latency) if entry.open_ended => {
            format!("{}\n({} – overload)", latency.value, latency.low)
        }
        Some(latency) => format!("{}\n({})", latency.value, span(latency.low, latency.high)),
        None => "overload".to_owned(),
    }
}

/// Predicted over measured, as a difference: `+4.2%` is predicted too high.
fn error(forecast: Option<&Forecast>, percentile: Percentile, measured: Option<Time>) -> String {
    let predicted = forecast
        .and_then(|f| f.percentile(percentile))
        .and_then(|p| p.latency.as_ref());
    match (predicted, measured) {
        (Some(predicted), Some(measured)) if !measured.is_zero() => {
            format!("{:+.1}%", (predicted.value.ratio(measured) - 1.0) * 100.0)
        }
        _ => String::new(),
    }
}

fn objectives(verification: &Verification) -> Vec<String> {
    verification
        .objectives
        .iter()
        .map(|o| {
            format!(
                "{}: {}, {} of {} requests were late",
                o.objective, o.verdict, o.late, o.counted
            )
        })
        .collect()
}

/// `70–117 ms`, or with both units where they differ.
fn span(low: Time, high: Time) -> String {
    let (low, high) = (low.to_string(), high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((value, unit)), Some((_, other))) if unit == other => format!("{value}–{high}"),
        _ => format!("{low} – {high}"),
    }
}

/// The ledger: every verification with its errors, and their spread by model.
#[must_use]
pub fn history_report(entries: &[Entry], spreads: &[(String, Spread)]) -> Report {
    let mut report = Report::default();
    if entries.is_empty() {
        report.answer("Nothing has been verified yet.");
        report.paragraph("What puts a prediction to the test:");
        report.command("advisor verify --model bert-base --qps 5");
        return report;
    }
    let many = if entries.len() == 1 { "" } else { "s" };
    report.answer(format!(
        "{} verification{many}; predicted against measured, by percentile.",
        entries.len()
    ));
    let mut table = Table::new(&[
        "when",
        "model",
        "setup",
        ">load",
        ">p50",
        ">p90",
        ">p95",
        ">p99",
        "prediction",
    ]);
    for entry in entries {
        let c = &entry.configuration;
        let show = |p| {
            entry
                .ratio(p)
                .map_or_else(String::new, |r| format!("{:+.1}%", (1.0 / r - 1.0) * 100.0))
        };
        table.push([
            entry
                .taken_at
                .chars()
                .take(16)
                .collect::<String>()
                .replace('T', "\n"),
            match &entry.target {
                Target::InProcess => entry.model.clone(),
                other => format!("{}\n{other}", entry.model),
            },
            format!(
                "{} × {} thr\nbatch ≤ {}\n{}",
                c.instances,
                c.intra_op_threads,
                c.max_batch,
                if c.batch_window.is_zero() {
                    "no window".to_owned()
                } else {
                    format!("window {}", c.batch_window)
                }
            ),
            entry.offered.to_string(),
            show(Percentile::P50),
            show(Percentile::P90),
            show(Percentile::P95),
            show(Percentile::P99),
            if entry.disturbed {
                format!("{}\ndisturbed", entry.judgement)
            } else {
                entry.judgement.to_string()
            },
        ]);
    }
    report.table(table);
    report.list(
        "What later plans for this machine take from it",
        spreads
            .iter()
            .map(|(model, spread)| {
                format!(
                    "{model}: service times differ by ± {} from run to run (root mean square over {} verifications of what would explain the measured p95)",
                    spread.relative_deviation, spread.verifications
                )
            })
            .collect(),
    );
    report
}
