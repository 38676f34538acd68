//! Plans as reports.

use super::{Report, Table};
use crate::{
    estimate::Source,
    plan::advise::{Fit, Kind, Plan, ServingOption, Verdict},
    units::Time,
};

/// What a report says besides the plan itself.
#[derive(Debug, Clone, Default)]
pub struct PlanContext {
    /// The machine on which the model was measured.
    pub measured_on: String,
    /// When, and by which runtime.
    pub measured_with: String,
    /// The price book: hash and dates; none for a plan for this machine alone.
    pub prices: Option<String>,
    /// The command that makes the plan again.
    pub command: String,
}

/// The answer in one sentence, the assumptions, the table, the reasons, the doubts.
#[must_use]
pub fn plan_report(plan: &Plan, context: &PlanContext) -> Report {
    let mut report = Report::default();
    report.answer(answer(plan));
    report.facts(assumptions(plan, context));
    let mut table = Table::new(&[
        "machine",
        "setup of each",
        ">load",
        ">latency",
        ">cost",
        "verdict",
    ]);
    for (i, option) in plan.options.iter().enumerate() {
        table.push(cells(option, plan.recommended == Some(i)));
    }
    report.table(table);
    report.list("Why", plan.reasons.clone());
    report.list("What the speeds rest on", rests_on(plan));
    report.caveats(&plan.caveats);
    if !context.command.is_empty() {
        report.paragraph("Made by").command(context.command.clone());
    }
    report
}

/// The sources of the shown speeds, each once, with the machines that it is of.
fn rests_on(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for option in &plan.options {
        let source = match &option.source {
            Source::Measured => continue,
            Source::Transferred { from } => from.clone(),
            other => other.to_string(),
        };
        let machine = option.machine.instance_type.as_str();
        match lines.iter_mut().find(|(known, _)| *known == source) {
            Some((_, machines)) if machines.contains(&machine) => {}
            Some((_, machines)) => machines.push(machine),
            None => lines.push((source, vec![machine])),
        }
    }
    lines
        .into_iter()
        .map(|(source, machines)| format!("{}: {source}", machines.join(", ")))
        .collect()
}

fn answer(plan: &Plan) -> String {
    let Some(option) = plan.recommended.and_then(|i| plan.options.get(i)) else {
        let question = &plan.question;
        let budget = question
            .budget
            .map_or_else(String::new, |budget| format!(" within {budget}"));
        return format!(
            "Nothing was found that holds {} at {}{budget}.",
            question.slos, question.rate
        );
    };
    let machine = &option.machine;
    let latency: Vec<String> = option
        .predicted
        .iter()
        .filter(|p| p.objective.is_some())
        .filter_map(|p| Some(format!("{} {}", p.percentile, p.latency.as_ref()?.value)))
        .collect();
    let cost = match (option.cost, option.cost_per_million) {
        (Some(cost), Some(per_million)) => format!(", {cost}, {per_million} requests"),
        _ => String::new(),
    };
    let region = if machine.region == "here" || machine.region == "*" {
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
        "Serve {} on {} × {} {}{region}, {}: {}{cost}.{unproven}",
        plan.model.name,
        option.replicas,
        machine.provider,
        machine.instance_type,
        machine.kind.name(),
        latency.join(", "),
    )
    .replace("here this machine", "this machine")
}

fn assumptions(plan: &Plan, context: &PlanContext) -> Vec<(String, String)> {
    let question = &plan.question;
    let budget = question
        .budget
        .map_or_else(String::new, |budget| format!(", at most {budget}"));
    let mut facts = vec![
        (
            "asked".to_owned(),
            format!("{} with {}{budget}", question.rate, question.slos),
        ),
        (
            "model".to_owned(),
            format!(
                "{}, {} parameters, {} per request",
                plan.model.name, plan.model.parameters, plan.model.flops_per_item
            ),
        ),
        ("measured on".to_owned(), context.measured_on.clone()),
        ("measured with".to_owned(), context.measured_with.clone()),
        (
            "load".to_owned(),
            format!(
                "Poisson arrivals, {} over replicas, batches formed when an instance is free",
                question.balancer
            ),
        ),
    ];
    if let Some(prices) = &context.prices {
        facts.push(("prices".to_owned(), format!("{}, {prices}", question.term)));
    }
    facts
}

fn cells(option: &ServingOption, recommended: bool) -> [String; 6] {
    let machine = &option.machine;
    let mark = if recommended { "→ " } else { "" };
    let name = if machine.provider == "here" {
        machine.instance_type.clone()
    } else {
        format!("{} {}", machine.provider, machine.instance_type)
    };
    let place = match machine.region.as_str() {
        "here" => String::new(),
        "*" => "any region, ".to_owned(),
        region => format!("{region}, "),
    };
    let cost = match (option.cost, option.cost_per_million) {
        (Some(cost), Some(each)) => {
            format!("{cost}\n{}/M", each.to_string().replace(" per million", ""))
        }
        _ => "no price".to_owned(),
    };
    [
        format!(
            "{mark}{} × {name}\n{place}{}",
            option.replicas, machine.hardware
        ),
        setup(option),
        format!("{}\n{} busy", option.offered_load, option.utilisation),
        latency(option),
        cost,
        format!("{}\n{}", option.verdict, option.source.label()),
    ]
}

fn setup(option: &ServingOption) -> String {
    let setup = &option.setup;
    let window = if setup.batch_window == Time::ZERO {
        "no window".to_owned()
    } else {
        format!("window {}", setup.batch_window)
    };
    let device = option.machine.kind.name();
    let layout = &setup.layout;
    let threads = match option.machine.kind {
        Kind::Cpu => format!(
            "{device}, {} × {} threads",
            layout.instances, layout.intra_op_threads
        ),
        Kind::Gpu => format!("{device}, {} × 1 instance", layout.instances),
    };
    format!(
        "{threads}\nbatch ≤ {}, {window}\n{}",
        setup.max_batch,
        memory(option)
    )
}

fn latency(option: &ServingOption) -> String {
    let lines: Vec<String> = option
        .predicted
        .iter()
        .filter(|p| p.objective.is_some())
        .map(|p| match &p.latency {
            Some(latency) if p.open_ended => {
                format!(
                    "{} {}\n({} – overload)",
                    p.percentile, latency.value, latency.low
                )
            }
            Some(latency) => format!(
                "{} {}\n({})",
                p.percentile,
                latency.value,
                span(latency.low, latency.high)
            ),
            None => format!("{} overload", p.percentile),
        })
        .collect();
    lines.join("\n")
}

/// `70–117 ms`, or with both units where they differ.
fn span(low: Time, high: Time) -> String {
    let (low, high) = (low.to_string(), high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((value, unit)), Some((_, other))) if unit == other => format!("{value}–{high}"),
        _ => format!("{low} – {high}"),
    }
}

fn memory(option: &ServingOption) -> String {
    let memory = &option.memory;
    let word = match memory.fit {
        Fit::Fits => "fits",
        Fit::Tight => "tight",
        Fit::DoesNotFit => "does not fit",
        Fit::Unknown => "of unknown",
    };
    format!("{}, {word}", memory.needed)
}
