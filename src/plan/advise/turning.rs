//! Where the decision between CPU and GPU would turn.

use super::{
    machine::Kind,
    option::{ServingOption, Verdict},
    question::Question,
};
use crate::units::{Rate, UsdPerHour};
use serde::Serialize;

/// The request rates that are looked at: up to this many times the one asked for.
const FURTHEST: f64 = 10_000.0;

/// Rates looked at per tenfold.
const STEPS_PER_DECADE: i32 = 200;

/// At what request rate or price the other kind would be the cheaper one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turning {
    /// The cheaper kind at the rate asked for.
    pub winner: Kind,
    /// The winner's machine.
    pub winner_machine: String,
    /// The other kind's machine.
    pub other_machine: String,
    /// The nearest rate, up or down, at which the other kind is cheaper, with
    /// these two machines; none within four orders of magnitude.
    #[serde(rename = "rate_per_s")]
    pub rate: Option<Rate>,
    /// The price of the other kind's machine below which it would win.
    #[serde(rename = "price_usd_per_hour")]
    pub price: UsdPerHour,
}

/// Compares the best option of each kind; none where a kind has no option that
/// holds the objectives or no price.
#[must_use]
pub fn turning(options: &[ServingOption], question: &Question) -> Option<Turning> {
    let best = |kind| {
        options
            .iter()
            .filter(|o| o.machine.kind == kind && o.verdict != Verdict::Misses)
            .min_by(|a, b| (a.verdict, a.cost).cmp(&(b.verdict, b.cost)))
            .or_else(|| {
                options
                    .iter()
                    .filter(|o| o.machine.kind == kind && o.why.starts_with("holds the objectives"))
                    .min_by(|a, b| a.cost.cmp(&b.cost))
            })
    };
    let (cpu, gpu) = (best(Kind::Cpu)?, best(Kind::Gpu)?);
    let (winner, other) = if cpu.cost? <= gpu.cost? {
        (cpu, gpu)
    } else {
        (gpu, cpu)
    };
    let (winner_price, other_price) = (winner.machine.price?, other.machine.price?);
    let cost = |option: &ServingOption, price: UsdPerHour, rate: Rate| {
        price.scaled(rate.ratio(option.capacity.value).ceil().max(1.0))
    };
    let turns = |rate: Rate| cost(other, other_price, rate) < cost(winner, winner_price, rate);
    let step = |n: i32| {
        question
            .rate
            .scaled(10_f64.powf(f64::from(n) / f64::from(STEPS_PER_DECADE)))
    };
    let furthest = (FURTHEST.log10() * f64::from(STEPS_PER_DECADE)) as i32;
    let rate =
        (1..=furthest).find_map(|n| [step(n), step(-n)].into_iter().find(|rate| turns(*rate)));
    Some(Turning {
        winner: winner.machine.kind,
        winner_machine: name(winner),
        other_machine: name(other),
        rate,
        price: winner.cost?.scaled(1.0 / other.replicas.max(1) as f64),
    })
}

/// `aws c7i.2xlarge`.
fn name(option: &ServingOption) -> String {
    format!(
        "{} {}",
        option.machine.provider, option.machine.instance_type
    )
}
