//! The model types of `transformers` and their keys.
//!
//! Defaults are those of the configuration classes
//! (`src/transformers/models/*/configuration_*.py`).

use super::hf_config::{Config, Default};
use super::{
    Activation, Block, Experts, FeedForward, Head, ImageNet, Latent, Network, Norm, Positions,
    SlidingWindow, Transformer, Vit,
};
use crate::error::Result;

/// Reads a config of a known model type; `None` when the type is not known.
pub(super) fn read(kind: &str, config: &Config<'_>) -> Option<Result<Network>> {
    let transformer = match kind {
        "llama" | "mistral" | "phi3" | "qwen2" | "qwen3" | "gemma" | "gemma2" | "mixtral"
        | "qwen2_moe" | "qwen3_moe" => like_llama(kind, config),
        "deepseek_v2" | "deepseek_v3" => deepseek(kind, config),
        "falcon" => falcon(config),
        "phi" | "gpt_neox" => side_by_side(kind, config),
        "gpt2" | "gpt_bigcode" => gpt2(kind, config),
        "opt" => opt(config),
        "bert" | "roberta" | "xlm-roberta" | "camembert" => bert(config),
        "distilbert" => distilbert(config),
        "t5" | "mt5" => t5(config),
        "vit" => return Some(vit(config)),
        _ => return None,
    };
    Some(transformer.map(Network::Transformer))
}

/// Reads an unknown model type like Llama.
pub(super) fn generic(config: &Config<'_>) -> Result<Network> {
    like_llama("", config).map(Network::Transformer)
}

fn activation(name: Option<&str>) -> Activation {
    match name {
        Some("gelu_new") => Activation::WrittenOut,
        Some("relu") => Activation::Rectifier,
        _ => Activation::Fused,
    }
}

/// A shape with every switch off.
fn plain(block: Block) -> Transformer {
    Transformer {
        block,
        layers: 0,
        decoder_layers: 0,
        hidden: 0,
        heads: 0,
        kv_heads: 0,
        head_width: 0,
        intermediate: 0,
        vocabulary: 0,
        feed_forward: FeedForward::Plain,
        norm: Norm::Layer,
        positions: Positions::Rotary,
        position_rows: 0,
        segment_kinds: 0,
        tied: false,
        qkv_bias: false,
        joint_qkv: false,
        output_bias: false,
        mlp_bias: false,
        head_bias: false,
        qk_norm: false,
        post_norms: false,
        parallel_norms: 0,
        activation: Activation::Fused,
        dropout: false,
        attention_dropout: false,
        pooler: false,
        experts: None,
        latent: None,
        window: None,
        head: Head::Tokens,
    }
}

const HIDDEN: &[&str] = &["hidden_size", "n_embd", "d_model", "dim"];
const LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "num_layers", "n_layers"];
const HEADS: &[&str] = &["num_attention_heads", "n_head", "num_heads", "n_heads"];
const INNER: &[&str] = &[
    "intermediate_size",
    "ffn_dim",
    "d_ff",
    "hidden_dim",
    "n_inner",
];
const VOCABULARY: &[&str] = &["vocab_size"];

fn like_llama(kind: &str, config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, intermediate, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, INNER, VOCABULARY])?;
    let gemma = kind.starts_with("gemma");
    let head_width = match config.number(&["head_dim"])? {
        Some(width) => width,
        None if kind.starts_with("qwen3") => 128,
        None if gemma => 256,
        None => hidden / heads.max(1),
    };
    let tied = if gemma { Default::On } else { Default::Off };
    let biased = match kind {
        "qwen2" | "qwen2_moe" => true,
        _ => config.switch("attention_bias", Default::Off),
    };
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads: config
            .number(&["num_key_value_heads", "num_kv_heads"])?
            .unwrap_or(heads),
        head_width,
        intermediate,
        vocabulary,
        feed_forward: FeedForward::Gated,
        norm: if gemma {
            Norm::RmsScaledInFloat
        } else {
            Norm::Rms
        },
        tied: config.switch("tie_word_embeddings", tied),
        qkv_bias: biased,
        joint_qkv: kind == "phi3",
        output_bias: biased && !kind.starts_with("qwen2"),
        mlp_bias: config.switch("mlp_bias", Default::Off),
        qk_norm: kind.starts_with("qwen3"),
        post_norms: kind == "gemma2",
        experts: experts(kind, config, intermediate)?,
        window: window(kind, config)?,
        ..plain(Block::Sequential)
    })
}

