//! Running the cells of one model.

use crate::{
    calibrating::{BATCHES, Rolling},
    closed_forms::{ClosedForms, closed_forms},
    grid::Wanted,
};
use advisor::{
    error::{Error, Result},
    estimate::{Estimate, Source},
    measure::{
        calibrate::{Launcher, sweep},
        probe::load::{self, LoadSnapshot},
        replica::{Rule, ServedBatch},
        runtime::Library,
        serve::process::{ReplicaProcess, Served},
    },
    model::{self, Sizes, input_specs, reference},
    plan::{
        latency::LatencyCurve,
        queueing::{ServiceRange, Simulator},
    },
    profile::{
        calibration::{Device, SessionLayout},
        machine::Machine,
    },
    units::{Fraction, Rate, Time},
    verify::{
        Forecast, Lateness, Observed, Schedule, recorded_service_times, replay, replay_recorded,
        service_range,
    },
    workload::{Arrivals, Percentile},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// Requests that a cell's p95 should rest on, and what that may take.
const REQUESTS_AIMED_AT: f64 = 220.0;
const SHORTEST: f64 = 6.0;
const LONGEST: f64 = 26.0;

/// Requests of a cell at most.
const MOST_REQUESTS: u32 = 400_000;

/// Rounds before the first load of a layout and before each further one.
const FIRST_ROUNDS: usize = 6;
const FURTHER_ROUNDS: usize = 3;

/// Rounds are cut short where one takes this long.
const LONG_ROUND: f64 = 1.5;

pub struct Bench<'b> {
    pub program: &'b Path,
    pub machine: &'b Machine,
    pub library: &'b Library,
    pub models: PathBuf,
}

/// What a cell came to.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub model: String,
    pub instances: u32,
    pub threads: u32,
    pub max_batch: u32,
    #[serde(rename = "window_s")]
    pub window: Time,
    /// What was aimed at, by the calibration.
    pub utilisation_asked: f64,
    pub utilisation: Fraction,
    #[serde(rename = "offered_per_s")]
    pub offered: Rate,
    pub requests: u64,
    pub failed: u64,
    pub mean_batch: f64,
    pub lateness: Lateness,
    pub percentiles: Vec<Compared>,
    pub closed_forms: ClosedForms,
    /// Share of time stolen by the hypervisor during the load.
    pub steal: Option<Fraction>,
    /// Processors that others kept busy during the load.
    pub others_cores: Option<f64>,
    /// Service times of the last third of the load over those of the first.
    pub drift: f64,
    /// Mean service time of the load over what the calibration says for its
    /// batches.
    pub service_over_calibration: f64,
}

/// One percentile of a cell.
#[derive(Debug, Serialize)]
pub struct Compared {
    pub percentile: Percentile,
    #[serde(rename = "measured_s")]
    pub measured: Time,
    /// With the service times of the run itself, in their order.
    #[serde(rename = "model_s")]
    pub model: Option<Time>,
    /// With the service times of the run itself, drawn independently.
    #[serde(rename = "model_independent_s")]
    pub independent: Option<Time>,
    /// With the calibration taken before.
    #[serde(rename = "total_s")]
    pub total: Option<Estimate<Time>>,
    pub covered: bool,
}

impl Compared {
    pub fn model_error(&self) -> Option<f64> {
        Some(self.model?.ratio(self.measured) - 1.0)
    }

    pub fn independent_error(&self) -> Option<f64> {
        Some(self.independent?.ratio(self.measured) - 1.0)
    }

    pub fn total_error(&self) -> Option<f64> {
        Some(self.total.as_ref()?.value.ratio(self.measured) - 1.0)
    }
}

