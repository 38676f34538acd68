//! The rules of thumb that people use.

use super::super::architecture::Architecture;
use super::super::footprint::{Footprint, Part};
use super::super::question::{Question, Task};
use crate::units::Bytes;
use serde::Serialize;

/// What the rules of thumb say about a case; `None` where a rule is not meant for
/// the task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// 16 bytes per parameter, for training with Adam.
    pub sixteen_per_parameter: Option<Bytes>,
    /// Four times the size of the loaded weights, for training.
    pub four_times_weights: Option<Bytes>,
    /// 1.2 times the weights, for inference and for adapters.
    pub weights_and_a_fifth: Option<Bytes>,
}

impl Rules {
    /// The rules in order, by name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Option<Bytes>); 3] {
        [
            ("16 B per parameter", self.sixteen_per_parameter),
            ("4 × weights", self.four_times_weights),
            ("1.2 × weights", self.weights_and_a_fifth),
        ]
    }
}

/// Applies the rules.
pub(super) fn apply(
    question: &Question,
    architecture: &Architecture,
    footprint: &Footprint,
) -> Rules {
    let weights = footprint.part(Part::Weights);
    match question.task {
        Task::Train | Task::Finetune => Rules {
            sixteen_per_parameter: Some(Bytes::new(16 * architecture.counted_parameters().get())),
            four_times_weights: Some(weights * 4),
            weights_and_a_fifth: None,
        },
        _ => Rules {
            weights_and_a_fifth: Some(weights.scaled(1.2)),
            ..Rules::default()
        },
    }
}
