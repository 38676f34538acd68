//! An estimate from the number of parameters alone.

use super::architecture::{Architecture, Block, Network, catalogue};
use super::estimate::of_architecture;
use super::footprint::{Component, Footprint, Narrowing, Part};
use super::overhead::LEVEL;
use super::question::{ModelKind, Question, Task};
use crate::caveat::{Caveat, CaveatKind};
use crate::error::{Error, Result};
use crate::estimate::{Estimate, Source};
use crate::units::{Bytes, Count, Fraction};

/// Neighbours that are looked at on each side.
const NEIGHBOURS: usize = 4;

/// How activations grow with the number of parameters, as a power: a model with
/// twice the parameters is about 2^⅓ wider and deeper in each direction, and
/// keeps layers × width per token.
const ACTIVATION_POWER: f64 = 2.0 / 3.0;

/// The footprint of a model of `count` parameters, from the known architectures
/// of its kind that are nearest in size: what scales with the parameters is
/// scaled exactly, what scales with the shape by a power of the ratio. The value
/// is their geometric mean, the interval spans all of them and is widened by
/// their own.
pub(super) fn rough(question: &Question, count: Count, kind: ModelKind) -> Result<Footprint> {
    let known = catalogue()?.all();
    let near = nearest(known, kind, count);
    let mut scaled: Vec<Footprint> = Vec::new();
    for architecture in &near {
        if let Ok(footprint) = of_architecture(question, architecture) {
            let ratio = count.get() as f64 / footprint.parameters.get().max(1) as f64;
            scaled.push(scale(footprint, ratio));
        } else if let Err(error) = of_architecture(question, architecture)
            && scaled.is_empty()
            && near.len() == 1
        {
            return Err(error);
        }
    }
    let Some(template) = middle(&scaled) else {
        // Every neighbour refused the settings: say why the nearest one did.
        return match near.first() {
            Some(architecture) => of_architecture(question, architecture),
            None => Err(Error::machine(
                "the catalogue has no architecture of this kind",
            )),
        };
    };
    let mut footprint = template.clone();
    let low = scaled.iter().map(|f| f.total.low).min();
    let high = scaled.iter().map(|f| f.total.high).max();
    footprint.total = Estimate::new(
        footprint.total.value,
        (
            low.unwrap_or(footprint.total.low),
            high.unwrap_or(footprint.total.high),
        ),
        Fraction::saturating(LEVEL),
        guessed(&near),
    );
    footprint.pooled = footprint.total.map(|bytes| bytes * question.sharding.cards);
    footprint.narrow_by.insert(
        0,
        Narrowing {
            input: "the architecture".to_owned(),
            bytes: footprint.total.high - footprint.total.low,
            how: "name it, or give the model's `config.json`".to_owned(),
        },
    );
    footprint.caveats.insert(
        0,
        Caveat::new(
            CaveatKind::Assumed,
            format!(
                "only the number of parameters is known: guessed from {}",
                names(&near)
            ),
        )
        .hint("name the architecture or give the model's `config.json`"),
    );
    footprint.model = format!("{count} parameters, like {}", template.model);
    footprint.parameters = count;
    Ok(footprint)
}

fn guessed(near: &[&Architecture]) -> Source {
    Source::Assumed {
        why: format!("guessed from {}", names(near)),
    }
}

fn names(near: &[&Architecture]) -> String {
    let names: Vec<&str> = near.iter().map(|a| a.name.as_str()).collect();
    names.join(", ")
}

fn kind_of(architecture: &Architecture) -> ModelKind {
    match &architecture.network {
        Network::Image(_) => ModelKind::Image,
        Network::Transformer(t) => match t.block {
            Block::PostNorm => ModelKind::Encoder,
            _ => ModelKind::Language,
        },
    }
}

fn nearest(known: &[Architecture], kind: ModelKind, count: Count) -> Vec<&Architecture> {
    let wanted = (count.get().max(1) as f64).ln();
    let mut list: Vec<(f64, &Architecture)> = known
        .iter()
        .filter(|a| kind_of(a) == kind)
        .filter(|a| {
            // Encoder–decoders and test shapes say little about a decoder.
            a.transformer()
                .is_none_or(|t| t.block != Block::EncoderDecoder && t.experts.is_none())
                && a.counted_parameters().get() > 1_000_000
        })
        .map(|a| {
            let parameters = a.counted_parameters().get().max(1) as f64;
            ((parameters.ln() - wanted).abs(), a)
        })
        .collect();
    list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.name.cmp(&b.1.name)));
    list.into_iter()
        .take(NEIGHBOURS)
        .map(|(_, architecture)| architecture)
        .collect()
}

/// The footprint of the same kind of model with `ratio` times the parameters.
fn scale(mut footprint: Footprint, ratio: f64) -> Footprint {
    for component in &mut footprint.components {
        let factor = match component.part {
            Part::Weights | Part::WeightCopies | Part::Gradients | Part::OptimizerStates => ratio,
            Part::Activations | Part::KvCache | Part::Workspace | Part::Fragmentation => {
                ratio.powf(ACTIVATION_POWER)
            }
            Part::Inputs | Part::LogitsAndLoss | Part::Context => 1.0,
        };
        component.formula = format!("scaled from {}: {}", footprint.model, component.formula);
        rescale(component, factor);
    }
    footprint.total = super::estimate::sum(footprint.components.iter().map(|c| &c.bytes));
    footprint.trained = Count::new((footprint.trained.get() as f64 * ratio) as u64);
    footprint.kv_bytes_per_token = footprint
        .kv_bytes_per_token
        .map(|bytes| bytes.scaled(ratio.powf(ACTIVATION_POWER)));
    footprint
}

fn rescale(component: &mut Component, factor: f64) {
    component.bytes = component.bytes.map(|bytes: Bytes| bytes.scaled(factor));
}

/// The one in the middle by total.
fn middle(scaled: &[Footprint]) -> Option<&Footprint> {
    let mut order: Vec<&Footprint> = scaled.iter().collect();
    order.sort_by_key(|f| f.total.value);
    order.get(order.len() / 2).copied()
}

/// What kind of model is meant when only its size is given: images when an image
/// size is given, otherwise a language model (of fewer than 40 million
/// parameters, or for tasks that decoders do not do, an encoder).
#[must_use]
pub fn guess_kind(count: Count, question_task: Task, has_image_side: ImageSide) -> ModelKind {
    match (has_image_side, question_task) {
        (ImageSide::Given, _) => ModelKind::Image,
        (ImageSide::Absent, _) if count.get() < 120_000_000 => ModelKind::Encoder,
        _ => ModelKind::Language,
    }
}

/// Whether an image size was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSide {
    /// It was.
    Given,
    /// It was not.
    Absent,
}
