//! Ranked ways to do an offline job, and why.

use super::{
    option::{BatchOption, Worker},
    question::BatchQuestion,
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    estimate::Source,
    plan::{
        advise::{
            footprint::MemoryUse,
            machine::{Candidates, Evidence, Kind},
            option::Verdict,
            sizing::Room,
        },
        latency::{End, LatencyCurve},
        pricing::{Offer, Term},
    },
    profile::calibration::{Device, ModelSummary},
    units::{Fraction, Rate, Time},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Loading a session where no calibration measured it: seconds per GiB of weights,
/// as a cold disk delivers them.
const LOAD_S_PER_GIB: f64 = 5.0;

/// The answer to a job question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchPlan {
    /// What was asked.
    pub question: BatchQuestion,
    /// The model.
    pub model: ModelSummary,
    /// The options, best first.
    pub options: Vec<BatchOption>,
    /// Which of them is recommended.
    pub recommended: Option<usize>,
    /// What the measured machine does by itself, per device.
    pub measured: Vec<Throughput>,
    /// Why the winner won and the others lost.
    pub reasons: Vec<String>,
    /// Doubts.
    pub caveats: Vec<Caveat>,
}

/// What a measured device does with the whole job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Throughput {
    /// The device.
    pub device: String,
    /// Items per second, with all instances busy.
    #[serde(rename = "items_per_s")]
    pub rate: Rate,
    /// How long that takes alone.
    #[serde(rename = "time_s")]
    pub time: Time,
}

