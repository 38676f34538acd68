//! What can be typed after `advisor memory`.

use super::args::{parse, parse_dimension};
use crate::units::Count;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `advisor memory`.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct MemoryArgs {
    /// What is asked about.
    #[command(flatten)]
    pub subject: MemorySubject,
    /// What is done with it.
    #[arg(long, value_enum, default_value_t = TaskArg::Inference)]
    pub task: TaskArg,
    /// The numbers it is done in [default: fp16 for inference, mixed for training, bf16 for adapters].
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
    /// What updates the weights.
    #[arg(long, value_enum, default_value_t = OptimizerArg::Adamw)]
    pub optimizer: OptimizerArg,
    /// Sequences or images worked on together on one card; with `--model` one or
    /// more, separated by commas [default: 1; with `--model` 1,2,4,8,16,32].
    #[arg(long, short, value_name = "N", value_delimiter = ',')]
    pub batch: Vec<u64>,
    /// With `--model`: size of a free dimension other than the batch; may be repeated.
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dimension)]
    pub dims: Vec<(String, u64)>,
    /// With `--model`: also measure, each batch size in a fresh process on this machine.
    #[arg(long)]
    pub measure: bool,
    /// Tokens per sequence (of the prompt, when generating) [default: the model's own].
    #[arg(long, value_name = "TOKENS")]
    pub sequence: Option<u64>,
    /// Tokens to generate after the prompt.
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    pub new_tokens: u64,
    /// Rows and columns of pixels [default: the model's own].
    #[arg(long, value_name = "PIXELS")]
    pub image: Option<u64>,
    /// Batches whose gradients are summed before an update.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub accumulation: u64,
    /// Compute layers again in the backward pass instead of keeping them (gradient checkpointing).
    #[arg(long)]
    pub checkpointing: bool,
    /// How attention is computed.
    #[arg(long, value_enum, default_value_t = AttentionArg::Fused)]
    pub attention: AttentionArg,
    /// Rank of the low-rank adapters.
    #[arg(long, value_name = "R", default_value_t = 16)]
    pub rank: u64,
    /// Which matrices get an adapter.
    #[arg(long, value_enum, default_value_t = TargetsArg::QueryValue)]
    pub targets: TargetsArg,
    /// How the frozen weights of `qlora` are stored.
    #[arg(long, value_enum, default_value_t = BaseArg::Nf4)]
    pub base: BaseArg,
    /// Cards that share the work.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cards: u64,
    /// What each card holds.
    #[arg(long, value_enum, default_value_t = ShardingArg::Replicated)]
    pub sharding: ShardingArg,
    /// Ask about this GPU, and for the largest batch and sequence on it: `"NVIDIA L4"`, `A100-80GB`.
    #[arg(long, value_name = "GPU")]
    pub on: Option<String>,
    /// Ask about the GPUs of this machine.
    #[arg(long, conflicts_with = "on")]
    pub here: bool,
    /// Show the formula and source of every part.
    #[arg(long)]
    pub explain: bool,
}

/// The model that `advisor memory` is asked about.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct MemorySubject {
    /// Only the number of parameters: a rough estimate, `7B`.
    #[arg(long, value_name = "COUNT", value_parser = parse::<Count>)]
    pub params: Option<Count>,
    /// A known architecture: `llama-3-8b`, `bert-base`, `resnet50`, `vit-b-16`.
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// A reference model or an ONNX file: memory in ONNX Runtime on a CPU, from the graph.
    #[arg(long, value_name = "NAME|FILE")]
    pub model: Option<String>,
    /// The `config.json` of a Hugging Face model.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Compare the estimator with every measurement that ships, case by case.
    #[arg(long)]
    pub evaluate: bool,
}

/// Tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskArg {
    /// Answering; language models generate with a KV cache.
    Inference,
    /// One pass that scores every token, without a cache.
    Scoring,
    /// Full fine-tuning.
    Finetune,
    /// Low-rank adapters beside frozen weights.
    Lora,
    /// Low-rank adapters beside frozen weights stored in few bits.
    Qlora,
    /// Training from scratch.
    Train,
}

/// Number formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32-bit everywhere.
    Fp32,
    /// 16-bit (IEEE) everywhere.
    Fp16,
    /// 16-bit (bfloat16) everywhere.
    Bf16,
    /// 32-bit weights, products in bf16 (automatic mixed precision).
    Mixed,
    /// 32-bit weights, products in fp16 (automatic mixed precision).
    MixedFp16,
    /// 16-bit weights with a 32-bit copy in the optimizer (`DeepSpeed`, Megatron).
    Bf16Master,
    /// 8-bit floating-point weights, inference only.
    Fp8,
    /// 8-bit integer weights, inference only.
    Int8,
    /// 4-bit weights, inference only.
    Int4,
}

/// Optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// Stochastic gradient descent.
    Sgd,
    /// With momentum.
    Momentum,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Adam with 8-bit states.
    #[value(name = "adam-8bit")]
    Adam8bit,
    /// Row and column means.
    Adafactor,
    /// Adam with decoupled weight decay, states may move to the host.
    PagedAdamw,
    /// 8-bit Adam, states may move to the host.
    #[value(name = "paged-adamw-8bit")]
    PagedAdamw8bit,
}

/// Attention kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttentionArg {
    /// Flash attention or SDPA: no score matrix.
    Fused,
    /// Operator by operator: a score matrix per head.
    Eager,
}

/// Matrices with an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetsArg {
    /// Queries and values.
    QueryValue,
    /// Every matrix inside the layers.
    AllLinear,
    /// Those and the output head.
    AllLinearAndHead,
}

/// Formats of frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BaseArg {
    /// 4-bit normal floats.
    Nf4,
    /// The same with scales in 8 bit.
    Nf4Double,
    /// The same, prepared by `prepare_model_for_kbit_training`.
    Nf4DoublePrepared,
    /// 8-bit integers.
    Int8,
    /// 4-bit integers in groups of 128.
    Gptq4,
}

/// Ways to share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShardingArg {
    /// Everything on every card (data parallel).
    Replicated,
    /// Optimizer states shared.
    Zero1,
    /// States and gradients shared.
    Zero2,
    /// States, gradients and weights shared (FSDP).
    Zero3,
    /// Every matrix shared (tensor parallel).
    Tensor,
    /// Layers shared.
    Layers,
}
