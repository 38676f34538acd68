//! Demand over time: how many machines at which hour, what that costs, and how well
//! it holds the objectives when the demand is replayed.

mod policy;
mod replay;

use super::{
    machine::{Candidate, Candidates, Kind},
    option::{ServingOption, Verdict},
    plan::Plan,
};
use crate::{
    error::{Error, Result},
    units::{Fraction, Rate, Time, Usd, UsdPerHour},
    workload::Demand,
};
use policy::{Course, autoscaled, combined, fixed, scheduled};
use replay::Replayed;
use serde::Serialize;

/// Hours of a month and of a year, as clouds bill them.
const HOURS_PER_MONTH: f64 = 730.0;
const HOURS_PER_YEAR: f64 = 8760.0;

/// A schedule is learnt from the first half of the demand and tried on the second
/// where there is at least this much of it.
const LEARNT_FROM_DAYS: f64 = 4.0;

/// How machines follow demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Following {
    /// From the decision to add a machine to its first answer.
    pub cold_start: Time,
    /// How much more than the demand seen is provided for.
    pub headroom: Fraction,
}

/// What following demand comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemandPlan {
    /// The machine that is multiplied.
    pub machine: String,
    /// What one of them carries within the objectives.
    #[serde(rename = "capacity_per_s")]
    pub capacity: Rate,
    /// The busiest interval.
    #[serde(rename = "peak_per_s")]
    pub peak: Rate,
    /// The mean.
    #[serde(rename = "mean_per_s")]
    pub mean: Rate,
    /// Replicas by hour of the day, as scheduled.
    pub replicas_by_hour: Vec<u64>,
    /// The ways to follow the demand, static first.
    pub ways: Vec<Way>,
    /// What the figures rest on.
    pub basis: String,
}

/// One way to follow the demand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// Its name.
    pub name: String,
    /// Mean number of machines.
    pub mean_machines: f64,
    /// The most at one time.
    pub most_machines: u64,
    /// Mean cost.
    #[serde(rename = "cost_usd_per_hour")]
    pub cost: UsdPerHour,
    /// The same over a month of 730 hours.
    #[serde(rename = "cost_usd_per_month")]
    pub per_month: Usd,
    /// The same over a year.
    #[serde(rename = "cost_usd_per_year")]
    pub per_year: Usd,
    /// Its cost over that of the static peak.
    pub of_static: f64,
    /// The share of requests that arrive while every objective holds.
    pub attainment: Fraction,
    /// The share of requests answered within the latency of the objective.
    pub within: Fraction,
}

/// Follows the demand with the machine that a plan for its peak recommends, and with
/// the best machine of the other kind on top of a base of it.
///
/// # Errors
/// The plan recommends nothing, or the machine has no price.
pub fn demand_plan(
    plan: &Plan,
    candidates: &Candidates,
    demand: &Demand,
    following: Following,
) -> Result<DemandPlan> {
    let option = plan
        .recommended
        .and_then(|i| plan.options.get(i))
        .ok_or_else(|| {
            Error::bad_input(
                "no machine holds the objectives at the peak, so there is nothing to multiply",
            )
        })?;
    let price = option.machine.price.ok_or_else(|| {
        Error::bad_input("the machine has no price").hint("give it with `--price`")
    })?;
    let fleet = Fleet::of(option, candidates)?;
    let days = demand.step.get() * demand.rates.len() as f64 / 86_400.0;
    let half = if days >= LEARNT_FROM_DAYS {
        demand.rates.len() / 2
    } else {
        0
    };
    let (learnt, replayed) = if half == 0 {
        (0..demand.rates.len(), 0..demand.rates.len())
    } else {
        (0..half, half..demand.rates.len())
    };
    let capacity = fleet.capacity;
    let by_hour = scheduled(demand, learnt, (capacity, following.headroom));
    let schedule: Course = replayed
        .clone()
        .map(|i| by_hour.get(demand.hour_of_day(i)).copied().unwrap_or(1))
        .collect();
    let auto = autoscaled(demand, replayed.clone(), capacity, following);
    let peak = fixed(demand, replayed.clone(), capacity);
    let courses = [
        ("static peak", peak),
        ("scheduled by hour of day", schedule.clone()),
        (
            "scheduled, one machine more",
            schedule.iter().map(|n| n + 1).collect(),
        ),
        ("autoscaled", auto.clone()),
        ("scheduled, autoscaled above it", combined(&schedule, &auto)),
    ];
    let rates = demand.rates.get(replayed.clone()).unwrap_or_default();
    let mut ways = Vec::new();
    for (name, course) in courses {
        let seen = fleet.replay(rates, &course, (demand.step, plan))?;
        ways.push(way(name, &course, price, seen));
    }
    if let Some(both) = base_and_peak(plan, candidates, (demand, replayed), following)? {
        ways.push(both);
    }
    let most = ways.first().map_or(UsdPerHour::ZERO, |way| way.cost);
    for way in &mut ways {
        way.of_static = way.cost.ratio(most);
    }
    let basis = if half == 0 {
        "the schedule is learnt from the same demand that is replayed: there are too few days to learn from some and try on others".to_owned()
    } else {
        format!(
            "the schedule is learnt from the first {:.1} days and tried on the other {:.1}; each interval is simulated at its own load, work left over waits for the next",
            days / 2.0,
            days / 2.0
        )
    };
    Ok(DemandPlan {
        machine: format!(
            "{} {}",
            option.machine.provider, option.machine.instance_type
        ),
        capacity,
        peak: demand.peak(),
        mean: demand.mean(),
        replicas_by_hour: by_hour,
        ways,
        basis,
    })
}

