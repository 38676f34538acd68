//! SLO capacity: the highest rate at which every objective holds.

use super::outcome::{self, STRETCHES};
use super::service::{ServiceRange, ServiceTimes};
use super::simulator::{SimulationOptions, Simulator, check, sustainable};
use super::sink::{Count, Quantity, Record};
use crate::error::Result;
use crate::estimate::Estimate;
use crate::stats::{Sample, student_t};
use crate::units::{Fraction, Rate, Time};
use crate::workload::{ServingConfiguration, Slo, Slos};
use std::cell::Cell;

/// No capacity is quoted above this share of what full batches without pause
/// would reach: closer to it a queue needs longer to settle than a run lasts.
const MOST_UTILISATION: f64 = 0.98;

/// Below this share of the sustainable rate a replica is as good as unloaded.
const UNLOADED: f64 = 0.002;

/// The search ends when the rates that hold and fail are this close. The noise
/// of a run of 100,000 requests is larger.
const TOLERANCE: f64 = 0.003;

/// Steps of the first search for a rate that holds, and of the search around a
/// rate that is expected to be close.
const WIDE_STEP: f64 = 0.75;
const NARROW_STEP: f64 = 0.95;

/// The slope of the misses is taken between the capacity and this share of it.
const SLOPE_SHARE: f64 = 0.96;

/// Noise is never quoted as more than this share of the capacity.
const MOST_NOISE: f64 = 0.5;

/// The highest rate at which one replica in one configuration holds every
/// objective.
#[derive(Debug, Clone, PartialEq)]
pub struct SloCapacity {
    /// The rate; zero when no rate holds the objectives. Its interval joins the
    /// ends of the service times and the noise of the simulation.
    pub rate: Estimate<Rate>,
    /// The objectives hold from this rate on; above zero only where a batch
    /// window or cold instances make a lightly loaded server slower.
    pub lowest: Rate,
    /// What ends it.
    pub limited_by: CapacityLimit,
    /// The rate at which the queue would begin to grow.
    pub sustainable: Rate,
    /// The share of time the instances are busy at the capacity.
    pub utilisation: Fraction,
    /// Requests per batch at the capacity, on average.
    pub mean_batch: f64,
    /// How many simulations it took.
    pub simulations: u32,
}

/// What keeps the capacity from being higher.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CapacityLimit {
    /// This objective is the first to be lost.
    Slo(Slo),
    /// The objectives hold almost up to the rate at which the queue grows.
    Saturation,
    /// This objective does not hold at any rate.
    Unreachable {
        /// The objective.
        slo: Slo,
        /// Its percentile on an almost unloaded replica; none when too many
        /// requests are lost even there.
        unloaded: Option<Time>,
    },
}

impl Simulator {
    /// The SLO capacity of one replica with its interval.
    ///
    /// # Errors
    /// Refuses a configuration that cannot be started or that the service times
    /// do not cover.
    pub fn slo_capacity(
        &self,
        service: &ServiceRange,
        configuration: &ServingConfiguration,
        slos: &Slos,
    ) -> Result<SloCapacity> {
        check(&service.value, configuration)?;
        check(&service.fastest, configuration)?;
        check(&service.slowest, configuration)?;
        let seeker = Seeker::new(self, configuration, slos);
        let most = sustainable(&service.value, configuration);
        let found = seeker.seek(&service.value, None);
        let (Some(found), value) = (found.clone(), found.map_or(0.0, |f| f.rate)) else {
            return Ok(seeker.unreachable(service, most));
        };
        let noise = seeker.noise(&service.value, &found);
        let end = |times: &ServiceTimes| {
            if times == &service.value {
                return value;
            }
            let ratio = sustainable(times, configuration).ratio(most);
            let near = Some(value * ratio);
            seeker.seek(times, near).map_or(0.0, |f| f.rate)
        };
        let low = value - (value - end(&service.slowest)).hypot(noise);
        let high = value + (end(&service.fastest) - value).hypot(noise);
        let rate = Estimate::new(
            Rate::saturating(value),
            (Rate::saturating(low), Rate::saturating(high)),
            service.level,
            service.source.clone(),
        );
        Ok(SloCapacity {
            rate,
            lowest: Rate::saturating(seeker.lowest(&service.value, value)),
            limited_by: found
                .binding
                .map_or(CapacityLimit::Saturation, CapacityLimit::Slo),
            sustainable: most,
            utilisation: found.probe.utilisation,
            mean_batch: found.probe.mean_batch,
            simulations: seeker.simulations.get(),
        })
    }
}