fn experts(kind: &str, config: &Config<'_>, dense: u64) -> Result<Option<Experts>> {
    let Some(count) = config.number(&["num_local_experts", "num_experts"])? else {
        return Ok(None);
    };
    let shared = config
        .number(&["shared_expert_intermediate_size"])?
        .unwrap_or(0);
    Ok(Some(Experts {
        count,
        active: config.number(&["num_experts_per_tok"])?.unwrap_or(2),
        intermediate: config.number(&["moe_intermediate_size"])?.unwrap_or(dense),
        shared_intermediate: shared,
        dense_layers: 0,
        routing_bias: false,
        shared_gate: kind == "qwen2_moe" && shared > 0,
    }))
}

fn window(kind: &str, config: &Config<'_>) -> Result<Option<SlidingWindow>> {
    let tokens = config.number(&["sliding_window"])?;
    let used = match kind {
        "mistral" | "gemma2" => true,
        _ => config.switch("use_sliding_window", Default::Off),
    };
    let period = if kind == "gemma2" { 2 } else { 1 };
    Ok(tokens
        .filter(|_| used)
        .map(|tokens| SlidingWindow { tokens, period }))
}

fn deepseek(kind: &str, config: &Config<'_>) -> Result<Transformer> {
    let [kv_rank, rope_width, plain_width, value_width] = config.required([
        &["kv_lora_rank"],
        &["qk_rope_head_dim"],
        &["qk_nope_head_dim"],
        &["v_head_dim"],
    ])?;
    let base = like_llama("llama", config)?;
    let experts = match config.number(&["n_routed_experts"])? {
        None => None,
        Some(count) => {
            let [width] = config.required([&["moe_intermediate_size"]])?;
            Some(Experts {
                count,
                active: config.number(&["num_experts_per_tok"])?.unwrap_or(8),
                intermediate: width,
                shared_intermediate: width * config.number(&["n_shared_experts"])?.unwrap_or(0),
                dense_layers: config.number(&["first_k_dense_replace"])?.unwrap_or(0),
                routing_bias: kind == "deepseek_v3",
                shared_gate: false,
            })
        }
    };
    Ok(Transformer {
        kv_heads: base.heads,
        head_width: plain_width + rope_width,
        experts,
        latent: Some(Latent {
            query_rank: config.number(&["q_lora_rank"])?.unwrap_or(0),
            kv_rank,
            rope_width,
            plain_width,
            value_width,
        }),
        ..base
    })
}

fn falcon(config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, VOCABULARY])?;
    let new = config.switch("new_decoder_architecture", Default::Off);
    let parallel = config.switch("parallel_attn", Default::On);
    let kv_heads = if new {
        config
            .number(&["num_kv_heads", "n_head_kv"])?
            .unwrap_or(heads)
    } else if config.switch("multi_query", Default::On) {
        1
    } else {
        heads
    };
    let bias = config.switch("bias", Default::Off);
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads,
        head_width: hidden / heads.max(1),
        intermediate: config.number(&["ffn_hidden_size"])?.unwrap_or(4 * hidden),
        vocabulary,
        positions: if config.switch("alibi", Default::Off) {
            Positions::Bias
        } else {
            Positions::Rotary
        },
        tied: config.switch("tie_word_embeddings", Default::On),
        qkv_bias: bias,
        joint_qkv: true,
        output_bias: bias,
        mlp_bias: bias,
        parallel_norms: if new { 2 } else { u64::from(parallel) },
        ..plain(if parallel {
            Block::Parallel
        } else {
            Block::Sequential
        })
    })
}

fn side_by_side(kind: &str, config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, intermediate, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, INNER, VOCABULARY])?;
    let phi = kind == "phi";
    let parallel = phi || config.switch("use_parallel_residual", Default::On);
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads: config.number(&["num_key_value_heads"])?.unwrap_or(heads),
        head_width: hidden / heads.max(1),
        intermediate,
        vocabulary,
        tied: config.switch("tie_word_embeddings", Default::Off),
        qkv_bias: true,
        joint_qkv: !phi,
        output_bias: true,
        mlp_bias: true,
        head_bias: phi,
        parallel_norms: if phi { 1 } else { 2 },
        activation: activation(config.text("hidden_act")),
        ..plain(if parallel {
            Block::Parallel
        } else {
            Block::Sequential
        })
    })
}

