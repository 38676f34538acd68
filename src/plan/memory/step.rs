//! One training step or inference pass, phase by phase.

use super::architecture::{Architecture, Network as Shape, Transformer};
use super::network::{
    Adapters, AnyPass, Attention, ImagePass, Layers, Loss, Network, Output, Pass, Policy, Storage,
    Targets, WithHead,
};
use super::optimizer::{Trained as TrainedTensors, state_bytes, step_bytes};
use super::question::{
    AttentionKind, BaseFormat, LoraTargets, LossKind, PackedInputs, Precision, Question, Task,
    generates,
};
use super::tape::{Dtype, HalfKind, Held, Kind, Recording, Snapshot, Tape, Trained};
use crate::error::{Error, Result};
use serde::Serialize;

/// What is alive at the peak of each phase of a step, and some sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Phases {
    /// Forward pass; when generating, the prompt.
    pub(super) forward: Snapshot,
    /// Backward pass; when generating, the last token.
    pub(super) backward: Snapshot,
    /// Update of the weights.
    pub(super) update: Snapshot,
    /// Loading: packed weights, and the largest matrix before it is packed.
    pub(super) loading: Snapshot,
    /// Bytes alive after the forward pass besides weights, optimizer and batch:
    /// what is kept for the backward pass.
    pub(super) kept: u64,
    /// What the allocator holds from the device in the end.
    pub(super) reserved: u64,
    /// The most that the allocator has handed out, its rounding included.
    pub(super) allocated: u64,
    /// Parameters of the model.
    pub(super) parameters: u64,
    /// Parameters that are trained.
    pub(super) trained: u64,
    /// Bytes of the largest block's weights (what sharding gathers at a time).
    pub(super) largest_block: u64,
    /// Bytes of the weights outside the blocks.
    pub(super) outside_blocks: u64,
    /// Elements of the largest matrix.
    pub(super) largest_matrix: u64,
}

/// A phase of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The forward pass; when generating, reading the prompt.
    Forward,
    /// The backward pass.
    Backward,
    /// The update of the weights.
    Update,
    /// Generating the last token.
    Decode,
    /// Loading weights that are packed on the card.
    Load,
}

impl Phase {
    /// The name of the phase.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward pass",
            Self::Backward => "backward pass",
            Self::Update => "update of the weights",
            Self::Decode => "last generated token",
            Self::Load => "loading of the weights",
        }
    }
}

/// Settings that were left open, filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Tokens per sequence; 0 for images.
    pub(super) sequence: u64,
    /// Rows and columns of pixels; 0 for tokens.
    pub(super) side: u64,
}

/// Fills in what was left open.
pub(super) fn resolve(question: &Question, architecture: &Architecture) -> Resolved {
    match &architecture.network {
        Shape::Image(image) => Resolved {
            sequence: 0,
            side: question.image_side.unwrap_or(image.default_side()),
        },
        Shape::Transformer(transformer) => Resolved {
            sequence: question
                .sequence
                .unwrap_or_else(|| default_sequence(question, architecture, transformer)),
            side: 0,
        },
    }
}

fn default_sequence(
    question: &Question,
    architecture: &Architecture,
    transformer: &Transformer,
) -> u64 {
    let wanted = match question.task {
        Task::Inference if generates(architecture) => 1024,
        _ => 512,
    };
    if transformer.position_rows > 0 {
        wanted.min(transformer.position_rows)
    } else {
        wanted
    }
}

/// Replays the step.
///
/// # Errors
/// A size that does not go with the network (an image smaller than its windows).
pub(super) fn replay(question: &Question, architecture: &Architecture) -> Result<Phases> {
    let resolved = resolve(question, architecture);
    let shape = with_head(question, &architecture.network);
    let policy = policy(question);
    if question.is_training() {
        return training(question, &shape, policy, resolved);
    }
    let generating = question.task == Task::Inference && generates(architecture);
    let mut phases = inference(
        question,
        &shape,
        policy,
        (resolved, Stage::Prompt(generating)),
    )?;
    if generating {
        let last = inference(question, &shape, policy, (resolved, Stage::LastToken))?;
        phases.backward = last.forward;
        phases.reserved = phases.reserved.max(last.reserved);
        phases.allocated = phases.allocated.max(last.allocated);
    }
    Ok(phases)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prompt(bool),
    LastToken,
}

fn with_head(question: &Question, shape: &Shape) -> Shape {
    match (shape, question.head) {
        (Shape::Transformer(transformer), Some(head)) => Shape::Transformer(Transformer {
            head,
            ..transformer.clone()
        }),
        _ => shape.clone(),
    }
}

