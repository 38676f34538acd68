//! Networks as sequences of operators, ready to be replayed on a [`Tape`].

mod bert;
mod cache;
mod decoder;
mod gpt2;
mod image;
mod image_plans;
mod layers;
mod vit;

pub(super) use layers::{Adapters, Layers, Policy, Storage, Targets};

use super::tape::{Held, Tape, Tensor};
use std::rc::Rc;

/// A part of the network that maps one tensor to another.
pub(super) type Block = Rc<dyn Fn(&mut Tape, &Tensor) -> Tensor>;

pub(super) use bert::Bert;
pub(super) use decoder::Decoder;
pub(super) use gpt2::Gpt2;
pub(super) use image::ImageNetwork;

/// What one pass over a batch of token sequences is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Sequences in the batch.
    pub(super) batch: u64,
    /// Tokens in each.
    pub(super) sequence: u64,
    /// Keys and values of earlier tokens in each sequence.
    pub(super) past: u64,
    /// How attention is computed.
    pub(super) attention: Attention,
    /// Whether layers are run again in the backward pass instead of kept.
    pub(super) checkpointing: bool,
    /// What comes out.
    pub(super) output: Output,
    /// Whether sequences of different length are padded, with a mask.
    pub(super) padded: bool,
}

impl Pass {
    /// Tokens in the batch.
    pub(super) const fn tokens(&self) -> u64 {
        self.batch * self.sequence
    }
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    /// Operator by operator: the score matrix exists.
    Eager,
    /// By a fused kernel.
    Fused,
}

/// What a pass gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// The loss, for training.
    Loss,
    /// Logits of every position.
    Logits,
    /// Logits of the last position, and the cache of keys and values.
    NextToken,
}

/// What a pass leaves behind.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The loss or the logits.
    pub(super) result: Tensor,
    /// Keys and values, when asked for.
    pub(super) cache: Vec<Held>,
    /// The batch, which the training loop holds until the end of the step.
    pub(super) inputs: Vec<Held>,
}

/// What one pass over a batch of images is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImagePass {
    /// Images in the batch.
    pub(super) batch: u64,
    /// Rows and columns of pixels.
    pub(super) side: u64,
    /// Type of the pixels.
    pub(super) input: super::tape::Dtype,
    /// How attention is computed, where there is any.
    pub(super) attention: Attention,
    /// Whether blocks are run again in the backward pass instead of kept.
    pub(super) checkpointing: bool,
    /// What comes out.
    pub(super) output: Output,
}
