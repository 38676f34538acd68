//! Held-out splits over timm's image models.

use super::{Bar, Case, Split, datasheet_ratios};
use crate::{
    plan::transfer::{
        bench::{Benchmarks, ImageRow, architecture_family},
        conformal::HeldOut,
        image::{Carry, ImageForm, Twice},
        linear::median,
        powers::{GpuPowers, Ratio, image_pairs, ratios},
        tables::Path,
    },
    profile::{hardware::GpuSpec, hardware_book::HardwareBook},
};
use std::collections::{BTreeMap, BTreeSet};

/// Parts that families of architectures are dealt into.
pub(in crate::plan::transfer) const FOLDS: usize = 10;

pub(super) fn splits(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let bar = |median, p95| Some(Bar { median, p95 });
    let mut out = Vec::new();
    out.extend(Split::new(
        "GPU to GPU, same stack, model measured on one of them (timm; families of architectures held out)",
        &carried(bench, hardware),
        bar(0.06, Some(0.22)),
    ));
    out.extend(Split::new(
        "GPU to a GPU that no table has, model measured on another (timm; device held out)",
        &device_cases(bench, hardware),
        None,
    ));
    let mut known = Vec::new();
    let mut cpu = Vec::new();
    for ((device, stack), rows) in by_device(bench) {
        let cases = never_measured(&rows, hardware.gpu(device));
        if device.starts_with("CPU") {
            cpu.extend(cases);
        } else {
            out.extend(Split::new(
                format!("model never measured, {device}, {stack} (timm; families held out)"),
                &cases,
                bar(0.2, None),
            ));
            known.extend(cases);
        }
    }
    out.extend(Split::new(
        "model never measured, GPU known (timm, all devices and stacks; families held out)",
        &known,
        bar(0.2, None),
    ));
    out.extend(Split::new(
        "model never measured, CPU known, batch size 1 (timm; families held out)",
        &cpu,
        bar(0.2, None),
    ));
    out
}

fn by_device(bench: &Benchmarks) -> BTreeMap<(&str, &str), Vec<&ImageRow>> {
    let mut out = BTreeMap::<_, Vec<_>>::new();
    for row in &bench.images {
        out.entry((row.device.as_str(), row.stack.as_str()))
            .or_default()
            .push(row);
    }
    out
}

/// Families in ten folds, neighbours in the alphabet apart.
pub(in crate::plan::transfer) fn family_fold<'r>(
    rows: impl Iterator<Item = &'r ImageRow>,
) -> BTreeMap<&'r str, usize> {
    let families: BTreeSet<&str> = rows
        .map(|row| architecture_family(&row.architecture))
        .collect();
    families
        .into_iter()
        .enumerate()
        .map(|(i, family)| (family, i % FOLDS))
        .collect()
}

fn carried(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Case> {
    let mut out = Vec::new();
    for ((_, here, there), pairs) in image_pairs(bench) {
        let gpus = hardware.gpu(here).zip(hardware.gpu(there));
        let folds = family_fold(pairs.iter().map(|pair| pair.here));
        let fold = |pair: &Twice<'_>| {
            folds
                .get(architecture_family(&pair.here.architecture))
                .copied()
        };
        for k in 0..FOLDS {
            let train: Vec<Twice<'_>> = pairs
                .iter()
                .filter(|pair| fold(pair) != Some(k))
                .copied()
                .collect();
            let carry = Carry::fit(&train);
            for pair in pairs.iter().filter(|pair| fold(pair) == Some(k)) {
                let predicted = carry.predict(pair.here);
                out.push(Case {
                    held: HeldOut {
                        group: architecture_family(&pair.here.architecture).to_owned(),
                        error: predicted.log_time - pair.there.seconds.ln(),
                        difficulty: predicted.difficulty,
                    },
                    datasheet: sheet(pair, gpus),
                });
            }
        }
    }
    out
}

fn sheet(pair: &Twice<'_>, gpus: Option<(&GpuSpec, &GpuSpec)>) -> [Option<f64>; 4] {
    let Some(gpus) = gpus else { return [None; 4] };
    let work = (pair.here.flops, bytes(pair.here));
    datasheet_ratios(gpus, |gpu| Path::Half.peak(gpu), Some(work))
        .map(|log| log.map(|log| log - pair.log_ratio()))
}

