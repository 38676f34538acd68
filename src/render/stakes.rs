//! What a plan saves and what would turn it, put before the caveats.

use super::{Block, Report, Table};
use crate::plan::advise::{Plan, Saving, WhatIf};

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
        _ => format!("{against} does not hold the objectives at all"),
    }
}
