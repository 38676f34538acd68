//! From a question to its footprint.

use super::architecture::{Architecture, kv_bytes_per_token};
use super::components::{Sizes, components};
use super::footprint::{Component, Footprint, Narrowing, Part};
use super::overhead::{LEVEL, context, counts_reserve, is_traced};
use super::question::{Measure, Question, Strategy, Subject, Task, generates};
use super::rough::rough;
use super::savings::savings;
use super::sharding::{part_of, shard};
use super::step::{Phase, Phases, cache_bytes, replay, resolve};
use super::tape::Kind;
use crate::caveat::{Caveat, CaveatKind};
use crate::error::Result;
use crate::estimate::{Estimate, Source};
use crate::units::{Bytes, Count, Fraction};

/// Answers a question about memory.
///
/// # Errors
/// A setting that cannot be (a batch of 0, an adapter's rank above the hidden size, a
/// sequence beyond the model's positions), named, with what to do.
pub fn estimate(question: &Question) -> Result<Footprint> {
    let mut footprint = estimate_plainly(question)?;
    footprint.savings = savings(question, &footprint);
    Ok(footprint)
}

/// The same without looking for savings.
pub(super) fn estimate_plainly(question: &Question) -> Result<Footprint> {
    question.check()?;
    match &question.subject {
        Subject::Parameters { count, kind } => rough(question, *count, *kind),
        Subject::Architecture(architecture) => of_architecture(question, architecture),
    }
}

/// The footprint of a known architecture.
pub(super) fn of_architecture(
    question: &Question,
    architecture: &Architecture,
) -> Result<Footprint> {
    question.check_against(architecture)?;
    let part = part_of(architecture, question.sharding);
    let alone = replay(question, &part)?;
    let phases = shard(&alone, question.sharding);
    let (peak, snapshot) = highest(question, architecture, &phases);
    let unsharded = highest(question, architecture, &alone).1.total();
    let sizes = Sizes {
        question,
        architecture,
        phases: &phases,
        peak,
        snapshot,
        unused: unused(question.measure, &phases, unsharded, snapshot.total()),
    };
    let mut components = components(&sizes);
    allow_for_loading(question, &alone, &mut components);
    let total = sum(components.iter().map(|c| &c.bytes));
    let cards = question.sharding.cards;
    let full = architecture.counted_parameters();
    Ok(Footprint {
        model: architecture.name.clone(),
        parameters: full,
        trained: Count::new(phases.trained),
        pooled: total.map(|bytes| bytes * cards),
        sharding: question.sharding,
        peak,
        phases: named_phases(question, architecture, &phases),
        savings: Vec::new(),
        narrow_by: narrowings(question, architecture, &components),
        kv_bytes_per_token: architecture
            .transformer()
            .filter(|_| question.task == Task::Inference && generates(architecture))
            .map(|t| kv_bytes_per_token(t, cache_bytes(question))),
        caveats: caveats(question, architecture),
        components,
        total,
    })
}

/// Some programs load the whole model on every card before they divide it; the
/// upper end holds that, with a fifth for copies on the way (litgpt's published
/// runs needed 9 to 16 % more than whole model and share).
fn allow_for_loading(question: &Question, alone: &Phases, components: &mut [Component]) {
    let cards = question.sharding.cards;
    if cards < 2 || question.sharding.strategy != Strategy::Zero3 {
        return;
    }
    let whole = alone.forward.of(Kind::Weights);
    let loading = Bytes::new(whole + whole / cards).scaled(1.2);
    let high = sum(components.iter().map(|c| &c.bytes)).high;
    let missing = loading - high;
    for component in components.iter_mut().filter(|c| c.part == Part::Weights) {
        component.bytes.high = component.bytes.high + missing;
    }
}

fn highest(
    question: &Question,
    architecture: &Architecture,
    phases: &Phases,
) -> (Phase, super::tape::Snapshot) {
    let second = if question.task == Task::Inference && generates(architecture) {
        Phase::Decode
    } else {
        Phase::Backward
    };
    let mut best = (Phase::Forward, phases.forward);
    for (phase, snapshot) in [(second, phases.backward), (Phase::Update, phases.update)] {
        if snapshot.total() > best.1.total() {
            best = (phase, snapshot);
        }
    }
    if phases.loading.total() > best.1.total() {
        best = (Phase::Load, phases.loading);
    }
    best
}

fn named_phases(
    question: &Question,
    architecture: &Architecture,
    phases: &Phases,
) -> Vec<(Phase, Bytes)> {
    let forward = (Phase::Forward, Bytes::new(phases.forward.total()));
    if question.is_training() {
        vec![
            forward,
            (Phase::Backward, Bytes::new(phases.backward.total())),
            (Phase::Update, Bytes::new(phases.update.total())),
        ]
    } else if question.task == Task::Inference && generates(architecture) {
        vec![
            forward,
            (Phase::Decode, Bytes::new(phases.backward.total())),
        ]
    } else {
        vec![forward]
    }
}

