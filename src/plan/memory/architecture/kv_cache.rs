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
/// Blocks with a sliding window stop growing when the window is full.
#[must_use]
pub fn kv_bytes_per_token(transformer: &Transformer, bytes_per_number: u64) -> Bytes {
    Bytes::new(numbers_per_block(transformer) * blocks(transformer) * bytes_per_number)
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
