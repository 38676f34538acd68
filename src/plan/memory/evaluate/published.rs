//! Peaks that others published.

use super::super::architecture::{Activation, Architecture, Network, catalogue};
use super::super::estimate::{of_architecture, sum};
use super::super::footprint::{Footprint, Part};
use super::super::question::{
    AttentionKind, BaseFormat, LoraSettings, LoraTargets, LossKind, Measure, Optimizer,
    PackedInputs, Precision, Question, Sharding, Strategy, Subject, Task, Update,
};
use super::table::{Row, rows};
use super::{Case, CaseKind, Evaluation, Set, rules, traced};
use crate::error::Result;
use crate::estimate::Estimate;
use crate::units::Bytes;
use std::collections::BTreeMap;

const FILE: &str = "profiles/memory/published.tsv";
const TEXT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/memory/published.tsv"
));

/// The published cases that can be compared, and why the others cannot.
pub(super) fn cases() -> Result<Evaluation> {
    let mut cases = Vec::new();
    let mut excluded: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(FILE, TEXT)? {
        let why = row.text("excluded");
        if why.is_empty() {
            cases.push(case(&row)?);
        } else {
            *excluded.entry(why.to_owned()).or_default() += 1;
        }
    }
    Ok(Evaluation {
        cases,
        excluded: excluded.into_iter().collect(),
    })
}

fn case(row: &Row<'_>) -> Result<Case> {
    let architecture = architecture(row)?;
    let question = question(row, &architecture)?;
    let footprint = of_architecture(&question, &architecture)?;
    let weights_alone = row.text("task") == "weights";
    let moving = [Part::Activations, Part::LogitsAndLoss, Part::Workspace]
        .map(|part| footprint.part(part))
        .into_iter()
        .sum();
    Ok(Case {
        name: name(row),
        model: architecture.name.clone(),
        kind: if weights_alone {
            CaseKind::Weights
        } else {
            traced::kind(row.text("task"), &architecture)
        },
        set: if row.text("quality") == "A" {
            Set::PublishedInFull
        } else {
            Set::PublishedInPart
        },
        measured: Bytes::new(row.required("measured_bytes")?),
        estimate: if weights_alone {
            only_weights(&footprint)
        } else {
            footprint.total.clone()
        },
        moving,
        rules: rules::apply(&question, &architecture, &footprint),
        source: row.text("source").to_owned(),
    })
}

/// What loading alone takes: weights, and the context where the driver counted.
/// Loaders and buffers account for a hundredth.
fn only_weights(footprint: &Footprint) -> Estimate<Bytes> {
    let kept = footprint
        .components
        .iter()
        .filter(|c| matches!(c.part, Part::Weights | Part::Context))
        .map(|c| &c.bytes);
    let total = sum(kept);
    Estimate::new(
        total.value,
        (total.low.scaled(0.99), total.high.scaled(1.01)),
        total.level,
        total.source,
    )
}

fn name(row: &Row<'_>) -> String {
    let mut words: Vec<String> = ["model", "task", "format", "precision", "optimizer"]
        .iter()
        .map(|column| row.text(column))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    if !row.text("rank").is_empty() {
        words.push(format!("r{} {}", row.text("rank"), row.text("targets")));
    }
    if row.text("checkpointing") == "yes" {
        words.push("checkpointing".to_owned());
    }
    if row.text("cards") != "1" {
        words.push(format!(
            "{} cards {}",
            row.text("cards"),
            row.text("strategy")
        ));
    }
    words.push(format!(
        "batch {} × {}",
        row.text("batch"),
        row.text("sequence")
    ));
    if !row.text("new_tokens").is_empty() {
        words.push(format!("+ {} tokens", row.text("new_tokens")));
    }
    words.push(format!(
        "({}, {})",
        row.text("framework"),
        row.text("measure")
    ));
    words.join(" ")
}

/// litgpt gives every model its own output head, one projection for queries,
/// keys and values, and the fused GELU.
fn architecture(row: &Row<'_>) -> Result<Architecture> {
    let mut architecture = catalogue()?.find(row.text("model"))?.clone();
    if row.text("framework") == "litgpt"
        && let Network::Transformer(transformer) = &mut architecture.network
    {
        transformer.tied = false;
        transformer.joint_qkv = true;
        transformer.activation = Activation::Fused;
    }
    Ok(architecture)
}

fn question(row: &Row<'_>, architecture: &Architecture) -> Result<Question> {
    let litgpt = row.text("framework") == "litgpt";
    let format = match row.text("format") {
        "nf4" => Some(BaseFormat::Nf4),
        "nf4-double" => Some(BaseFormat::Nf4Double),
        "int8" => Some(BaseFormat::Int8),
        "gptq4" => Some(BaseFormat::Gptq4),
        _ => None,
    };
    let lora = LoraSettings {
        rank: row.number("rank")?.unwrap_or(1),
        targets: match row.text("targets") {
            "query-value" => LoraTargets::QueryValue,
            "all-linear" => LoraTargets::AllLinear,
            _ => LoraTargets::AllLinearAndHead,
        },
        in_float: !litgpt,
        dropout: true,
    };
    let task = match (row.text("task"), format) {
        ("lora", _) => Task::Lora(lora),
        ("qlora", Some(format)) => Task::Qlora(lora, format),
        ("finetune", _) => Task::Finetune,
        _ => Task::Inference,
    };
    let mut question = Question::new(Subject::Architecture(Box::new(architecture.clone())), task);
    question.precision = match row.text("precision") {
        "fp32" => Precision::Fp32,
        "mixed-bf16" => Precision::MixedBf16,
        "mixed-fp16" => Precision::MixedFp16,
        "fp16" => Precision::Fp16,
        _ => Precision::Bf16,
    };
    question.weight_format = format;
    question.optimizer = match row.text("optimizer") {
        "adafactor" => Optimizer::Adafactor,
        "adam8bit" => Optimizer::Adam8bit,
        _ => Optimizer::AdamW,
    };
    if row.text("update") == "one-by-one" {
        question.update = Update::OneByOne;
    }
    if row.text("attention") == "eager" {
        question.attention = AttentionKind::Eager;
    }
    question.batch = row.required("batch")?;
    question.accumulation = row.required("accumulation")?;
    question.sequence = row.number("sequence")?;
    question.new_tokens = row.number("new_tokens")?.unwrap_or(0);
    question.checkpointing = row.text("checkpointing") == "yes";
    if litgpt {
        question.loss = LossKind::AsLogits;
        question.packed_inputs = PackedInputs::Kept;
    }
    question.sharding = Sharding {
        cards: row.required("cards")?,
        strategy: match row.text("strategy") {
            "zero3" => Strategy::Zero3,
            "tensor" => Strategy::Tensor,
            "layers" => Strategy::Layers,
            _ => Strategy::Replicated,
        },
    };
    question.measure = match row.text("measure") {
        "allocated" => Measure::Allocated,
        "reserved" => Measure::Reserved,
        // What a source does not say is most often what the driver shows; the
        // size of loaded weights is most often that of the tensors.
        "unknown" if row.text("task") == "weights" => Measure::Tensors,
        _ => Measure::Device,
    };
    Ok(question)
}
