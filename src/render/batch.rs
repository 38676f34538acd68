//! Job plans as reports.

use super::{Report, Table, plan::PlanContext};
use crate::{
    estimate::Estimate,
    plan::advise::{BatchOption, BatchPlan, Verdict},
};
use std::fmt::Display;

/// The answer in one sentence, the assumptions, the table, the reasons, the doubts.
#[must_use]
pub fn batch_report(plan: &BatchPlan, context: &PlanContext) -> Report {
    let mut report = Report::default();
    report.answer(answer(plan));
    report.facts(assumptions(plan, context));
    let mut table = Table::new(&[
        "machines",
        "setup of each",
        ">items/s each",
        ">time",
        ">cost",
        "verdict",
    ]);
    for (i, option) in plan.options.iter().enumerate() {
        table.push(cells(option, plan.recommended == Some(i)));
    }
    report.table(table);
    report.list("Why", plan.reasons.clone());
    report.caveats(&plan.caveats);
    if !context.command.is_empty() {
        report.paragraph("Made by").command(context.command.clone());
    }
    report
}

fn answer(plan: &BatchPlan) -> String {
    let question = &plan.question;
    let Some(option) = plan.recommended.and_then(|i| plan.options.get(i)) else {
        let budget = question
            .budget
            .map_or_else(String::new, |budget| format!(" for {budget}"));
        return format!(
            "Nothing was found that runs {} items of {} in {}{budget}.",
            question.items, plan.model.name, question.deadline
        );
    };
    let machine = &option.machine;
    let region = if machine.region == "*" {
        String::new()
    } else {
        format!(" in {}", machine.region)
    };
    let unproven = if option.verdict == Verdict::Unproven {
        " This is UNPROVEN: the estimate holds, its pessimistic end does not."
    } else {
        ""
    };
    format!(
        "Run {} items of {} on {} × {} {}{region}, {}: {} and {} in all ({} items).{unproven}",
        question.items,
        plan.model.name,
        option.machines,
        machine.provider,
        machine.instance_type,
        machine.kind.name(),
        option.time.value,
        option.cost.value,
        option.cost_per_million,
    )
}

fn assumptions(plan: &BatchPlan, context: &PlanContext) -> Vec<(String, String)> {
    let question = &plan.question;
    let mut facts = vec![
        (
            "asked",
            format!("{} items within {}", question.items, question.deadline),
        ),
        (
            "model",
            format!(
                "{}, {} per item",
                plan.model.name, plan.model.flops_per_item
            ),
        ),
        ("measured on", context.measured_on.clone()),
        ("measured with", context.measured_with.clone()),
    ];
    for one in &plan.measured {
        let rate = one.rate.to_string().replace("req/s", "items/s");
        facts.push((
            "there",
            format!(
                "{} does {rate}: the job takes {} on it alone",
                one.device, one.time
            ),
        ));
    }
    if let Some(prices) = &context.prices {
        facts.push(("prices", format!("{}, {prices}", question.term)));
    }
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn cells(option: &BatchOption, recommended: bool) -> [String; 6] {
    let machine = &option.machine;
    let mark = if recommended { "→ " } else { "" };
    let place = if machine.region == "*" {
        "any region".to_owned()
    } else {
        machine.region.clone()
    };
    let rate = |rate: crate::units::Rate| rate.to_string().replace(" req/s", "");
    let throughput = &option.throughput;
    [
        format!(
            "{mark}{} × {} {}\n{place}, {}",
            option.machines, machine.provider, machine.instance_type, machine.hardware
        ),
        format!("{}\nbatches of {}", option.layout, option.batch_size),
        format!(
            "{}\n({}–{})",
            rate(throughput.value),
            rate(throughput.low),
            rate(throughput.high)
        ),
        with_ends(&option.time),
        with_ends(&option.cost),
        format!("{}\n{}", option.verdict, option.time.source.label()),
    ]
}

fn with_ends<T: Display>(estimate: &Estimate<T>) -> String {
    format!("{}\n({} – {})", estimate.value, estimate.low, estimate.high)
}
