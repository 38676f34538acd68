//! Processors: how time falls with cores, with the arithmetic rate of a core,
//! and with memory bandwidth, learnt on cloud machines of one to 384 vCPU.
//!
//! Two regimes: arithmetic (llama.cpp reading a long prompt: large matrix
//! products) and memory (generating: every weight is read for each token). The
//! form is a product of powers, since neither cores nor wider vectors pay in
//! full; the exponents are what the measurements say they pay.

use super::{
    bench::CloudRow,
    fitted::short,
    linear::{dot, ridge},
};
use crate::{
    profile::{hardware::CpuSpec, hardware_book::HardwareBook},
    units::Bandwidth,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Cores beyond which more of them pay less: one cache or chiplet on most servers.
pub(super) const FEW_CORES: f64 = 8.0;

/// Largest number of threads that is learnt from: one session of a server seldom
/// has more, and beyond that sockets and chiplets decide.
const MOST_THREADS: f64 = 32.0;

/// Exponents of the time of one pass that uses all cores: time falls with
/// `cores^few` up to eight cores, with `^many` beyond, with `rate^rate` and
/// with `bandwidth^bandwidth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuForm {
    /// Of the number of cores, up to eight.
    pub few_cores: f64,
    /// Of the number of cores, beyond eight.
    pub many_cores: f64,
    /// Of the single-precision rate of a core.
    pub core_rate: f64,
    /// Of the memory bandwidth of the machine.
    pub bandwidth: f64,
    /// Rows that it rests on.
    pub rows: usize,
}

/// Which of a machine's limits a run meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Regime {
    Arithmetic,
    Memory,
}

/// A cloud run with what is known of its machine.
#[derive(Debug, Clone)]
pub(super) struct Run<'b> {
    pub row: &'b CloudRow,
    /// Model and test: times are compared within one alone.
    pub work: String,
    /// Its processor's microarchitecture.
    pub design: &'b str,
    /// See [`columns`].
    pub columns: [f64; 4],
    pub log_time: f64,
}

impl Regime {
    fn holds(self, row: &CloudRow) -> bool {
        let large = matches!(row.model.as_str(), "gemma-2b" | "llama-7b");
        match self {
            Self::Arithmetic => matches!(row.test.as_str(), "prompt-128" | "prompt-512"),
            Self::Memory => large && row.test == "generate-128",
        }
    }

    fn prior(self) -> [f64; 4] {
        match self {
            Self::Arithmetic => [1.0, 0.7, 0.8, 0.0],
            Self::Memory => [0.1, 0.1, 0.1, 0.8],
        }
    }
}

/// The runs of one regime on families with a known rate and, for the memory
/// regime, a measured bandwidth.
pub(super) fn runs<'b>(
    rows: &'b [CloudRow],
    hardware: &'b HardwareBook,
    regime: Regime,
) -> Vec<Run<'b>> {
    rows.iter()
        .filter(|row| regime.holds(row) && row.threads <= MOST_THREADS)
        .filter_map(|row| {
            let cpu = hardware.cpu(&row.family)?;
            let bandwidth = match regime {
                Regime::Arithmetic => 1.0,
                Regime::Memory => bandwidth(cpu, row.vcpus as u32)?.get(),
            };
            Some(Run {
                columns: columns(row.threads, core_rate(cpu), bandwidth),
                design: &cpu.microarchitecture,
                log_time: row.seconds.ln(),
                work: format!("{} {}", row.model, row.test),
                row,
            })
        })
        .collect()
}

/// Peak single-precision arithmetic of one core, FLOP per second.
pub(super) fn core_rate(cpu: &CpuSpec) -> f64 {
    (cpu.all_core_ghz * 1e9 * cpu.fp32_flop_per_cycle).max(1.0)
}

/// Logarithms, negated, since time falls with all of them.
pub(super) fn columns(cores: f64, core_rate: f64, bandwidth: f64) -> [f64; 4] {
    let cores = cores.max(1.0);
    [
        -cores.min(FEW_CORES).ln(),
        -(cores / FEW_CORES).max(1.0).ln(),
        -core_rate.ln(),
        -bandwidth.max(1.0).ln(),
    ]
}