/// Bytes of one image in half precision: each activation written and read, and
/// its share of the weights.
fn bytes(row: &ImageRow) -> f64 {
    row.activations * 4.0 + row.parameters * 2.0 / row.batch
}

/// A model measured on one GPU, predicted on one that had no part in the fit.
pub(in crate::plan::transfer) fn device_cases(
    bench: &Benchmarks,
    hardware: &HardwareBook,
) -> Vec<Case> {
    let all = ratios(bench, hardware);
    let mut fits = BTreeMap::<&str, GpuPowers>::new();
    let mut out = Vec::new();
    for ((_, here, there), pairs) in image_pairs(bench) {
        let Some((from, to)) = hardware.gpu(here).zip(hardware.gpu(there)) else {
            continue;
        };
        let powers = *fits.entry(there).or_insert_with(|| {
            let other = |ratio: &&Ratio<'_>| ratio.from.name != there && ratio.to.name != there;
            GpuPowers::fit(all.iter().filter(other))
        });
        for pair in &pairs {
            out.push(Case {
                held: HeldOut {
                    group: there.to_owned(),
                    error: powers.log_ratio(from, to) - pair.log_ratio(),
                    difficulty: 1.0,
                },
                datasheet: sheet(pair, Some((from, to))),
            });
        }
    }
    out
}

/// What a datasheet says of one image, before the efficiency.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan::transfer) struct DatasheetRow([Option<f64>; 4]);

impl DatasheetRow {
    /// Log times of FLOPs, bandwidth, square root and roofline at full peak.
    pub(in crate::plan::transfer) fn new(row: &ImageRow, gpu: Option<&GpuSpec>) -> Self {
        // Without a GPU the peaks are unknown constants, which the efficiency absorbs,
        // but for the roofline.
        let (peak, bandwidth) = gpu.map_or((1.0, 1.0), |gpu| {
            (Path::Half.peak(gpu), gpu.bandwidth.get())
        });
        let (flops, memory) = ((row.flops / peak).ln(), (bytes(row) / bandwidth).ln());
        Self([
            Some(flops),
            Some(memory),
            Some(f64::midpoint(flops, memory)),
            gpu.map(|_| flops.max(memory)),
        ])
    }

    /// One efficiency for all models: the median of measured less datasheet.
    pub(in crate::plan::transfer) fn efficiency(rows: &[(Self, f64)]) -> [f64; 4] {
        std::array::from_fn(|k| {
            let away: Vec<f64> = rows
                .iter()
                .filter_map(|(sheet, log)| sheet.0.get(k).copied().flatten().map(|s| log - s))
                .collect();
            median(&away)
        })
    }

    /// Log time by the square root of FLOPs and bandwidth, with an efficiency.
    pub(in crate::plan::transfer) fn square_root(self, efficiency: &[f64; 4]) -> f64 {
        let [_, _, known, _] = self.0;
        let [_, _, usual, _] = *efficiency;
        known.unwrap_or_default() + usual
    }

    fn errors(self, efficiency: &[f64; 4], log_time: f64) -> [Option<f64>; 4] {
        std::array::from_fn(|k| {
            let known = self.0.get(k).copied().flatten()?;
            Some(known + efficiency.get(k)? - log_time)
        })
    }
}

/// Models of a device and stack, each predicted without its family.
fn never_measured(rows: &[&ImageRow], gpu: Option<&GpuSpec>) -> Vec<Case> {
    let folds = family_fold(rows.iter().copied());
    let fold = |row: &ImageRow| folds.get(architecture_family(&row.architecture)).copied();
    let mut out = Vec::new();
    for k in 0..FOLDS {
        let train: Vec<&ImageRow> = rows
            .iter()
            .filter(|row| fold(row) != Some(k))
            .copied()
            .collect();
        let form = ImageForm::fit(&train);
        let sheets: Vec<_> = train
            .iter()
            .map(|row| (DatasheetRow::new(row, gpu), row.seconds.ln()))
            .collect();
        let efficiency = DatasheetRow::efficiency(&sheets);
        for row in rows.iter().filter(|row| fold(row) == Some(k)) {
            let predicted = form.predict(row);
            out.push(Case {
                held: HeldOut {
                    group: architecture_family(&row.architecture).to_owned(),
                    error: predicted.log_time - row.seconds.ln(),
                    difficulty: predicted.difficulty,
                },
                datasheet: DatasheetRow::new(row, gpu).errors(&efficiency, row.seconds.ln()),
            });
        }
    }
    out
}
