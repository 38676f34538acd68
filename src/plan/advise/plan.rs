//! The plan: ranked options, the recommended one, and why.

use super::{
    choose::{Chosen, cheapest, nearest_miss, option},
    footprint::{MemoryUse, memory_doubt},
    machine::{Candidates, Evidence, Kind},
    option::{ServingOption, Verdict},
    question::{Accept, Question},
    settle::Settling,
    sizing::{Room, Sizer},
    stakes::{Saving, idle_gpu, savings},
    turning::{Turning, turning},
};
use crate::{
    caveat::{Caveat, CaveatKind},
    error::{Error, Result},
    plan::latency::End,
    profile::calibration::{Device, ModelSummary},
};
use rayon::prelude::*;
use serde::Serialize;

/// Above this utilisation a small error of the service time is a large one of
/// the latency: 5 % become 31 % of a p95 at 0.8 and 88 % at 0.9.
const HIGH_UTILISATION: f64 = 0.8;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What was asked.
    pub question: Question,
    /// The model.
    pub model: ModelSummary,
    /// The options, best first; both kinds are among them where both exist.
    pub options: Vec<ServingOption>,
    /// Which of them is recommended.
    pub recommended: Option<usize>,
    /// Why the winner won and the others lost.
    pub reasons: Vec<String>,
    /// At what rate or price the decision between CPU and GPU would turn.
    pub turning: Option<Turning>,
    /// What the recommended option saves against doing without a choice.
    pub savings: Vec<Saving>,
    /// Doubts.
    pub caveats: Vec<Caveat>,
}

/// Answers a question about the candidates.
///
/// # Errors
/// There is no calibration, or a curve is unusable.
pub fn advise(
    question: &Question,
    candidates: &Candidates,
    evidence: &Evidence<'_>,
) -> Result<Plan> {
    let model = evidence
        .model()
        .ok_or_else(|| Error::bad_input("there is no calibration to plan from"))?;
    let cpu = evidence
        .calibrations
        .iter()
        .find(|c| c.device == Device::Cpu);
    let sizer = Sizer::new(
        question,
        Room {
            model,
            memory: MemoryUse::of(model, cpu),
        },
    );
    let mut options = Vec::new();
    for kind in [Kind::Cpu, Kind::Gpu] {
        options.extend(of_kind(question, candidates, &sizer, kind)?);
    }
    let options = shown(options, question.top);
    let recommended = recommend(&options, question.accept);
    let turning = turning(&options, question);
    let mut caveats: Vec<Caveat> = evidence
        .calibrations
        .iter()
        .flat_map(|c| c.caveats.clone())
        .collect();
    caveats.extend(memory_doubt(model, cpu));
    caveats.extend(candidates.caveats.clone());
    caveats.extend(
        recommended
            .and_then(|i| options.get(i))
            .into_iter()
            .flat_map(option_caveats),
    );
    let settling = Settling::of(model);
    let mut reasons = super::reasons::reasons(
        &options,
        (recommended, turning.as_ref()),
        question,
        &settling,
    );
    reasons.extend(idle_gpu(&options));
    let mut options = options;
    for option in options.iter_mut().filter(|o| Settling::would_help(o)) {
        let command = settling.command(option);
        option
            .why
            .push_str(&format!("; {command} there settles it"));
    }
    Ok(Plan {
        question: question.clone(),
        model: model.clone(),
        reasons,
        savings: savings(&options, recommended),
        options,
        recommended,
        turning,
        caveats,
    })
}

/// The options of one kind that are worth showing.
fn of_kind(
    question: &Question,
    candidates: &Candidates,
    sizer: &Sizer<'_>,
    kind: Kind,
) -> Result<Vec<ServingOption>> {
    let list = &candidates.list;
    let both = [Kind::Cpu, Kind::Gpu]
        .iter()
        .all(|kind| list.iter().any(|candidate| candidate.machine.kind == *kind));
    let most = if both {
        question.top.div_ceil(2)
    } else {
        question.top
    };
    let certain = cheapest(
        list,
        sizer,
        question,
        (kind, End::Pessimistic),
        (most, None),
    )?;
    // An unproven option is worth a look only if it is cheaper than a certain one.
    let first = certain.first().and_then(|c| c.cost);
    let likely = cheapest(list, sizer, question, (kind, End::Middle), (most, first))?;
    let wanted: Vec<(Chosen<'_>, Verdict)> = certain
        .into_iter()
        .map(|c| (c, Verdict::Meets))
        .chain(likely.into_iter().map(|c| (c, Verdict::Unproven)))
        .collect();
    let mut options: Vec<ServingOption> = wanted
        .par_iter()
        .map(|(chosen, verdict)| option(chosen, sizer, question, *verdict))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    if options.is_empty()
        && let Some(chosen) = nearest_miss(list, question, kind)
    {
        options.extend(option(&chosen, sizer, question, Verdict::Misses)?);
    }
    Ok(options)
}

/// The best `top` options: certain ones first, then by cost; the best of each
/// kind is always among them, and of a machine in the same verdict only one.
fn shown(mut options: Vec<ServingOption>, top: usize) -> Vec<ServingOption> {
    options.sort_by(|a, b| {
        (
            a.verdict,
            a.cost,
            &a.machine.provider,
            &a.machine.instance_type,
        )
            .cmp(&(
                b.verdict,
                b.cost,
                &b.machine.provider,
                &b.machine.instance_type,
            ))
    });
    let mut kept: Vec<ServingOption> = Vec::new();
    let share = top.div_ceil(2).max(1);
    for (i, option) in options.iter().enumerate() {
        let same_kind_before = options
            .iter()
            .take(i)
            .filter(|other| other.machine.kind == option.machine.kind)
            .count();
        let of_other_kind = options
            .iter()
            .filter(|other| other.machine.kind != option.machine.kind)
            .count();
        // A kind may take the places that the other one does not need.
        let places = share.max(top.saturating_sub(of_other_kind));
        if same_kind_before < places {
            kept.push(option.clone());
        }
    }
    kept.truncate(top.max(2));
    kept
}

/// The cheapest option with the best acceptable verdict.
fn recommend(options: &[ServingOption], accept: Accept) -> Option<usize> {
    let first = |verdict| options.iter().position(|option| option.verdict == verdict);
    first(Verdict::Meets).or_else(|| match accept {
        Accept::Unproven => first(Verdict::Unproven),
        Accept::Meets => None,
    })
}

fn option_caveats(option: &ServingOption) -> Vec<Caveat> {
    let mut caveats = option.machine.caveats.clone();
    if option.utilisation.get() > HIGH_UTILISATION {
        caveats.push(
            Caveat::new(
                CaveatKind::HighUtilisation,
                format!(
                    "the recommended option runs at a utilisation of {}: there, an error of 5 % in the service time is one of 30 % or more in the p95",
                    option.utilisation
                ),
            )
            .hint("add a replica if the load may grow"),
        );
    }
    caveats
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