/// What the allocator holds beyond the live tensors at the peak. When states are
/// divided over cards the replay's allocator saw them undivided, so that its
/// share is carried over instead.
fn unused(measure: Measure, phases: &Phases, unsharded: u64, peak: u64) -> Bytes {
    let held = if counts_reserve(measure) {
        phases.reserved
    } else if measure == Measure::Allocated {
        phases.allocated
    } else {
        0
    };
    let beyond = held.saturating_sub(unsharded);
    let share = peak as f64 / unsharded.max(1) as f64;
    Bytes::new(beyond).scaled(share.min(1.0))
}

/// Adds up estimates: ends are added to ends, which is wide rather than narrow.
pub(super) fn sum<'e>(parts: impl Iterator<Item = &'e Estimate<Bytes>>) -> Estimate<Bytes> {
    let (mut value, mut low, mut high) = (Bytes::ZERO, Bytes::ZERO, Bytes::ZERO);
    for part in parts {
        value = value + part.value;
        low = low + part.low;
        high = high + part.high;
    }
    Estimate::new(
        value,
        (low, high),
        Fraction::saturating(LEVEL),
        Source::Assumed {
            why: "replayed from the architecture".to_owned(),
        },
    )
}

fn narrowings(
    question: &Question,
    architecture: &Architecture,
    components: &[Component],
) -> Vec<Narrowing> {
    let mut list: Vec<Narrowing> = Vec::new();
    let width = |parts: &[Part]| -> Bytes {
        components
            .iter()
            .filter(|c| parts.contains(&c.part))
            .map(|c| c.bytes.high - c.bytes.low)
            .sum()
    };
    list.push(Narrowing {
        input: "one measured step".to_owned(),
        bytes: width(&[
            Part::Activations,
            Part::LogitsAndLoss,
            Part::Workspace,
            Part::Fragmentation,
        ]),
        how: "print `torch.cuda.max_memory_reserved()` after two steps".to_owned(),
    });
    if question.measure == Measure::Device {
        let context = context();
        list.push(Narrowing {
            input: "the size of the driver's context".to_owned(),
            bytes: context.high - context.low,
            how: "`nvidia-smi` while a process holds one small tensor".to_owned(),
        });
    }
    if let Some(extra) = open_length(question, architecture) {
        list.push(extra);
    }
    list.retain(|n| n.bytes > Bytes::ZERO);
    list.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.input.cmp(&b.input)));
    list
}

/// What a length that was not given may change: twice the assumed one.
fn open_length(question: &Question, architecture: &Architecture) -> Option<Narrowing> {
    let resolved = resolve(question, architecture);
    let mut twice = question.clone();
    let (name, assumed) = if resolved.side > 0 {
        if question.image_side.is_some() {
            return None;
        }
        twice.image_side = Some(resolved.side * 2);
        ("image size", resolved.side)
    } else {
        if question.sequence.is_some() {
            return None;
        }
        let rows = architecture.transformer().map_or(0, |t| t.position_rows);
        let doubled = resolved.sequence * 2;
        twice.sequence = Some(if rows > 0 { doubled.min(rows) } else { doubled });
        ("sequence length", resolved.sequence)
    };
    let part = part_of(architecture, question.sharding);
    let peak = |q: &Question| {
        replay(q, &part).map_or(0, |phases| {
            highest(q, architecture, &shard(&phases, q.sharding))
                .1
                .total()
        })
    };
    let more = peak(&twice).saturating_sub(peak(question));
    Some(Narrowing {
        input: name.to_owned(),
        bytes: Bytes::new(more),
        how: format!("give it; {assumed} is assumed, twice that takes this much more"),
    })
}

fn caveats(question: &Question, architecture: &Architecture) -> Vec<Caveat> {
    let mut list = Vec::new();
    let resolved = resolve(question, architecture);
    if resolved.sequence > 0 && question.sequence.is_none() {
        list.push(
            Caveat::new(
                CaveatKind::Assumed,
                format!("no sequence length was given: {} tokens", resolved.sequence),
            )
            .hint("give the length of your longest sequences"),
        );
    }
    if resolved.side > 0 && question.image_side.is_none() {
        list.push(Caveat::new(
            CaveatKind::Assumed,
            format!("no image size was given: {} pixels", resolved.side),
        ));
    }
    if !is_traced(architecture) {
        list.push(Caveat::new(
            CaveatKind::Memory,
            format!(
                "the operators of {} were not compared with a trace, so the interval is wider",
                architecture.name
            ),
        ));
    }
    list
}