impl Bench<'_> {
    /// Runs the cells of one model, each handed over as it is done.
    pub fn run(&self, cells: &[Wanted], done: &mut dyn FnMut(Cell)) {
        if let Err(error) = self.try_run(cells, done) {
            eprintln!("{}: {error}", cells[0].model);
        }
    }

    fn try_run(&self, cells: &[Wanted], done: &mut dyn FnMut(Cell)) -> Result<()> {
        let name = &cells[0].model;
        let reference = reference::find(name)?;
        std::fs::create_dir_all(&self.models)
            .map_err(|error| Error::machine(format!("no folder for models: {error}")))?;
        let path = reference::write_reference(&reference, &self.models)?;
        let read = model::read(&path)?;
        let sizes = Sizes {
            batch: read.batching().limit().unwrap_or(1),
            dims: BTreeMap::new(),
        };
        let inputs = input_specs(&read, &sizes)?;
        drop(read);
        let served = Served {
            machine: self.machine,
            device: &Device::Cpu,
            library: self.library,
            model: &path,
            inputs: &inputs,
        };
        let launcher = Launcher {
            program: self.program.to_owned(),
            library_folders: Vec::new(),
        };
        let mut replicas = BTreeMap::<SessionLayout, ReplicaProcess>::new();
        let mut rolling = Rolling::new();
        for cell in cells {
            let layout = self.layout(cell);
            // The single instance tells what its fuller layout does alone.
            for layout in [single(layout), layout] {
                let fresh = !replicas.contains_key(&layout);
                if fresh {
                    let mut replica = ReplicaProcess::start(&served, layout, &launcher, None)?;
                    replica.warm(BATCHES[BATCHES.len() - 1])?;
                    replicas.insert(layout, replica);
                }
                let Some(replica) = replicas.get_mut(&layout) else {
                    continue;
                };
                let mut rounds = if fresh { FIRST_ROUNDS } else { FURTHER_ROUNDS };
                let mut round = 0;
                while round < rounds {
                    let begin = std::time::Instant::now();
                    rolling.round(replica)?;
                    if layout.instances == 1 {
                        rolling.idle(replica)?;
                    }
                    if begin.elapsed().as_secs_f64() > LONG_ROUND {
                        rounds = rounds.min(if fresh { 3 } else { 1 });
                    }
                    round += 1;
                }
                if single(layout) == layout && layout == self.layout(cell) {
                    break;
                }
            }
            if let Some(replica) = replicas.get_mut(&layout) {
                done(self.load(cell, replica, &rolling)?);
            }
        }
        Ok(())
    }

    fn layout(&self, cell: &Wanted) -> SessionLayout {
        let (instances, threads) = (
            cell.configuration.instances,
            cell.configuration.intra_op_threads,
        );
        SessionLayout {
            instances,
            intra_op_threads: threads,
            spinning: sweep::spinning(instances, threads, self.machine.usable_threads()),
        }
    }

    fn load(&self, cell: &Wanted, replica: &mut ReplicaProcess, rolling: &Rolling) -> Result<Cell> {
        let configuration = &cell.configuration;
        let version = &self.library.inspection.version;
        let calibration = rolling.calibration(&cell.model, self.machine, version);
        let curve = LatencyCurve::from_calibration(&calibration, &Source::Measured)?
            .into_iter()
            .find(|curve| curve.layout == replica.layout)
            .ok_or_else(|| Error::machine("the layout was not calibrated"))?;
        let service = service_range(&curve, configuration)?;
        let most = Simulator::sustainable(&service.value, configuration)?;
        let rate = most.scaled(cell.utilisation);
        let length = (REQUESTS_AIMED_AT / rate.get()).clamp(SHORTEST, LONGEST);
        let schedule = Schedule::new(
            &Arrivals::Poisson,
            rate,
            (Time::saturating(length), MOST_REQUESTS),
            1 + (cell.utilisation * 1e3) as u64 + u64::from(configuration.max_batch),
        )?;
        let rule = Rule {
            max_batch: configuration.effective_max_batch(),
            window: configuration.batch_window,
        };
        let before = LoadSnapshot::take();
        let load = replica.drive(schedule.arrivals(), rule, &AtomicBool::new(false))?;
        let disturbance = load::between(&before, &LoadSnapshot::take());
        let instances = replica.layout.instances;
        let measured = Observed::of_replica(&load, &schedule, instances);
        let total = replay(&service, configuration, &schedule)?;
        let recorded = recorded_service_times(&load.batches, instances, rule.max_batch)?;
        let model = replay_recorded(&recorded, configuration, &schedule)?;
        let exact = ServiceRange::exact(recorded.service, Source::Measured);
        let independent = replay(&exact, configuration, &schedule)?;
        Ok(Cell {
            model: cell.model.clone(),
            instances,
            threads: configuration.intra_op_threads,
            max_batch: configuration.max_batch,
            window: configuration.batch_window,
            utilisation_asked: cell.utilisation,
            utilisation: measured.utilisation.unwrap_or_default(),
            offered: measured.offered,
            requests: measured.counted,
            failed: measured.failed,
            mean_batch: measured.mean_batch.unwrap_or(1.0),
            lateness: measured.lateness,
            percentiles: compared(&measured, [&model, &independent, &total]),
            closed_forms: closed_forms(&curve, configuration, measured.offered),
            steal: disturbance.steal.known().copied(),
            others_cores: disturbance.other_load_cores.known().copied(),
            drift: drift(&load.batches),
            service_over_calibration: over_calibration(&load.batches, &service, instances),
        })
    }
}

