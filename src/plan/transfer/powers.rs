//! From one GPU to another that no table has: time falls with powers of the
//! datasheet figures, and which powers is learnt on pairs of measured GPUs.

use super::{
    bench::Benchmarks,
    fitted::short,
    image::Twice,
    linear::{dot, ridge},
    tables::{EAGER, Path, measured},
};
use crate::profile::{hardware::GpuSpec, hardware_book::HardwareBook};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Exponents of the ratio of times between two GPUs at large batches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuPowers {
    /// Time falls with memory bandwidth to this power.
    pub bandwidth: f64,
    /// Time falls with the single-precision peak outside tensor cores to this
    /// power: over these tables it tells more than the tensor peak, which
    /// products of real models do not reach.
    pub fp32: f64,
}

/// A ratio of times between two GPUs.
#[derive(Debug, Clone)]
pub(super) struct Ratio<'h> {
    pub from: &'h GpuSpec,
    pub to: &'h GpuSpec,
    /// Log of the time there over the time here.
    pub log_times: f64,
    /// Ratios of the same pair share one weight.
    weight: f64,
}

impl GpuPowers {
    /// Fits to ratios between pairs of GPUs, each pair counting the same.
    pub(super) fn fit<'r, 'h: 'r>(ratios: impl Iterator<Item = &'r Ratio<'h>>) -> Self {
        /// In pairs: enough to hold what few pairs do not settle.
        const STRENGTH: f64 = 3.0;
        let (mut design, mut targets) = (Vec::new(), Vec::new());
        for ratio in ratios {
            let columns = columns(ratio.from, ratio.to);
            design.push(
                columns
                    .iter()
                    .map(|c| c * ratio.weight)
                    .collect::<Vec<f64>>(),
            );
            targets.push(ratio.log_times * ratio.weight);
        }
        let found = ridge(&design, &targets, &[0.5, 0.5], STRENGTH);
        let at = |k: usize| found.get(k).copied().unwrap_or_default();
        Self {
            bandwidth: at(0),
            fp32: at(1),
        }
    }

    pub(super) fn rounded(self) -> Self {
        Self {
            bandwidth: short(self.bandwidth),
            fp32: short(self.fp32),
        }
    }

    /// Log of the time on `to` over the time on `from`.
    pub(super) fn log_ratio(self, from: &GpuSpec, to: &GpuSpec) -> f64 {
        dot(&columns(from, to), &[self.bandwidth, self.fp32])
    }
}

fn columns(from: &GpuSpec, to: &GpuSpec) -> [f64; 2] {
    let log = |a: f64, b: f64| -(b.max(1.0) / a.max(1.0)).ln();
    [
        log(from.bandwidth.get(), to.bandwidth.get()),
        log(from.fp32.get(), to.fp32.get()),
    ]
}

/// All models of timm that were measured on two GPUs with the same stack, by
/// stack and pair of GPUs.
pub(super) fn image_pairs(bench: &Benchmarks) -> BTreeMap<(&str, &str, &str), Vec<Twice<'_>>> {
    let mut by_case = BTreeMap::<(&str, &str, u32), Vec<_>>::new();
    for row in bench
        .images
        .iter()
        .filter(|row| !row.device.starts_with("CPU"))
    {
        let key = (row.stack.as_str(), row.architecture.as_str(), row.side);
        by_case.entry(key).or_default().push(row);
    }
    let mut pairs = BTreeMap::<_, Vec<_>>::new();
    for ((stack, _, _), rows) in by_case {
        let mut seen = std::collections::BTreeSet::new();
        // One row per device: weights of other names run the same arithmetic.
        let once: Vec<_> = rows
            .into_iter()
            .filter(|row| seen.insert(row.device.as_str()))
            .collect();
        for here in &once {
            for there in once.iter().filter(|there| there.device != here.device) {
                pairs
                    .entry((stack, here.device.as_str(), there.device.as_str()))
                    .or_default()
                    .push(Twice { here, there });
            }
        }
    }
    pairs
}

/// Ratios between GPUs from timm and from NVIDIA's tables (batches of 8 and more).
pub(super) fn ratios<'h>(bench: &Benchmarks, hardware: &'h HardwareBook) -> Vec<Ratio<'h>> {
    let mut out = Vec::new();
    let mut add = |from: &str, to: &str, logs: &[f64]| {
        let (Some(from), Some(to)) = (hardware.gpu(from), hardware.gpu(to)) else {
            return;
        };
        let weight = 1.0 / (logs.len().max(1) as f64).sqrt();
        out.extend(logs.iter().map(|log_times| Ratio {
            from,
            to,
            log_times: *log_times,
            weight,
        }));
    };
    for ((_, from, to), pairs) in image_pairs(bench) {
        add(
            from,
            to,
            &pairs.iter().map(Twice::log_ratio).collect::<Vec<_>>(),
        );
    }
    for path in [Path::Single, Path::Half] {
        let rows = measured(bench, hardware, path);
        let mut logs = BTreeMap::<(&str, &str), Vec<f64>>::new();
        for a in rows
            .iter()
            .filter(|a| EAGER.contains(&a.row.stack.as_str()) && a.row.batch >= 8)
        {
            for b in &rows {
                let same = a.row.stack == b.row.stack
                    && a.row.network == b.row.network
                    && a.row.batch == b.row.batch;
                if same && a.row.precision == b.row.precision && a.row.device != b.row.device {
                    let key = (a.row.device.as_str(), b.row.device.as_str());
                    logs.entry(key)
                        .or_default()
                        .push((b.row.seconds / a.row.seconds).ln());
                }
            }
        }
        for ((from, to), logs) in logs {
            add(from, to, &logs);
        }
    }
    out
}
