//! What keys the word "measured": a calibration holds only where all of it is the same.

use super::{calibration::Device, machine::Machine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
