//! Held-out splits over tables of networks by devices: `MLPerf` and `OpenVINO`.

use super::{Bar, Case, Split, datasheet_ratios};
use crate::{
    plan::transfer::{
        bench::{Benchmarks, MlperfRow, OpenvinoRow},
        conformal::HeldOut,
        gaussian::{Cell, Covariance, Grid, Hidden},
    },
    profile::{hardware::GpuSpec, hardware_book::HardwareBook},
};
use std::collections::BTreeMap;

/// `MLPerf`: how alike GPUs and networks are. Chosen by the error of hidden cells
/// on a coarse grid of values, which is flat round these.
pub(in crate::plan::transfer) const MLPERF: Covariance = Covariance {
    edition: 0.5,
    figures: 1.0,
    figures_by_network: 0.05,
    device: 0.3,
    own: 0.05,
    device_by_kind: 0.1,
    device_by_network: 0.15,
    reach: 1.0,
    other_design: 0.3,
    noise: 0.05,
};

/// `OpenVINO`: the same for processors.
const OPENVINO: Covariance = Covariance {
    edition: 0.0,
    figures: 0.5,
    figures_by_network: 0.1,
    device: 0.5,
    own: 0.2,
    device_by_kind: 0.25,
    device_by_network: 0.15,
    reach: 1.0,
    other_design: 0.5,
    noise: 0.03,
};

/// Numbers names in the order in which they first come.
#[derive(Default)]
struct Names<'n>(Vec<&'n str>);

impl<'n> Names<'n> {
    fn number(&mut self, name: &'n str) -> usize {
        self.0
            .iter()
            .position(|known| *known == name)
            .unwrap_or_else(|| {
                self.0.push(name);
                self.0.len() - 1
            })
    }
}

pub(super) fn splits(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let mut out = mlperf(bench, hardware);
    out.extend(openvino(bench));
    out
}

/// The `Offline` cells of `MLPerf` on GPUs whose figures are known.
pub(in crate::plan::transfer) fn grid_of_mlperf<'b>(
    bench: &'b Benchmarks,
    hardware: &'b HardwareBook,
) -> Vec<(Cell, &'b MlperfRow, &'b GpuSpec)> {
    let (mut networks, mut kinds, mut devices, mut designs, mut rounds) = (
        Names::default(),
        Names::default(),
        Names::default(),
        Names::default(),
        Names::default(),
    );
    let mut out = Vec::new();
    for row in bench.mlperf.iter().filter(|row| row.scenario == "Offline") {
        let Some(gpu) = hardware.gpu(&row.device) else {
            continue;
        };
        let kind = bench
            .networks
            .get(&row.network)
            .map_or(row.network.as_str(), |n| n.class.as_str());
        let cell = Cell {
            network: networks.number(&row.network),
            kind: kinds.number(kind),
            device: devices.number(&row.device),
            edition: rounds.number(&row.round),
            // Relative to a middling server GPU.
            figures: vec![
                (gpu.bandwidth.get() / 1e12).ln(),
                (eight_bit_peak(gpu) / 300e12).ln(),
                (gpu.power_watts.unwrap_or(200.0) / 200.0).ln(),
            ],
            design: designs.number(&gpu.architecture),
            log_time: -row.value.ln(),
        };
        out.push((cell, row, gpu));
    }
    out
}

/// `MLPerf`'s networks run in eight bits where the GPU has them.
pub(in crate::plan::transfer) fn eight_bit_peak(gpu: &GpuSpec) -> f64 {
    gpu.int8.or(gpu.fp16).unwrap_or(gpu.fp32).get().max(1.0)
}

