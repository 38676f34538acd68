//! What is at stake in a decision: what it saves, and what would turn it.

use super::{
    machine::{Candidates, Evidence, Kind},
    option::{ServingOption, Verdict},
    plan::{Plan, advise},
    question::Question,
};
use crate::{
    error::Result,
    units::{Time, UsdPerHour},
    workload::{Slo, Slos},
};
use serde::Serialize;

/// By how much each assumption is varied.
const VARIED: f64 = 0.2;

/// A GPU that is busy less than this is mostly paid for waiting.
pub const IDLE_GPU: f64 = 0.2;

/// What could be done without choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The cheapest machine type, alone.
    BestSingleType,
    /// The cheapest GPU machine, whatever the load.
    AlwaysGpu,
    /// The cheapest machine without a GPU, whatever the load.
    AlwaysCpu,
}

impl Baseline {
    /// All three.
    pub const ALL: [Self; 3] = [Self::BestSingleType, Self::AlwaysGpu, Self::AlwaysCpu];

    /// The words for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BestSingleType => "the best single machine type",
            Self::AlwaysGpu => "always a GPU",
            Self::AlwaysCpu => "always a CPU",
        }
    }
}

/// What the recommended option saves against a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saving {
    /// The baseline.
    pub baseline: Baseline,
    /// Its machines; none where no such option holds the objectives.
    pub machine: Option<String>,
    /// What it costs.
    #[serde(rename = "cost_usd_per_hour")]
    pub cost: Option<UsdPerHour>,
    /// The part of that cost that is saved; 0 is no saving.
    pub share: Option<f64>,
}

/// The savings of an option against the three baselines among `options`.
#[must_use]
pub fn savings(options: &[ServingOption], recommended: Option<usize>) -> Vec<Saving> {
    let Some(winner) = recommended.and_then(|i| options.get(i)) else {
        return Vec::new();
    };
    let cheapest = |kind: Option<Kind>| {
        options
            .iter()
            .filter(|o| o.verdict <= winner.verdict && o.verdict != Verdict::Misses)
            .filter(|o| kind.is_none_or(|kind| kind == o.machine.kind))
            .filter(|o| o.cost.is_some())
            .min_by_key(|o| o.cost)
    };
    Baseline::ALL
        .into_iter()
        .map(|baseline| {
            let other = cheapest(match baseline {
                Baseline::BestSingleType => None,
                Baseline::AlwaysGpu => Some(Kind::Gpu),
                Baseline::AlwaysCpu => Some(Kind::Cpu),
            });
            let cost = other.and_then(|o| o.cost);
            Saving {
                baseline,
                machine: other.map(name),
                cost,
                share: cost
                    .zip(winner.cost)
                    .map(|(other, own)| (1.0 - own.ratio(other)).max(0.0)),
            }
        })
        .collect()
}

/// `2 × aws c7i.2xlarge`.
fn name(option: &ServingOption) -> String {
    let machine = &option.machine;
    format!(
        "{} × {} {}",
        option.replicas, machine.provider, machine.instance_type
    )
}

/// A GPU that mostly waits, and the CPU plan that would not; none where no GPU
/// option is that idle.
#[must_use]
pub fn idle_gpu(options: &[ServingOption]) -> Option<String> {
    let holds = |o: &&ServingOption| o.verdict != Verdict::Misses;
    let gpu = options
        .iter()
        .filter(holds)
        .find(|o| o.machine.kind == Kind::Gpu && o.utilisation.get() < IDLE_GPU)?;
    let idle = format!(
        "the GPU of {} would be busy {} of the time",
        name(gpu),
        gpu.utilisation
    );
    let cpu = options
        .iter()
        .filter(holds)
        .filter(|o| o.machine.kind == Kind::Cpu && o.cost < gpu.cost)
        .min_by_key(|o| o.cost);
    Some(
        match cpu.and_then(|cpu| Some((cpu, cpu.cost?, gpu.cost?))) {
            Some((cpu, cost, of_gpu)) => {
                format!(
                    "{idle}; on CPU, {} does it at {cost} against {of_gpu}",
                    name(cpu)
                )
            }
            None => format!("{idle}, and no CPU plan is cheaper"),
        },
    )
}

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Varied {
    /// The price of the recommended machine.
    OwnPrice,
    /// The price of the best machine of the other kind.
    OtherPrice,
    /// The request rate.
    Rate,
    /// All service times, as if measured or carried over wrongly.
    Latency,
}

