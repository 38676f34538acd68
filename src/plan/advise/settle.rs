//! What would settle an unproven option: the one command to run on that machine.

use super::{
    machine::Kind,
    option::{ServingOption, Verdict},
};
use crate::{estimate::Source, model::reference, profile::calibration::ModelSummary};

/// Makes the commands for one model.
#[derive(Debug, Clone)]
pub struct Settling {
    /// As `--model` takes it.
    model: String,
    name: String,
}

impl Settling {
    /// For a model: a reference model by its name, any other by a file of its name.
    #[must_use]
    pub fn of(model: &ModelSummary) -> Self {
        let known = reference::catalogue()
            .is_ok_and(|models| models.iter().any(|known| known.name == model.name));
        Self {
            model: if known {
                model.name.clone()
            } else {
                format!("{}.onnx", model.name)
            },
            name: model.name.clone(),
        }
    }

    /// The file that the result is called after.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether measuring on that machine would settle an option.
    #[must_use]
    pub fn would_help(option: &ServingOption) -> bool {
        option.verdict == Verdict::Unproven && matches!(option.source, Source::Transferred { .. })
    }

    /// Measures the model on the machine type of an option, into a file that
    /// `advisor profiles import` takes.
    #[must_use]
    pub fn command(&self, option: &ServingOption) -> String {
        let machine = &option.machine;
        let only = match machine.kind {
            Kind::Cpu => "cpu",
            Kind::Gpu => "gpu",
        };
        format!(
            "`advisor calibrate --model {} --only {only} --machine-type {}/{} --save {}.json`",
            self.model, machine.provider, machine.instance_type, self.name
        )
    }
}
