//! What lies between live tensors and what the driver shows, and how sure each
//! part is.
//!
//! Allocator: replayed (see `tape/allocator.rs`), not fitted. Context and the
//! widths of the intervals are fitted constants; each names its evidence.

use super::architecture::{Architecture, Block, Network, Positions};
use super::question::{AttentionKind, Measure, PackedInputs, Question, Strategy};
use crate::estimate::{Estimate, Source};
use crate::units::{Bytes, Fraction};

/// How often an interval is meant to hold the truth.
pub(super) const LEVEL: f64 = 0.9;

/// What the driver and the framework take on a card before the first tensor:
/// between a quarter of a GiB (CUDA 12 with lazily loaded kernels) and 1.4 GiB
/// (CUDA 10 and 11 that load every kernel at once; 1,343 MiB were seen on a V100,
/// `profiles/memory/published.tsv`, row `cuda-context`).
pub(super) fn context() -> Estimate<Bytes> {
    Estimate::new(
        Bytes::from_mib(512),
        (Bytes::from_mib(256), Bytes::from_mib(1434)),
        Fraction::saturating(LEVEL),
        Source::Assumed {
            why: "depends on the driver and on which kernels are loaded".to_owned(),
        },
    )
}

/// How far activations and scratch memory of a real program may lie from the
/// replay: shares of them, down and up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) down: f64,
    pub(super) up: f64,
}

/// The spread of activations.
///
/// Fitted on `profiles/memory/published.tsv`, quality A: other programs than the
/// traced ones (litgpt) kept 8 to 33 % more than the replay; attention written
/// out as operators 34 to 64 % more (a `transformers` release of 2021); packed
/// layers that keep their inputs 17 % less. Networks on images get 15 % for the
/// workspaces of convolutions, of which no published peak was at hand. Networks whose replay has been
/// compared with a trace operator by operator get the small figures downward.
pub(super) fn activation_spread(question: &Question, architecture: &Architecture) -> Spread {
    let up = match (&architecture.network, question.attention) {
        (Network::Image(_), _) => 0.15,
        (_, AttentionKind::Eager) => 0.65,
        (_, AttentionKind::Fused) => 0.35,
    };
    let down = match question.packed_inputs {
        PackedInputs::Kept => 0.2,
        PackedInputs::Released => 0.05,
    };
    if is_traced(architecture) {
        Spread { down, up }
    } else {
        Spread {
            down: down + 0.1,
            up: up + 0.1,
        }
    }
}

/// Whether the replay of this kind of network was compared with a trace.
pub(super) fn is_traced(architecture: &Architecture) -> bool {
    match &architecture.network {
        Network::Image(_) => true,
        Network::Transformer(t) => {
            let experts = t.experts.is_none_or(|e| e.shared_intermediate == 0);
            let shared_heads = t.positions == Positions::Learned && t.kv_heads < t.heads;
            experts && !shared_heads && t.block != Block::EncoderDecoder
        }
    }
}

/// What one card may hold besides, at most, because cards share the work in
/// another way than assumed: embeddings and head that are not divided.
pub(super) fn undivided(question: &Question, outside_blocks: u64) -> u64 {
    let cards = question.sharding.cards;
    match question.sharding.strategy {
        Strategy::Tensor if cards > 1 => outside_blocks * (cards - 1),
        _ => 0,
    }
}

/// Whether the figure includes what the allocator holds unused.
pub(super) const fn counts_reserve(measure: Measure) -> bool {
    matches!(measure, Measure::Reserved | Measure::Device)
}
