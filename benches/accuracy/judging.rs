//! What a cell came to.

use crate::{
    closed_forms::{ClosedForms, closed_forms},
    grid::Wanted,
};
use advisor::{
    error::Result,
    estimate::{Estimate, Source},
    measure::{probe::load::Disturbance, replica::ServedBatch, serve::process::Load},
    plan::{
        latency::LatencyCurve,
        queueing::{ServiceRange, percentiles},
    },
    units::{Fraction, Rate, Time},
    verify::{
        Forecast, Lateness, Observed, Recorded, Schedule, Stretch, recorded_service_times,
        replay_recorded, replay_stretches,
    },
    workload::Percentile,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs that are put together of stretches, and values kept of each stretch.
const LIKE_RUNS: usize = 400;
const RANKS: usize = 1000;

/// A stretch of load with what was known before it.
pub struct Loaded {
    pub curve: LatencyCurve,
    pub service: ServiceRange,
    pub schedule: Schedule,
    pub load: Load,
    pub disturbance: Disturbance,
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
    /// Between what the p95 is in 95 of 100 runs put together of the stretches of
    /// this one, drawn with replacement (bootstrap, Efron 1979): what chance alone
    /// makes of it.
    #[serde(rename = "p95_of_like_runs_s")]
    pub like_runs: (Time, Time),
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

pub fn judge(cell: &Wanted, loads: &[Loaded]) -> Result<Cell> {
    let configuration = &cell.configuration;
    let instances = configuration.instances;
    let measured = Measured::of(loads, instances);
    let stretches: Vec<Stretch<'_>> = loads
        .iter()
        .map(|load| Stretch {
            service: &load.service,
            schedule: &load.schedule,
        })
        .collect();
    let total = replay_stretches(&stretches, configuration)?;
    let recorded: Vec<Recorded> = loads
        .iter()
        .map(|load| recorded_service_times(&load.load.batches, &load.schedule, configuration))
        .collect::<Result<_>>()?;
    let in_order: Vec<(&Recorded, &Schedule)> = recorded
        .iter()
        .zip(loads)
        .map(|(recorded, load)| (recorded, &load.schedule))
        .collect();
    let model = replay_recorded(&in_order, configuration)?;
    let exact: Vec<ServiceRange> = recorded
        .iter()
        .map(|r| ServiceRange::exact(r.service.clone(), Source::Measured))
        .collect();
    let drawn: Vec<Stretch<'_>> = exact
        .iter()
        .zip(loads)
        .map(|(service, load)| Stretch {
            service,
            schedule: &load.schedule,
        })
        .collect();
    let independent = replay_stretches(&drawn, configuration)?;
    let first = &loads[0];
    let mean = |of: &dyn Fn(&Loaded) -> f64| loads.iter().map(of).sum::<f64>() / loads.len() as f64;
    let ratio = mean(&|l| over_calibration(&l.load.batches, &l.service, instances));
    let batches: Vec<ServedBatch> = loads
        .iter()
        .flat_map(|l| l.load.batches.iter().copied())
        .collect();
    Ok(Cell {
        model: cell.model.clone(),
        instances,
        threads: configuration.intra_op_threads,
        max_batch: configuration.max_batch,
        window: configuration.batch_window,
        utilisation_asked: cell.utilisation,
        utilisation: measured.utilisation,
        offered: measured.offered,
        requests: measured.counted,
        failed: measured.failed,
        mean_batch: measured.mean_batch,
        lateness: measured.lateness,
        like_runs: measured.like_runs,
        percentiles: compared(&measured.percentiles, [&model, &independent, &total]),
        closed_forms: closed_forms(&first.curve, configuration, measured.offered),
        steal: first.disturbance.steal.known().map(|_| {
            let of = |l: &Loaded| l.disturbance.steal.known().map_or(0.0, |s| s.get());
            Fraction::saturating(mean(&of))
        }),
        others_cores: first.disturbance.other_load_cores.known().map(|_| {
            mean(&|l: &Loaded| {
                l.disturbance
                    .other_load_cores
                    .known()
                    .copied()
                    .unwrap_or(0.0)
            })
        }),
        drift: drift(&batches),
        service_over_calibration: ratio,
    })
}

/// What the stretches showed together.
struct Measured {
    percentiles: Vec<(Percentile, Time)>,
    like_runs: (Time, Time),
    utilisation: Fraction,
    offered: Rate,
    counted: u64,
    failed: u64,
    mean_batch: f64,
    lateness: Lateness,
}

impl Measured {
    fn of(loads: &[Loaded], instances: u32) -> Self {
        let (mut counted, mut seconds, mut busy) = (Vec::new(), 0.0, 0.0);
        let (mut requests, mut batches, mut late) = (0.0, 0.0, Vec::new());
        let mut stretches = Vec::new();
        for l in loads {
            let latencies = l.load.latencies(l.schedule.arrivals());
            let observed = Observed::of_replica(&l.load, &l.schedule, instances);
            let skipped = latencies.len() - observed.counted as usize;
            let begun = counted.len();
            counted.extend(
                latencies
                    .into_iter()
                    .skip(skipped)
                    .map(|latency| latency.map_or(f64::INFINITY, Time::get)),
            );
            stretches.push(counted.get(begun..).unwrap_or_default().to_vec());
            let span = l.schedule.arrivals().len() as f64 / observed.offered.get();
            seconds += span;
            busy += span * observed.utilisation.unwrap_or_default().get();
            requests += l.schedule.arrivals().len() as f64;
            batches += l.schedule.arrivals().len() as f64 / observed.mean_batch.unwrap_or(1.0);
            late.extend(l.load.batches.iter().map(|b| b.start - b.due));
        }
        let level = Fraction::saturating(0.95);
        let failed = counted.iter().filter(|s| s.is_infinite()).count() as u64;
        Self {
            percentiles: percentiles(&counted, &Percentile::SHOWN, level)
                .into_iter()
                .filter_map(|p| Some((p.percentile, p.value?)))
                .collect(),
            like_runs: like_runs(&stretches),
            utilisation: Fraction::saturating(busy / seconds),
            offered: Rate::saturating(requests / seconds),
            counted: counted.len() as u64,
            failed,
            mean_batch: requests / batches,
            lateness: Lateness::of(late),
        }
    }
}

/// The p95 of runs put together of these stretches: the ends of the interval that
/// holds 95 % of them.
fn like_runs(stretches: &[Vec<f64>]) -> (Time, Time) {
    let shares: Vec<Vec<f64>> = stretches.iter().map(|all| spread(all)).collect();
    // Each value stands for as many requests as its stretch has per value.
    let weight = |s: usize| stretches[s].len() as f64 / shares[s].len().max(1) as f64;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut found: Vec<f64> = (0..LIKE_RUNS)
        .map(|_| {
            let mut values: Vec<(f64, f64)> = (0..stretches.len())
                .flat_map(|_| {
                    let drawn = rng.next_u64() as usize % stretches.len();
                    let weight = weight(drawn);
                    shares[drawn].iter().map(move |value| (*value, weight))
                })
                .collect();
            values.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut left = 0.95 * values.iter().map(|(_, weight)| weight).sum::<f64>();
            let at = values.iter().find(|(_, weight)| {
                left -= weight;
                left <= 0.0
            });
            at.map_or(f64::INFINITY, |(value, _)| *value)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| Time::saturating(found[(share * (LIKE_RUNS - 1) as f64) as usize]);
    (at(0.025), at(0.975))
}

/// Values at evenly spaced ranks of a list.
fn spread(all: &[f64]) -> Vec<f64> {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let keep = sorted.len().min(RANKS);
    (0..keep)
        .filter_map(|i| sorted.get((2 * i + 1) * sorted.len() / (2 * keep)).copied())
        .collect()
}

fn compared(
    measured: &[(Percentile, Time)],
    [model, independent, total]: [&Forecast; 3],
) -> Vec<Compared> {
    measured
        .iter()
        .map(|&(percentile, value)| {
            let of = |forecast: &Forecast| {
                forecast
                    .percentile(percentile)
                    .and_then(|span| span.latency.clone())
            };
            let open = total
                .percentile(percentile)
                .is_some_and(|span| span.open_ended);
            let total = of(total);
            Compared {
                percentile,
                measured: value,
                model: of(model).map(|estimate| estimate.value),
                independent: of(independent).map(|estimate| estimate.value),
                covered: total
                    .as_ref()
                    .is_some_and(|t| value >= t.low && (value <= t.high || open)),
                total,
            }
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
