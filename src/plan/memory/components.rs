//! The parts of a footprint, each with its formula and its interval.

use super::architecture::Architecture;
use super::footprint::{Component, Part};
use super::overhead::{LEVEL, Spread, activation_spread, context, counts_reserve, undivided};
use super::question::{Measure, Optimizer, Precision, Question, Strategy, Task};
use super::step::{Phase, Phases};
use super::tape::{Kind, Snapshot};
use crate::estimate::{Estimate, Source};
use crate::units::{Bytes, Count, Fraction};

/// What the parts are computed from.
pub(super) struct Sizes<'a> {
    pub(super) question: &'a Question,
    pub(super) architecture: &'a Architecture,
    pub(super) phases: &'a Phases,
    pub(super) peak: Phase,
    pub(super) snapshot: Snapshot,
    /// What the allocator holds beyond the live tensors.
    pub(super) unused: Bytes,
}

/// The parts at the moment of the peak; parts of no size are left out.
pub(super) fn components(sizes: &Sizes<'_>) -> Vec<Component> {
    let mut list: Vec<Component> = Kind::ALL
        .iter()
        .map(|&kind| of_kind(sizes, kind))
        .filter(|component| component.bytes.high > Bytes::ZERO)
        .collect();
    if sizes.question.measure != Measure::Tensors {
        list.push(fragmentation(sizes));
    }
    if sizes.question.measure == Measure::Device {
        list.push(Component {
            part: Part::Context,
            bytes: context(),
            formula: "0.25 to 1.4 GiB by driver and loaded kernels".to_owned(),
            source: "1,343 MiB seen on a V100 with CUDA 11; less with lazy loading since CUDA 11.7"
                .to_owned(),
            shrinkable: false,
        });
    }
    list
}

fn of_kind(sizes: &Sizes<'_>, kind: Kind) -> Component {
    let bytes = Bytes::new(sizes.snapshot.of(kind));
    let part = part_of(kind);
    let spread = activation_spread(sizes.question, sizes.architecture);
    let estimate = match kind {
        Kind::Activations | Kind::Head | Kind::Scratch => spread_around(bytes, spread),
        Kind::Weights => weights(sizes, bytes),
        _ => Estimate::exact(bytes, counted()),
    };
    Component {
        part,
        bytes: estimate,
        formula: formula(sizes, kind, bytes),
        source: source(kind).to_owned(),
        shrinkable: !matches!(kind, Kind::Inputs),
    }
}

const fn part_of(kind: Kind) -> Part {
    match kind {
        Kind::Weights => Part::Weights,
        Kind::WeightCopies => Part::WeightCopies,
        Kind::Gradients => Part::Gradients,
        Kind::Optimizer => Part::OptimizerStates,
        Kind::Inputs => Part::Inputs,
        Kind::Activations => Part::Activations,
        Kind::Head => Part::LogitsAndLoss,
        Kind::KvCache => Part::KvCache,
        Kind::Scratch => Part::Workspace,
    }
}

fn level() -> Fraction {
    Fraction::saturating(LEVEL)
}

fn counted() -> Source {
    Source::Profile {
        name: "architecture".to_owned(),
    }
}

fn spread_around(bytes: Bytes, spread: Spread) -> Estimate<Bytes> {
    Estimate::new(
        bytes,
        (
            bytes.scaled(1.0 - spread.down),
            bytes.scaled(1.0 + spread.up),
        ),
        level(),
        Source::Assumed {
            why: "replayed; other programs keep other tensors".to_owned(),
        },
    )
}

/// Weights are counted; loaders round, keep buffers and divide layers unevenly,
/// which was seen to account for up to a hundredth. Packed weights pass through
/// 16 bit while they are loaded, in one copy more than is certain.
fn weights(sizes: &Sizes<'_>, bytes: Bytes) -> Estimate<Bytes> {
    let mut more =
        bytes.scaled(0.015).get() + undivided(sizes.question, sizes.phases.outside_blocks);
    if sizes.phases.loading.total() > 0 {
        let whole = match sizes.question.sharding.strategy {
            Strategy::Tensor => sizes.question.sharding.cards,
            _ => 1,
        };
        more += 2 * sizes.phases.largest_matrix * whole;
    }
    Estimate::new(
        bytes,
        (bytes.scaled(0.995), bytes + Bytes::new(more)),
        level(),
        counted(),
    )
}

