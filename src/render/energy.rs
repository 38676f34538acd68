//! Energy and carbon of a plan, put before the caveats.

use super::{Report, Table, stakes::before_caveats};
use crate::plan::{advise::Plan, energy::Consumption};

/// Adds what the recommended option and the best of the other kind draw and emit.
pub fn energy_blocks(report: &mut Report, plan: &Plan, options: &[Option<Consumption>]) {
    let Some(recommended) = plan.recommended else {
        return;
    };
    let kind_of = |at: usize| plan.options.get(at).map(|option| option.machine.kind);
    let other = (0..plan.options.len()).find(|at| kind_of(*at) != kind_of(recommended));
    let mut table = Table::new(&[
        "energy (estimated)",
        ">power",
        ">per million",
        ">CO2e/h",
        ">CO2e/million",
    ]);
    let mut basis: Vec<String> = Vec::new();
    for at in std::iter::once(recommended).chain(other) {
        let (Some(option), Some(Some(used))) = (plan.options.get(at), options.get(at)) else {
            continue;
        };
        let none = || "unknown".to_owned();
        table.push([
            format!(
                "{} × {} {}",
                option.replicas, option.machine.provider, option.machine.instance_type
            ),
            format!(
                "{} ({}–{})",
                used.power.value, used.power.low, used.power.high
            ),
            used.energy_per_million
                .map_or_else(none, |energy| energy.to_string()),
            used.carbon_per_hour.to_string(),
            used.carbon_per_million
                .map_or_else(none, |carbon| carbon.to_string()),
        ]);
        basis.push(format!(
            "{}: {}",
            option.machine.instance_type,
            used.basis.join("; ")
        ));
    }
    if basis.is_empty() {
        return;
    }
    let mut part = Report::default();
    part.table(table);
    part.list("Energy from", basis);
    before_caveats(report, part);
}