/// Finds the cheapest machines for the job; `offers` are those that the candidates
/// were made from.
///
/// # Errors
/// A question that nothing could answer: no items, no time, or a deadline that
/// starting up alone exceeds; no calibration.
pub fn batch(
    question: &BatchQuestion,
    candidates: &Candidates,
    offers: &[&Offer],
    evidence: &Evidence<'_>,
) -> Result<BatchPlan> {
    let model = evidence
        .model()
        .ok_or_else(|| Error::bad_input("there is no calibration to plan from"))?;
    let load = load_time(evidence, model);
    check(question, load)?;
    let cpu = evidence
        .calibrations
        .iter()
        .find(|c| c.device == Device::Cpu);
    let room = Room {
        model,
        memory: MemoryUse::of(model, cpu),
    };
    let by_key: BTreeMap<_, &Offer> = offers
        .iter()
        .map(|offer| {
            (
                (
                    offer.provider.as_str(),
                    offer.instance_type.as_str(),
                    offer.region.as_str(),
                ),
                *offer,
            )
        })
        .collect();
    let offer_of = |machine: &crate::plan::advise::Machine| {
        let key = (
            machine.provider.as_str(),
            machine.instance_type.as_str(),
            machine.region.as_str(),
        );
        by_key.get(&key).copied()
    };
    let workers: Vec<(Worker<'_>, Option<&Offer>)> = candidates
        .list
        .iter()
        .filter_map(|candidate| {
            let offer = offer_of(&candidate.machine);
            Some((
                Worker::new(candidate, offer, &room, (question, load))?,
                offer,
            ))
        })
        .collect();
    let mut options: Vec<BatchOption> = workers
        .iter()
        .map(|(worker, _)| best(worker, question))
        .collect();
    options.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let options = shown(options, question.top);
    let recommended = options
        .iter()
        .position(|option| option.verdict != Verdict::Misses);
    let measured = measured(question, evidence);
    let mut caveats: Vec<Caveat> = evidence
        .calibrations
        .iter()
        .flat_map(|c| c.caveats.clone())
        .collect();
    caveats.extend(candidates.caveats.clone());
    caveats.push(assumed(question, load));
    if workers
        .iter()
        .any(|(worker, offer)| worker.interruption_assumed(*offer))
    {
        caveats.push(Caveat::new(
            CaveatKind::Assumed,
            "how often spot machines are taken back is not known for all of them: up to three in four within a month were assumed there",
        ));
    }
    if workers
        .iter()
        .any(|(worker, _)| matches!(worker.source(), Source::Transferred { .. }))
    {
        caveats.push(
            Caveat::new(CaveatKind::Transferred, "throughput was carried over from the measured machine or computed from datasheets, so times and costs have wide intervals")
                .hint("run `advisor calibrate` on the machine that won, with a large `--max-batch`"),
        );
    }
    Ok(BatchPlan {
        question: question.clone(),
        model: model.clone(),
        reasons: reasons(&options, recommended, question),
        options,
        recommended,
        measured,
        caveats,
    })
}

fn check(question: &BatchQuestion, load: Time) -> Result<()> {
    if question.items.get() == 0 {
        return Err(Error::bad_input("a job of 0 items needs no machine")
            .hint("give the number of items, as in `--items 5M`"));
    }
    let start = question.start_up + load;
    if question.deadline <= start {
        return Err(Error::bad_input(format!(
            "starting a machine and loading the model takes {start}, so nothing can be done within {}",
            question.deadline
        ))
        .hint("give a later `--deadline`, or a shorter `--start-up` for machines that already run"));
    }
    if question.checkpoint.is_zero() {
        return Err(
            Error::bad_input("a checkpoint after no work at all leaves no time for work")
                .hint("give the work between two checkpoints, as in `--checkpoint 10min`"),
        );
    }
    Ok(())
}

/// Loading and first inference as measured; else reckoned from the weights.
fn load_time(evidence: &Evidence<'_>, model: &ModelSummary) -> Time {
    let measured = evidence
        .calibrations
        .iter()
        .flat_map(|c| c.starts.iter())
        .map(|start| start.load + start.first_inference)
        .max();
    measured.unwrap_or_else(|| Time::saturating(model.weight_bytes.as_gib() * LOAD_S_PER_GIB))
}

/// The worker's cheapest way to be done in time: surely, else as estimated, else
/// the nearest it comes, with all machines that can be had.
fn best(worker: &Worker<'_>, question: &BatchQuestion) -> BatchOption {
    let machines = worker
        .machines(question, End::Pessimistic)
        .or_else(|| worker.machines(question, End::Middle))
        .unwrap_or(question.most_machines);
    worker.option(machines, question)
}

/// Certain before likely, cheap before dear, few before many; nearest first among
/// those that miss.
fn rank(option: &BatchOption) -> (Verdict, Time, crate::units::Usd, u32, &str, &str) {
    let late = match option.verdict {
        Verdict::Misses => option.time.value,
        _ => Time::ZERO,
    };
    (
        option.verdict,
        late,
        option.cost.value,
        option.machines,
        &option.machine.provider,
        &option.machine.instance_type,
    )
}

/// The best `top`, with the best of each kind among them.
fn shown(options: Vec<BatchOption>, top: usize) -> Vec<BatchOption> {
    let mut seen = BTreeMap::<Kind, usize>::new();
    let share = top.div_ceil(2).max(1);
    let total = |kind| options.iter().filter(|o| o.machine.kind == kind).count();
    let places = |kind: Kind| share.max(top.saturating_sub(total(kind.other())));
    let (cpu, gpu) = (places(Kind::Cpu), places(Kind::Gpu));
    options
        .into_iter()
        .filter(|option| {
            let kind = option.machine.kind;
            let count = seen.entry(kind).or_default();
            *count += 1;
            *count <= if kind == Kind::Cpu { cpu } else { gpu }
        })
        .collect()
}

fn measured(question: &BatchQuestion, evidence: &Evidence<'_>) -> Vec<Throughput> {
    let of = |calibration| {
        let curves = LatencyCurve::from_calibration(calibration, &Source::Measured).ok()?;
        let rate = curves
            .iter()
            .map(|curve| curve.throughput_bound(End::Middle, curve.largest_batch()))
            .max()?;
        Some(Throughput {
            device: calibration.device.to_string(),
            rate,
            time: Time::saturating(question.items.get() as f64 / rate.get()),
        })
    };
    evidence.calibrations.iter().filter_map(of).collect()
}

fn assumed(question: &BatchQuestion, load: Time) -> Caveat {
    Caveat::new(
        CaveatKind::Assumed,
        format!(
            "a machine was assumed to run {} after it is asked for; loading the model and the first inference take {load} more; reading the items and writing results is not counted",
            question.start_up
        ),
    )
    .hint("say how long your machines take with `--start-up`")
}

fn reasons(
    options: &[BatchOption],
    recommended: Option<usize>,
    question: &BatchQuestion,
) -> Vec<String> {
    let name = |option: &BatchOption| {
        format!(
            "{} × {} {} ({})",
            option.machines,
            option.machine.provider,
            option.machine.instance_type,
            option.machine.kind.name()
        )
    };
    let Some(winner) = recommended.and_then(|i| options.get(i)) else {
        let nearest = options
            .iter()
            .take(2)
            .map(|option| format!("the nearest, {}: {}", name(option), option.why));
        let none = format!(
            "no machine of which {} can be had does {} items in {}",
            question.most_machines, question.items, question.deadline
        );
        return std::iter::once(none).chain(nearest).collect();
    };
    let mut reasons = vec![format!(
        "{} is the cheapest {}: {}",
        name(winner),
        match winner.verdict {
            Verdict::Meets => "that is done in time even at the pessimistic end of its interval",
            _ => "whose estimate is done in time",
        },
        winner.why
    )];
    let other = options
        .iter()
        .find(|option| option.machine.kind != winner.machine.kind);
    if let Some(other) = other {
        reasons.push(if other.verdict == Verdict::Misses {
            format!(
                "the best {} option, {}, lost: {}",
                other.machine.kind.name(),
                name(other),
                other.why
            )
        } else {
            format!(
                "the best {} option, {}, costs {} against {} and takes {} against {}",
                other.machine.kind.name(),
                name(other),
                other.cost.value,
                winner.cost.value,
                other.time.value,
                winner.time.value
            )
        });
        if other.cost.low < winner.cost.high && winner.cost.low < other.cost.high {
            reasons.push(
                "their cost intervals overlap: a calibration on both would settle it".to_owned(),
            );
        }
    }
    if question.term == Term::Spot {
        let share = Fraction::saturating(
            (winner.time.value.get() - winner.start.get()).max(0.0) / winner.time.value.get(),
        );
        reasons.push(format!(
            "interruptions are in the time: {share} of it is work, restarts and work done twice; a checkpoint each {} bounds what is lost",
            question.checkpoint
        ));
    }
    reasons
}
