//! A machine, as probed: what there is, what of it may be used, and why a value
//! is unknown where it is.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A value that was read, or the reason why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading<T> {
    /// The value.
    Known(T),
    /// Why there is none.
    Unknown(String),
}

impl<T> Reading<T> {
    /// A value that could not be read, and why.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The value, where there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Something made of the value, or the same reason.
    pub fn map<U>(&self, f: impl FnOnce(&T) -> U) -> Reading<U> {
        match self {
            Self::Known(value) => Reading::Known(f(value)),
            Self::Unknown(why) => Reading::Unknown(why.clone()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unknown(why) => write!(f, "unknown ({why})"),
        }
    }
}

/// A machine: its processor, memory, the limits of the container, and its GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and version, for people.
    pub os: Reading<String>,
    /// The processor.
    pub cpu: Cpu,
    /// Memory of the host or virtual machine.
    pub memory_bytes: Reading<Bytes>,
    /// What the container leaves of processor and memory.
    pub limits: Limits,
    /// The GPUs, or why there are none.
    pub gpus: Gpus,
}

impl Machine {
    /// Logical processors that may really be used: those online, cut by the
    /// cpuset and by the CPU quota (rounded down, at least 1: a fraction of a
    /// core does not carry another thread).
    #[must_use]
    pub fn usable_threads(&self) -> u32 {
        let mut n = self.cpu.logical_cores.max(1);
        if let Some(set) = self.limits.cpuset_cores {
            n = n.min(set);
        }
        if let Some(quota) = self.limits.cpu_quota_cores {
            n = n.min(quota.floor() as u32);
        }
        n.max(1)
    }

    /// Memory that may really be used: the host's, cut by the container's limit.
    #[must_use]
    pub fn usable_memory(&self) -> Option<Bytes> {
        match (self.memory_bytes.known(), self.limits.memory_bytes) {
            (Some(host), Some(limit)) => Some((*host).min(limit)),
            (Some(host), None) => Some(*host),
            (None, limit) => limit,
        }
    }
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// The brand string, as the processor or hypervisor gives it; for Arm, which
    /// has none, the core's name and the machine's vendor: `Neoverse-V1 (Amazon EC2)`.
    pub model: Reading<String>,
    /// `GenuineIntel`, `AuthenticAMD`, `ARM`, …
    pub vendor: Reading<String>,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Family, model and stepping (x86) or part number (Arm): they tell the
    /// microarchitecture where a hypervisor hides the brand string.
    pub signature: Reading<CpuSignature>,
    /// Physical cores.
    pub physical_cores: Reading<u32>,
    /// Logical processors online.
    pub logical_cores: u32,
    /// Instruction sets that matter to inference, sorted.
    pub instruction_sets: Vec<InstructionSet>,
}

/// What identifies a processor's design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuSignature {
    /// Family (x86) or implementer (Arm).
    pub family: u32,
    /// Model (x86) or part (Arm).
    pub model: u32,
    /// Stepping (x86) or variant × 16 + revision (Arm: r3p1 is 49).
    pub stepping: u32,
}

/// Instruction sets that decide how fast a CPU infers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum InstructionSet {
    Avx,
    Avx2,
    Fma,
    Avx512f,
    Avx512bw,
    AvxVnni,
    Avx512Vnni,
    Avx512Bf16,
    Avx512Fp16,
    AmxTile,
    AmxInt8,
    AmxBf16,
    AmxFp16,
    Neon,
    DotProd,
    Fp16,
    Bf16,
    I8mm,
    Sve,
    Sve2,
    Sme,
}

/// What the container (cgroup) leaves; `None` where there is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU bandwidth, in cores (quota divided by period), the least along the path.
    pub cpu_quota_cores: Option<f64>,
    /// Processors in the cpuset and the affinity mask.
    pub cpuset_cores: Option<u32>,
    /// Memory limit, the least along the path.
    pub memory_bytes: Option<Bytes>,
    /// `v1`, `v2`, `hybrid`, or why the limits could not be read.
    pub cgroup: Reading<String>,
}

impl Default for Reading<String> {
    fn default() -> Self {
        Self::unknown("not read")
    }
}

/// The GPUs, or why there are none: three different reasons with three
/// different remedies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Gpus {
    /// No NVIDIA driver is installed.
    NoDriver {
        /// What was looked for.
        tried: String,
    },
    /// The driver is there but does not work.
    DriverFailed {
        /// What it said, and what that means.
        why: String,
    },
    /// The driver works and shows no device (or the environment hides all).
    NoDevice {
        /// Whether there is none or it is hidden.
        why: String,
    },
    /// Devices that may be used, in CUDA's order.
    Found {
        /// The devices.
        devices: Vec<Gpu>,
    },
}

impl Gpus {
    /// The devices that may be used.
    #[must_use]
    pub fn devices(&self) -> &[Gpu] {
        match self {
            Self::Found { devices } => devices,
            _ => &[],
        }
    }
}

/// An NVIDIA GPU (or MIG instance).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// The index that CUDA gives it within what `CUDA_VISIBLE_DEVICES` shows.
    pub cuda_index: u32,
    /// The index that NVML gives it on the host.
    pub nvml_index: u32,
    /// The name, as NVML gives it.
    pub name: Reading<String>,
    /// The identity, as NVML gives it (`GPU-…`).
    pub uuid: Reading<String>,
    /// Memory, as the driver reports it.
    pub memory_bytes: Reading<Bytes>,
    /// Memory in use by anybody.
    pub memory_used_bytes: Reading<Bytes>,
    /// Driver version.
    pub driver: Reading<String>,
    /// CUDA version that the driver supports, `13.0`.
    pub cuda: Reading<String>,
    /// Compute capability, `8.9`.
    pub compute_capability: Reading<String>,
    /// Highest SM clock, in MHz.
    pub max_sm_clock_mhz: Reading<u32>,
    /// Highest memory clock, in MHz.
    pub max_memory_clock_mhz: Reading<u32>,
    /// The enforced power limit, in watts.
    pub power_limit_watts: Reading<f64>,
    /// Temperature, in degrees Celsius.
    pub temperature_celsius: Reading<u32>,
    /// MIG: `off`, `on`, `not supported`.
    pub mig: Reading<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_cuts_what_the_host_has() {
        let mut machine = Machine {
            os: Reading::Known("Linux".into()),
            cpu: Cpu {
                model: Reading::Known("test".into()),
                vendor: Reading::unknown("test"),
                arch: "x86_64".into(),
                signature: Reading::unknown("test"),
                physical_cores: Reading::Known(8),
                logical_cores: 16,
                instruction_sets: vec![],
            },
            memory_bytes: Reading::Known(Bytes::from_gib(64.0)),
            limits: Limits::default(),
            gpus: Gpus::NoDriver {
                tried: "test".into(),
            },
        };
        assert_eq!(machine.usable_threads(), 16);
        machine.limits.cpuset_cores = Some(4);
        assert_eq!(machine.usable_threads(), 4);
        machine.limits.cpu_quota_cores = Some(2.5);
        assert_eq!(machine.usable_threads(), 2);
        machine.limits.cpu_quota_cores = Some(0.5);
        assert_eq!(machine.usable_threads(), 1);
        machine.limits.memory_bytes = Some(Bytes::from_gib(8.0));
        assert_eq!(machine.usable_memory(), Some(Bytes::from_gib(8.0)));
    }
}