fn single(layout: SessionLayout) -> SessionLayout {
    SessionLayout {
        instances: 1,
        ..layout
    }
}

fn compared(measured: &Observed, [model, independent, total]: [&Forecast; 3]) -> Vec<Compared> {
    measured
        .percentiles
        .iter()
        .filter_map(|outcome| {
            let value = outcome.value?;
            let of = |forecast: &Forecast| {
                forecast
                    .percentile(outcome.percentile)
                    .and_then(|span| span.latency.clone())
            };
            let open = total
                .percentile(outcome.percentile)
                .is_some_and(|span| span.open_ended);
            let total = of(total);
            Some(Compared {
                percentile: outcome.percentile,
                measured: value,
                model: of(model).map(|estimate| estimate.value),
                independent: of(independent).map(|estimate| estimate.value),
                covered: total
                    .as_ref()
                    .is_some_and(|t| value >= t.low && (value <= t.high || open)),
                total,
            })
        })
        .collect()
}

/// Mean service time of the last third over that of the first, each batch
/// relative to the mean of its size.
fn drift(batches: &[ServedBatch]) -> f64 {
    let mut sums = BTreeMap::<u32, (f64, f64)>::new();
    for batch in batches {
        let slot = sums.entry(batch.items).or_default();
        slot.0 += batch.service().get();
        slot.1 += 1.0;
    }
    let relative: Vec<f64> = batches
        .iter()
        .map(|batch| {
            let (sum, n) = sums.get(&batch.items).copied().unwrap_or((1.0, 1.0));
            batch.service().get() / (sum / n)
        })
        .collect();
    let third = (relative.len() / 3).max(1);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let last = relative.get(relative.len() - third..).unwrap_or(&[]);
    mean(last) / mean(relative.get(..third).unwrap_or(&[]))
}

/// How much longer batches took than the calibration says for their size, with
/// as many instances busy as the utilisation suggests (none of the waiting).
fn over_calibration(batches: &[ServedBatch], service: &ServiceRange, instances: u32) -> f64 {
    let (mut took, mut said) = (0.0, 0.0);
    for batch in batches {
        took += batch.service().get();
        let alone = service.value.mean(batch.items, 1);
        let most = service
            .value
            .max_busy()
            .map_or(1, |most| most.min(instances));
        let together = service.value.mean(batch.items, most);
        let mean = |time: Option<Time>| time.map_or(0.0, Time::get);
        said += f64::midpoint(mean(alone), mean(together));
    }
    took / said
}
