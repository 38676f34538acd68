//! Footprints as reports.

use super::{Report, Table};
use crate::{
    caveat::Caveat,
    estimate::Estimate,
    plan::memory::{
        Fit, Footprint, Largest, Question, Room, Subject, Tier, Verdict,
        evaluate::{Evaluation, HeldOut, Summary},
    },
    units::{Bytes, Count, Fraction},
};
use serde::Serialize;

/// What `advisor memory` tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryReport {
    schema: u32,
    model: String,
    parameters: Count,
    trained_parameters: Count,
    precision: &'static str,
    batch: u64,
    cards: u64,
    /// Whether only the number of parameters was known.
    rough: bool,
    #[serde(rename = "per_card_bytes")]
    per_card: Estimate<Bytes>,
    #[serde(rename = "all_cards_bytes")]
    all_cards: Estimate<Bytes>,
    peak_in: &'static str,
    parts: Vec<PartReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_bytes_per_token: Option<Bytes>,
    fits_on: Vec<CardReport>,
    savings: Vec<SavingReport>,
    narrow_by: Vec<NarrowReport>,
    price_book: String,
    caveats: Vec<Caveat>,
}

/// A part of the total, on one card.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PartReport {
    part: &'static str,
    bytes: Estimate<Bytes>,
    shrinkable: bool,
    formula: String,
    source: String,
}

/// A change that takes less memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct SavingReport {
    change: String,
    bytes: Bytes,
    cost: String,
}

/// An input that would narrow the interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct NarrowReport {
    input: String,
    bytes: Bytes,
    how: String,
}

/// The verdict for a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CardReport {
    card: String,
    usable_bytes: Bytes,
    verdict: Verdict,
    /// Positive: left; negative: missing.
    room_bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cheapest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_batch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_sequence: Option<u64>,
}

impl CardReport {
    /// The verdict for a usual size of card.
    #[must_use]
    pub fn of_tier(tier: &Tier, fit: &Fit, cheapest: Option<String>) -> Self {
        Self::new(
            format!("{} GB (as {})", tier.label, tier.card),
            fit,
            cheapest,
        )
    }

    /// The verdict for a card that was asked about, with the largest batch and
    /// sequence that go into it.
    #[must_use]
    pub fn of_card(
        name: &str,
        fit: &Fit,
        cheapest: Option<String>,
        (batch, sequence): (Largest, Largest),
    ) -> Self {
        Self {
            largest_batch: batch.fits,
            largest_sequence: sequence.fits,
            ..Self::new(name.to_owned(), fit, cheapest)
        }
    }

    fn new(card: String, fit: &Fit, cheapest: Option<String>) -> Self {
        let signed = |bytes: Bytes| i64::try_from(bytes.get()).unwrap_or(i64::MAX);
        Self {
            card,
            usable_bytes: fit.usable,
            verdict: fit.verdict,
            room_bytes: match fit.room {
                Room::Left(bytes) => signed(bytes),
                Room::Short(bytes) => -signed(bytes),
            },
            cheapest: cheapest.filter(|_| fit.verdict != Verdict::DoesNotFit),
            largest_batch: None,
            largest_sequence: None,
        }
    }
}

impl MemoryReport {
    /// Brings together what was asked, what it takes and where it fits.
    #[must_use]
    pub fn new(
        question: &Question,
        footprint: &Footprint,
        fits_on: Vec<CardReport>,
        price_book: String,
    ) -> Self {
        Self {
            schema: 1,
            model: footprint.model.clone(),
            parameters: footprint.parameters,
            trained_parameters: footprint.trained,
            precision: question.precision.name(),
            batch: question.batch,
            cards: footprint.sharding.cards,
            rough: matches!(question.subject, Subject::Parameters { .. }),
            per_card: footprint.total.clone(),
            all_cards: footprint.pooled.clone(),
            peak_in: footprint.peak.name(),
            parts: footprint
                .components
                .iter()
                .map(|component| PartReport {
                    part: component.part.name(),
                    bytes: component.bytes.clone(),
                    shrinkable: component.shrinkable,
                    formula: component.formula.clone(),
                    source: component.source.clone(),
                })
                .collect(),
            kv_bytes_per_token: footprint.kv_bytes_per_token,
            fits_on,
            savings: footprint
                .savings
                .iter()
                .map(|saving| SavingReport {
                    change: saving.change.clone(),
                    bytes: saving.bytes,
                    cost: saving.cost.clone(),
                })
                .collect(),
            narrow_by: footprint
                .narrow_by
                .iter()
                .map(|narrow| NarrowReport {
                    input: narrow.input.clone(),
                    bytes: narrow.bytes,
                    how: narrow.how.clone(),
                })
                .collect(),
            price_book,
            caveats: footprint.caveats.clone(),
        }
    }

