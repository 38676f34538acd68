//! What is asked: which model, which task, with which settings.

use super::architecture::{Architecture, Block, Head, Network};
use crate::error::{Error, Result};
use crate::units::Count;
use serde::{Deserialize, Serialize};

/// A question about memory. [`Question::new`] gives sensible settings; fields
/// that are `None` are chosen by the model, and the answer says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The model.
    pub subject: Subject,
    /// What is done with it.
    pub task: Task,
    /// In which numbers.
    pub precision: Precision,
    /// How weights are packed for inference; `None` for what the precision says.
    pub weight_format: Option<BaseFormat>,
    /// Whether layers with packed weights keep their inputs in training.
    pub packed_inputs: PackedInputs,
    /// What updates the weights, when training.
    pub optimizer: Optimizer,
    /// How the update is run.
    pub update: Update,
    /// Sequences or images that are worked on together on one card.
    pub batch: u64,
    /// Batches whose gradients are summed before an update.
    pub accumulation: u64,
    /// Tokens per sequence: when generating, of the prompt.
    pub sequence: Option<u64>,
    /// Tokens to generate after the prompt.
    pub new_tokens: u64,
    /// Rows and columns of pixels.
    pub image_side: Option<u64>,
    /// Whether layers are computed again in the backward pass instead of kept.
    pub checkpointing: bool,
    /// How attention is computed.
    pub attention: AttentionKind,
    /// Whether sequences of different length are padded and masked.
    pub padded: bool,
    /// Whether adapters are trained under automatic casting to 16 bit beside a
    /// frozen 16-bit model.
    pub frozen_autocast: bool,
    /// How cards share the work.
    pub sharding: Sharding,
    /// What a language model or encoder gives; `None` for what it was made for.
    pub head: Option<Head>,
    /// How the loss of a language model is computed.
    pub loss: LossKind,
    /// Which layer of the software the total is meant to match.
    pub measure: Measure,
}

/// The model that is asked about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// Only the number of parameters is known.
    Parameters {
        /// How many.
        count: Count,
        /// What kind of model.
        kind: ModelKind,
    },
    /// The architecture is known.
    Architecture(Box<Architecture>),
}

/// What kind of model it is, when only its size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// A decoder that generates text.
    Language,
    /// An encoder of text.
    Encoder,
    /// A network on images.
    Image,
}

/// What is done with the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Answering: language models generate with a cache of keys and values,
    /// other models make one pass.
    Inference,
    /// One pass that gives the scores of every token, without a cache.
    Scoring,
    /// Training of all weights from scratch.
    Train,
    /// Training of all weights of a finished model.
    Finetune,
    /// Training of low-rank adapters beside frozen weights.
    Lora(LoraSettings),
    /// The same beside frozen weights that are stored in few bits.
    Qlora(LoraSettings, BaseFormat),
}

/// Low-rank adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoraSettings {
    /// Rank.
    pub rank: u64,
    /// Which matrices get an adapter.
    pub targets: LoraTargets,
    /// Whether the adapters' weights are kept in 32 bit beside a 16-bit model.
    pub in_float: bool,
    /// Whether their input is dropped at random.
    pub dropout: bool,
}

impl LoraSettings {
    /// Adapters of `rank` on queries and values, in 32 bit, without dropout.
    #[must_use]
    pub const fn new(rank: u64) -> Self {
        Self {
            rank,
            targets: LoraTargets::QueryValue,
            in_float: true,
            dropout: false,
        }
    }
}

/// Which matrices get an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoraTargets {
    /// Queries and values.
    QueryValue,
    /// Every matrix inside the layers.
    AllLinear,
    /// Every matrix, the output head too.
    AllLinearAndHead,
}

/// How frozen weights are stored in few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseFormat {
    /// 4-bit normal floats, a 32-bit scale per 64 weights.
    Nf4,
    /// The same with scales in 8 bit (double quantisation).
    Nf4Double,
    /// The same, and embeddings, norms and head turned to 32 bit before training
    /// (`prepare_model_for_kbit_training`), with automatic casting.
    Nf4DoublePrepared,
    /// 8-bit integers, a 32-bit scale per row.
    Int8,
    /// 4-bit integers in groups of 128 (GPTQ).
    Gptq4,
}

