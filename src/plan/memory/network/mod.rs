//! Networks as sequences of operators, ready to be replayed on a [`Tape`].

mod attend;
mod bert;
mod cache;
mod decoder;
mod encoder_decoder;
mod feed_forward;
mod gpt2;
mod image;
mod image_plans;
mod layers;
mod loss;
mod norm;
mod vit;

pub(super) use layers::{Adapters, Layers, Policy, Storage, Targets};

use bert::Bert;
use decoder::Decoder;
use encoder_decoder::EncoderDecoder;
use gpt2::Gpt2;
use image::ImageNetwork;

use super::architecture::{self, Network as Shape, Positions};
use super::tape::{Held, Tape, Tensor};
use super::tape::{Recording, Trained};

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
    /// In which type the loss is computed.
    pub(super) loss: Loss,
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

/// In which type the loss of a language model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Logits are first turned to 32 bit.
    InFloat,
    /// In the type of the logits.
    AsLogits,
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
    #[expect(dead_code, reason = "holds the cache's memory until the pass is over")]
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

/// A network with its weights.
#[derive(Debug)]
pub(super) enum Network {
    /// A decoder with rotary positions.
    Decoder(Box<Decoder>),
    /// A decoder with learned positions.
    Gpt2(Box<Gpt2>),
    /// An encoder.
    Bert(Box<Bert>),
    /// An encoder and a decoder.
    EncoderDecoder(Box<EncoderDecoder>),
    /// A network on images.
    Image(ImageNetwork),
}

impl Network {
    /// Makes the weights.
    pub(super) fn new(shape: &Shape, make: &mut Layers<'_>, with_head: WithHead) -> Self {
        match shape {
            Shape::Image(image) => Self::Image(ImageNetwork::new(image, make)),
            Shape::Transformer(t) => match (t.block, t.positions) {
                (architecture::Block::PostNorm, _) => {
                    Self::Bert(Box::new(Bert::new(t, make, with_head)))
                }
                (architecture::Block::EncoderDecoder, _) => {
                    Self::EncoderDecoder(Box::new(EncoderDecoder::new(t, make)))
                }
                (_, Positions::Learned) => Self::Gpt2(Box::new(Gpt2::new(t, make))),
                _ => Self::Decoder(Box::new(Decoder::new(t, make))),
            },
        }
    }

    /// One pass.
    pub(super) fn run(&self, tape: &mut Tape, pass: &AnyPass) -> Option<Outcome> {
        match (self, pass) {
            (Self::Decoder(network), AnyPass::Tokens(pass)) => Some(network.run(tape, *pass)),
            (Self::Gpt2(network), AnyPass::Tokens(pass)) => Some(network.run(tape, *pass)),
            (Self::Bert(network), AnyPass::Tokens(pass)) => Some(network.run(tape, *pass)),
            (Self::EncoderDecoder(network), AnyPass::Tokens(pass)) => {
                Some(network.run(tape, *pass))
            }
            (Self::Image(network), AnyPass::Images(pass)) => Some(network.run(tape, *pass)),
            _ => None,
        }
    }
}

/// Whether an encoder gets a task's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithHead {
    /// It does.
    Yes,
    /// Only the encoder itself.
    No,
}

/// A pass over tokens or over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnyPass {
    /// Over token sequences.
    Tokens(Pass),
    /// Over images.
    Images(ImagePass),
}

/// Number of parameters, counted by making the weights.
pub(super) fn count_parameters(shape: &Shape, with_head: WithHead) -> u64 {
    let mut tape = Tape::new(Recording::Off);
    let policy = Policy {
        weights: super::tape::Dtype::Float,
        storage: Storage::Plain,
        rest_in_float: false,
        trained: Trained::Yes,
        adapters: None,
    };
    let mut make = Layers::new(&mut tape, policy);
    let _network = Network::new(shape, &mut make, with_head);
    make.parameters()
}