    /// Whether it goes into anything that was asked about, if only just.
    #[must_use]
    pub fn anything_fits(&self) -> bool {
        self.fits_on
            .iter()
            .any(|card| card.verdict != Verdict::DoesNotFit)
    }
}

/// The report; with `explain`, formula and source of every part.
#[must_use]
pub fn memory_report(memory: &MemoryReport, explain: Explain) -> Report {
    let mut report = Report::default();
    report.answer(answer(memory));
    let mut facts = vec![
        (
            "model".to_owned(),
            format!("{}, {} parameters", memory.model, memory.parameters),
        ),
        (
            "in".to_owned(),
            format!("{}, batch {}", memory.precision, memory.batch),
        ),
        ("peak".to_owned(), format!("in the {}", memory.peak_in)),
    ];
    facts.extend(decisive(memory).map(|text| ("decided by".to_owned(), text)));
    if memory.trained_parameters.get() > 0 {
        facts.push((
            "trained".to_owned(),
            format!("{} parameters", memory.trained_parameters),
        ));
    }
    if memory.cards > 1 {
        facts.push((
            "cards".to_owned(),
            format!(
                "{}, {} together; every figure below is of one card",
                memory.cards, memory.all_cards.value
            ),
        ));
    }
    if let Some(bytes) = memory.kv_bytes_per_token {
        let sure = if memory.rough { "about" } else { "exactly" };
        facts.push((
            "KV cache".to_owned(),
            format!("{sure} {} bytes per token and sequence", bytes.get()),
        ));
    }
    report.facts(facts);
    let mut parts = Table::new(&["part", ">bytes", ">interval", "can be shrunk"]);
    for part in &memory.parts {
        parts.push([
            part.part.to_owned(),
            part.bytes.value.to_string(),
            interval(&part.bytes),
            if part.shrinkable { "yes" } else { "" }.to_owned(),
        ]);
    }
    parts.push([
        "total".to_owned(),
        memory.per_card.value.to_string(),
        interval(&memory.per_card),
        String::new(),
    ]);
    report.table(parts);
    if explain == Explain::Yes {
        report.list(
            "Formulas and sources",
            memory
                .parts
                .iter()
                .map(|part| format!("{}: {} ({})", part.part, part.formula, part.source))
                .collect(),
        );
    }
    report.table(cards(memory));
    report.list(
        "What would shrink it",
        memory
            .savings
            .iter()
            .map(|saving| format!("{} −{}, {}", saving.change, saving.bytes, saving.cost))
            .collect(),
    );
    report.list(
        "What would narrow the interval",
        memory
            .narrow_by
            .iter()
            .map(|narrow| format!("{} (up to {}): {}", narrow.input, narrow.bytes, narrow.how))
            .collect(),
    );
    report.caveats(&memory.caveats);
    report
}

/// Whether formulas and sources are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// They are.
    Yes,
    /// They are not.
    No,
}

fn answer(memory: &MemoryReport) -> String {
    let each = if memory.cards > 1 {
        " on each card"
    } else {
        ""
    };
    let need = format!(
        "{} takes {}{each} ({})",
        memory.model,
        memory.per_card.value,
        interval(&memory.per_card)
    );
    let first = |verdict| memory.fits_on.iter().find(|card| card.verdict == verdict);
    match (first(Verdict::Fits), first(Verdict::Tight)) {
        (Some(fits), Some(tight)) if tight.usable_bytes < fits.usable_bytes => {
            format!("{need}: fits {}, tight on {}.", fits.card, tight.card)
        }
        (Some(fits), _) => format!("{need}: fits {}.", fits.card),
        (None, Some(tight)) => format!("{need}: tight on {}.", tight.card),
        (None, None) => format!("{need}: fits nothing that was asked about."),
    }
}

/// The largest part and its share of the total.
fn decisive(memory: &MemoryReport) -> Option<String> {
    let largest = memory.parts.iter().max_by_key(|part| part.bytes.value)?;
    let share = largest.bytes.value.get() as f64 / memory.per_card.value.get().max(1) as f64;
    Some(format!(
        "{}, {} of the total",
        largest.part,
        Fraction::saturating(share)
    ))
}

fn interval(estimate: &Estimate<Bytes>) -> String {
    if estimate.low == estimate.high {
        "exact".to_owned()
    } else {
        format!("{} – {}", estimate.low, estimate.high)
    }
}