/// [`Simulator::slo_capacity`] with a simulator of its own; for many
/// configurations make one simulator and use it for all.
///
/// # Errors
/// As [`Simulator::slo_capacity`], and refuses a number of requests outside
/// 1000 to 100 million.
pub fn slo_capacity(
    service: &ServiceRange,
    configuration: &ServingConfiguration,
    slos: &Slos,
    options: SimulationOptions,
) -> Result<SloCapacity> {
    Simulator::new(options)?.slo_capacity(service, configuration, slos)
}

/// Looks for the capacity of one configuration.
pub(super) struct Seeker<'a> {
    simulator: &'a Simulator,
    configuration: &'a ServingConfiguration,
    slos: &'a Slos,
    pub simulations: Cell<u32>,
}

/// One run at one rate.
#[derive(Debug, Clone)]
struct Probe {
    holds: bool,
    /// Misses over allowed misses, for every objective.
    ratios: Vec<f64>,
    /// Misses of every objective, by stretch of the run.
    by_stretch: Vec<Vec<u64>>,
    measured: f64,
    utilisation: Fraction,
    mean_batch: f64,
}

/// The capacity for one set of service times.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub rate: f64,
    probe: Probe,
    /// The objective that fails just above; none at saturation.
    binding: Option<Slo>,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(
        simulator: &'a Simulator,
        configuration: &'a ServingConfiguration,
        slos: &'a Slos,
    ) -> Self {
        Self {
            simulator,
            configuration,
            slos,
            simulations: Cell::new(0),
        }
    }

    /// Whether every objective holds at `rate`.
    pub(super) fn holds(&self, service: &ServiceTimes, rate: f64) -> bool {
        let top = MOST_UTILISATION * sustainable(service, self.configuration).get();
        rate > 0.0 && rate <= top && self.probe(service, rate).holds
    }

    fn probe(&self, service: &ServiceTimes, rate: f64) -> Probe {
        self.simulations.set(self.simulations.get() + 1);
        let simulator = self.simulator;
        let input = simulator.input(1.0 / rate);
        let requests = simulator.streams.requests();
        let measured = (requests - input.warm_up) as f64;
        let limits = self.slos.as_slice().iter().map(|slo| {
            let allowed = (slo.percentile.misses() * measured + 1e-6).floor();
            (slo.latency.get(), allowed as u64)
        });
        let mut count = Count::new(limits, requests, input.warm_up, STRETCHES);
        let tally = simulator.one(service, self.configuration, input, &mut count);
        let limits = count.limits();
        let span = input.arrival(requests - 1) - input.arrival(input.warm_up);
        let capacity = span * f64::from(self.configuration.instances);
        Probe {
            holds: limits.iter().all(|l| l.missed <= l.allowed),
            ratios: limits
                .iter()
                .map(|l| (l.missed as f64 + 1.0) / (l.allowed as f64 + 1.0))
                .collect(),
            by_stretch: limits.iter().map(|l| l.by_stretch.clone()).collect(),
            measured,
            utilisation: Fraction::saturating(tally.busy / capacity),
            mean_batch: tally.items as f64 / tally.batches.max(1) as f64,
        }
    }

    /// The capacity, looked for around `near` where that is given. None when no
    /// rate holds.
    ///
    /// From above down to the first rate that holds, so that of several ranges
    /// of rates that hold the highest is found; then by halving.
    pub(super) fn seek(&self, service: &ServiceTimes, near: Option<f64>) -> Option<Found> {
        let top = MOST_UTILISATION * sustainable(service, self.configuration).get();
        let step = near.map_or(WIDE_STEP, |_| NARROW_STEP);
        let start = near.map_or(top, |near| near.clamp(UNLOADED * top, top));
        let first = self.probe(service, start);
        let (mut low, mut high);
        if first.holds {
            low = (start, first);
            loop {
                if low.0 >= top {
                    return Some(Found {
                        rate: low.0,
                        probe: low.1,
                        binding: None,
                    });
                }
                let rate = (low.0 / step).min(top);
                let probe = self.probe(service, rate);
                if !probe.holds {
                    high = (rate, probe);
                    break;
                }
                low = (rate, probe);
            }
        } else {
            high = (start, first);
            let mut step = step;
            loop {
                let rate = high.0 * step;
                if rate < UNLOADED * top {
                    return None;
                }
                let probe = self.probe(service, rate);
                if probe.holds {
                    low = (rate, probe);
                    break;
                }
                high = (rate, probe);
                // A capacity far below is found in large steps.
                step = (step * step).max(0.5);
            }
        }
        while high.0 > low.0 * (1.0 + TOLERANCE) {
            let rate = (low.0 * high.0).sqrt();
            let probe = self.probe(service, rate);
            let side = if probe.holds { &mut low } else { &mut high };
            *side = (rate, probe);
        }
        Some(Found {
            rate: low.0,
            binding: self.worst(&high.1),
            probe: low.1,
        })
    }

    /// The objective that is missed most for what it allows.
    fn worst(&self, probe: &Probe) -> Option<Slo> {
        let ratios = probe.ratios.iter().zip(self.slos.as_slice());
        ratios
            .max_by(|a, b| a.0.total_cmp(b.0))
            .map(|(_, slo)| *slo)
    }

    /// How far the noise of the simulation moves the capacity, in requests per
    /// second: the half width of the interval of the share of misses, over how
    /// fast that share rises with the rate (delta method).
    fn noise(&self, service: &ServiceTimes, found: &Found) -> f64 {
        let Some(slo) = found.binding else {
            return 0.0;
        };
        let at = self.slos.as_slice().iter().position(|s| *s == slo);
        let lower = self.probe(service, found.rate * SLOPE_SHARE);
        let misses = |probe: &Probe| -> Option<(f64, f64)> {
            let totals = probe.by_stretch.get(at?)?;
            let shares: Vec<f64> = std::iter::once(&0)
                .chain(totals)
                .zip(totals)
                .map(|(before, after)| (after - before) as f64 * STRETCHES as f64 / probe.measured)
                .collect();
            let sample = Sample::new(shares).ok()?;
            let error = sample.standard_deviation()? / (sample.len() as f64).sqrt();
            Some((sample.mean(), error))
        };
        let half = || -> Option<f64> {
            let (here, error) = misses(&found.probe)?;
            let (below, _) = misses(&lower)?;
            let t = student_t(STRETCHES - 1, self.simulator.options.level)?;
            let rise = (here - below) / ((1.0 - SLOPE_SHARE) * found.rate);
            (rise > 0.0).then(|| t * error / rise)
        };
        half()
            .unwrap_or(0.0)
            .max(TOLERANCE * found.rate)
            .min(MOST_NOISE * found.rate)
    }

    /// The lowest rate from which on the objectives hold.
    fn lowest(&self, service: &ServiceTimes, capacity: f64) -> f64 {
        let waits = self.configuration.effective_max_batch() > 1
            && !self.configuration.batch_window.is_zero();
        let unloaded = UNLOADED * capacity;
        if (!waits && !service.slows_when_idle()) || self.probe(service, unloaded).holds {
            return 0.0;
        }
        let (mut fails, mut holds) = (unloaded, capacity);
        while holds > fails * 1.05 {
            let rate = (fails * holds).sqrt();
            if self.probe(service, rate).holds {
                holds = rate;
            } else {
                fails = rate;
            }
        }
        holds
    }

    fn unreachable(&self, service: &ServiceRange, most: Rate) -> SloCapacity {
        let simulator = self.simulator;
        let input = simulator.input(1.0 / (UNLOADED * most.get()).max(f64::MIN_POSITIVE));
        let mut record = Record::new(
            Quantity::Latency,
            simulator.streams.requests(),
            input.warm_up,
        );
        simulator.one(&service.value, self.configuration, input, &mut record);
        let times = record.times.get(input.warm_up..).unwrap_or_default();
        let level = simulator.options.level;
        let limited_by = self
            .slos
            .as_slice()
            .iter()
            .map(|slo| {
                let unloaded = outcome::percentiles(times, &[slo.percentile], level)
                    .first()
                    .and_then(|p| p.value);
                (
                    unloaded.map_or(f64::INFINITY, |t| t.ratio(slo.latency)),
                    slo,
                    unloaded,
                )
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(CapacityLimit::Saturation, |(_, slo, unloaded)| {
                CapacityLimit::Unreachable {
                    slo: *slo,
                    unloaded,
                }
            });
        let zero = Rate::ZERO;
        // The optimistic end may still hold.
        let high = self
            .seek(&service.fastest, None)
            .map_or(zero, |f| Rate::saturating(f.rate));
        SloCapacity {
            rate: Estimate::new(zero, (zero, high), service.level, service.source.clone()),
            lowest: zero,
            limited_by,
            sustainable: most,
            utilisation: Fraction::saturating(0.0),
            mean_batch: 0.0,
            simulations: self.simulations.get() + 1,
        }
    }
}
