//! Keys and values of earlier tokens, exact to the byte.

use super::Transformer;
use crate::units::Bytes;

/// Bytes that one more token adds to the cache of one sequence, with
/// `bytes_per_number` for each number kept.
///
/// Two vectors of `kv_heads × head_width` per block (grouped-query attention,
/// arXiv:2305.13245; multi-query attention is the case of one head,
/// arXiv:1911.02150). Multi-head latent attention keeps one vector of
/// `kv_rank + rope_width` per block instead (arXiv:2405.04434). An
/// encoder–decoder caches its decoder's blocks.
///
/// With a sliding window this holds until the window is full; see
/// [`kv_bytes_for`].
#[must_use]
pub fn kv_bytes_per_token(transformer: &Transformer, bytes_per_number: u64) -> Bytes {
    Bytes::new(numbers_per_block(transformer) * blocks(transformer) * bytes_per_number)
}

/// Bytes of the cache of one sequence of `tokens`: blocks with a sliding window
/// keep at most the window when `rolling` caches are used.
pub(in super::super) fn kv_bytes_for(
    transformer: &Transformer,
    tokens: u64,
    bytes_per_number: u64,
    rolling: Rolling,
) -> Bytes {
    let per_block = numbers_per_block(transformer) * bytes_per_number;
    (0..blocks(transformer))
        .map(|index| {
            let kept = match (rolling, transformer.window_of(index)) {
                (Rolling::Yes, Some(window)) => tokens.min(window),
                _ => tokens,
            };
            Bytes::new(kept * per_block)
        })
        .sum()
}

/// Whether blocks with a sliding window drop what has left the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Rolling {
    /// They do.
    Yes,
    /// Everything is kept.
    No,
}

const fn numbers_per_block(transformer: &Transformer) -> u64 {
    match transformer.latent {
        Some(latent) => latent.kv_rank + latent.rope_width,
        None => 2 * transformer.key_width(),
    }
}

const fn blocks(transformer: &Transformer) -> u64 {
    if transformer.decoder_layers > 0 {
        transformer.decoder_layers
    } else {
        transformer.layers
    }
}