impl BaseFormat {
    /// Bytes per weight, scales included.
    ///
    /// Sources: `QLoRA` (arXiv:2305.14314, sections 3 and 4: blocks of 64, second
    /// blocks of 256); `LLM.int8()` (arXiv:2208.07339); GPTQ with groups of 128
    /// (arXiv:2210.17323): a 16-bit scale and a 4-bit zero per group.
    #[must_use]
    pub fn bytes_per_weight(self) -> f64 {
        match self {
            Self::Nf4 => 0.5 + 4.0 / 64.0,
            Self::Nf4Double | Self::Nf4DoublePrepared => 0.5 + 1.0 / 64.0 + 4.0 / (64.0 * 256.0),
            // One scale per row: rows of 4096 weights are typical.
            Self::Int8 => 1.0 + 4.0 / 4096.0,
            Self::Gptq4 => 0.5 + 2.5 / 128.0,
        }
    }
}

/// Whether layers with packed weights keep their inputs in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackedInputs {
    /// They do not: bitsandbytes from 0.43.2.
    Released,
    /// They do: bitsandbytes up to 0.43.1, which held the input of every packed
    /// layer until the end of the backward pass. The size of what is held, 4
    /// bytes per number, is fitted on litgpt's published table.
    Kept,
}

/// The numbers that weights and computations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit everywhere.
    Fp32,
    /// 16-bit (IEEE) everywhere.
    Fp16,
    /// 16-bit (bfloat16) everywhere.
    Bf16,
    /// 32-bit weights, products in 16 bit (automatic mixed precision, fp16).
    MixedFp16,
    /// 32-bit weights, products in 16 bit (automatic mixed precision, bf16).
    MixedBf16,
    /// 16-bit weights and gradients, with a 32-bit copy of the weights in the
    /// optimizer (`DeepSpeed`, Megatron).
    Bf16Master,
    /// 8-bit floating-point weights, inference only.
    Fp8,
    /// 8-bit integer weights, inference only.
    Int8,
    /// 4-bit weights, inference only.
    Int4,
}

impl Precision {
    /// The name that it is written by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::MixedFp16 => "mixed (fp16)",
            Self::MixedBf16 => "mixed (bf16)",
            Self::Bf16Master => "bf16 with fp32 master weights",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }
}

/// What updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Stochastic gradient descent: keeps nothing.
    Sgd,
    /// With momentum: one number per weight.
    Momentum,
    /// Adam: two numbers per weight.
    Adam,
    /// Adam with decoupled weight decay: two numbers per weight.
    AdamW,
    /// Adam with 8-bit states.
    Adam8bit,
    /// Row and column means instead of a number per weight.
    Adafactor,
    /// `AdamW` whose states may move to the host's memory.
    PagedAdamW,
    /// 8-bit Adam whose states may move to the host's memory.
    PagedAdamW8bit,
}

/// How the update is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// All tensors at once (`foreach`, the default on GPUs): one more copy of the
    /// trained weights for the moment.
    AllAtOnce,
    /// By one fused kernel: nothing more.
    Fused,
    /// Tensor by tensor.
    OneByOne,
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionKind {
    /// By a fused kernel (`FlashAttention`, SDPA): no score matrix.
    Fused,
    /// Operator by operator: a score matrix per head.
    Eager,
}

/// How the loss of a language model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Logits are first turned to 32 bit (Hugging Face).
    InFloat,
    /// In the type of the logits (litgpt, torchtune).
    AsLogits,
}

/// How cards share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharding {
    /// Number of cards.
    pub cards: u64,
    /// What each of them holds.
    pub strategy: Strategy,
}

impl Sharding {
    /// One card.
    pub const NONE: Self = Self {
        cards: 1,
        strategy: Strategy::Replicated,
    };
}

/// What each card holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Everything; batches differ (data parallel).
    Replicated,
    /// Its share of the optimizer's states.
    Zero1,
    /// Its share of states and gradients.
    Zero2,
    /// Its share of states, gradients and weights (FSDP); layers are gathered
    /// while they are used.
    Zero3,
    /// Its share of every matrix (tensor parallel).
    Tensor,
    /// Its share of the layers (pipeline without overlapping batches).
    Layers,
}

/// Which layer of the software a total is meant to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Live tensors alone.
    Tensors,
    /// What the framework's allocator has handed out (`max_memory_allocated`).
    Allocated,
    /// What the allocator holds (`max_memory_reserved`).
    Reserved,
    /// What the driver shows: allocator and the context of the driver.
    Device,
}

