//! Predictions for hardware that the user does not have, from a fit alone.

mod gpu;
mod processor;

pub use processor::{CpuMeasured, CpuPoint, CpuTarget};

use crate::{
    estimate::Estimate,
    units::{Bytes, Flops, Time},
};

/// Batch sizes that are predicted.
pub const BATCH_SIZES: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// The kinds of work that predictions tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// Convolutions.
    Convolutional,
    /// Attention and large matrix products.
    Transformer,
    /// Matrix products without attention.
    Dense,
    /// Anything else that is arithmetic; published tables have nothing like it.
    Other,
}

impl WorkKind {
    /// Whether its arithmetic is convolutions.
    #[must_use]
    pub const fn is_convolutional(self) -> bool {
        matches!(self, Self::Convolutional)
    }
}

/// By how much half widths grow for work of which the tables have none. An
/// assumption: nothing was published to learn it from.
const UNLIKE_ANY: f64 = 1.5;

/// The numbers that a model's weights are stored in: a key, never averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32 bits, as exported by default.
    Single,
    /// 16 bits.
    Half,
    /// 8 bits, as quantised models have them.
    EightBit,
}

impl Element {
    /// What most weights must be, by bytes over parameters.
    #[must_use]
    pub fn of(weight_bytes: Bytes, parameters: u64) -> Self {
        match weight_bytes.get() as f64 / parameters.max(1) as f64 {
            per if per < 1.5 => Self::EightBit,
            per if per < 3.0 => Self::Half,
            _ => Self::Single,
        }
    }

    /// Its bytes.
    const fn bytes(self) -> f64 {
        match self {
            Self::Single => 4.0,
            Self::Half => 2.0,
            Self::EightBit => 1.0,
        }
    }
}

/// What one pass over a model asks of a device, as ONNX Runtime runs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// What kind of work it is.
    pub kind: WorkKind,
    /// What its weights are stored in.
    pub element: Element,
    /// Arithmetic for one item.
    pub flops: Flops,
    /// Bytes of the weights.
    pub weight_bytes: Bytes,
    /// Bytes that all operators of the graph read and write for one item,
    /// without the weights.
    pub activation_bytes: Bytes,
    /// Operators in the graph, as exported.
    pub operators: u32,
    /// The largest batch size that the model takes; none where it is free.
    pub max_batch: Option<u32>,
}

impl Work {
    /// Learnt parameters.
    pub(super) fn parameters(&self) -> f64 {
        self.weight_bytes.get() as f64 / self.element.bytes()
    }

    /// Bytes that convolutions and matrix products alone move: what published
    /// rows count. In an exported graph, element-wise operators between them move
    /// more, but runtimes fuse those: counted on the exports of ResNet-50 (two
    /// fifths) and of BERT-base (a quarter).
    pub(super) fn moved_bytes(&self) -> f64 {
        let share = if self.kind.is_convolutional() {
            0.4
        } else {
            0.25
        };
        self.activation_bytes.get() as f64 * share
    }

    /// Kernels of a pass as the published tables' networks count them: nodes of
    /// an exported convolutional network (122 of ResNet-50); 13 for each layer of
    /// an encoder, of whose export that is an eighth (1,230 nodes of BERT-base).
    pub(super) fn kernels(&self) -> f64 {
        let share = match self.kind {
            WorkKind::Convolutional | WorkKind::Dense => 1.0,
            WorkKind::Transformer => 0.127,
            WorkKind::Other => 0.5,
        };
        f64::from(self.operators) * share
    }

    /// The sizes to predict.
    pub(super) fn batch_sizes(&self) -> impl Iterator<Item = u32> {
        let largest = self.max_batch.unwrap_or(u32::MAX);
        BATCH_SIZES
            .into_iter()
            .filter(move |batch| *batch <= largest)
    }
}

/// A predicted service time.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Items per inference.
    pub batch_size: u32,
    /// With all instances of the machine busy.
    pub busy: Estimate<Time>,
    /// With one instance busy.
    pub alone: Time,
}

/// Service times by batch size and what they rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Ascending by batch size; never empty.
    pub points: Vec<Predicted>,
    /// What it rests on, in a sentence.
    pub evidence: String,
}