/// A machine type that can be multiplied.
struct Fleet<'f> {
    option: &'f ServingOption,
    candidate: &'f Candidate,
    capacity: Rate,
}

impl<'f> Fleet<'f> {
    fn of(option: &'f ServingOption, candidates: &'f Candidates) -> Result<Self> {
        let key = |m: &super::Machine| (m.provider.clone(), m.instance_type.clone(), m.kind);
        let candidate = candidates
            .list
            .iter()
            .find(|candidate| key(&candidate.machine) == key(&option.machine))
            .ok_or_else(|| {
                Error::bad_input("the recommended machine is not among the candidates")
            })?;
        // What one replica carried in the plan is what it is trusted with here, but
        // not more than the load at which the plan's verdict was given.
        let capacity = option.capacity.value.max(option.offered_load);
        Ok(Self {
            option,
            candidate,
            capacity,
        })
    }

    fn replay(
        &self,
        rates: &[Rate],
        course: &Course,
        (step, plan): (Time, &Plan),
    ) -> Result<Replayed> {
        replay::replay(
            self.option,
            self.candidate,
            &plan.question.slos,
            (rates, course, step),
        )
    }
}

fn way(name: &str, course: &Course, price: UsdPerHour, seen: Replayed) -> Way {
    let mean = course.iter().sum::<u64>() as f64 / course.len().max(1) as f64;
    priced(
        name,
        (mean, course.iter().copied().max().unwrap_or(0)),
        price.scaled(mean),
        seen,
    )
}

fn priced(name: &str, (mean, most): (f64, u64), cost: UsdPerHour, seen: Replayed) -> Way {
    Way {
        name: name.to_owned(),
        mean_machines: mean,
        most_machines: most,
        cost,
        per_month: Usd::saturating(cost.get() * HOURS_PER_MONTH),
        per_year: Usd::saturating(cost.get() * HOURS_PER_YEAR),
        of_static: 1.0,
        attainment: seen.attainment,
        within: seen.within,
    }
}

/// CPU machines for what is always there, GPU machines for the rest; none where the
/// plan does not have both kinds.
fn base_and_peak(
    plan: &Plan,
    candidates: &Candidates,
    (demand, replayed): (&Demand, std::ops::Range<usize>),
    following: Following,
) -> Result<Option<Way>> {
    let best = |kind| {
        plan.options
            .iter()
            .find(|o| o.machine.kind == kind && o.verdict != Verdict::Misses)
    };
    let (Some(cpu), Some(gpu)) = (best(Kind::Cpu), best(Kind::Gpu)) else {
        return Ok(None);
    };
    let (Some(cpu_price), Some(gpu_price)) = (cpu.machine.price, gpu.machine.price) else {
        return Ok(None);
    };
    let (base, top) = (Fleet::of(cpu, candidates)?, Fleet::of(gpu, candidates)?);
    let mut sorted = demand.rates.clone();
    sorted.sort();
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(Rate::ZERO);
    let machines = usual.ratio(base.capacity).ceil().max(1.0) as u64;
    let carried = base.capacity.scaled(machines as f64);
    let above = Demand {
        rates: demand.rates.iter().map(|rate| *rate - carried).collect(),
        ..demand.clone()
    };
    let course: Course = autoscaled(&above, replayed.clone(), top.capacity, following)
        .into_iter()
        .collect();
    let rates = |of: &Demand| {
        of.rates
            .get(replayed.clone())
            .map(<[Rate]>::to_vec)
            .unwrap_or_default()
    };
    let below: Vec<Rate> = rates(demand)
        .iter()
        .map(|rate| (*rate).min(carried))
        .collect();
    let constant: Course = vec![machines; below.len()];
    let (low, high) = (
        base.replay(&below, &constant, (demand.step, plan))?,
        top.replay(&rates(&above), &course, (demand.step, plan))?,
    );
    let of_gpu = course.iter().sum::<u64>() as f64 / course.len().max(1) as f64;
    let cost = cpu_price.scaled(machines as f64) + gpu_price.scaled(of_gpu);
    Ok(Some(priced(
        &format!(
            "{machines} × {} {} as a base, {} {} autoscaled above it",
            cpu.machine.provider,
            cpu.machine.instance_type,
            gpu.machine.provider,
            gpu.machine.instance_type
        ),
        (
            machines as f64 + of_gpu,
            machines + course.iter().copied().max().unwrap_or(0),
        ),
        cost,
        low.joined(high),
    )))
}

#[cfg(test)]
mod tests;
