//! Prices as reports.

use super::{Report, Table};
use crate::{
    caveat::Caveat,
    plan::{
        advise::Plan,
        pricing::{Change, ChangeKind, Offer, Term, import::Imported},
    },
};
use jiff::civil::Date;

/// Offers on a term, in the order given, at most `top` of them.
#[must_use]
pub fn offers_report(
    offers: &[&Offer],
    term: Term,
    top: usize,
    (book, caveats): (&str, &[Caveat]),
) -> Report {
    let mut report = Report::default();
    report.answer(format!(
        "{} offers have a known {term} price.",
        offers.len()
    ));
    let mut table = Table::new(&["machine", "region", "hardware", ">price", ">as of"]);
    for offer in offers.iter().take(top) {
        let Some(price) = offer.price(term) else {
            continue;
        };
        table.push([
            format!("{} {}", offer.provider, offer.instance_type),
            offer.region.clone(),
            hardware(offer),
            format!(
                "{}{}",
                if price.estimated { "~" } else { "" },
                price.per_hour
            ),
            price.as_of.to_string(),
        ]);
    }
    report.table(table);
    if offers.len() > top {
        report.paragraph(format!(
            "… and {} more; `--top N` shows more of them.",
            offers.len() - top
        ));
    }
    report.facts([("price book", book)]);
    report.caveats(caveats);
    report
}

fn hardware(offer: &Offer) -> String {
    let gpu = offer
        .gpu
        .as_ref()
        .map_or_else(String::new, |gpu| match gpu.share {
            Some(share) => format!(", {share} of {}", gpu.name),
            None => format!(", {} × {}", gpu.count, gpu.name),
        });
    format!("{} vCPU, {}{gpu}", offer.vcpus, offer.memory)
}

/// All that is known of one machine type.
#[must_use]
pub fn one_machine_report(offers: &[&Offer], today: Date, caveats: &[Caveat]) -> Report {
    let mut report = Report::default();
    let Some(first) = offers.first() else {
        return report;
    };
    report.answer(format!(
        "{} {}: {}.",
        first.provider,
        first.instance_type,
        hardware(first)
    ));
    report.facts([
        (
            "CPU family",
            first.cpu.clone().unwrap_or_else(|| "not known".to_owned()),
        ),
        ("architecture", first.arch.clone()),
        ("billing", billing(first)),
    ]);
    let mut table = Table::new(&["region", "term", ">price", ">as of", ">age", "source"]);
    for offer in offers {
        for price in &offer.prices {
            let interruption = price
                .interruption
                .map_or_else(String::new, |band| format!(", {band} taken back a month"));
            let basis = price.basis.as_ref().unwrap_or(&offer.source);
            table.push([
                offer.region.clone(),
                format!("{}{interruption}", price.term),
                price.per_hour.to_string(),
                price.as_of.to_string(),
                format!("{} d", price.age_days(today)),
                basis.clone(),
            ]);
        }
    }
    report.table(table);
    let mut notes: Vec<String> = offers.iter().flat_map(|o| o.notes.clone()).collect();
    notes.sort();
    notes.dedup();
    report.list("Notes", notes);
    report.caveats(caveats);
    report
}

fn billing(offer: &Offer) -> String {
    offer.billing.as_ref().map_or_else(
        || "rounding not known".to_owned(),
        |billing| format!("by {}, at least {}", billing.granularity, billing.minimum),
    )
}

/// What changed between two books, and between the plans from them.
#[must_use]
pub fn difference_report(
    changes: &[Change],
    top: usize,
    (old, new): (&str, &str),
    plans: Option<(&Plan, &Plan)>,
) -> Report {
    let mut report = Report::default();
    let priced = changes
        .iter()
        .filter(|c| matches!(c.kind, ChangeKind::Price { .. }))
        .count();
    report.answer(match changes.len() {
        0 => "The books say the same.".to_owned(),
        n => format!("{n} changes, {priced} of them other prices."),
    });
    if let Some((old, new)) = plans {
        report.paragraph(turned(old, new));
    }
    report.facts([("old book", old), ("new book", new)]);
    let mut ordered: Vec<&Change> = changes.iter().collect();
    // The largest price changes first, then what came and went.
    ordered.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let mut table = Table::new(&["machine", "region", "term", ">old", ">new", ">change"]);
    for change in ordered.iter().take(top) {
        table.push(cells(change));
    }
    report.table(table);
    if changes.len() > top {
        report.paragraph(format!(
            "… and {} more; `--top N` shows more of them.",
            changes.len() - top
        ));
    }
    report
}