impl Question {
    /// The usual settings: bf16 inference, or mixed-precision training with
    /// `AdamW`; batch 1; fused attention; one card; what the driver shows.
    #[must_use]
    pub const fn new(subject: Subject, task: Task) -> Self {
        Self {
            subject,
            task,
            precision: match task {
                Task::Inference | Task::Scoring => Precision::Fp16,
                Task::Lora(_) | Task::Qlora(..) => Precision::Bf16,
                _ => Precision::MixedBf16,
            },
            weight_format: None,
            packed_inputs: PackedInputs::Released,
            optimizer: Optimizer::AdamW,
            update: Update::AllAtOnce,
            batch: 1,
            accumulation: 1,
            sequence: None,
            new_tokens: 0,
            image_side: None,
            checkpointing: false,
            attention: AttentionKind::Fused,
            padded: false,
            frozen_autocast: false,
            sharding: Sharding::NONE,
            head: None,
            loss: LossKind::InFloat,
            measure: Measure::Device,
        }
    }

    /// Whether weights or adapters are trained.
    #[must_use]
    pub const fn is_training(&self) -> bool {
        !matches!(self.task, Task::Inference | Task::Scoring)
    }

    /// Checks what can be checked without knowing the architecture.
    ///
    /// # Errors
    /// Names the setting that cannot be.
    pub fn check(&self) -> Result<()> {
        positive("batch", self.batch)?;
        positive("gradient accumulation", self.accumulation)?;
        positive("number of cards", self.sharding.cards)?;
        if let Some(sequence) = self.sequence {
            positive("sequence length", sequence)?;
        }
        if let Some(side) = self.image_side {
            positive("image size", side)?;
        }
        if let Subject::Parameters { count, .. } = &self.subject {
            positive("number of parameters", count.get())?;
        }
        if self.is_training()
            && matches!(
                self.precision,
                Precision::Fp8 | Precision::Int8 | Precision::Int4
            )
        {
            return Err(Error::bad_input(format!(
                "{} weights cannot be trained",
                self.precision.name()
            ))
            .hint("train adapters beside them (`qlora`), or use bf16 or mixed precision"));
        }
        if let Task::Lora(lora) | Task::Qlora(lora, _) = self.task {
            positive("LoRA rank", lora.rank)?;
        }
        Ok(())
    }

    /// Checks the settings against an architecture.
    ///
    /// # Errors
    /// Names the setting that does not go with it.
    pub(super) fn check_against(&self, architecture: &Architecture) -> Result<()> {
        let name = &architecture.name;
        if let Task::Lora(lora) | Task::Qlora(lora, _) = self.task {
            let hidden = match &architecture.network {
                Network::Transformer(transformer) => transformer.hidden,
                Network::Image(super::architecture::ImageNet::Vit(vit)) => vit.hidden,
                Network::Image(_) => {
                    return Err(Error::bad_input(format!(
                        "{name} has no attention layers for LoRA to adapt"
                    ))
                    .hint("fine-tune it (`finetune`)"));
                }
            };
            if lora.rank > hidden {
                return Err(Error::bad_input(format!(
                    "a LoRA rank of {} is larger than the hidden size of {name}, {hidden}",
                    lora.rank
                ))
                .hint("ranks of 8 to 64 are usual"));
            }
        }
        match &architecture.network {
            Network::Transformer(transformer) => self.check_sequence(name, transformer),
            Network::Image(_) if self.sequence.is_some() => Err(Error::bad_input(format!(
                "{name} works on images: it has no sequence length"
            ))
            .hint("give an image size instead")),
            Network::Image(_) => Ok(()),
        }
    }

    fn check_sequence(
        &self,
        name: &str,
        transformer: &super::architecture::Transformer,
    ) -> Result<()> {
        if self.image_side.is_some() {
            return Err(
                Error::bad_input(format!("{name} works on tokens: it has no image size"))
                    .hint("give a sequence length instead"),
            );
        }
        let rows = transformer.position_rows;
        match self.sequence {
            Some(sequence) if rows > 0 && sequence + self.new_tokens > rows => {
                Err(Error::bad_input(format!(
                    "{name} knows {rows} positions, but {} tokens are asked for",
                    sequence + self.new_tokens
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Whether inference of this architecture generates with a cache.
pub(super) fn generates(architecture: &Architecture) -> bool {
    architecture
        .transformer()
        .is_some_and(|t| matches!(t.block, Block::Sequential | Block::Parallel))
}

fn positive(what: &str, value: u64) -> Result<()> {
    if value == 0 {
        return Err(Error::bad_input(format!("the {what} must be at least 1")));
    }
    Ok(())
}
