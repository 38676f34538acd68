//! Running the cells of one model.

use crate::{
    calibrating::{FAST, LARGEST, LONG_VISIT, Rolling, VISIT},
    grid::Wanted,
    judging::{Cell, Loaded, judge},
};
use advisor::{
    error::{Error, Result},
    estimate::Source,
    measure::{
        calibrate::{Launcher, sweep},
        probe::load::{self, LoadSnapshot},
        replica::Rule,
        runtime::Library,
        serve::process::{ReplicaProcess, Served},
    },
    model::{self, Sizes, input_specs, reference},
    plan::{
        latency::LatencyCurve,
        queueing::{ServiceRange, ServiceTimes, Simulator},
    },
    profile::{
        calibration::{Device, SessionLayout},
        machine::Machine,
    },
    units::{Rate, Time},
    verify::{Schedule, service_range},
    workload::Arrivals,
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

/// Requests that a cell's p95 should rest on, and how long a load may take.
const REQUESTS_AIMED_AT: f64 = 1000.0;
const SHORTEST: f64 = 14.0;
const LONGEST: f64 = 60.0;

/// Inferences shorter than [`FAST`] are loaded for so many seconds at least: a burst
/// of interference of a few milliseconds is nothing to long ones, and to these a
/// queue of hundreds, so that the p95 of a short run is a matter of chance.
const SHORTEST_OF_FAST: f64 = 16.0;

/// That is enough up to this utilisation. Above, what is as certain takes as many
/// times as long as the square of the share that is left over is smaller (Whitt
/// 1989, Planning queueing simulations, Management Science 35).
const EASY: f64 = 0.5;

/// The load comes in stretches, with calibration before each, since the machine
/// drifts within seconds. So many inferences of a single item a stretch is long,
/// but at least so many seconds; there are at least so many of them. Each begins
/// with an empty queue, measured and predicted alike: at utilisation 0.85 the
/// shortest of slow models end before it has grown as long as it would.
const INFERENCES: f64 = 60.0;
const STRETCH: f64 = 0.5;
const STRETCHES: f64 = 5.0;

/// Requests of a stretch at most.
const MOST_REQUESTS: u32 = 120_000;

/// Seconds and rounds of calibration, at least, before the first stretch; before
/// each further one a round, with idle gaps in every so many.
const FIRST: (f64, u32) = (4.0, 3);
const GAPS_EVERY: usize = 5;

pub struct Bench<'b> {
    pub program: &'b Path,
    pub machine: &'b Machine,
    pub library: &'b Library,
    pub models: PathBuf,
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
            for layout in self.layouts(cell) {
                if let Entry::Vacant(place) = replicas.entry(layout) {
                    let mut replica = ReplicaProcess::start(&served, layout, &launcher, None)?;
                    replica.warm(LARGEST)?;
                    place.insert(replica);
                }
            }
            done(self.cell(cell, &mut replicas, &mut rolling)?);
        }
        Ok(())
    }

    /// Calibrates the layout of a cell, and its single instance: before the first
    /// stretch for some seconds, before another one in one round.
    fn calibrate(
        &self,
        cell: &Wanted,
        replicas: &mut BTreeMap<SessionLayout, ReplicaProcess>,
        rolling: &mut Rolling,
        (stretch, long): (usize, f64),
    ) -> Result<()> {
        let layouts = self.layouts(cell);
        let (seconds, rounds) = if stretch == 0 { FIRST } else { (0.0, 1) };
        let begin = std::time::Instant::now();
        for round in 1.. {
            for layout in &layouts {
                let Some(replica) = replicas.get_mut(layout) else {
                    continue;
                };
                if layout.instances == 1 && stretch.is_multiple_of(GAPS_EVERY) {
                    rolling.idle(replica)?;
                }
                let visit = if *layout == self.layout(cell) {
                    long
                } else {
                    VISIT
                };
                rolling.round(replica, cell.configuration.max_batch, visit)?;
            }
            if round >= rounds && begin.elapsed().as_secs_f64() > seconds {
                break;
            }
        }
        Ok(())
    }

    /// The layout of a cell, after its single instance, which tells what it does
    /// alone.
    fn layouts(&self, cell: &Wanted) -> Vec<SessionLayout> {
        let layout = self.layout(cell);
        let mut layouts = vec![
            SessionLayout {
                instances: 1,
                ..layout
            },
            layout,
        ];
        layouts.dedup();
        layouts
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

    /// What the calibration says now.
    fn service(&self, cell: &Wanted, rolling: &Rolling) -> Result<(LatencyCurve, ServiceRange)> {
        let version = &self.library.inspection.version;
        let calibration = rolling.calibration(&cell.model, self.machine, version);
        let curve = LatencyCurve::from_calibration(&calibration, &Source::Measured)?
            .into_iter()
            .find(|curve| curve.layout == self.layout(cell))
            .ok_or_else(|| Error::machine("the layout was not calibrated"))?
            .with_hold_ups(rolling.hold_ups(self.layout(cell)))
            .with_interference(rolling.interference(self.layout(cell)))
            .paced(rolling.pace(&self.layouts(cell)));
        let service = service_range(&curve, &cell.configuration)?;
        Ok((curve, service))
    }

    fn cell(
        &self,
        cell: &Wanted,
        replicas: &mut BTreeMap<SessionLayout, ReplicaProcess>,
        rolling: &mut Rolling,
    ) -> Result<Cell> {
        let configuration = &cell.configuration;
        let rule = Rule {
            max_batch: configuration.effective_max_batch(),
            window: configuration.batch_window,
        };
        let mut loads = Vec::<Loaded>::new();
        rolling.begin();
        let mut plan = None;
        for stretch in 0.. {
            if plan.is_some_and(|planned: Planned| stretch == planned.stretches) {
                break;
            }
            let long = plan.map_or(LONG_VISIT, |planned: Planned| planned.visit());
            self.calibrate(cell, replicas, rolling, (stretch, long))?;
            let (curve, service) = self.service(cell, rolling)?;
            let replica = replicas
                .get_mut(&self.layout(cell))
                .ok_or_else(|| Error::machine("the layout was not started"))?;
            if stretch.is_multiple_of(GAPS_EVERY) {
                rolling.dispatch(replica, &service.value)?;
            }
            let service = service.with_dispatch(rolling.dispatch_delay(self.layout(cell)));
            let planned = match plan {
                Some(planned) => planned,
                None => *plan.insert(Planned::of(cell, &service.value)?),
            };
            let seed = 1 + (cell.utilisation * 1e3) as u64 + u64::from(configuration.max_batch);
            let schedule = Schedule::new(
                &Arrivals::Poisson,
                planned.rate,
                (planned.length, MOST_REQUESTS),
                seed * 1000 + stretch as u64,
            )?;
            let before = LoadSnapshot::take();
            let load = replica.drive(schedule.arrivals(), rule, &AtomicBool::new(false))?;
            let disturbance = load::between(&before, &LoadSnapshot::take());
            loads.push(Loaded {
                curve,
                service,
                schedule,
                load,
                disturbance,
            });
        }
        judge(cell, &loads)
    }
}