fn training(
    question: &Question,
    shape: &Shape,
    policy: Policy,
    resolved: Resolved,
) -> Result<Phases> {
    let mut tape = Tape::new(Recording::On);
    let mut make = Layers::new(&mut tape, policy);
    let network = Network::new(shape, &mut make, WithHead::Yes);
    let weights = make.finish();
    let parts: Vec<(Vec<u64>, Vec<u64>)> = weights
        .trained
        .iter()
        .map(|(dtype, sizes)| {
            let tensors = TrainedTensors {
                sizes,
                dtype: *dtype,
            };
            (
                state_bytes(question.optimizer, question.precision, tensors),
                step_bytes(
                    question.optimizer,
                    (question.precision, question.update),
                    tensors,
                ),
            )
        })
        .collect();
    let mut states: Vec<Held> = Vec::new();
    let mut phases = Phases {
        loading: loading(&tape, weights.largest_matrix, policy),
        ..Phases::default()
    };
    // The first step makes the optimizer's states; the second is the one that
    // repeats, and what the allocator holds after it is what it goes on holding.
    for step in 0..2 {
        if question.accumulation > 1 {
            tape.meter.charge_to(Kind::Gradients);
            tape.hold_gradients(&weights.trained_parameters);
        }
        tape.meter.charge_to(Kind::Activations);
        tape.meter.take_peak();
        let base = tape.meter.live();
        let outcome = run(
            &mut tape,
            &network,
            question,
            pass(question, shape, resolved, Stage::Prompt(false)),
        )?;
        let inputs: u64 = outcome.inputs.iter().map(Held::bytes).sum();
        phases.kept = tape.meter.live().saturating_sub(base + inputs);
        phases.forward = tape.meter.take_peak();
        let batch = outcome.inputs;
        tape.backward(outcome.result);
        phases.backward = tape.meter.take_peak();
        let gradients = tape.take_gradients();
        if step == 0 {
            tape.meter.charge_to(Kind::Optimizer);
            states = parts
                .iter()
                .flat_map(|(state, _)| state)
                .map(|&bytes| tape.allocate(bytes))
                .collect();
        }
        tape.meter.charge_to(Kind::Scratch);
        let scratch: Vec<Held> = parts
            .iter()
            .flat_map(|(_, step)| step)
            .map(|&bytes| tape.allocate(bytes))
            .collect();
        phases.update = tape.meter.take_peak();
        drop((scratch, gradients, batch));
    }
    let (reserved, allocated) = tape.meter.held_from_device().unwrap_or_default();
    drop(states);
    Ok(Phases {
        reserved,
        allocated,
        ..phases
    })
    .map(|phases: Phases| Phases {
        parameters: weights.parameters,
        trained: weights.trained.values().flatten().sum(),
        largest_block: weights.largest_block,
        outside_blocks: weights.outside_blocks,
        largest_matrix: weights.largest_matrix,
        ..phases
    })
}

fn inference(
    question: &Question,
    shape: &Shape,
    policy: Policy,
    (resolved, stage): (Resolved, Stage),
) -> Result<Phases> {
    let mut tape = Tape::new(Recording::Off);
    let mut make = Layers::new(&mut tape, policy);
    let network = Network::new(shape, &mut make, WithHead::Yes);
    let weights = make.finish();
    tape.meter.charge_to(Kind::Activations);
    tape.meter.take_peak();
    let before = loading(&tape, weights.largest_matrix, policy);
    let outcome = run(
        &mut tape,
        &network,
        question,
        pass(question, shape, resolved, stage),
    )?;
    let forward = tape.meter.take_peak();
    drop(outcome);
    let (reserved, allocated) = tape.meter.held_from_device().unwrap_or_default();
    Ok(Phases {
        forward,
        loading: before,
        reserved,
        allocated,
        parameters: weights.parameters,
        largest_block: weights.largest_block,
        outside_blocks: weights.outside_blocks,
        largest_matrix: weights.largest_matrix,
        ..Phases::default()
    })
}

/// A matrix is packed on the card: it is there in 16 bit first.
fn loading(tape: &Tape, largest_matrix: u64, policy: Policy) -> Snapshot {
    match policy.storage {
        Storage::Packed { .. } => tape.meter.now().plus(Kind::Scratch, 2 * largest_matrix),
        Storage::Plain => Snapshot::default(),
    }
}

/// Bytes of one number in the cache of keys and values.
pub(super) fn cache_bytes(question: &Question) -> u64 {
    if casts(question) {
        Dtype::Half.bytes()
    } else {
        weight_dtype(question).bytes()
    }
}