fn mlperf(bench: &Benchmarks, hardware: &HardwareBook) -> Vec<Split> {
    let all = grid_of_mlperf(bench, hardware);
    let cells: Vec<Cell> = all.iter().map(|(cell, _, _)| cell.clone()).collect();
    let Some(grid) = Grid::new(&cells, &MLPERF) else {
        return Vec::new();
    };
    let case = |at: usize, from: Option<usize>, hidden: Hidden| -> Option<Case> {
        let (cell, row, gpu) = all.get(at)?;
        let datasheet =
            from.and_then(|from| all.get(from))
                .map_or([None; 4], |(source, _, source_gpu)| {
                    let ratios = datasheet_ratios((source_gpu, gpu), eight_bit_peak, None);
                    ratios.map(|log| log.map(|log| source.log_time + log - cell.log_time))
                });
        Some(Case {
            held: HeldOut {
                group: format!("{} {}", row.network, row.device),
                error: hidden.error,
                difficulty: hidden.spread.max(1e-3),
            },
            datasheet,
        })
    };
    let (mut elsewhere, mut once) = (Vec::new(), Vec::new());
    let mut keys: Vec<(usize, usize)> = cells
        .iter()
        .map(|cell| (cell.network, cell.device))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for (network, device) in keys {
        // The network is unknown on this device, in all rounds.
        let hidden = grid.which(|c| c.network == network && c.device == device);
        for (at, found) in hidden.iter().zip(grid.hide(&hidden).unwrap_or_default()) {
            let Some(cell) = cells.get(*at) else { continue };
            let others = grid
                .which(|c| c.network == network && c.device != device && c.edition == cell.edition);
            let nearest = others.into_iter().min_by(|a, b| {
                let far = |i: &usize| cells.get(*i).map_or(f64::INFINITY, |c| apart(c, cell));
                far(a).total_cmp(&far(b))
            });
            if nearest.is_some() {
                elsewhere.extend(case(*at, nearest, found));
            }
        }
        // The network is known on this device alone.
        let hidden = grid.which(|c| c.network == network && c.device != device);
        for (at, found) in hidden.iter().zip(grid.hide(&hidden).unwrap_or_default()) {
            let Some(cell) = cells.get(*at) else { continue };
            let source = grid
                .which(|c| c.network == network && c.device == device && c.edition == cell.edition);
            if let Some(source) = source.first() {
                once.extend(case(*at, Some(*source), found));
            }
        }
    }
    let bar = Some(Bar {
        median: 0.08,
        p95: None,
    });
    [
        Split::new("MLPerf: network never measured on the device, measured on others (network × device held out)", &elsewhere, bar),
        Split::new("MLPerf: network measured on one device alone (network held out everywhere else)", &once, None),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn apart(a: &Cell, b: &Cell) -> f64 {
    a.figures
        .iter()
        .zip(&b.figures)
        .map(|(a, b)| (a - b).powi(2))
        .sum()
}

/// Single-precision (or eight-bit) operations per cycle of a core, by instruction
/// set: vector registers of 256 or 512 bits, two units, dot products fourfold,
/// AMX tiles.
fn vector_operations(row: &OpenvinoRow) -> f64 {
    let int8 = row.key.starts_with("int8");
    match row.instruction_set.as_str() {
        "AMX" if int8 => 2048.0,
        "AVX512-VNNI" | "AMX" => {
            if int8 {
                256.0
            } else {
                64.0
            }
        }
        "AVX2-VNNI" if int8 => 128.0,
        _ => {
            if int8 {
                64.0
            } else {
                32.0
            }
        }
    }
}

fn openvino(bench: &Benchmarks) -> Vec<Split> {
    let (mut elsewhere, mut once) = (Vec::new(), Vec::new());
    for rows in tables_of_openvino(bench).values() {
        let cells = processor_cells(bench, rows);
        let Some(grid) = Grid::new(&cells, &OPENVINO) else {
            continue;
        };
        let case = |at: usize, from: Option<usize>, hidden: Hidden| -> Option<Case> {
            let (row, cell) = (rows.get(at)?, cells.get(at)?);
            let flops = from.and_then(|from| rows.get(from)).map(|source| {
                let rate = |r: &OpenvinoRow| r.cores * vector_operations(r);
                (rate(source) / rate(row)).ln() + source.seconds.ln() - cell.log_time
            });
            Some(Case {
                held: HeldOut {
                    group: row.platform.clone(),
                    error: hidden.error,
                    difficulty: hidden.spread.max(1e-3),
                },
                datasheet: [flops, None, None, None],
            })
        };
        for (at, cell) in cells.iter().enumerate() {
            let others = grid.which(|c| c.network == cell.network && c.device != cell.device);
            let nearest = others.iter().copied().min_by(|a, b| {
                let far = |i: &usize| cells.get(*i).map_or(f64::INFINITY, |c| apart(c, cell));
                far(a).total_cmp(&far(b))
            });
            let found = grid.hide(&[at]).unwrap_or_default();
            elsewhere.extend(found.first().and_then(|found| case(at, nearest, *found)));
            for (other, found) in others.iter().zip(grid.hide(&others).unwrap_or_default()) {
                once.extend(case(*other, Some(at), found));
            }
        }
    }
    let bar = Some(Bar {
        median: 0.12,
        p95: None,
    });
    [
        Split::new("CPU to CPU, batch size 1: network never measured on the CPU, measured on others (OpenVINO; network × CPU held out)", &elsewhere, bar),
        Split::new("CPU to CPU, batch size 1: network measured on one CPU alone (OpenVINO; network held out everywhere else)", &once, bar),
        Split::new("CPU that no table has, batch size 1 (OpenVINO; CPU held out)", &processor_cases(bench), None),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Rows by precision and metric, where most processors have one.
fn tables_of_openvino(bench: &Benchmarks) -> BTreeMap<&str, Vec<&OpenvinoRow>> {
    let mut tables = BTreeMap::<&str, Vec<&OpenvinoRow>>::new();
    for row in &bench.openvino {
        tables.entry(row.key.as_str()).or_default().push(row);
    }
    tables.retain(|_, rows| rows.len() > 50);
    tables
}

/// For each row of a table of `OpenVINO`: the same network on all other processors,
/// with the log times predicted without any other row of the network.
pub(in crate::plan::transfer) fn carried_between_processors<'b>(
    bench: &'b Benchmarks,
    key: &str,
) -> Vec<(&'b OpenvinoRow, Vec<(&'b OpenvinoRow, f64)>)> {
    let tables = tables_of_openvino(bench);
    let Some(rows) = tables.get(key) else {
        return Vec::new();
    };
    let cells = processor_cells(bench, rows);
    let Some(grid) = Grid::new(&cells, &OPENVINO) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (cell, row) in cells.iter().zip(rows) {
        let hidden = grid.which(|c| c.network == cell.network && c.device != cell.device);
        let found = grid.hide(&hidden).unwrap_or_default();
        let others = hidden.iter().zip(found).filter_map(|(at, found)| {
            let (row, cell) = (rows.get(*at)?, cells.get(*at)?);
            Some((*row, cell.log_time + found.error))
        });
        out.push((*row, others.collect()));
    }
    out
}

/// Each processor predicted from all others, by its cores, power and instruction set.
fn processor_cases(bench: &Benchmarks) -> Vec<Case> {
    let mut out = Vec::new();
    for rows in tables_of_openvino(bench).values() {
        let cells = processor_cells(bench, rows);
        let Some(grid) = Grid::new(&cells, &OPENVINO) else {
            continue;
        };
        let mut platforms: Vec<usize> = cells.iter().map(|cell| cell.device).collect();
        platforms.sort_unstable();
        platforms.dedup();
        for platform in platforms {
            let hidden = grid.which(|c| c.device == platform);
            for (at, found) in hidden.iter().zip(grid.hide(&hidden).unwrap_or_default()) {
                let Some(row) = rows.get(*at) else { continue };
                out.push(Case {
                    held: HeldOut {
                        group: row.platform.clone(),
                        error: found.error,
                        difficulty: 1.0,
                    },
                    datasheet: [None; 4],
                });
            }
        }
    }
    out
}

fn processor_cells<'b>(bench: &'b Benchmarks, rows: &[&'b OpenvinoRow]) -> Vec<Cell> {
    let (mut networks, mut kinds, mut devices, mut designs) = (
        Names::default(),
        Names::default(),
        Names::default(),
        Names::default(),
    );
    rows.iter()
        .map(|row| Cell {
            network: networks.number(&row.network),
            kind: kinds.number(
                bench
                    .networks
                    .get(&row.network)
                    .map_or("", |n| n.class.as_str()),
            ),
            device: devices.number(&row.platform),
            edition: 0,
            // Relative to a middling processor of ten cores and ten watts for each.
            figures: vec![(row.cores / 10.0).ln(), (row.watts / row.cores / 10.0).ln()],
            design: designs.number(&row.instruction_set),
            log_time: row.seconds.ln(),
        })
        .collect()
}
