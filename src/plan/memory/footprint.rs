//! The answer: how many bytes, made of what, how sure.

use super::question::{Question, Sharding};
use super::step::Phase;
use crate::caveat::Caveat;
use crate::estimate::Estimate;
use crate::units::{Bytes, Count};
use serde::Serialize;

/// How much memory the question takes, on each card and over all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Footprint {
    /// The model's name, or how it was guessed.
    pub model: String,
    /// Parameters of the model.
    pub parameters: Count,
    /// Parameters that are trained.
    pub trained: Count,
    /// What it is made of, at the moment of the peak, on one card.
    pub components: Vec<Component>,
    /// The peak on one card.
    pub total: Estimate<Bytes>,
    /// The peaks of all cards together.
    pub pooled: Estimate<Bytes>,
    /// How the cards share the work.
    pub sharding: Sharding,
    /// When the peak is reached.
    pub peak: Phase,
    /// The peak of each phase on one card, tensors alone.
    pub phases: Vec<(Phase, Bytes)>,
    /// What would make it smaller, the largest saving first.
    pub savings: Vec<Saving>,
    /// What would narrow the interval, the most effective first.
    pub narrow_by: Vec<Narrowing>,
    /// Bytes that one more token of context adds per sequence, where there is a
    /// cache; exact.
    pub kv_bytes_per_token: Option<Bytes>,
    /// Doubts.
    pub caveats: Vec<Caveat>,
}

/// A part of the total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// What it is.
    pub part: Part,
    /// How much.
    pub bytes: Estimate<Bytes>,
    /// How it is computed, with the numbers of this case.
    pub formula: String,
    /// Where the rule comes from.
    pub source: String,
    /// Whether a setting of the user changes it.
    pub shrinkable: bool,
}

/// The parts of a total, each of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The model's weights.
    Weights,
    /// 16-bit copies of 32-bit weights; layers gathered from other cards.
    WeightCopies,
    /// Gradients of the weights.
    Gradients,
    /// What the optimizer keeps.
    OptimizerStates,
    /// The batch.
    Inputs,
    /// Activations.
    Activations,
    /// Logits, loss and their gradients.
    LogitsAndLoss,
    /// Keys and values of earlier tokens.
    KvCache,
    /// Gradients in flight and scratch memory of operators.
    Workspace,
    /// What the allocator holds and nobody uses.
    Fragmentation,
    /// The driver's context.
    Context,
}

impl Part {
    /// The name for a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::WeightCopies => "weight copies",
            Self::Gradients => "gradients",
            Self::OptimizerStates => "optimizer states",
            Self::Inputs => "inputs",
            Self::Activations => "activations",
            Self::LogitsAndLoss => "logits and loss",
            Self::KvCache => "KV cache",
            Self::Workspace => "workspace",
            Self::Fragmentation => "fragmentation",
            Self::Context => "CUDA context",
        }
    }
}

/// A change of the settings that takes less memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saving {
    /// What to change: `gradient checkpointing`, `batch 4 → 2`.
    pub change: String,
    /// How much less, on one card.
    pub bytes: Bytes,
    /// What it costs, in words.
    pub cost: String,
    /// The changed question.
    #[serde(skip)]
    pub question: Box<Question>,
}

/// An input that would narrow the interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Narrowing {
    /// Which input.
    pub input: String,
    /// How much of the interval depends on it.
    pub bytes: Bytes,
    /// How to get it.
    pub how: String,
}

impl Footprint {
    /// The part of that kind; zero where there is none.
    #[must_use]
    pub fn part(&self, part: Part) -> Bytes {
        self.components
            .iter()
            .filter(|component| component.part == part)
            .map(|component| component.bytes.value)
            .sum()
    }
}
