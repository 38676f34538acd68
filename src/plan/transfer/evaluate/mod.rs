//! How wrong the predictions are, on models and devices that they have not
//! seen, beside what datasheet ratios make of the same rows.

mod cloud;
mod grids;
mod images;
mod tables;

pub(super) use cloud::{Origin, cloud_cases, design_cases, difficulty};
pub(super) use grids::{MLPERF, carried_between_processors, eight_bit_peak, grid_of_mlperf};
pub(super) use images::{DatasheetRow, FOLDS, device_cases, family_fold};
pub(super) use tables::{Out, form_cases, stack_disagreement};

use super::{
    bench::Benchmarks,
    conformal::{Coverage, HeldOut, coverage},
    linear::quantile,
};
use crate::profile::{hardware::GpuSpec, hardware_book::HardwareBook};
use serde::Serialize;

/// One way of holding out, with its errors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Split {
    /// What was predicted from what, and what was held out.
    pub name: String,
    /// Predictions.
    pub cases: usize,
    /// Absolute relative errors of throughput.
    pub throughput: Errors,
    /// Absolute relative errors of latency.
    pub latency: Errors,
    /// Whether 90 % intervals held 90 % of groups that had no part in their width.
    pub coverage: Option<Coverage>,
    /// Errors of throughput of datasheet ratios on the same rows: FLOPs,
    /// bandwidth, square root of both, roofline; none where a figure is unknown.
    pub datasheet: [Option<Errors>; 4],
    /// The largest median that is good enough, and the largest 95th percentile.
    pub bar: Option<Bar>,
}

/// What errors must not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bar {
    /// Of the median.
    pub median: f64,
    /// Of the 95th percentile.
    pub p95: Option<f64>,
}

/// Absolute relative errors: 0.06 is 6 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Errors {
    /// Half of the cases are off by less.
    pub median: f64,
    /// Nine in ten are off by less.
    pub p90: f64,
    /// Nineteen in twenty are off by less.
    pub p95: f64,
}

/// Names of the datasheet ratios, in the order of [`Split::datasheet`].
pub const DATASHEET: [&str; 4] = ["FLOPs", "bandwidth", "square root of both", "roofline"];

/// A held-out case with the errors of datasheet ratios beside it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub held: HeldOut,
    /// Log errors of time; none where a figure is unknown.
    pub datasheet: [Option<f64>; 4],
}

impl Errors {
    /// From errors of log time, in the quantity that `relative` makes of them.
    fn of(logs: impl Iterator<Item = f64>, relative: fn(f64) -> f64) -> Option<Self> {
        let errors: Vec<f64> = logs.map(|log| relative(log).abs()).collect();
        Some(Self {
            median: quantile(&errors, 0.5)?,
            p90: quantile(&errors, 0.9)?,
            p95: quantile(&errors, 0.95)?,
        })
    }
}

/// Relative error of throughput for an error of log time.
fn of_throughput(log: f64) -> f64 {
    (-log).exp_m1()
}

/// Relative error of latency for an error of log time.
fn of_latency(log: f64) -> f64 {
    log.exp_m1()
}

impl Split {
    fn new(name: impl Into<String>, cases: &[Case], bar: Option<Bar>) -> Option<Self> {
        let held: Vec<HeldOut> = cases.iter().map(|case| case.held.clone()).collect();
        let ours = || held.iter().map(|case| case.error);
        let sheet = |k: usize| {
            let logs: Vec<f64> = cases
                .iter()
                .filter_map(|c| c.datasheet.get(k).copied().flatten())
                .collect();
            // Only where the ratio is known for the same rows.
            (logs.len() == cases.len())
                .then(|| Errors::of(logs.into_iter(), of_throughput))
                .flatten()
        };
        Some(Self {
            name: name.into(),
            cases: cases.len(),
            throughput: Errors::of(ours(), of_throughput)?,
            latency: Errors::of(ours(), of_latency)?,
            coverage: coverage(&held),
            datasheet: [sheet(0), sheet(1), sheet(2), sheet(3)],
            bar,
        })
    }

    /// Whether the bar is met; none where there is none.
    #[must_use]
    pub fn meets_bar(&self) -> Option<bool> {
        let bar = self.bar?;
        let tail = bar.p95.is_none_or(|p95| self.throughput.p95 <= p95);
        Some(self.throughput.median <= bar.median && tail)
    }
}

/// Evaluates every predictor on everything that can be held out.
#[must_use]
pub fn evaluate(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let mut splits = images::splits(bench, hardware);
    splits.extend(grids::splits(bench, hardware));
    splits.extend(tables::splits(bench, hardware));
    splits.extend(cloud::splits(bench, hardware));
    splits
}

/// Log ratios of time by datasheet: FLOPs, bandwidth, square root, and the
/// larger of the two times where the work is known.
pub(super) fn datasheet_ratios(
    (from, to): (&GpuSpec, &GpuSpec),
    peak: impl Fn(&GpuSpec) -> f64,
    work: Option<(f64, f64)>,
) -> [Option<f64>; 4] {
    let flops = (peak(from) / peak(to)).ln();
    let bandwidth = from.bandwidth.ratio(to.bandwidth).ln();
    let roof = |gpu: &GpuSpec| {
        work.map(|(flops, bytes)| (flops / peak(gpu)).max(bytes / gpu.bandwidth.get()))
    };
    let roofline = roof(to)
        .zip(roof(from))
        .map(|(there, here)| (there / here).ln());
    [
        Some(flops),
        Some(bandwidth),
        Some(f64::midpoint(flops, bandwidth)),
        roofline,
    ]
}
