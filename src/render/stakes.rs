//! What a plan saves and what would turn it, put before the caveats.

use super::{Block, Report, Table};
use crate::plan::advise::{MixedFleet, Plan, Saving, WhatIf};

/// Adds the savings and, where there are some, the plans with varied assumptions.
pub fn stakes_blocks(report: &mut Report, plan: &Plan, what_if: &[WhatIf]) {
    let mut part = Report::default();
    part.list("Saved", plan.savings.iter().map(saving).collect());
    let mut table = Table::new(&["if 20 % otherwise", ">by", "then", ">cost", "decision"]);
    for one in what_if {
        table.push([
            one.varied.name().to_owned(),
            format!("{:+.0} %", (one.factor - 1.0) * 100.0),
            one.machine
                .clone()
                .unwrap_or_else(|| "nothing holds".to_owned()),
            one.cost.map_or_else(String::new, |cost| cost.to_string()),
            match (one.turns_kind, one.turns) {
                (true, _) => "TURNS".to_owned(),
                (false, true) => "another machine".to_owned(),
                (false, false) => "stays".to_owned(),
            },
        ]);
    }
    part.table(table);
    before_caveats(report, part);
}

/// Adds the cheapest mix of machine types.
pub fn fleet_blocks(report: &mut Report, mixed: &MixedFleet) {
    let mut part = Report::default();
    let parts: Vec<String> = mixed
        .parts
        .iter()
        .map(|of| {
            format!(
                "{} × {} {} at {} each",
                of.replicas, of.machine.provider, of.machine.instance_type, of.load
            )
        })
        .collect();
    let text = if mixed.saving.get() > 0.0005 {
        format!(
            "{} cost {} together, {} less than the best single type of {} compared ({}).",
            parts.join(" and "),
            mixed.cost,
            mixed.saving,
            mixed.compared,
            mixed.single
        )
    } else {
        format!(
            "No saving: of {} types compared no mix is cheaper than {} for {}.",
            mixed.compared,
            parts.join(" and "),
            mixed.cost
        )
    };
    part.list("Mixed fleet", vec![text]);
    before_caveats(report, part);
}

/// Puts blocks where they are read before the doubts.
pub(super) fn before_caveats(report: &mut Report, part: Report) {
    let at = report
        .blocks
        .iter()
        .position(|block| matches!(block, Block::Heading(text) if text == "Caveats"))
        .unwrap_or(report.blocks.len());
    report.blocks.splice(at..at, part.blocks);
}

fn saving(saving: &Saving) -> String {
    let against = saving.baseline.name();
    match (&saving.machine, saving.cost, saving.share) {
        (Some(machine), Some(cost), Some(share)) if share > 0.0005 => format!(
            "{:.0} % against {against} ({machine} at {cost})",
            share * 100.0
        ),
        (Some(machine), Some(_), Some(_)) => format!("no saving against {against} ({machine})"),
        _ => format!("against {against} nothing: no such machine in question holds the objectives"),
    }
}
