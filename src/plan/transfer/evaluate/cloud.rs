//! Held-out splits over cloud machines: a run measured on one, predicted on
//! another of any family and size.

use super::{Case, Split};
use crate::{
    plan::transfer::{
        bench::{Benchmarks, OpenvinoRow},
        cloud::{CpuForm, FEW_CORES, Regime, Run, columns, runs},
        conformal::HeldOut,
    },
    profile::hardware_book::HardwareBook,
};
use std::collections::BTreeMap;

/// Which machines a run is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan::transfer) enum Origin {
    /// Other families with processors of the same design.
    SameDesign,
    /// Machines of other designs; the whole design is held out.
    OtherDesign,
}

impl Origin {
    /// What is held out together with a run.
    fn key<'r>(self, run: &'r Run<'_>) -> &'r str {
        match self {
            Self::SameDesign => &run.row.family,
            Self::OtherDesign => run.design,
        }
    }

    fn allows(self, source: &Run<'_>, target: &Run<'_>) -> bool {
        match self {
            Self::SameDesign => {
                source.design == target.design && source.row.family != target.row.family
            }
            Self::OtherDesign => source.design != target.design,
        }
    }
}

pub(super) fn splits(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let mut out = Vec::new();
    for (regime, name) in [
        (Regime::Arithmetic, "arithmetic"),
        (Regime::Memory, "memory"),
    ] {
        for (from, what) in [
            (
                Origin::SameDesign,
                "another family and size of the same design (family held out)",
            ),
            (
                Origin::OtherDesign,
                "another design and size (design held out)",
            ),
        ] {
            out.extend(Split::new(
                format!("cloud CPU to {what}, bound by {name} (llama.cpp, weights of four bits)"),
                &cloud_cases(bench, hardware, (regime, from)),
                None,
            ));
        }
    }
    out.extend(Split::new(
        "CPU to CPU by cores and core rate alone, as plans do (OpenVINO, fp32; no row of it had a part in the form)",
        &design_cases(bench, hardware),
        None,
    ));
    out
}

/// Single-precision operations per cycle of one core with an instruction set.
fn flop_per_cycle(instruction_set: &str) -> f64 {
    if instruction_set.starts_with("AVX512") || instruction_set == "AMX" {
        64.0
    } else {
        32.0
    }
}

/// `OpenVINO`'s throughput in single precision on each processor, predicted from
/// that on each other by the form that was learnt from cloud runs. Clocks are not
/// in that table and count as equal, so the errors are rather too large.
pub(in crate::plan::transfer) fn design_cases(
    bench: &Benchmarks,
    hardware: &HardwareBook,
) -> Vec<Case> {
    let all = runs(&bench.cloud, hardware, Regime::Arithmetic);
    let form = CpuForm::fit(&all.iter().collect::<Vec<&Run<'_>>>(), Regime::Arithmetic);
    let rows: Vec<_> = bench
        .openvino
        .iter()
        .filter(|row| row.key == "fp32 throughput")
        .collect();
    let mut out = Vec::new();
    for from in &rows {
        let others =
            |row: &&&OpenvinoRow| row.network == from.network && row.platform != from.platform;
        for to in rows.iter().filter(others) {
            let place =
                |row: &OpenvinoRow| columns(row.cores, flop_per_cycle(&row.instruction_set), 1.0);
            let (here, there) = (place(from), place(to));
            let truth = (to.seconds / from.seconds).ln();
            let by_flops = there[0] + there[1] + there[2] - here[0] - here[1] - here[2];
            out.push(Case {
                held: HeldOut {
                    group: to.platform.clone(),
                    error: form.log_ratio(&here, &there) - truth,
                    difficulty: difficulty((to.cores / from.cores).ln()),
                },
                datasheet: [Some(by_flops - truth), None, None, None],
            });
        }
    }
    out
}

/// Each run predicted from a few runs of the same work on small machines, by
/// exponents that were fitted without its family or design.
pub(in crate::plan::transfer) fn cloud_cases(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    (regime, from): (Regime, Origin),
) -> Vec<Case> {
    /// Sources per target.
    const SOURCES: usize = 3;
    let all = runs(&bench.cloud, hardware, regime);
    let mut fits = BTreeMap::<&str, CpuForm>::new();
    let mut by_work = BTreeMap::<&str, Vec<&Run<'_>>>::new();
    for run in &all {
        by_work.entry(run.work.as_str()).or_default().push(run);
    }
    let mut out = Vec::new();
    for (i, run) in all.iter().enumerate() {
        let form = fits.entry(from.key(run)).or_insert_with(|| {
            let train: Vec<&Run<'_>> = all
                .iter()
                .filter(|r| from.key(r) != from.key(run))
                .collect();
            CpuForm::fit(&train, regime)
        });
        let Some(peers) = by_work.get(run.work.as_str()) else {
            continue;
        };
        // Small machines, as users have them, spread over the list by a fixed stride.
        let sources: Vec<&&Run<'_>> = peers
            .iter()
            .filter(|source| from.allows(source, run) && source.row.threads <= FEW_CORES)
            .collect();
        for k in 0..SOURCES.min(sources.len()) {
            let Some(source) = sources.get((i * 7 + k * sources.len() / SOURCES) % sources.len())
            else {
                continue;
            };
            let truth = run.log_time - source.log_time;
            // Columns are negated logarithms: cores up to eight and beyond, rate, bandwidth.
            let moved: [f64; 4] = std::array::from_fn(|k| {
                run.columns
                    .get(k)
                    .zip(source.columns.get(k))
                    .map_or(0.0, |(to, from)| to - from)
            });
            let [few, many, rate, bandwidth] = moved;
            let flops = few + many + rate - truth;
            let memory = (regime == Regime::Memory).then_some(bandwidth - truth);
            out.push(Case {
                held: HeldOut {
                    group: run.design.to_owned(),
                    error: form.log_ratio(&source.columns, &run.columns) - truth,
                    difficulty: difficulty(few + many),
                },
                datasheet: [
                    Some(flops),
                    memory,
                    memory.map(|memory| f64::midpoint(flops, memory)),
                    None,
                ],
            });
        }
    }
    out
}

/// How hard it is to carry a time over to another number of cores, by the
/// logarithm of their ratio: half as hard again for four times as many.
pub(in crate::plan::transfer) fn difficulty(log_cores: f64) -> f64 {
    1.0 + 0.36 * log_cores.abs()
}
