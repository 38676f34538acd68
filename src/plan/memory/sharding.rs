//! What one card holds when several share the work.

use super::architecture::{Architecture, Experts, Network, Transformer};
use super::question::{Sharding, Strategy};
use super::step::Phases;
use super::tape::{Kind, Snapshot};

/// The part of the network that one card computes: with tensor parallelism its
/// share of every matrix (Megatron-LM, arXiv:1909.08053: heads, feed-forward
/// width and vocabulary are divided), with layers divided its share of them.
pub(super) fn part_of(architecture: &Architecture, sharding: Sharding) -> Architecture {
    let cards = sharding.cards;
    let Network::Transformer(full) = &architecture.network else {
        return architecture.clone();
    };
    let share = |n: u64| n.div_ceil(cards);
    let part = match sharding.strategy {
        Strategy::Tensor => Transformer {
            heads: share(full.heads),
            kv_heads: share(full.kv_heads),
            intermediate: share(full.intermediate),
            vocabulary: share(full.vocabulary),
            experts: full.experts.map(|experts| Experts {
                intermediate: share(experts.intermediate),
                shared_intermediate: share(experts.shared_intermediate),
                ..experts
            }),
            ..full.clone()
        },
        Strategy::Layers => Transformer {
            layers: share(full.layers),
            decoder_layers: share(full.decoder_layers),
            ..full.clone()
        },
        _ => full.clone(),
    };
    Architecture {
        network: Network::Transformer(part),
        ..architecture.clone()
    }
}

/// What one card holds of states, gradients and weights (`ZeRO`, arXiv:1910.02054,
/// figure 1; FSDP, arXiv:2304.11277).
///
/// Stage 3 gathers a block's weights while it is used and fetches the next one
/// ahead, so that two blocks are there in full, and keeps embeddings and head
/// gathered throughout.
pub(super) fn shard(phases: &Phases, sharding: Sharding) -> Phases {
    let cards = sharding.cards;
    if cards < 2 {
        return *phases;
    }
    let divide = |snapshot: Snapshot, kinds: &[Kind]| {
        kinds.iter().fold(snapshot, |s, &kind| {
            s.with(kind, s.of(kind).div_ceil(cards))
        })
    };
    let training = phases.trained > 0;
    let change = |snapshot: Snapshot| match sharding.strategy {
        Strategy::Zero1 => divide(snapshot, &[Kind::Optimizer]),
        Strategy::Zero2 => divide(snapshot, &[Kind::Optimizer, Kind::Gradients]),
        Strategy::Zero3 => {
            let gathered = 2 * phases.largest_block + phases.outside_blocks;
            divide(snapshot, &[Kind::Optimizer, Kind::Gradients, Kind::Weights])
                .plus(Kind::WeightCopies, gathered)
        }
        // Gradients are copied into buckets to be summed over the cards.
        Strategy::Replicated if training => {
            snapshot.plus(Kind::Scratch, snapshot.of(Kind::Gradients))
        }
        _ => snapshot,
    };
    Phases {
        forward: change(phases.forward),
        backward: change(phases.backward),
        update: change(phases.update),
        ..*phases
    }
}
