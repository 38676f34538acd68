//! The estimator against measurements, case by case.
//!
//! Two sets ship with the program (`profiles/memory/`): training steps and
//! inference passes traced tensor by tensor, and peaks that others published.
//! The rules of thumb that people use stand beside every case.

mod held_out;
mod published;
mod rules;
mod summary;
mod table;
mod traced;

pub use held_out::{HeldOut, held_out};
pub use rules::Rules;
pub use summary::{Summary, summaries};

use super::TIERS;
use crate::error::Result;
use crate::estimate::Estimate;
use crate::units::Bytes;
use serde::Serialize;

/// Everything that was compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The cases, in the order of the files.
    pub cases: Vec<Case>,
    /// Rows of the files that cannot be compared, by reason, with their number.
    pub excluded: Vec<(String, usize)>,
}

/// One measurement beside its estimate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// Model and settings in short.
    pub name: String,
    /// The model alone.
    pub model: String,
    /// What was done.
    pub kind: CaseKind,
    /// Where the measurement comes from.
    pub set: Set,
    /// What was measured.
    pub measured: Bytes,
    /// What the estimator says.
    pub estimate: Estimate<Bytes>,
    /// Activations, logits and scratch memory within the estimate: the part whose
    /// spread is fitted.
    pub moving: Bytes,
    /// The rules of thumb.
    pub rules: Rules,
    /// Where the measurement was published, or how it was traced.
    pub source: String,
}

/// What was done in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseKind {
    /// Training of all weights of a transformer.
    TransformerTraining,
    /// Training of all weights of a network on images.
    ImageTraining,
    /// Training of adapters beside 16- or 32-bit weights.
    Lora,
    /// Training of adapters beside packed weights.
    Qlora,
    /// Inference of a transformer.
    TransformerInference,
    /// Inference of a network on images.
    ImageInference,
    /// Loaded weights, nothing more.
    Weights,
}

impl CaseKind {
    /// Every kind, in the order of a report.
    pub const ALL: [Self; 7] = [
        Self::TransformerTraining,
        Self::ImageTraining,
        Self::Lora,
        Self::Qlora,
        Self::TransformerInference,
        Self::ImageInference,
        Self::Weights,
    ];

    /// The name for a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TransformerTraining => "transformers, training",
            Self::ImageTraining => "images, training",
            Self::Lora => "LoRA",
            Self::Qlora => "QLoRA",
            Self::TransformerInference => "transformers, inference",
            Self::ImageInference => "images, inference",
            Self::Weights => "weights alone",
        }
    }
}

/// Where a measurement comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// Traced tensor by tensor.
    Traced,
    /// Published with all settings.
    PublishedInFull,
    /// Published with some settings unstated, which were assumed.
    PublishedInPart,
}

impl Set {
    /// Every set, in the order of a report.
    pub const ALL: [Self; 3] = [Self::Traced, Self::PublishedInFull, Self::PublishedInPart];

    /// The name for a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::PublishedInFull => "published, settings given",
            Self::PublishedInPart => "published, settings partly assumed",
        }
    }
}

impl Case {
    /// Estimate over measurement, less one.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.estimate.value.get() as f64 / self.measured.get().max(1) as f64 - 1.0
    }

    /// Whether the interval holds the measurement.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.estimate.low <= self.measured && self.measured <= self.estimate.high
    }

    /// Whether some usual size of card would be called `fits` although the
    /// measurement is above it.
    #[must_use]
    pub fn is_false_fit(&self) -> bool {
        TIERS
            .iter()
            .any(|tier| self.estimate.high <= tier.usable && self.measured > tier.usable)
    }
}

/// Compares the estimator with every measurement that ships.
///
/// # Errors
/// Fails only when a shipped file is broken, which a test excludes.
pub fn evaluate() -> Result<Evaluation> {
    let mut cases = traced::cases()?;
    let published = published::cases()?;
    cases.extend(published.cases);
    Ok(Evaluation {
        cases,
        excluded: published.excluded,
    })
}

#[cfg(test)]
mod tests;
