//! A calibration: what was measured of one model on one device of one machine,
//! with the fingerprint that keys the word "measured".

use super::machine::Machine;
use crate::{
    caveat::Caveat,
    units::{Bytes, Count, Flops, Time},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The version of the saved form; another one is refused, not guessed at.
pub const SCHEMA: u32 = 1;

/// A device that can run a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Device {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through the CUDA execution provider.
    Cuda {
        /// Index as CUDA counts the visible devices.
        index: u32,
        /// Name as NVML gives it.
        name: String,
    },
}

impl Device {
    /// The execution provider that runs nodes on this device.
    #[must_use]
    pub const fn execution_provider(&self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda { .. } => "CUDAExecutionProvider",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Cuda { index, name } => write!(f, "GPU {index} ({name})"),
        }
    }
}

/// How the sessions of one server share a device: measured together, planned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionLayout {
    /// Sessions that run at the same time.
    pub instances: u32,
    /// Threads inside each session.
    pub intra_op_threads: u32,
    /// Whether idle threads of a session spin instead of sleeping.
    pub spinning: bool,
}

impl fmt::Display for SessionLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} threads", self.instances, self.intra_op_threads)?;
        if self.spinning {
            f.write_str(", spinning")?;
        }
        Ok(())
    }
}

/// Everything measured of one model on one device of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it was taken, in RFC 3339, UTC.
    pub taken_at: String,
    /// What must be the same for the numbers to hold.
    pub fingerprint: Fingerprint,
    /// The machine, as probed then.
    pub machine: Machine,
    /// What was run.
    pub model: ModelSummary,
    /// What it ran on.
    pub device: Device,
    /// One row per layout and batch size, sorted.
    pub rows: Vec<Row>,
    /// What each layout cost to start.
    pub starts: Vec<Start>,
    /// Parts of the sweep without a row, and why.
    pub left_out: Vec<LeftOut>,
    /// Doubts about the whole.
    pub caveats: Vec<Caveat>,
}

/// The facts of a model that planning needs, kept with the calibration so that
/// a saved one stands by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSummary {
    /// Name for people.
    pub name: String,
    /// Hash of the file (or of the reference model's definition).
    pub hash: String,
    /// Learnt parameters.
    pub parameters: Count,
    /// Bytes of the weights as stored.
    pub weight_bytes: Bytes,
    /// Arithmetic for one item.
    pub flops_per_item: Flops,
    /// Bytes read and written by the operators for one item, without the weights.
    pub activation_bytes_per_item: Bytes,
    /// Bytes of the inputs and outputs of one item.
    pub io_bytes_per_item: Bytes,
    /// Operators in the graph.
    pub operators: u32,
    /// What kind of work it is.
    pub class: ModelClass,
    /// The largest batch size that the model takes; none where it is free.
    pub max_batch: Option<u32>,
}

/// The kinds of model that hardware treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelClass {
    /// Attention and large matrix products.
    Transformer,
    /// Convolutions.
    Convolutional,
    /// Matrix products without attention.
    Dense,
    /// Decision trees: comparisons and jumps, no arithmetic to speak of; ONNX
    /// Runtime has no GPU kernel for them.
    TreeEnsemble,
    /// Anything else.
    Other,
}

/// What was measured for one layout and one batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Items per inference.
    pub batch_size: u32,
    /// One entry per visit; visits of all rows take turns.
    pub rounds: Vec<Round>,
    /// Service times, in seconds, in the order in which they were measured,
    /// thinned evenly where there were many.
    #[serde(rename = "samples_s")]
    pub samples: Vec<Time>,
    /// Highest resident set (or device memory) of the process while this row ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<Bytes>,
}

impl Row {
    /// Inferences that the row rests on.
    #[must_use]
    pub fn inferences(&self) -> u64 {
        self.rounds
            .iter()
            .map(|round| u64::from(round.inferences))
            .sum()
    }
}

/// One visit to a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Inferences in this visit, over all instances.
    pub inferences: u32,
    /// Their mean service time.
    #[serde(rename = "mean_s")]
    pub mean: Time,
    /// When the visit began, since the calibration began.
    #[serde(rename = "at_s")]
    pub at: Time,
}

/// What it cost to make a layout ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// Time to load the model into one session.
    #[serde(rename = "load_s")]
    pub load: Time,
    /// The first inference of a session (allocations, kernel selection), not averaged in.
    #[serde(rename = "first_inference_s")]
    pub first_inference: Time,
    /// Resident set (or device memory) once all instances are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_memory_bytes: Option<Bytes>,
    /// Nodes per execution provider, where they were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodePlacement>,
}

