//! GPUs by batch size, from launch-bound through bandwidth-bound to
//! compute-bound: the additive form over NVIDIA's published tables.
//!
//! Seconds of a batch are the sum of kernels by launch, FLOPs by a multiple of
//! what the arithmetic peak would take, bytes by a multiple of what the memory
//! bandwidth would take, the weights once, and a constant. The coefficients hold
//! for one precision path; devices enter by their datasheets.

use super::{
    bench::{Benchmarks, Network, TableRow},
    fitted::short,
    linear::{dot, quantile, relative_non_negative},
};
use crate::profile::hardware::GpuSpec;
use serde::{Deserialize, Serialize};

/// The frameworks whose tables stand in for ONNX Runtime's CUDA provider: they
/// call the same cuDNN and cuBLAS kernels one by one.
pub(super) const EAGER: [&str; 3] = ["pytorch", "tensorflow", "tensorflow2"];

/// What arithmetic runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Single precision: on tensor cores as TF32 where the GPU has them, as
    /// frameworks and ONNX Runtime do by default.
    Single,
    /// Half precision on tensor cores.
    Half,
}

impl Path {
    /// The precisions of the tables that belong to it, by their names there.
    fn of(precision: &str) -> Option<Self> {
        match precision {
            "fp32" | "tf32" => Some(Self::Single),
            "fp16" => Some(Self::Half),
            _ => None,
        }
    }

    /// Peak arithmetic of a GPU on this path.
    pub(super) fn peak(self, gpu: &GpuSpec) -> f64 {
        let peak = match self {
            Self::Single => gpu.tf32.unwrap_or(gpu.fp32).max(gpu.fp32),
            Self::Half => gpu.fp16.unwrap_or(gpu.fp32),
        };
        peak.get()
    }

    /// Bytes of one element.
    const fn element(self) -> f64 {
        match self {
            Self::Single => 4.0,
            Self::Half => 2.0,
        }
    }
}

/// What one pass over a model asks of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    /// Whether its arithmetic is convolutions; matrix products otherwise.
    pub convolutions: bool,
    /// Floating-point operations for one item.
    pub flops: f64,
    /// Bytes read and written for one item by convolutions and matrix products.
    pub bytes: f64,
    /// Bytes of the weights.
    pub weights: f64,
    /// Kernels of one pass.
    pub kernels: f64,
}

impl Demand {
    fn of(network: &Network, path: Path) -> Self {
        Self {
            convolutions: network.class == "conv",
            flops: network.flops,
            // Each element is written once and read once.
            bytes: network.activations * path.element() * 2.0,
            weights: network.parameters * path.element(),
            kernels: network.kernels,
        }
    }
}

/// The coefficients of the additive form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuForm {
    /// Convolutions: time over what the peak arithmetic would take.
    pub convolution_arithmetic: f64,
    /// Matrix products: the same.
    pub matrix_arithmetic: f64,
    /// Convolutions: time over what the peak bandwidth would take.
    pub convolution_memory: f64,
    /// Matrix products: the same.
    pub matrix_memory: f64,
    /// The weights: the same.
    pub weights: f64,
    /// Seconds per kernel.
    pub launch_s: f64,
    /// Seconds per batch.
    pub constant_s: f64,
}

/// Units of the last two columns of the design.
const LAUNCH: f64 = 1e-6;
const CONSTANT: f64 = 1e-4;

impl GpuForm {
    /// Fits to rows of known networks on known GPUs. The tables' convolutional
    /// networks are all alike in FLOPs per byte, so what arithmetic and memory
    /// cost beside each other comes from elsewhere: `(arithmetic, memory)`.
    pub(super) fn fit(rows: &[Measured<'_>], (arithmetic, memory): (f64, f64)) -> Self {
        let design: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| {
                let [convolutions, matrices, memory_of_convolutions, rest @ ..] =
                    terms(&row.demand, (row.path, row.gpu), f64::from(row.row.batch));
                let known = convolutions * arithmetic + memory_of_convolutions * memory;
                let mut row = vec![known, matrices];
                row.extend(rest);
                row
            })
            .collect();
        let times: Vec<f64> = rows.iter().map(|row| row.row.seconds).collect();
        let found = relative_non_negative(&design, &times);
        let at = |k: usize| found.get(k).copied().unwrap_or_default();
        Self {
            convolution_arithmetic: at(0) * arithmetic,
            matrix_arithmetic: at(1),
            convolution_memory: at(0) * memory,
            matrix_memory: at(2),
            weights: at(3),
            launch_s: at(4) * LAUNCH,
            constant_s: at(5) * CONSTANT,
        }
    }

    /// The part of the time that does not depend on the batch size, launches
    /// and the constant, and the rest.
    pub(super) fn parts(
        &self,
        demand: &Demand,
        (path, gpu): (Path, &GpuSpec),
        batch: f64,
    ) -> (f64, f64) {
        let terms = terms(demand, (path, gpu), batch);
        let work = [
            self.convolution_arithmetic,
            self.matrix_arithmetic,
            self.convolution_memory,
            self.matrix_memory,
            self.weights,
        ];
        (
            demand.kernels * self.launch_s + self.constant_s,
            dot(&terms, &work),
        )
    }

