//! The shape of a transformer over tokens.

use serde::{Deserialize, Serialize};

/// Sizes and switches of a transformer. Sizes are numbers of elements.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of a published architecture"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transformer {
    /// How a block is wired.
    pub block: Block,
    /// Number of blocks (of an encoder–decoder: of the encoder).
    pub layers: u64,
    /// Blocks of the decoder, of an encoder–decoder.
    #[serde(default)]
    pub decoder_layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; fewer than `heads` in grouped-query attention, one in
    /// multi-query attention.
    pub kv_heads: u64,
    /// Width of one head.
    pub head_width: u64,
    /// Width of the feed-forward part.
    pub intermediate: u64,
    /// Tokens in the vocabulary (rows of the embedding table).
    pub vocabulary: u64,
    /// The feed-forward part.
    pub feed_forward: FeedForward,
    /// The normalisation.
    pub norm: Norm,
    /// How positions get in.
    pub positions: Positions,
    /// Rows of the table of learned positions, where there is one.
    #[serde(default)]
    pub position_rows: u64,
    /// Rows of the table of segment kinds, where there is one.
    #[serde(default)]
    pub segment_kinds: u64,
    /// Whether the output head shares the embedding table.
    pub tied: bool,
    /// Biases on queries, keys and values.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether one projection makes queries, keys and values together: the parts
    /// then share its memory.
    #[serde(default)]
    pub joint_qkv: bool,
    /// Bias on the attention's output.
    #[serde(default)]
    pub output_bias: bool,
    /// Biases in the feed-forward part.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Bias on the output head.
    #[serde(default)]
    pub head_bias: bool,
    /// Normalisation of queries and keys, head by head.
    #[serde(default)]
    pub qk_norm: bool,
    /// Normalisations after attention and feed-forward besides those before.
    #[serde(default)]
    pub post_norms: bool,
    /// Normalisations per block of a parallel block (1 or 2).
    #[serde(default)]
    pub parallel_norms: u64,
    /// The activation of the feed-forward part.
    #[serde(default)]
    pub activation: Activation,
    /// Dropout after embeddings, attention and feed-forward.
    #[serde(default)]
    pub dropout: bool,
    /// Dropout of attention weights.
    #[serde(default)]
    pub attention_dropout: bool,
    /// A dense layer over the first token, as BERT has it.
    #[serde(default)]
    pub pooler: bool,
    /// Mixture of experts.
    #[serde(default)]
    pub experts: Option<Experts>,
    /// Multi-head latent attention.
    #[serde(default)]
    pub latent: Option<Latent>,
    /// Sliding-window attention.
    #[serde(default)]
    pub window: Option<SlidingWindow>,
    /// What comes out at the end.
    pub head: Head,
}

/// How a block is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// Normalise, attend, add; normalise, feed forward, add (Llama, GPT-2).
    Sequential,
    /// Attention and feed-forward side by side (Falcon, Phi, GPT-NeoX).
    Parallel,
    /// Add, then normalise; looks both ways (BERT).
    PostNorm,
    /// An encoder, and a decoder that also looks at it (T5).
    EncoderDecoder,
}

/// The feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForward {
    /// Up, activation, down.
    Plain,
    /// Gate and up, product, down.
    Gated,
}

/// The activation of the feed-forward part, by what its derivative needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// GELU or `SiLU` by one operator: its input.
    #[default]
    Fused,
    /// GELU written out as single operators (`gelu_new`): four tensors.
    WrittenOut,
    /// A rectifier: its result, which the next layer keeps anyway.
    Rectifier,
}

/// The normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Root mean square, in 32 bit, then scaled in the model's type (Llama).
    Rms,
    /// Root mean square, scaled in 32 bit (Gemma).
    RmsScaledInFloat,
    /// Mean and variance, with weight and bias.
    Layer,
    /// Mean and variance without bias.
    LayerWithoutBias,
}

/// How positions get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Rotation of queries and keys.
    Rotary,
    /// A learned table.
    Learned,
    /// A bias on the scores, computed or learned.
    Bias,
}

/// Mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// Experts in a block.
    pub count: u64,
    /// Experts that a token passes through.
    pub active: u64,
    /// Width of one expert.
    pub intermediate: u64,
    /// Width of the experts that every token passes through, together.
    #[serde(default)]
    pub shared_intermediate: u64,
    /// Blocks at the start that have an ordinary feed-forward part.
    #[serde(default)]
    pub dense_layers: u64,
    /// A learned correction of the routing scores, one number per expert.
    #[serde(default)]
    pub routing_bias: bool,
    /// A gate on the shared experts' result.
    #[serde(default)]
    pub shared_gate: bool,
}

/// Multi-head latent attention: keys and values are expanded from one small
/// vector per token, and only that vector is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latent {
    /// Width of the vector that queries are expanded from; 0 where they are not.
    #[serde(default)]
    pub query_rank: u64,
    /// Width of the vector that keys and values are expanded from.
    pub kv_rank: u64,
    /// Width of the part of a head that carries the position (shared by all heads).
    pub rope_width: u64,
    /// Width of the other part.
    pub plain_width: u64,
    /// Width of a head's values.
    pub value_width: u64,
}

/// Sliding-window attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlidingWindow {
    /// Tokens that a position sees.
    pub tokens: u64,
    /// Of so many blocks in a row, all but the last use the window; 1 means all do.
    pub period: u64,
}

/// What comes out at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// One score per token of the vocabulary.
    Tokens,
    /// One score per class.
    Classes(u64),
}

impl Transformer {
    /// Width of all queries of a token.
    #[must_use]
    pub const fn query_width(&self) -> u64 {
        self.heads * self.head_width
    }

    /// Width of all keys of a token.
    #[must_use]
    pub const fn key_width(&self) -> u64 {
        self.kv_heads * self.head_width
    }

    /// Whether block `index` has experts.
    #[must_use]
    pub const fn experts_in(&self, index: u64) -> Option<Experts> {
        match self.experts {
            Some(experts) if index >= experts.dense_layers => Some(experts),
            _ => None,
        }
    }

    /// Tokens that block `index` sees, if not all.
    #[must_use]
    pub const fn window_of(&self, index: u64) -> Option<u64> {
        match self.window {
            Some(window) if window.period <= 1 || !(index + 1).is_multiple_of(window.period) => {
                Some(window.tokens)
            }
            _ => None,
        }
    }
}