fn gpt2(kind: &str, config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, VOCABULARY])?;
    let shared = kind == "gpt_bigcode" && config.switch("multi_query", Default::On);
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads: if shared { 1 } else { heads },
        head_width: hidden / heads.max(1),
        intermediate: config.number(INNER)?.unwrap_or(4 * hidden),
        vocabulary,
        activation: match kind {
            "gpt2" => activation(config.text("activation_function").or(Some("gelu_new"))),
            _ => Activation::Fused,
        },
        joint_qkv: true,
        attention_dropout: true,
        ..with_learned_positions(
            config
                .number(&["n_positions", "max_position_embeddings"])?
                .unwrap_or(1024),
            config,
        )
    })
}

fn opt(config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, intermediate, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, INNER, VOCABULARY])?;
    // Two rows more than positions: the table is looked up with an offset.
    let rows = config.number(&["max_position_embeddings"])?.unwrap_or(2048) + 2;
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads: heads,
        head_width: hidden / heads.max(1),
        intermediate,
        vocabulary,
        activation: activation(config.text("activation_function").or(Some("relu"))),
        ..with_learned_positions(rows, config)
    })
}

fn with_learned_positions(rows: u64, config: &Config<'_>) -> Transformer {
    Transformer {
        positions: Positions::Learned,
        position_rows: rows,
        tied: config.switch("tie_word_embeddings", Default::On),
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        dropout: true,
        ..plain(Block::Sequential)
    }
}

fn encoder(config: &Config<'_>, intermediate: u64) -> Result<Transformer> {
    let [hidden, layers, heads, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, VOCABULARY])?;
    Ok(Transformer {
        layers,
        hidden,
        heads,
        kv_heads: heads,
        head_width: hidden / heads.max(1),
        intermediate,
        vocabulary,
        positions: Positions::Learned,
        position_rows: config.number(&["max_position_embeddings"])?.unwrap_or(512),
        tied: true,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        dropout: true,
        attention_dropout: true,
        head: Head::Classes(config.classes().unwrap_or(2)),
        ..plain(Block::PostNorm)
    })
}

fn bert(config: &Config<'_>) -> Result<Transformer> {
    let [intermediate] = config.required([INNER])?;
    Ok(Transformer {
        segment_kinds: config.number(&["type_vocab_size"])?.unwrap_or(2),
        pooler: true,
        ..encoder(config, intermediate)?
    })
}

fn distilbert(config: &Config<'_>) -> Result<Transformer> {
    let [intermediate] = config.required([&["hidden_dim"]])?;
    encoder(config, intermediate)
}

fn t5(config: &Config<'_>) -> Result<Transformer> {
    let [hidden, layers, heads, intermediate, width, vocabulary] =
        config.required([HIDDEN, LAYERS, HEADS, INNER, &["d_kv"], VOCABULARY])?;
    let gated = config
        .text("feed_forward_proj")
        .is_some_and(|text| text.starts_with("gated"));
    Ok(Transformer {
        layers,
        decoder_layers: config.number(&["num_decoder_layers"])?.unwrap_or(layers),
        hidden,
        heads,
        kv_heads: heads,
        head_width: width,
        intermediate,
        vocabulary,
        feed_forward: if gated {
            FeedForward::Gated
        } else {
            FeedForward::Plain
        },
        norm: Norm::Rms,
        positions: Positions::Bias,
        tied: config.switch("tie_word_embeddings", Default::On),
        // `gated-gelu` stands for the written-out GELU.
        activation: if gated {
            Activation::WrittenOut
        } else {
            Activation::Rectifier
        },
        dropout: true,
        attention_dropout: true,
        ..plain(Block::EncoderDecoder)
    })
}

fn vit(config: &Config<'_>) -> Result<Network> {
    let [hidden, layers, heads, intermediate, patch, image] = config.required([
        HIDDEN,
        LAYERS,
        HEADS,
        INNER,
        &["patch_size"],
        &["image_size"],
    ])?;
    Ok(Network::Image(ImageNet::Vit(Vit {
        layers,
        hidden,
        heads: heads.max(1),
        intermediate,
        patch: patch.max(1),
        image,
        classes: config.classes().unwrap_or(2),
    })))
}