fn cards(memory: &MemoryReport) -> Table {
    let sizes = memory
        .fits_on
        .iter()
        .any(|card| card.largest_batch.is_some() || card.largest_sequence.is_some());
    let mut table = if sizes {
        Table::new(&[
            "card",
            ">usable",
            ">room",
            ">largest batch",
            ">largest sequence",
            "cheapest",
            "verdict",
        ])
    } else {
        Table::new(&[
            "card",
            ">usable",
            ">room",
            "cheapest machine with it",
            "verdict",
        ])
    };
    for card in &memory.fits_on {
        let bytes = Bytes::new(card.room_bytes.unsigned_abs());
        let room = if card.room_bytes < 0 {
            format!("−{bytes}")
        } else {
            bytes.to_string()
        };
        let number = |n: Option<u64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let mut cells = vec![card.card.clone(), card.usable_bytes.to_string(), room];
        if sizes {
            cells.push(number(card.largest_batch));
            cells.push(
                card.largest_sequence
                    .map_or_else(|| "—".to_owned(), |n| n.to_string()),
            );
        }
        cells.push(card.cheapest.clone().unwrap_or_else(|| "—".to_owned()));
        cells.push(card.verdict.name().to_owned());
        table.push(cells);
    }
    table
}

/// The estimator against every measurement that ships.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationReport {
    schema: u32,
    cases: Vec<CaseReport>,
    summaries: Vec<SummaryReport>,
    held_out_cases: usize,
    held_out_not_above: f64,
    excluded: Vec<(String, usize)>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct CaseReport {
    name: String,
    set: &'static str,
    kind: &'static str,
    measured_bytes: Bytes,
    estimate_bytes: Estimate<Bytes>,
    error: f64,
    covered: bool,
    source: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct SummaryReport {
    set: &'static str,
    kind: &'static str,
    cases: usize,
    median_error: f64,
    p95_error: f64,
    covered: f64,
    false_fits: usize,
    rules: Vec<RuleReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct RuleReport {
    rule: &'static str,
    cases: usize,
    median_error: f64,
}

/// One row per case.
fn case_table(evaluation: &Evaluation) -> Table {
    let mut table = Table::new(&[
        "case",
        ">measured",
        ">estimate",
        ">error",
        ">interval",
        "holds it",
    ]);
    for case in &evaluation.cases {
        table.push([
            case.name.clone(),
            case.measured.to_string(),
            case.estimate.value.to_string(),
            percent(case.error()),
            interval(&case.estimate),
            if case.is_covered() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Every case and the summaries, with the rules of thumb beside them.
#[must_use]
pub fn evaluation_report(
    evaluation: &Evaluation,
    summaries: &[Summary],
    held_out: &HeldOut,
) -> (Report, EvaluationReport) {
    let mut report = Report::default();
    report.heading("Cases").table(case_table(evaluation));
    let mut table = Table::new(&[
        "set",
        "kind",
        ">n",
        ">median",
        ">p95",
        ">in interval",
        ">false fits",
        "rules of thumb (median error)",
    ]);
    for summary in summaries {
        let rules: Vec<String> = summary
            .rules
            .iter()
            .map(|(name, _, median)| format!("{name} {}", percent(*median)))
            .collect();
        table.push([
            summary.set.name().to_owned(),
            summary.kind.map_or("all", |kind| kind.name()).to_owned(),
            summary.cases.to_string(),
            percent(summary.median),
            percent(summary.p95),
            Fraction::saturating(summary.covered).to_string(),
            summary.false_fits.to_string(),
            rules.join(", "),
        ]);
    }
    report.heading("Summary").table(table);
    report.paragraph(format!(
        "With each model left out of the one fitted constant: {} of {} measurements not above the interval.",
        Fraction::saturating(held_out.not_above),
        held_out.cases
    ));
    report.list(
        "Left out",
        evaluation
            .excluded
            .iter()
            .map(|(why, rows)| format!("{rows} rows: {why}"))
            .collect(),
    );
    let value = EvaluationReport {
        schema: 1,
        cases: evaluation
            .cases
            .iter()
            .map(|case| CaseReport {
                name: case.name.clone(),
                set: case.set.name(),
                kind: case.kind.name(),
                measured_bytes: case.measured,
                estimate_bytes: case.estimate.clone(),
                error: case.error(),
                covered: case.is_covered(),
                source: case.source.clone(),
            })
            .collect(),
        summaries: summaries
            .iter()
            .map(|summary| SummaryReport {
                set: summary.set.name(),
                kind: summary.kind.map_or("all", |kind| kind.name()),
                cases: summary.cases,
                median_error: summary.median,
                p95_error: summary.p95,
                covered: summary.covered,
                false_fits: summary.false_fits,
                rules: summary
                    .rules
                    .iter()
                    .map(|(rule, cases, median_error)| RuleReport {
                        rule,
                        cases: *cases,
                        median_error: *median_error,
                    })
                    .collect(),
            })
            .collect(),
        held_out_cases: held_out.cases,
        held_out_not_above: held_out.not_above,
        excluded: evaluation.excluded.clone(),
    };
    (report, value)
}