fn size(change: &Change) -> f64 {
    match change.kind {
        ChangeKind::Price { relative, .. } => relative.abs(),
        _ => -1.0,
    }
}

fn cells(change: &Change) -> [String; 6] {
    let show = |price: Option<crate::units::UsdPerHour>| {
        price.map_or_else(|| "offered".to_owned(), |price| price.to_string())
    };
    let none = String::new;
    let (old, new, how) = match &change.kind {
        ChangeKind::Added { price } => (none(), show(*price), "new".to_owned()),
        ChangeKind::Removed { price } => (show(*price), none(), "gone".to_owned()),
        ChangeKind::Price { old, new, relative } => (
            old.to_string(),
            new.to_string(),
            format!("{:+.1} %", relative * 100.0),
        ),
        ChangeKind::Machine => (none(), none(), "other hardware".to_owned()),
    };
    let term = change
        .term
        .map_or_else(String::new, |term| term.to_string());
    let machine = format!("{} {}", change.provider, change.instance_type);
    [machine, change.region.clone(), term, old, new, how]
}

/// Whether the recommendation is another one.
fn turned(old: &Plan, new: &Plan) -> String {
    let best = |plan: &Plan| {
        let option = plan.recommended.and_then(|i| plan.options.get(i))?;
        let machine = &option.machine;
        let cost = option
            .cost
            .map_or_else(String::new, |cost| format!(" at {cost}"));
        let name = format!(
            "{} × {} {}",
            option.replicas, machine.provider, machine.instance_type
        );
        Some((name, machine.region.clone(), cost))
    };
    match (best(old), best(new)) {
        (Some(a), Some(b)) if (&a.0, &a.1) == (&b.0, &b.1) => {
            format!(
                "The plan stays: {} in {}, before{}, now{}.",
                b.0, b.1, a.2, b.2
            )
        }
        (Some(a), Some(b)) => format!(
            "The plan turns: before {} in {}{}, now {} in {}{}.",
            a.0, a.1, a.2, b.0, b.1, b.2
        ),
        (Some(a), None) => format!("The plan turns: before {}{}, now nothing holds.", a.0, a.2),
        (None, Some(b)) => format!("The plan turns: before nothing held, now {}{}.", b.0, b.2),
        (None, None) => "With neither book anything holds the objective.".to_owned(),
    }
}

/// What an import was of.
#[derive(Debug, Clone, Copy)]
pub struct ImportSummary<'s> {
    /// Whose prices.
    pub provider: &'s str,
    /// The format of the list.
    pub format: &'s str,
    /// The day on which they held.
    pub as_of: Date,
    /// Where the price file is now; none where nothing was written.
    pub written: Option<&'s str>,
}

/// What was taken, left and why.
#[must_use]
pub fn import_report(imported: &Imported, of: ImportSummary<'_>) -> Report {
    let rows = &imported.rows;
    let mut report = Report::default();
    report.answer(if imported.price_count() == 0 {
        format!(
            "Nothing in this {} could be taken; nothing was written.",
            of.format
        )
    } else {
        format!(
            "{} prices of {} machine types of {} in {} regions were taken.",
            imported.price_count(),
            imported.machines.len(),
            of.provider,
            imported.prices.len()
        )
    });
    let mut facts = vec![
        ("list", of.format.to_owned()),
        ("prices as of", of.as_of.to_string()),
        (
            "rows",
            format!(
                "{} read, {} taken, {} left",
                rows.read,
                rows.taken,
                rows.left_count()
            ),
        ),
    ];
    facts.extend(of.written.map(|path| ("written to", path.to_owned())));
    report.facts(facts);
    let mut left: Vec<_> = rows.left.iter().collect();
    left.sort_by_key(|(_, left)| std::cmp::Reverse(left.count));
    let mut table = Table::new(&["left because", ">rows", "first"]);
    for (why, left) in left {
        table.push([why.clone(), left.count.to_string(), left.first.clone()]);
    }
    report.table(table);
    report
}
