//! Which machines are worth showing: the cheapest of each kind that hold the
//! objectives, found best first, so that few of a thousand are simulated.

use super::{
    at_load::{REQUESTS_SHOWN, at_load, holds_at},
    machine::{Candidate, Kind},
    option::{Predicted, ServingOption, Setup, Verdict},
    question::Question,
    sizing::{REQUESTS_SIZING, Sized, Sizer},
};
use crate::{
    error::Result,
    estimate::Estimate,
    plan::latency::{End, LatencyCurve, curve::at},
    units::{Fraction, Rate, Time, UsdPerHour},
};
use rayon::prelude::*;

/// Candidates looked at in one go; a fixed number, so that the result does not
/// depend on the machine's processors.
const AT_ONCE: usize = 8;

/// How often replicas may be added when the full simulation is less kind than the
/// coarse one that sized them.
const MOST_ADDED: u64 = 3;

/// One replica is added for every so many: less is within the noise of the sizing.
const ONE_IN: u64 = 200;

/// The share of what it must carry at which a machine is still looked at.
const NEARLY: f64 = 0.98;

/// The utilisation at which a machine counts as lightly loaded.
const LIGHT: f64 = 0.2;

/// A candidate with what it carries and what that costs.
#[derive(Debug, Clone)]
pub struct Chosen<'c> {
    /// The candidate.
    pub candidate: &'c Candidate,
    /// What one replica carries.
    pub sized: Sized,
    /// How many replicas the load takes.
    pub replicas: u64,
    /// What they cost; none for an unpriced machine of one's own.
    pub cost: Option<UsdPerHour>,
}

/// The cheapest candidates of a kind that hold the objectives at one end of the
/// intervals, cheapest first: at most `most`, and cheaper than `below` if that is given.
///
/// Full batches without pause bound from below what a candidate costs; those are
/// visited in that order until the next bound is above the last place.
///
/// # Errors
/// A curve is unusable.
pub fn cheapest<'c>(
    candidates: &'c [Candidate],
    sizer: &Sizer<'_>,
    question: &Question,
    (kind, end): (Kind, End),
    (most, below): (usize, Option<UsdPerHour>),
) -> Result<Vec<Chosen<'c>>> {
    let mut queue: Vec<(f64, usize, &Candidate)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.machine.kind == kind)
        .filter_map(|(i, candidate)| {
            let bound = sizer.bound(candidate, end);
            let replicas = replicas_needed(candidate, question.rate, bound)?;
            Some((
                cost_of(candidate, replicas).map_or(0.0, UsdPerHour::get),
                i,
                candidate,
            ))
        })
        .collect();
    queue.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<Chosen<'c>> = Vec::new();
    for group in queue.chunks(AT_ONCE) {
        let last = chosen.get(most.saturating_sub(1)).and_then(|c| c.cost);
        let next = group.first().map_or(0.0, |(bound, _, _)| *bound);
        let too_dear = |limit: UsdPerHour| limit.get() <= next;
        if last.is_some_and(too_dear) || below.is_some_and(too_dear) {
            break;
        }
        let limit = last.into_iter().chain(below).min();
        let sized: Vec<Option<Chosen<'c>>> = group
            .par_iter()
            .map(|(_, _, candidate)| choose(candidate, sizer, question, (end, limit)))
            .collect::<Result<_>>()?;
        chosen.extend(sized.into_iter().flatten());
        // Stable: of equal costs the one earlier in the list stays first.
        chosen.sort_by_key(|one| one.cost);
    }
    chosen.retain(|one| below.is_none_or(|below| one.cost.is_some_and(|cost| cost < below)));
    chosen.truncate(most);
    Ok(chosen)
}

fn choose<'c>(
    candidate: &'c Candidate,
    sizer: &Sizer<'_>,
    question: &Question,
    (end, limit): (End, Option<UsdPerHour>),
) -> Result<Option<Chosen<'c>>> {
    let least = least_capacity(candidate, question, limit);
    let Some(sized) = sizer.size(candidate, end, least)? else {
        return Ok(None);
    };
    Ok(
        replicas_needed(candidate, question.rate, sized.capacity).map(|replicas| Chosen {
            candidate,
            cost: cost_of(candidate, replicas),
            sized,
            replicas,
        }),
    )
}

/// What one replica must carry for the machines of a load to cost no more than
/// `limit`; zero where any capacity will do.
fn least_capacity(candidate: &Candidate, question: &Question, limit: Option<UsdPerHour>) -> Rate {
    let most = limit
        .filter(|_| !is_here(candidate))
        .zip(candidate.machine.price)
        .map(|(limit, price)| limit.ratio(price).floor());
    match most {
        // Noise of the sizing must not decide about one that just reaches it.
        Some(most) if most >= 1.0 => question.rate.scaled(NEARLY / most),
        Some(_) => question.rate,
        None => Rate::ZERO,
    }
}

