//! Held-out splits over NVIDIA's tables by batch size.

use super::{Case, Split};
use crate::{
    plan::transfer::{
        bench::Benchmarks,
        conformal::HeldOut,
        image::convolution_balance,
        linear::{median, relative_non_negative},
        tables::{EAGER, GpuForm, Measured, Path, measured},
    },
    profile::hardware_book::HardwareBook,
};
use std::collections::BTreeMap;

/// What is held out of the fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan::transfer) enum Out {
    Network,
    Device,
    Both,
}

impl Out {
    fn key(self, row: &Measured<'_>) -> String {
        // Sequence lengths of one network go together, and so do the memory
        // sizes of one GPU.
        let network = row
            .row
            .network
            .trim_end_matches("-128")
            .trim_end_matches("-384");
        let device = row.row.device.trim_end_matches("-32GB");
        match self {
            Self::Network => network.to_owned(),
            Self::Device => device.to_owned(),
            Self::Both => format!("{network} on {device}"),
        }
    }

    /// Whether a row has no part in predicting another.
    fn excludes(self, row: &Measured<'_>, target: &Measured<'_>) -> bool {
        match self {
            Self::Both => {
                Self::Network.key(row) == Self::Network.key(target)
                    || Self::Device.key(row) == Self::Device.key(target)
            }
            one => one.key(row) == one.key(target),
        }
    }
}

pub(super) fn splits(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let mut out = Vec::new();
    for (path, name) in [(Path::Single, "fp32 and tf32"), (Path::Half, "fp16")] {
        for (held, what) in [
            (Out::Network, "network never measured, GPU known"),
            (Out::Device, "GPU that no table has, network known"),
            (
                Out::Both,
                "network never measured on a GPU that no table has",
            ),
        ] {
            out.extend(Split::new(
                format!("batch sizes 1 to 256, {name}: {what} (NVIDIA tables)"),
                &form_cases(bench, hardware, (path, held)),
                None,
            ));
        }
    }
    out.extend(Split::new(
        "batch sizes between 1 and the largest, both measured (NVIDIA tables)",
        &between(bench),
        None,
    ));
    out
}

/// Predictions of the additive form without the network, the device, or both.
pub(in crate::plan::transfer) fn form_cases(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    (path, out): (Path, Out),
) -> Vec<Case> {
    let rows: Vec<Measured<'_>> = measured(bench, hardware, path)
        .into_iter()
        .filter(|row| EAGER.contains(&row.row.stack.as_str()))
        .collect();
    let balance = convolution_balance(&bench.images, hardware);
    let mut fits = BTreeMap::<String, (GpuForm, [f64; 4])>::new();
    rows.iter()
        .map(|row| {
            let (form, efficiency) = fits.entry(out.key(row)).or_insert_with(|| {
                let train: Vec<Measured<'_>> = rows
                    .iter()
                    .filter(|r| !out.excludes(r, row))
                    .copied()
                    .collect();
                let away: Vec<[f64; 4]> = train
                    .iter()
                    .map(|r| sheet(r).map(|s| r.row.seconds.ln() - s))
                    .collect();
                let efficiency = std::array::from_fn(|k| {
                    median(
                        &away
                            .iter()
                            .filter_map(|a| a.get(k).copied())
                            .collect::<Vec<_>>(),
                    )
                });
                (GpuForm::fit(&train, balance), efficiency)
            });
            let truth = row.row.seconds.ln();
            let known = sheet(row);
            Case {
                held: HeldOut {
                    group: out.key(row),
                    error: form.log_time(row) - truth,
                    difficulty: 1.0,
                },
                datasheet: std::array::from_fn(|k| {
                    Some(known.get(k)? + efficiency.get(k)? - truth)
                }),
            }
        })
        .collect()
}

/// Log times of a batch at full datasheet peaks.
fn sheet(row: &Measured<'_>) -> [f64; 4] {
    let batch = f64::from(row.row.batch);
    let flops = (row.demand.flops * batch / row.path.peak(row.gpu)).ln();
    let bytes = row.demand.bytes * batch + row.demand.weights;
    let memory = (bytes / row.gpu.bandwidth.get()).ln();
    [
        flops,
        memory,
        f64::midpoint(flops, memory),
        flops.max(memory),
    ]
}

/// How much two frameworks differ in single precision on the same network, GPU
/// and batch size: log ratios of their times.
pub(in crate::plan::transfer) fn stack_disagreement(bench: &Benchmarks) -> Vec<f64> {
    let mut out = Vec::new();
    for a in bench
        .tables
        .iter()
        .filter(|row| row.stack == "pytorch" && row.precision == "fp32")
    {
        for b in bench.tables.iter().filter(|row| row.stack == "tensorflow") {
            if crate::plan::transfer::tables::same_case(a, b) {
                out.push((a.seconds / b.seconds).ln());
            }
        }
    }
    out
}

/// Sizes between the smallest and the largest of a curve, from those two: a
/// constant and a part in proportion to the batch size.
fn between(bench: &Benchmarks) -> Vec<Case> {
    let mut curves = BTreeMap::<_, Vec<_>>::new();
    for row in &bench.tables {
        let key = (&row.stack, &row.network, &row.precision, &row.device);
        curves.entry(key).or_default().push(row);
    }
    let mut out = Vec::new();
    for ((_, network, _, device), mut rows) in curves {
        rows.sort_by_key(|row| row.batch);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            continue;
        };
        if rows.len() < 4 || first.batch > 1 {
            continue;
        }
        let design = vec![
            vec![1.0, f64::from(first.batch)],
            vec![1.0, f64::from(last.batch)],
        ];
        let line = relative_non_negative(&design, &[first.seconds, last.seconds]);
        for row in rows.iter().take(rows.len() - 1).skip(1) {
            let time = crate::plan::transfer::linear::dot(&[1.0, f64::from(row.batch)], &line);
            out.push(Case {
                held: HeldOut {
                    group: format!("{network} {device}"),
                    error: time.max(1e-9).ln() - row.seconds.ln(),
                    difficulty: 1.0,
                },
                datasheet: [None; 4],
            });
        }
    }
    out
}