    pub(super) fn rounded(&self) -> Self {
        Self {
            convolution_arithmetic: short(self.convolution_arithmetic),
            matrix_arithmetic: short(self.matrix_arithmetic),
            convolution_memory: short(self.convolution_memory),
            matrix_memory: short(self.matrix_memory),
            weights: short(self.weights),
            launch_s: short(self.launch_s),
            constant_s: short(self.constant_s),
        }
    }

    pub(super) fn log_time(&self, row: &Measured<'_>) -> f64 {
        let (fixed, work) = self.parts(&row.demand, (row.path, row.gpu), f64::from(row.row.batch));
        (fixed + work).max(1e-9).ln()
    }
}

fn terms(demand: &Demand, (path, gpu): (Path, &GpuSpec), batch: f64) -> [f64; 7] {
    let convolutions = f64::from(u8::from(demand.convolutions));
    let arithmetic = demand.flops * batch / path.peak(gpu).max(1.0);
    let memory = demand.bytes * batch / gpu.bandwidth.get().max(1.0);
    [
        arithmetic * convolutions,
        arithmetic * (1.0 - convolutions),
        memory * convolutions,
        memory * (1.0 - convolutions),
        demand.weights / gpu.bandwidth.get().max(1.0),
        demand.kernels * LAUNCH,
        CONSTANT,
    ]
}

/// A row of the tables with what is known of its network and GPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured<'b> {
    pub row: &'b TableRow,
    pub gpu: &'b GpuSpec,
    pub path: Path,
    pub demand: Demand,
}

/// The rows of a precision path whose network and GPU are known.
pub(super) fn measured<'b>(
    bench: &'b Benchmarks,
    hardware: &'b crate::profile::hardware_book::HardwareBook,
    path: Path,
) -> Vec<Measured<'b>> {
    bench
        .tables
        .iter()
        .filter(|row| Path::of(&row.precision) == Some(path))
        .filter_map(|row| {
            Some(Measured {
                row,
                gpu: hardware.gpu(&row.device)?,
                path,
                demand: Demand::of(bench.networks.get(&row.network)?, path),
            })
        })
        .collect()
}

/// How one stack differs from another on the same networks and devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackFactor {
    /// The part that does not depend on the batch size, times this.
    pub fixed: f64,
    /// The rest, times this.
    pub work: f64,
    /// Rows of each stack that it rests on.
    pub rows: usize,
    /// Half width of a 90 % interval of log time for a network that had no part in it.
    pub half_width: f64,
}

/// ONNX Runtime's CUDA provider against `PyTorch`, from the tables that have both:
/// each row of the one is the fixed part and the rest of the same row of the
/// other, times two factors.
pub(super) fn onnxruntime_factor(
    rows: &[Measured<'_>],
    balance: (f64, f64),
) -> Option<StackFactor> {
    let of = |stack: &str| -> Vec<Measured<'_>> {
        rows.iter()
            .filter(|row| row.row.stack == stack)
            .copied()
            .collect()
    };
    let (there, base) = (of("onnxruntime-cuda"), of("pytorch-jit"));
    let form = GpuForm::fit(&base, balance);
    // The parts of PyTorch's measured time, in the proportion that the form gives.
    let pairs: Vec<(&str, Vec<f64>, f64)> = there
        .iter()
        .filter_map(|row| {
            let twin = base.iter().find(|twin| same_case(twin.row, row.row))?;
            let (fixed, work) = form.parts(
                &twin.demand,
                (twin.path, twin.gpu),
                f64::from(twin.row.batch),
            );
            let scale = twin.row.seconds / (fixed + work).max(1e-9);
            Some((
                row.row.network.as_str(),
                vec![fixed * scale, work * scale],
                row.row.seconds,
            ))
        })
        .collect();
    let factors = |without: Option<&str>| {
        let kept = pairs
            .iter()
            .filter(|(network, _, _)| Some(*network) != without);
        let (design, times): (Vec<_>, Vec<_>) =
            kept.map(|(_, parts, time)| (parts.clone(), *time)).unzip();
        relative_non_negative(&design, &times)
    };
    let errors: Vec<f64> = pairs
        .iter()
        .map(|(network, parts, time)| {
            (dot(parts, &factors(Some(network))).max(1e-9) / time)
                .ln()
                .abs()
        })
        .collect();
    let found = factors(None);
    Some(StackFactor {
        fixed: *found.first()?,
        work: *found.get(1)?,
        rows: pairs.len(),
        half_width: quantile(&errors, super::conformal::LEVEL)?,
    })
}

/// The same network, device, precision and batch size.
pub(super) fn same_case(a: &TableRow, b: &TableRow) -> bool {
    a.network == b.network
        && a.device == b.device
        && a.precision == b.precision
        && a.batch == b.batch
}