/// Machines for a load; this machine is one and cannot be had twice.
fn replicas_needed(candidate: &Candidate, rate: Rate, capacity: Rate) -> Option<u64> {
    if capacity.is_zero() {
        return None;
    }
    if is_here(candidate) {
        return Some(1);
    }
    let needed = rate.ratio(capacity).ceil().max(1.0);
    (needed < 1e9).then_some(needed as u64)
}

fn is_here(candidate: &Candidate) -> bool {
    candidate.machine.provider == "here"
}

fn cost_of(candidate: &Candidate, replicas: u64) -> Option<UsdPerHour> {
    candidate
        .machine
        .price
        .map(|price| price.scaled(replicas as f64))
}

/// A chosen candidate as an option with latencies at the load and a verdict.
///
/// The smallest batch without a window whose verdict is as good as `wanted` is
/// taken: what carries most is more than the load needs. Where not even the setup
/// that carries most is as good, replicas are added, at most three times.
///
/// # Errors
/// The setup cannot be simulated.
pub fn option(
    chosen: &Chosen<'_>,
    sizer: &Sizer<'_>,
    question: &Question,
    wanted: Verdict,
) -> Result<Option<ServingOption>> {
    let Some(curve) = chosen.candidate.curves.get(chosen.sized.curve) else {
        return Ok(None);
    };
    let added = if is_here(chosen.candidate) {
        0
    } else {
        MOST_ADDED
    };
    let most = chosen.sized.setup;
    let run = |setup, replicas, requests| {
        with_setup(
            chosen,
            (curve, setup),
            sizer,
            (question, replicas, requests),
        )
    };
    let decides = match wanted {
        Verdict::Meets => End::Pessimistic,
        Verdict::Unproven | Verdict::Misses => End::Middle,
    };
    let may_hold = |setup: Setup, replicas, requests| {
        if wanted == Verdict::Misses {
            return Ok(true);
        }
        holds_at(decides, curve, &setup, (question, replicas, requests))
    };
    let mut replicas = chosen.replicas;
    let mut setup = most;
    for max_batch in batch_sizes_below(curve, &most) {
        let smaller = Setup {
            max_batch,
            batch_window: Time::ZERO,
            ..most
        };
        if may_hold(smaller, replicas, REQUESTS_SIZING)?
            && run(smaller, replicas, REQUESTS_SIZING)?.verdict <= wanted
        {
            setup = smaller;
            break;
        }
    }
    let mut best = None;
    if setup != most && may_hold(setup, replicas, REQUESTS_SHOWN)? {
        best = Some(run(setup, replicas, REQUESTS_SHOWN)?);
    }
    for attempt in 0..=added {
        if best.as_ref().is_some_and(|best| best.verdict <= wanted) {
            break;
        }
        if attempt > 0 {
            replicas += (chosen.replicas / ONE_IN).max(1);
        }
        // The last one is shown, whatever its verdict.
        if attempt == added || may_hold(most, replicas, REQUESTS_SHOWN)? {
            best = Some(run(most, replicas, REQUESTS_SHOWN)?);
        }
    }
    let Some(best) = best else {
        return Ok(None);
    };
    Ok(Some(within_budget(
        short_of_load(best, chosen, question),
        question,
    )))
}

/// The measured batch sizes below the largest batch, and that itself where it has a
/// window to lose.
fn batch_sizes_below(curve: &LatencyCurve, most: &Setup) -> Vec<u32> {
    curve
        .points
        .iter()
        .map(|point| point.batch_size)
        .take_while(|size| *size < most.max_batch)
        .chain((!most.batch_window.is_zero()).then_some(most.max_batch))
        .collect()
}

/// One machine that cannot be multiplied says how far it goes.
fn short_of_load(
    mut option: ServingOption,
    chosen: &Chosen<'_>,
    question: &Question,
) -> ServingOption {
    let capacity = chosen.sized.capacity;
    if is_here(chosen.candidate) && option.verdict == Verdict::Misses && !capacity.is_zero() {
        option.why = format!(
            "it holds the objectives up to {capacity}, short by {}",
            question.rate - capacity
        );
    }
    option
}

fn with_setup(
    chosen: &Chosen<'_>,
    (curve, setup): (&LatencyCurve, Setup),
    sizer: &Sizer<'_>,
    (question, replicas, requests): (&Question, u64, u32),
) -> Result<ServingOption> {
    let load = at_load(curve, &setup, question, (replicas, requests))?;
    let cost = cost_of(chosen.candidate, replicas);
    let verdict = judge(&load.predicted);
    Ok(ServingOption {
        machine: chosen.candidate.machine.clone(),
        replicas,
        setup,
        capacity: capacity(chosen.sized.capacity, curve, &setup),
        offered_load: question.rate.scaled(1.0 / replicas.max(1) as f64),
        utilisation: load.utilisation,
        mean_batch: load.mean_batch,
        why: why(verdict, &load.predicted),
        predicted: load.predicted,
        cost_per_million: cost.and_then(|cost| cost.per_million(question.rate)),
        cost,
        memory: sizer
            .room()
            .fit(chosen.candidate, setup.layout, setup.max_batch),
        source: curve.source.clone(),
        verdict,
    })
}

