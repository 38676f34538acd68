//! Hardware specifications: what a CPU family or a GPU can do, from datasheets
//! and measurements, each with its source.

use super::machine::InstructionSet;
use crate::units::{Bandwidth, Bytes, FlopRate};
use serde::{Deserialize, Serialize};

/// A CPU family as a cloud sells it, or as one finds it in a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuSpec {
    /// The name that price tables refer to: `aws/c7i`, `gcp/c3`, `zen5`.
    pub name: String,
    /// Families on the same processors that have no figures of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stands_for: Vec<String>,
    /// The microarchitecture: `Intel Sapphire Rapids`.
    pub microarchitecture: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// Instruction sets that every machine of the family has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instruction_sets: Vec<InstructionSet>,
    /// All-core clock under load, in GHz.
    pub all_core_ghz: f64,
    /// Who states that clock, or from which other family it was borrowed.
    pub clock_source: String,
    /// Logical processors per physical core: 2 where a vCPU is a hyperthread.
    pub threads_per_core: u32,
    /// Single-precision floating-point operations per cycle and physical core.
    pub fp32_flop_per_cycle: f64,
    /// INT8 operations per cycle and physical core with dot-product instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_op_per_cycle: Option<f64>,
    /// BF16 operations per cycle and physical core of the matrix unit (AMX, BFMMLA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_bf16_flop_per_cycle: Option<f64>,
    /// INT8 operations per cycle and physical core of the matrix unit (AMX, SMMLA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_int8_op_per_cycle: Option<f64>,
    /// Memory bandwidth of a whole socket, from the datasheet.
    #[serde(
        rename = "socket_bandwidth_bytes_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub socket_bandwidth: Option<Bandwidth>,
    /// Measured read bandwidth by number of vCPUs, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured_bandwidth: Vec<BandwidthAt>,
    /// Which processors the family may come on, where that is not one; the figures
    /// are those of the slowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<String>,
    /// Where the values come from.
    pub source: String,
}

/// Read bandwidth measured on an instance of that many vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandwidthAt {
    /// vCPUs of the instance.
    pub vcpus: u32,
    /// Read bandwidth of all of them together.
    #[serde(rename = "bytes_per_s")]
    pub bandwidth: Bandwidth,
}

/// A GPU model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// The short name that price tables refer to: `L4`, `A100-80GB`.
    pub name: String,
    /// The name that NVML reports.
    pub nvml_name: String,
    /// `nvidia`, `amd`, …: ONNX Runtime's CUDA provider runs on `nvidia` alone.
    pub vendor: String,
    /// The architecture: `Ada Lovelace`.
    pub architecture: String,
    /// Compute capability, where the vendor has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Memory as the driver reports it where that is known, else as the label says.
    pub memory_bytes: Bytes,
    /// Whether `memory_bytes` is the driver's figure.
    pub memory_as_reported: bool,
    /// Memory bandwidth.
    #[serde(rename = "bandwidth_bytes_per_s")]
    pub bandwidth: Bandwidth,
    /// Peak single-precision arithmetic outside tensor cores.
    #[serde(rename = "fp32_flop_per_s")]
    pub fp32: FlopRate,
    /// Dense tensor-core peak for TF32.
    #[serde(
        rename = "tf32_flop_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub tf32: Option<FlopRate>,
    /// Dense tensor-core peak for FP16/BF16.
    #[serde(
        rename = "fp16_flop_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub fp16: Option<FlopRate>,
    /// Dense tensor-core peak for FP8.
    #[serde(
        rename = "fp8_flop_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub fp8: Option<FlopRate>,
    /// Dense tensor-core peak for INT8 (operations per second).
    #[serde(
        rename = "int8_op_per_s",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub int8: Option<FlopRate>,
    /// Default power limit, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<f64>,
    /// How it is attached: `PCIe 4.0 x16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interconnect: Option<String>,
    /// How far the row was checked: `high`, `medium`, `low`.
    pub confidence: String,
    /// Where the values come from.
    pub source: String,
    /// What to know before using the figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