/// How many nodes an execution provider ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlacement {
    /// As ONNX Runtime names it.
    pub provider: String,
    /// Nodes that it ran.
    pub nodes: u32,
}

/// A part of the sweep that has no row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Instances, threads, spinning.
    pub layout: SessionLayout,
    /// The batch size; none when the whole layout is missing.
    pub batch_size: Option<u32>,
    /// Why.
    pub why: String,
}

/// What must be the same for a number to be called "measured here".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Processor model, or why it is unknown.
    pub cpu: String,
    /// Family, model and stepping: hypervisors hide the model name.
    pub cpu_signature: String,
    /// Logical processors that may be used.
    pub usable_threads: u32,
    /// CPU quota in thousandths of a core; none without a quota.
    pub cpu_quota_millicores: Option<u64>,
    /// The GPU, with its driver; none for a CPU calibration.
    pub gpu: Option<String>,
    /// Version of ONNX Runtime.
    pub runtime: String,
    /// The execution provider.
    pub execution_provider: String,
    /// Hash of the model, with the sizes given to its free dimensions.
    pub model: String,
}

impl Fingerprint {
    /// The fingerprint of a model on a device of a machine.
    #[must_use]
    pub fn of(machine: &Machine, device: &Device, runtime_version: &str, model_hash: &str) -> Self {
        let gpu = match device {
            Device::Cpu => None,
            Device::Cuda { index, name } => Some(
                machine
                    .gpus
                    .devices()
                    .iter()
                    .find(|gpu| gpu.cuda_index == *index)
                    .map_or_else(
                        || name.clone(),
                        |gpu| format!("{name}, driver {}, {}", gpu.driver, gpu.uuid),
                    ),
            ),
        };
        Self {
            cpu: machine.cpu.model.to_string(),
            cpu_signature: machine.cpu.signature.known().map_or_else(
                || "unknown".to_owned(),
                |s| format!("{}/{}/{}", s.family, s.model, s.stepping),
            ),
            usable_threads: machine.usable_threads(),
            cpu_quota_millicores: machine
                .limits
                .cpu_quota_cores
                .map(|cores| (cores * 1000.0).round() as u64),
            gpu,
            runtime: runtime_version.to_owned(),
            execution_provider: device.execution_provider().to_owned(),
            model: model_hash.to_owned(),
        }
    }

    /// A short name for files and tables: the first 12 hexadecimal digits of
    /// the SHA-256 of all fields.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hasher = Sha256::new();
        let quota = self
            .cpu_quota_millicores
            .map_or_else(String::new, |q| q.to_string());
        for part in [
            self.cpu.as_str(),
            &self.cpu_signature,
            &self.usable_threads.to_string(),
            &quota,
            self.gpu.as_deref().unwrap_or(""),
            &self.runtime,
            &self.execution_provider,
            &self.model,
        ] {
            hasher.update(part.as_bytes());
            hasher.update([0]);
        }
        hasher
            .finalize()
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The first field in which two fingerprints differ, in words.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = [
            ("CPU", self.cpu.clone(), other.cpu.clone()),
            (
                "CPU signature",
                self.cpu_signature.clone(),
                other.cpu_signature.clone(),
            ),
            (
                "usable threads",
                self.usable_threads.to_string(),
                other.usable_threads.to_string(),
            ),
            (
                "CPU quota",
                format!("{:?}", self.cpu_quota_millicores),
                format!("{:?}", other.cpu_quota_millicores),
            ),
            ("GPU", format!("{:?}", self.gpu), format!("{:?}", other.gpu)),
            ("ONNX Runtime", self.runtime.clone(), other.runtime.clone()),
            (
                "execution provider",
                self.execution_provider.clone(),
                other.execution_provider.clone(),
            ),
            ("model", self.model.clone(), other.model.clone()),
        ];
        fields
            .into_iter()
            .find(|(_, a, b)| a != b)
            .map(|(what, a, b)| format!("{what}: {a} against {b}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint {
            cpu: "a".into(),
            cpu_signature: "6/143/8".into(),
            usable_threads: 2,
            cpu_quota_millicores: None,
            gpu: None,
            runtime: "1.31.1".into(),
            execution_provider: "CPUExecutionProvider".into(),
            model: "h".into(),
        }
    }

    #[test]
    fn any_difference_changes_the_short_name_and_is_told() {
        let one = fingerprint();
        assert_eq!(one.difference(&one), None);
        let two = Fingerprint {
            runtime: "1.30.0".into(),
            ..fingerprint()
        };
        assert_ne!(one.short(), two.short());
        assert_eq!(
            one.difference(&two).unwrap(),
            "ONNX Runtime: 1.31.1 against 1.30.0"
        );
        assert_eq!(one.short().len(), 12);
    }
}