impl Varied {
    /// The words for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnPrice => "the price of the recommended machine",
            Self::OtherPrice => "the price of the best machine of the other kind",
            Self::Rate => "the request rate",
            Self::Latency => "every service time",
        }
    }
}

/// What would be recommended if something were otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIf {
    /// What is otherwise.
    pub varied: Varied,
    /// By which factor.
    pub factor: f64,
    /// What is recommended then: number, machine and kind; none where nothing holds.
    pub machine: Option<String>,
    /// What that costs.
    #[serde(rename = "cost_usd_per_hour")]
    pub cost: Option<UsdPerHour>,
    /// Whether that is another machine type than without the change.
    pub turns: bool,
    /// Whether that is the other kind of device.
    pub turns_kind: bool,
}

/// Plans again with each assumption 20 % lower and higher.
///
/// # Errors
/// Those of [`advise`].
pub fn what_if(
    plan: &Plan,
    candidates: &Candidates,
    evidence: &Evidence<'_>,
) -> Result<Vec<WhatIf>> {
    let mut found = Vec::new();
    let winner = plan.recommended.and_then(|i| plan.options.get(i));
    for varied in [
        Varied::OwnPrice,
        Varied::OtherPrice,
        Varied::Rate,
        Varied::Latency,
    ] {
        for factor in [1.0 - VARIED, 1.0 + VARIED] {
            let machine = match (varied, winner) {
                (Varied::OwnPrice, Some(winner)) => Some(winner),
                (Varied::OtherPrice, Some(winner)) => plan
                    .options
                    .iter()
                    .find(|o| o.machine.kind != winner.machine.kind),
                _ => None,
            };
            let priced = matches!(varied, Varied::OwnPrice | Varied::OtherPrice);
            if priced && machine.is_none() {
                continue;
            }
            let question = varied_question(&plan.question, varied, factor)?;
            let other = machine.map(|o| repriced(candidates, o, factor));
            let again = advise(&question, other.as_ref().unwrap_or(candidates), evidence)?;
            found.push(compared((varied, factor), winner, &again));
        }
    }
    Ok(found)
}

/// Service times that are all `f` times longer are, counted in units `f` times
/// longer, the same service times, objectives `f` times tighter and a rate `f` times
/// higher.
fn varied_question(question: &Question, varied: Varied, factor: f64) -> Result<Question> {
    let mut question = question.clone();
    match varied {
        Varied::Rate => question.rate = question.rate.scaled(factor),
        Varied::Latency => {
            question.rate = question.rate.scaled(factor);
            let slos = question.slos.as_slice().iter().map(|slo| Slo {
                percentile: slo.percentile,
                latency: Time::saturating(slo.latency.get() / factor),
            });
            question.slos = Slos::new(slos.collect())?;
        }
        Varied::OwnPrice | Varied::OtherPrice => {}
    }
    Ok(question)
}

/// The candidates with another price of one machine type.
fn repriced(candidates: &Candidates, of: &ServingOption, factor: f64) -> Candidates {
    let mut changed = candidates.clone();
    let key = (&of.machine.provider, &of.machine.instance_type);
    for candidate in &mut changed.list {
        let machine = &mut candidate.machine;
        if (&machine.provider, &machine.instance_type) == key {
            machine.price = machine.price.map(|price| price.scaled(factor));
        }
    }
    changed
}

fn compared(
    (varied, factor): (Varied, f64),
    before: Option<&ServingOption>,
    again: &Plan,
) -> WhatIf {
    let now = again.recommended.and_then(|i| again.options.get(i));
    let of_type = |o: &ServingOption| (o.machine.provider.clone(), o.machine.instance_type.clone());
    let kind = |o: &ServingOption| o.machine.kind;
    WhatIf {
        varied,
        factor,
        machine: now.map(|o| format!("{} ({})", name(o), kind(o).name())),
        cost: now.and_then(|o| o.cost),
        turns: before.map(of_type) != now.map(of_type),
        turns_kind: before.map(kind) != now.map(kind),
    }
}
