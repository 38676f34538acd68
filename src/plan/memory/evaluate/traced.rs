//! Steps traced tensor by tensor.

use super::super::architecture::{Architecture, Head, Network, catalogue};
use super::super::estimate::of_architecture;
use super::super::footprint::Part;
use super::super::question::{
    AttentionKind, BaseFormat, LoraSettings, LoraTargets, Measure, Optimizer, Precision, Question,
    Subject, Task, Update,
};
use super::super::step::Phase;
use super::table::{Row, rows};
use super::{Case, CaseKind, Set, rules};
use crate::error::Result;
use crate::units::Bytes;

const FILE: &str = "profiles/memory/traced.tsv";
const TEXT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/profiles/memory/traced.tsv"
));

/// The traced cases.
pub(super) fn cases() -> Result<Vec<Case>> {
    rows(FILE, TEXT)?.iter().map(case).collect()
}

fn case(row: &Row<'_>) -> Result<Case> {
    let architecture = catalogue()?.find(row.text("model"))?.clone();
    let question = question(row, &architecture)?;
    let footprint = of_architecture(&question, &architecture)?;
    let task = row.text("task");
    let only = match task {
        "generate_prefill" => Some(Phase::Forward),
        "generate_decode" => Some(Phase::Decode),
        _ => None,
    };
    let total = &footprint.total;
    let estimate = match only {
        // The trace looked at one phase of two: the interval keeps its proportions.
        Some(phase) => {
            let at = footprint
                .phases
                .iter()
                .find(|(p, _)| *p == phase)
                .map_or(Bytes::ZERO, |(_, bytes)| *bytes);
            let share = at.get() as f64 / total.value.get().max(1) as f64;
            total.map(|bytes| bytes.scaled(share))
        }
        None => total.clone(),
    };
    let moving = [Part::Activations, Part::LogitsAndLoss, Part::Workspace]
        .map(|part| footprint.part(part))
        .into_iter()
        .sum();
    Ok(Case {
        name: name(row),
        model: architecture.name.clone(),
        kind: kind(task, &architecture),
        set: Set::Traced,
        measured: Bytes::new(row.required("total_peak_bytes")?),
        estimate,
        moving,
        rules: rules::apply(&question, &architecture, &footprint),
        source: "traced operator by operator, PyTorch 2".to_owned(),
    })
}

fn name(row: &Row<'_>) -> String {
    let mut words: Vec<String> = vec![
        row.text("model").to_owned(),
        row.text("task").to_owned(),
        row.text("regime").to_owned(),
    ];
    for column in ["head", "quant", "optimizer", "attn"] {
        let text = row.text(column);
        if !text.is_empty() {
            words.push(text.to_owned());
        }
    }
    if row.text("grad_ckpt") == "True" {
        words.push("checkpointing".to_owned());
    }
    if !row.text("lora_rank").is_empty() {
        words.push(format!(
            "r{} {} {}",
            row.text("lora_rank"),
            row.text("lora_targets"),
            row.text("lora_adapter")
        ));
    }
    words.push(format!(
        "batch {} × {}",
        row.text("batch"),
        row.text("seq_or_img")
    ));
    words.join(" ")
}

pub(super) fn kind(task: &str, architecture: &Architecture) -> CaseKind {
    let images = matches!(architecture.network, Network::Image(_));
    match (task, images) {
        ("lora", _) => CaseKind::Lora,
        ("qlora", _) => CaseKind::Qlora,
        ("train" | "finetune", false) => CaseKind::TransformerTraining,
        ("train" | "finetune", true) => CaseKind::ImageTraining,
        (_, false) => CaseKind::TransformerInference,
        (_, true) => CaseKind::ImageInference,
    }
}

fn question(row: &Row<'_>, architecture: &Architecture) -> Result<Question> {
    let lora = LoraSettings {
        rank: row.number("lora_rank")?.unwrap_or(1),
        targets: if row.text("lora_targets") == "qv" {
            LoraTargets::QueryValue
        } else {
            LoraTargets::AllLinear
        },
        in_float: row.text("lora_adapter") == "fp32",
        dropout: !matches!(row.text("lora_dropout"), "" | "0.0"),
    };
    let task = match row.text("task") {
        "train" => Task::Train,
        "inference" => Task::Scoring,
        "lora" => Task::Lora(lora),
        "qlora" if row.text("quant") == "4bit_prep" => {
            Task::Qlora(lora, BaseFormat::Nf4DoublePrepared)
        }
        "qlora" => Task::Qlora(lora, BaseFormat::Nf4Double),
        _ => Task::Inference,
    };
    let mut question = Question::new(Subject::Architecture(Box::new(architecture.clone())), task);
    let optimizer = row.text("optimizer");
    question.precision = precision(row.text("regime"), optimizer, task);
    question.optimizer = match optimizer {
        "sgd" => Optimizer::Sgd,
        "sgd_momentum" => Optimizer::Momentum,
        "adam8bit" => Optimizer::Adam8bit,
        _ => Optimizer::AdamW,
    };
    question.update = match optimizer {
        "adamw_fused" => Update::Fused,
        "adamw_loop" => Update::OneByOne,
        _ => Update::AllAtOnce,
    };
    question.batch = row.required("batch")?;
    let size = row.required("seq_or_img")?;
    match architecture.network {
        Network::Image(_) => question.image_side = Some(size),
        Network::Transformer(_) => question.sequence = Some(size),
    }
    question.checkpointing = row.text("grad_ckpt") == "True";
    question.attention = if row.text("attn") == "eager" {
        AttentionKind::Eager
    } else {
        AttentionKind::Fused
    };
    question.padded = row.text("padmask") == "True";
    question.frozen_autocast = row.text("regime") == "bf16_amp";
    question.head = (row.text("head") == "mlm").then_some(Head::Tokens);
    question.measure = Measure::Tensors;
    Ok(question)
}

fn precision(regime: &str, optimizer: &str, task: Task) -> Precision {
    match regime {
        "fp32" => Precision::Fp32,
        "fp16" => Precision::Fp16,
        "amp_fp16" => Precision::MixedFp16,
        "amp_bf16" => Precision::MixedBf16,
        "bf16" if optimizer == "adamw_master" => Precision::Bf16Master,
        "bf16_amp" if matches!(task, Task::Qlora(..)) => Precision::MixedBf16,
        _ => Precision::Bf16,
    }
}