/// How a cell is loaded.
#[derive(Clone, Copy)]
struct Planned {
    rate: Rate,
    /// How long a stretch lasts.
    length: Time,
    stretches: usize,
}

impl Planned {
    fn of(cell: &Wanted, service: &ServiceTimes) -> Result<Self> {
        let most = Simulator::sustainable(service, &cell.configuration)?;
        let rate = most.scaled(cell.utilisation);
        let one = service.mean(1, 1).map_or(0.0, Time::get);
        let shortest = if one < FAST {
            SHORTEST_OF_FAST
        } else {
            SHORTEST
        };
        let easy = (REQUESTS_AIMED_AT / rate.get()).clamp(shortest, LONGEST);
        let harder = ((1.0 - EASY) / (1.0 - cell.utilisation)).powi(2).max(1.0);
        let total = f64::min(easy * harder, LONGEST);
        let stretches = (total / f64::max(STRETCH, INFERENCES * one)).max(STRETCHES);
        let stretches = stretches.round();
        Ok(Self {
            rate,
            length: Time::saturating(total / stretches),
            stretches: stretches as usize,
        })
    }

    /// Seconds of a visit that meets interference as often as a stretch of load.
    fn visit(&self) -> f64 {
        let requests = self.rate.get() * self.length.get();
        let share = (f64::from(MOST_REQUESTS) / requests).min(1.0);
        (self.length.get() * share).clamp(VISIT, LONG_VISIT)
    }
}
