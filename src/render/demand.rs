//! Demand over time, put before the caveats of a plan.

use super::{Report, Table, stakes::before_caveats};
use crate::plan::advise::DemandPlan;

/// Adds the ways to follow the demand.
pub fn demand_blocks(report: &mut Report, demand: &DemandPlan) {
    let mut part = Report::default();
    part.heading("Over time");
    part.paragraph(format!(
        "Demand of {} on average and {} at its peak, with {}, each for up to {}; {}.",
        demand.mean, demand.peak, demand.machine, demand.capacity, demand.basis
    ));
    let mut table = Table::new(&[
        "way",
        ">machines",
        ">a month",
        ">a year",
        ">of static",
        ">SLO held",
        ">in time",
    ]);
    for way in &demand.ways {
        table.push([
            way.name.clone(),
            format!("{:.1}, at most {}", way.mean_machines, way.most_machines),
            way.per_month.to_string(),
            way.per_year.to_string(),
            format!("{:.0} %", way.of_static * 100.0),
            format!("{:.2} %", way.attainment.get() * 100.0),
            format!("{:.2} %", way.within.get() * 100.0),
        ]);
    }
    part.table(table);
    let hours: Vec<String> = demand.replicas_by_hour.iter().map(u64::to_string).collect();
    part.facts([("machines by hour of day", hours.join(" "))]);
    before_caveats(report, part);
}