/// What the allocator holds and nobody uses: replayed for batches of one shape;
/// shapes that change from batch to batch leave more unused.
fn fragmentation(sizes: &Sizes<'_>) -> Component {
    let moving: u64 = [Kind::Activations, Kind::Head, Kind::Scratch]
        .iter()
        .map(|&kind| sizes.snapshot.of(kind))
        .sum();
    let more = Bytes::new(moving).scaled(0.05);
    // A cache that grows token by token is copied each time, and the allocator
    // keeps places of old copies until memory runs out: published runs held 1 to
    // 2.2 times the cache besides it.
    let copies = if sizes.question.new_tokens > 1 && counts_reserve(sizes.question.measure) {
        Bytes::new(sizes.snapshot.of(Kind::KvCache)).scaled(2.2)
    } else {
        Bytes::ZERO
    };
    // cuBLAS takes its workspace from the allocator, 8 MiB before Hopper.
    let workspace = Bytes::from_mib(8);
    let value = sizes.unused + workspace;
    Component {
        part: Part::Fragmentation,
        bytes: Estimate::new(
            value,
            (Bytes::ZERO, value + more + copies + Bytes::from_mib(64)),
            level(),
            Source::Assumed {
                why: "the allocator was replayed".to_owned(),
            },
        ),
        formula: format!(
            "held by the allocator after two steps, less the {} of live tensors, and 8 MiB for cuBLAS",
            Bytes::new(sizes.snapshot.total())
        ),
        source: "rules of PyTorch's caching allocator (c10/cuda/CUDACachingAllocator.cpp)"
            .to_owned(),
        shrinkable: false,
    }
}

fn formula(sizes: &Sizes<'_>, kind: Kind, bytes: Bytes) -> String {
    let question = sizes.question;
    let parameters = Count::new(sizes.phases.parameters);
    let trained = Count::new(sizes.phases.trained);
    let each = |n: u64| bytes.get() as f64 / n.max(1) as f64;
    match kind {
        Kind::Weights => format!(
            "{parameters} parameters on this card × {:.3} bytes ({})",
            each(sizes.phases.parameters),
            question.precision.name()
        ),
        Kind::WeightCopies => {
            "16-bit copies for products, kept until backward has used them, or layers gathered \
             from other cards"
                .to_owned()
        }
        Kind::Gradients => {
            format!("gradients that exist at the peak, of {trained} trained parameters: {bytes}")
        }
        Kind::Optimizer => format!(
            "{trained} trained parameters × {:.2} bytes ({})",
            each(sizes.phases.trained),
            optimizer_rule(question)
        ),
        Kind::Inputs => "token ids, pixels and targets of the batch".to_owned(),
        Kind::Activations => activation_formula(sizes),
        Kind::Head => "logits, their log-softmax and gradients, in the loss's type".to_owned(),
        Kind::KvCache => "2 × layers × KV heads × head width × bytes × tokens × batch (latent \
                          attention: layers × (rank + rope width))"
            .to_owned(),
        Kind::Scratch => format!(
            "gradients on their way and scratch of single operators, in the {}",
            sizes.peak.name()
        ),
    }
}

fn activation_formula(sizes: &Sizes<'_>) -> String {
    if !sizes.question.is_training() {
        return "results of the layer at work and of those that still need them".to_owned();
    }
    let kept = Bytes::new(sizes.phases.kept);
    if sizes.question.checkpointing {
        format!("{kept} kept for the backward pass: the input of each block, and one block in full")
    } else {
        format!("{kept} kept for the backward pass: what each operator's derivative needs")
    }
}

const fn optimizer_rule(question: &Question) -> &'static str {
    match (question.optimizer, question.precision) {
        (_, Precision::Bf16Master) => "states and a copy of the weights in 32 bit",
        (Optimizer::Sgd, _) => "SGD keeps nothing",
        (Optimizer::Momentum, _) => "one number per weight",
        (Optimizer::Adam | Optimizer::AdamW | Optimizer::PagedAdamW, _) => "two numbers per weight",
        (Optimizer::Adam8bit | Optimizer::PagedAdamW8bit, _) => {
            "two bytes per weight and a scale per 256"
        }
        (Optimizer::Adafactor, _) => "sums of rows and columns",
    }
}

const fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Weights => "parameters counted from the architecture",
        Kind::WeightCopies => "PyTorch, aten/src/ATen/autocast_mode.h; FSDP, arXiv:2304.11277",
        Kind::Gradients => "PyTorch, torch/csrc/autograd/functions/accumulate_grad.h",
        Kind::Optimizer => "arXiv:1412.6980, arXiv:2110.02861, arXiv:1804.04235",
        Kind::Inputs => "the batch's shape",
        Kind::KvCache => "arXiv:2305.13245, arXiv:2405.04434: exact per token",
        Kind::Activations | Kind::Head | Kind::Scratch => {
            "the step replayed operator by operator (PyTorch, tools/autograd/derivatives.yaml)"
        }
    }
}

/// Whether adapters are trained rather than the model.
pub(super) const fn trains_adapters(question: &Question) -> bool {
    matches!(question.task, Task::Lora(_) | Task::Qlora(..))
}
