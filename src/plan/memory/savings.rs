//! What would make a footprint smaller, and what it costs.

use super::components::trains_adapters;
use super::estimate::estimate_plainly;
use super::footprint::{Footprint, Saving};
use super::question::{
    AttentionKind, BaseFormat, LoraSettings, Optimizer, Precision, Question, Sharding, Strategy,
    Subject, Task, Update,
};
use crate::units::Bytes;

/// Changes that save at least one part in a hundred, the largest saving first.
pub(super) fn savings(question: &Question, footprint: &Footprint) -> Vec<Saving> {
    let before = footprint.total.value;
    let least = before.scaled(0.01);
    let mut list: Vec<Saving> = changes(question)
        .into_iter()
        .filter_map(|change| {
            let after = estimate_plainly(&change.question).ok()?.total.value;
            let bytes = before - after;
            (bytes >= least && bytes > Bytes::ZERO).then(|| Saving {
                change: change.name,
                bytes,
                cost: change.cost.to_owned(),
                question: Box::new(change.question),
            })
        })
        .collect();
    list.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.change.cmp(&b.change)));
    list
}

struct Change {
    name: String,
    cost: &'static str,
    question: Question,
}

fn changes(question: &Question) -> Vec<Change> {
    let mut list = Vec::new();
    let mut with = |name: String, cost: &'static str, edit: &dyn Fn(&mut Question)| {
        let mut changed = question.clone();
        edit(&mut changed);
        list.push(Change {
            name,
            cost,
            question: changed,
        });
    };
    if question.batch > 1 {
        let half = question.batch / 2;
        with(
            format!("batch {} → {half}", question.batch),
            "more steps; accumulate gradients to keep the effective batch",
            &|q| q.batch = half,
        );
    }
    if let Some(sequence) = question.sequence.filter(|&s| s > 1) {
        with(
            format!("sequence {sequence} → {}", sequence / 2),
            "longer texts must be cut or split",
            &|q| q.sequence = Some(sequence / 2),
        );
    }
    if let Some(side) = question.image_side.filter(|&s| s >= 64) {
        let smaller = side / 7 * 5;
        with(
            format!("image size {side} → {smaller}"),
            "half the pixels",
            &|q| q.image_side = Some(smaller),
        );
    }
    if question.attention == AttentionKind::Eager {
        with(
            "fused attention (SDPA)".to_owned(),
            "none; usually faster",
            &|q| q.attention = AttentionKind::Fused,
        );
    }
    if question.is_training() {
        training_changes(question, &mut with);
    } else {
        inference_changes(question, &mut with);
    }
    list
}

type Add<'a> = dyn FnMut(String, &'static str, &dyn Fn(&mut Question)) + 'a;

fn training_changes(question: &Question, with: &mut Add<'_>) {
    if !question.checkpointing {
        with(
            "gradient checkpointing".to_owned(),
            "about 30 % slower: one more forward pass (arXiv:1604.06174)",
            &|q| q.checkpointing = true,
        );
    }
    if matches!(question.optimizer, Optimizer::Adam | Optimizer::AdamW) {
        if question.update == Update::AllAtOnce {
            with(
                "fused optimizer step (`fused=True`)".to_owned(),
                "none; usually faster",
                &|q| q.update = Update::Fused,
            );
        }
        with(
            "8-bit Adam".to_owned(),
            "states in 8 bit; about as good in published runs (arXiv:2110.02861)",
            &|q| q.optimizer = Optimizer::Adam8bit,
        );
        with(
            "Adafactor".to_owned(),
            "another optimizer: learning rate must be tuned again",
            &|q| q.optimizer = Optimizer::Adafactor,
        );
    }
    if question.precision == Precision::Fp32 {
        with(
            "mixed precision (bf16)".to_owned(),
            "none to speak of; faster on cards with tensor cores",
            &|q| q.precision = Precision::MixedBf16,
        );
    }
    if !trains_adapters(question) && is_transformer(question) {
        let lora = LoraSettings::new(16);
        with(
            "LoRA (rank 16) instead of all weights".to_owned(),
            "trains adapters only",
            &|q| {
                q.task = Task::Lora(lora);
                q.precision = Precision::Bf16;
            },
        );
    }
    if let Task::Lora(lora) = question.task {
        with(
            "QLoRA: 4-bit base".to_owned(),
            "slower products; slightly less exact base",
            &|q| q.task = Task::Qlora(lora, BaseFormat::Nf4Double),
        );
    }
    if question.sharding.cards == 1 {
        with(
            "FSDP / ZeRO-3 over 2 cards".to_owned(),
            "a second card, and traffic between them",
            &|q| {
                q.sharding = Sharding {
                    cards: 2,
                    strategy: Strategy::Zero3,
                };
            },
        );
    }
}

fn inference_changes(question: &Question, with: &mut Add<'_>) {
    let half = |q: &Question| matches!(q.precision, Precision::Fp16 | Precision::Bf16);
    if question.precision == Precision::Fp32 {
        with(
            "fp16".to_owned(),
            "rounding; faster on cards with tensor cores",
            &|q| q.precision = Precision::Fp16,
        );
    }
    if half(question) && is_transformer(question) {
        with("int8 weights".to_owned(), "small loss of quality", &|q| {
            q.precision = Precision::Int8;
        });
        with("4-bit weights".to_owned(), "some loss of quality", &|q| {
            q.precision = Precision::Int4;
        });
    }
    if question.sharding.cards == 1 && is_transformer(question) {
        with(
            "tensor parallel over 2 cards".to_owned(),
            "a second card, and traffic between them",
            &|q| {
                q.sharding = Sharding {
                    cards: 2,
                    strategy: Strategy::Tensor,
                };
            },
        );
    }
}

fn is_transformer(question: &Question) -> bool {
    match &question.subject {
        Subject::Architecture(architecture) => architecture.transformer().is_some(),
        Subject::Parameters { kind, .. } => *kind != super::question::ModelKind::Image,
    }
}