fn run(
    tape: &mut Tape,
    network: &Network,
    question: &Question,
    pass: AnyPass,
) -> Result<super::network::Outcome> {
    let casting = casts(question);
    let weights = weight_dtype(question);
    tape.compute_in(
        if casting { Dtype::Half } else { weights },
        half_kind(question.precision),
    );
    if casting {
        tape.enter_autocast();
    }
    let outcome = network.run(tape, &pass);
    tape.leave_autocast();
    outcome.ok_or_else(|| Error::machine("the pass does not go with the network"))
}

fn pass(question: &Question, shape: &Shape, resolved: Resolved, stage: Stage) -> AnyPass {
    let attention = match question.attention {
        AttentionKind::Fused => Attention::Fused,
        AttentionKind::Eager => Attention::Eager,
    };
    let output = match (question.is_training(), stage) {
        (true, _) => Output::Loss,
        (false, Stage::Prompt(false)) => Output::Logits,
        _ => Output::NextToken,
    };
    if matches!(shape, Shape::Image(_)) {
        return AnyPass::Images(ImagePass {
            batch: question.batch,
            side: resolved.side,
            input: weight_dtype(question),
            attention,
            checkpointing: question.checkpointing,
            output,
        });
    }
    let (sequence, past) = match stage {
        Stage::Prompt(_) => (resolved.sequence, 0),
        Stage::LastToken => (1, resolved.sequence + question.new_tokens.saturating_sub(1)),
    };
    AnyPass::Tokens(Pass {
        batch: question.batch,
        sequence,
        past,
        attention,
        checkpointing: question.checkpointing,
        output,
        loss: match question.loss {
            LossKind::InFloat => Loss::InFloat,
            LossKind::AsLogits => Loss::AsLogits,
        },
        padded: question.padded,
    })
}

fn casts(question: &Question) -> bool {
    question.frozen_autocast
        || matches!(
            (question.precision, question.task),
            (Precision::MixedFp16 | Precision::MixedBf16, _)
                | (_, Task::Qlora(_, BaseFormat::Nf4DoublePrepared))
        )
}

fn weight_dtype(question: &Question) -> Dtype {
    match (question.precision, question.task) {
        // Adapters with mixed precision: the frozen weights are in 16 bit.
        (Precision::MixedFp16 | Precision::MixedBf16, Task::Qlora(..)) => Dtype::Half,
        (Precision::Fp32 | Precision::MixedFp16 | Precision::MixedBf16, _) => Dtype::Float,
        _ => Dtype::Half,
    }
}

const fn half_kind(precision: Precision) -> HalfKind {
    match precision {
        Precision::Fp16 | Precision::MixedFp16 => HalfKind::Fp16,
        _ => HalfKind::Bf16,
    }
}

fn policy(question: &Question) -> Policy {
    let weights = weight_dtype(question);
    let plain = Policy {
        weights,
        storage: Storage::Plain,
        rest_in_float: false,
        trained: Trained::Yes,
        adapters: None,
    };
    match question.task {
        Task::Lora(lora) => Policy {
            trained: Trained::No,
            adapters: Some(adapters(lora, weights)),
            ..plain
        },
        Task::Qlora(lora, format) => Policy {
            trained: Trained::No,
            adapters: Some(adapters(lora, weights)),
            storage: Storage::Packed {
                bytes_per_weight: format.bytes_per_weight(),
                keeps_input: match question.packed_inputs {
                    PackedInputs::Released => 0,
                    PackedInputs::Kept => 4,
                },
            },
            rest_in_float: format == BaseFormat::Nf4DoublePrepared,
            ..plain
        },
        Task::Inference | Task::Scoring => Policy {
            storage: match question.precision {
                _ if question.weight_format.is_some() => packed(
                    question
                        .weight_format
                        .map_or(1.0, BaseFormat::bytes_per_weight),
                ),
                Precision::Fp8 => packed(1.0),
                Precision::Int8 => packed(BaseFormat::Int8.bytes_per_weight()),
                Precision::Int4 => packed(BaseFormat::Nf4Double.bytes_per_weight()),
                _ => Storage::Plain,
            },
            ..plain
        },
        Task::Train | Task::Finetune => plain,
    }
}

const fn packed(bytes_per_weight: f64) -> Storage {
    Storage::Packed {
        bytes_per_weight,
        keeps_input: 0,
    }
}

const fn adapters(lora: super::question::LoraSettings, weights: Dtype) -> Adapters {
    Adapters {
        rank: lora.rank,
        targets: match lora.targets {
            LoraTargets::QueryValue => Targets::QueryValue,
            LoraTargets::AllLinear => Targets::AllLinear,
            LoraTargets::AllLinearAndHead => Targets::AllLinearAndHead,
        },
        dtype: if lora.in_float { Dtype::Float } else { weights },
        dropout: lora.dropout,
    }
}