impl CpuForm {
    /// Fits to the runs of one regime, in two steps: cores and bandwidth between
    /// machines of one design, where nothing else differs; then the rate of a
    /// core between designs. The level of each model and test drops out.
    pub(super) fn fit(runs: &[&Run<'_>], regime: Regime) -> Self {
        /// In rows: enough to hold a coefficient that the data does not settle.
        const STRENGTH: f64 = 5.0;
        let prior = regime.prior();
        let within = |run: &Run<'_>| format!("{} {}", run.work, run.design);
        let targets: Vec<f64> = runs.iter().map(|run| run.log_time).collect();
        let parts = |run: &Run<'_>| vec![run.columns[0], run.columns[1], run.columns[3]];
        let first = centred_ridge(
            runs,
            (&within, &parts),
            &targets,
            (&[prior[0], prior[1], prior[3]], STRENGTH),
        );
        let rest: Vec<f64> = runs
            .iter()
            .map(|run| run.log_time - dot(&parts(run), &first))
            .collect();
        let second = centred_ridge(
            runs,
            (&|run| run.work.clone(), &|run| vec![run.columns[2]]),
            &rest,
            (&[prior[2]], STRENGTH),
        );
        let at = |k: usize| first.get(k).copied().unwrap_or_default();
        Self {
            few_cores: at(0),
            many_cores: at(1),
            core_rate: second.first().copied().unwrap_or_default(),
            bandwidth: at(2),
            rows: runs.len(),
        }
    }

    pub(super) fn rounded(&self) -> Self {
        Self {
            few_cores: short(self.few_cores),
            many_cores: short(self.many_cores),
            core_rate: short(self.core_rate),
            bandwidth: short(self.bandwidth),
            rows: self.rows,
        }
    }

    /// Log of the time at one place over the time at another, by their [`columns`].
    pub(super) fn log_ratio(&self, from: &[f64; 4], to: &[f64; 4]) -> f64 {
        let exponents = [
            self.few_cores,
            self.many_cores,
            self.core_rate,
            self.bandwidth,
        ];
        dot(to, &exponents) - dot(from, &exponents)
    }
}

type Grouping<'f> = (
    &'f dyn Fn(&Run<'_>) -> String,
    &'f dyn Fn(&Run<'_>) -> Vec<f64>,
);

/// Ridge regression of targets on columns, both less their means within groups.
fn centred_ridge(
    runs: &[&Run<'_>],
    (group, columns): Grouping<'_>,
    targets: &[f64],
    (prior, strength): (&[f64], f64),
) -> Vec<f64> {
    let mut sums = BTreeMap::<String, (f64, Vec<f64>, f64)>::new();
    for (run, target) in runs.iter().zip(targets) {
        let slot = sums
            .entry(group(run))
            .or_insert_with(|| (0.0, vec![0.0; prior.len()], 0.0));
        slot.0 += 1.0;
        slot.1
            .iter_mut()
            .zip(columns(run))
            .for_each(|(sum, v)| *sum += v);
        slot.2 += target;
    }
    let (mut design, mut centred) = (
        Vec::with_capacity(runs.len()),
        Vec::with_capacity(runs.len()),
    );
    for (run, target) in runs.iter().zip(targets) {
        let Some((n, means, mean)) = sums.get(&group(run)) else {
            continue;
        };
        design.push(
            columns(run)
                .iter()
                .zip(means)
                .map(|(v, sum)| v - sum / n)
                .collect::<Vec<f64>>(),
        );
        centred.push(target - mean / n);
    }
    ridge(&design, &centred, prior, strength)
}

/// Read bandwidth of a machine of that many vCPUs: measured where it was, in
/// between by proportion, beyond the largest as that; the socket's where
/// nothing was measured.
pub(super) fn bandwidth(cpu: &CpuSpec, vcpus: u32) -> Option<Bandwidth> {
    let known = &cpu.measured_bandwidth;
    let (Some(first), Some(last)) = (known.first(), known.last()) else {
        return cpu.socket_bandwidth;
    };
    if vcpus <= first.vcpus {
        return Some(
            first
                .bandwidth
                .scaled(f64::from(vcpus) / f64::from(first.vcpus.max(1))),
        );
    }
    if vcpus >= last.vcpus {
        return Some(last.bandwidth);
    }
    known.windows(2).find_map(|pair| {
        let [low, high] = pair else { return None };
        (low.vcpus <= vcpus && vcpus <= high.vcpus).then(|| {
            let share = f64::from(vcpus - low.vcpus) / f64::from((high.vcpus - low.vcpus).max(1));
            Bandwidth::saturating(
                low.bandwidth.get() + (high.bandwidth.get() - low.bandwidth.get()) * share,
            )
        })
    })
}
