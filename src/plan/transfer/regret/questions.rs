//! The questions: which devices could serve a model, what they do in truth, and
//! what a planner would think who has not seen those rows.

use super::{Choice, PROCESSORS, Prices, SMALLEST_VCPUS};
use crate::{
    plan::transfer::{
        bench::{Benchmarks, ImageRow, architecture_family},
        evaluate::{
            DatasheetRow, FOLDS, MLPERF, carried_between_processors, datasheet_ratios,
            eight_bit_peak, family_fold, grid_of_mlperf,
        },
        gaussian::{Cell, Grid},
        image::ImageForm,
    },
    profile::hardware_book::HardwareBook,
};
use std::collections::{BTreeMap, BTreeSet};

/// For each image model measured on a CPU and on GPUs: the CPU as measured, the
/// GPUs predicted without the model's family. One list for each version of torch.
pub(super) fn image_questions(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    prices: &Prices,
) -> Vec<Vec<Choice>> {
    let folds = family_fold(bench.images.iter());
    let fold = |row: &ImageRow| folds.get(architecture_family(&row.architecture)).copied();
    let mut out = Vec::new();
    for (cpu_stack, gpu_stack) in [
        (
            "torch 2.4.0 fp32 nchw compiled",
            "torch 2.4.0 amp nchw eager",
        ),
        (
            "torch 2.4.0 fp32 nchw compiled",
            "torch 2.9.1 amp nchw compiled",
        ),
    ] {
        let mut forms = BTreeMap::<(&str, usize), (ImageForm, [f64; 4])>::new();
        let of_stack: Vec<&ImageRow> = bench
            .images
            .iter()
            .filter(|row| row.stack == gpu_stack)
            .collect();
        let mut devices: Vec<&str> = of_stack.iter().map(|row| row.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        for device in &devices {
            for k in 0..FOLDS {
                let rows: Vec<&ImageRow> = of_stack
                    .iter()
                    .filter(|row| row.device == *device && fold(row) != Some(k))
                    .copied()
                    .collect();
                let gpu = hardware.gpu(device);
                let sheets: Vec<_> = rows
                    .iter()
                    .map(|row| (DatasheetRow::new(row, gpu), row.seconds.ln()))
                    .collect();
                forms.insert(
                    (device, k),
                    (ImageForm::fit(&rows), DatasheetRow::efficiency(&sheets)),
                );
            }
        }
        let cpus = bench
            .images
            .iter()
            .filter(|row| row.stack == cpu_stack && row.device.starts_with("CPU"));
        // Every fourth model: enough, and spread over all families.
        for cpu in cpus.step_by(4) {
            let Some(price) = prices.get(&cpu.device) else {
                continue;
            };
            let measured = (1.0 / cpu.seconds, cpu.seconds * cpu.batch);
            let mut choices = vec![Choice {
                price: f64::from(*price),
                cpu: true,
                least: 1.0,
                truth: measured,
                predicted: measured,
                datasheet: measured,
            }];
            let twins = of_stack
                .iter()
                .filter(|row| row.architecture == cpu.architecture && row.side == cpu.side);
            let mut seen = BTreeSet::new();
            for row in twins {
                let known = prices
                    .get(&row.device)
                    .zip(fold(row).and_then(|k| forms.get(&(row.device.as_str(), k))));
                let Some((price, (form, efficiency))) = known else {
                    continue;
                };
                // Weights of other names run the same arithmetic.
                if !seen.insert(row.device.as_str()) {
                    continue;
                }
                let speed = |seconds: f64| (1.0 / seconds, seconds * row.batch);
                let sheet = DatasheetRow::new(row, hardware.gpu(&row.device));
                choices.push(Choice {
                    price: f64::from(*price),
                    cpu: false,
                    least: 1.0,
                    truth: speed(row.seconds),
                    predicted: speed(form.predict(row).log_time.exp()),
                    datasheet: speed(sheet.square_root(efficiency).exp()),
                });
            }
            if choices.len() > 1 {
                out.push(choices);
            }
        }
    }
    out
}

/// For each network of a round and each GPU that it was measured on: that one as
/// measured, the others predicted without any other row of the network.
pub(super) fn mlperf_questions(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    prices: &Prices,
) -> Vec<Vec<Choice>> {
    let all = grid_of_mlperf(bench, hardware);
    let cells: Vec<Cell> = all.iter().map(|(cell, _, _)| cell.clone()).collect();
    let Some(grid) = Grid::new(&cells, &MLPERF) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (here, (source, row, own)) in all.iter().enumerate() {
        let Some(price) = prices.get(&row.device) else {
            continue;
        };
        let hidden = grid.which(|c| c.network == source.network && c.device != source.device);
        let found = grid.hide(&hidden).unwrap_or_default();
        let speed = |log_time: f64| ((-log_time).exp(), 0.0);
        let own_speed = speed(source.log_time);
        let mut choices = vec![Choice {
            price: f64::from(*price),
            cpu: false,
            least: 1.0,
            truth: own_speed,
            predicted: own_speed,
            datasheet: own_speed,
        }];
        for (at, found) in hidden.iter().zip(found) {
            let Some((cell, row, gpu)) = all.get(*at) else {
                continue;
            };
            let Some(price) = prices.get(&row.device) else {
                continue;
            };
            if cell.edition != source.edition || *at == here {
                continue;
            }
            let [_, _, square_root, _] = datasheet_ratios((own, gpu), eight_bit_peak, None);
            choices.push(Choice {
                price: f64::from(*price),
                cpu: false,
                least: 1.0,
                truth: speed(cell.log_time),
                predicted: speed(cell.log_time + found.error),
                datasheet: speed(source.log_time + square_root.unwrap_or_default()),
            });
        }
        if choices.len() > 1 {
            out.push(choices);
        }
    }
    out
}

/// `OpenVINO`'s and `MLPerf`'s names of the networks that both have.
const BOTH: [(&str, &str); 4] = [
    ("resnet-50", "resnet50"),
    ("bert-large-uncased-wwm-squad", "bert"),
    ("ssd-resnet34-1200", "ssd-resnet34"),
    ("ssd_mobilenet_v1_coco", "ssd-mobilenet"),
];

/// For each network and server processor that it was measured on, in eight bits:
/// that one as measured, other processors predicted from it, and GPUs predicted
/// from other GPUs in the newest round of `MLPerf` that has the network.
pub(super) fn processor_questions(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    prices: &Prices,
) -> Vec<Vec<Choice>> {
    let gpus: BTreeMap<&str, Vec<Choice>> = BOTH
        .iter()
        .map(|(_, network)| (*network, gpu_choices(bench, hardware, (prices, network))))
        .collect();
    let known = |platform: &str| {
        let (_, _, threads) = PROCESSORS.iter().find(|(name, _, _)| *name == platform)?;
        Some((
            f64::from(*prices.get(platform)?),
            SMALLEST_VCPUS / f64::from(*threads),
        ))
    };
    let mut out = Vec::new();
    for (row, others) in carried_between_processors(bench, "int8 throughput") {
        let network = BOTH
            .iter()
            .find(|(name, _)| *name == row.network)
            .map(|(_, network)| *network);
        let Some((here, gpus)) =
            known(&row.platform).zip(network.and_then(|network| gpus.get(network)))
        else {
            continue;
        };
        let cpu = |(price, least): (f64, f64), truth: f64, predicted: f64, datasheet: f64| Choice {
            price,
            cpu: true,
            least,
            truth: (1.0 / truth, 0.0),
            predicted: (1.0 / predicted, 0.0),
            datasheet: (1.0 / datasheet, 0.0),
        };
        let mut choices = vec![cpu(here, row.seconds, row.seconds, row.seconds)];
        for (other, log_time) in others {
            let Some(there) = known(&other.platform) else {
                continue;
            };
            let by_cores = row.seconds * row.cores / other.cores;
            choices.push(cpu(there, other.seconds, log_time.exp(), by_cores));
        }
        choices.extend(gpus);
        out.push(choices);
    }
    out
}

fn gpu_choices(
    bench: &Benchmarks,
    hardware: &HardwareBook,
    (prices, network): (&Prices, &str),
) -> Vec<Choice> {
    let all = grid_of_mlperf(bench, hardware);
    let cells: Vec<Cell> = all.iter().map(|(cell, _, _)| cell.clone()).collect();
    let newest = all
        .iter()
        .filter(|(_, row, _)| row.network == network)
        .map(|(_, row, _)| row.round.as_str())
        .max();
    let (Some(grid), Some(newest)) = (Grid::new(&cells, &MLPERF), newest) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (at, (cell, row, gpu)) in all.iter().enumerate() {
        let Some(price) = prices.get(&row.device) else {
            continue;
        };
        if row.network != network || row.round != newest {
            continue;
        }
        let hidden = grid.which(|c| c.network == cell.network && c.device == cell.device);
        let found = grid.hide(&hidden).unwrap_or_default();
        let Some((_, found)) = hidden.iter().zip(found).find(|(hidden, _)| **hidden == at) else {
            continue;
        };
        // The datasheet view starts from another GPU of the round.
        let Some((source, _, from)) = all.iter().find(|(c, r, _)| {
            c.network == cell.network && r.round == newest && c.device != cell.device
        }) else {
            continue;
        };
        let [_, _, square_root, _] = datasheet_ratios((from, gpu), eight_bit_peak, None);
        out.push(Choice {
            price: f64::from(*price),
            cpu: false,
            least: 1.0,
            truth: (row.value, 0.0),
            predicted: ((-cell.log_time - found.error).exp(), 0.0),
            datasheet: (
                (-source.log_time - square_root.unwrap_or_default()).exp(),
                0.0,
            ),
        });
    }
    out
}