/// The capacity that sized the option, with ends in proportion to those of the
/// service time at its largest batch.
fn capacity(value: Rate, curve: &LatencyCurve, setup: &Setup) -> Estimate<Rate> {
    let point = curve.point(setup.max_batch).or(curve.points.first());
    let (slow, fast, level) = point.map_or((1.0, 1.0, Fraction::saturating(0.9)), |point| {
        let middle = at(&point.busy, End::Middle);
        (
            middle.ratio(at(&point.busy, End::Pessimistic)),
            middle.ratio(at(&point.busy, End::Optimistic)),
            point.busy.level,
        )
    });
    Estimate::new(
        value,
        (value.scaled(slow), value.scaled(fast)),
        level,
        curve.source.clone(),
    )
}

/// `Meets` if even the upper ends hold every objective, `Unproven` if the
/// estimates do.
fn judge(predicted: &[Predicted]) -> Verdict {
    let objectives = predicted.iter().filter_map(|p| Some((p, p.objective?)));
    let mut verdict = Verdict::Meets;
    for (predicted, objective) in objectives {
        let of_one = match &predicted.latency {
            Some(latency) if !predicted.open_ended && latency.high <= objective => Verdict::Meets,
            Some(latency) if latency.value <= objective => Verdict::Unproven,
            _ => Verdict::Misses,
        };
        verdict = verdict.max(of_one);
    }
    verdict
}

fn why(verdict: Verdict, predicted: &[Predicted]) -> String {
    let worst = predicted
        .iter()
        .filter_map(|p| Some((p, p.objective?)))
        .max_by(|a, b| strain(a).total_cmp(&strain(b)));
    let Some((worst, objective)) = worst else {
        return String::new();
    };
    let name = worst.percentile;
    match (&worst.latency, verdict) {
        (None, _) => "the load is more than it can carry".to_owned(),
        (Some(latency), Verdict::Meets) => {
            format!("{name} is at most {} of {objective} allowed", latency.high)
        }
        (Some(latency), Verdict::Unproven) if worst.open_ended => {
            format!(
                "{name} is {} if the estimate holds, but at its pessimistic end the load is more than it can carry",
                latency.value
            )
        }
        (Some(latency), Verdict::Unproven) => {
            format!(
                "{name} is {} if the estimate holds, but may be {}, above {objective}",
                latency.value, latency.high
            )
        }
        (Some(latency), Verdict::Misses) => {
            format!("{name} is {}, above {objective}", latency.value)
        }
    }
}

fn strain((predicted, objective): &(&Predicted, Time)) -> f64 {
    predicted
        .latency
        .as_ref()
        .map_or(f64::INFINITY, |latency| latency.high.ratio(*objective))
}

/// Above the budget an option misses, whatever its latency.
fn within_budget(mut option: ServingOption, question: &Question) -> ServingOption {
    if let (Some(budget), Some(cost)) = (question.budget, option.cost)
        && cost > budget
    {
        option.why = if option.verdict == Verdict::Misses {
            format!("{cost} is above the budget of {budget}, and {}", option.why)
        } else {
            format!("holds the objectives, but {cost} is above the budget of {budget}")
        };
        option.verdict = Verdict::Misses;
    }
    option
}

/// The candidate of a kind that comes nearest where none holds the objectives:
/// the one that answers a single request fastest.
#[must_use]
pub fn nearest_miss<'c>(
    candidates: &'c [Candidate],
    question: &Question,
    kind: Kind,
) -> Option<Chosen<'c>> {
    let single = |curve: &LatencyCurve| curve.points.first().map(|point| point.alone);
    let (candidate, index, _) = candidates
        .iter()
        .filter(|candidate| candidate.machine.kind == kind)
        .flat_map(|candidate| {
            candidate
                .curves
                .iter()
                .enumerate()
                .map(move |(i, curve)| (candidate, i, curve))
        })
        .filter_map(|(candidate, i, curve)| Some((candidate, i, single(curve)?)))
        .min_by(|a, b| (a.2, a.0.machine.price).cmp(&(b.2, b.0.machine.price)))?;
    let curve = candidate.curves.get(index)?;
    // So many that queueing is not what it fails for.
    let light = curve.throughput_bound(End::Middle, 1).scaled(LIGHT);
    let replicas = replicas_needed(candidate, question.rate, light)?;
    Some(Chosen {
        candidate,
        sized: Sized {
            curve: index,
            setup: Setup {
                layout: curve.layout,
                max_batch: 1,
                batch_window: Time::ZERO,
            },
            capacity: Rate::ZERO,
        },
        replicas,
        cost: cost_of(candidate, replicas),
    })
}
