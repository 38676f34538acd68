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

/// The search ends when the rates that hold and fail are this close in a run of
/// 100,000 requests, whose noise is larger; with fewer requests it is less
/// strict, as the noise grows (with the square root).
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
        self.slo_capacity_near(service, (configuration, slos), None)
    }

    /// [`Simulator::slo_capacity`], looked for around `near` where that is given.
    pub(super) fn slo_capacity_near(
        &self,
        service: &ServiceRange,
        (configuration, slos): (&ServingConfiguration, &Slos),
        near: Option<Near>,
    ) -> Result<SloCapacity> {
        check(&service.value, configuration)?;
        check(&service.fastest, configuration)?;
        check(&service.slowest, configuration)?;
        let seeker = Seeker::new(self, configuration, slos, TOLERANCE);
        let most = sustainable(&service.value, configuration);
        let found = seeker.seek(&service.value, near);
        let (Some(found), value) = (found.clone(), found.map_or(0.0, |f| f.rate)) else {
            return Ok(seeker.unreachable(service, most));
        };
        let lower = seeker.probe(&service.value, value * SLOPE_SHARE);
        let noise = seeker.noise(&found, &lower);
        let steepness = (found.probe.worst_ratio() / lower.worst_ratio()).ln() / -SLOPE_SHARE.ln();
        let end = |times: &ServiceTimes| {
            if times == &service.value {
                return value;
            }
            let ratio = sustainable(times, configuration).ratio(most);
            let near = Near {
                rate: value * ratio,
                steepness,
            };
            seeker.seek(times, Some(near)).map_or(0.0, |f| f.rate)
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
    tolerance: f64,
    pub simulations: Cell<u32>,
}

/// Where a capacity is expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near {
    pub rate: f64,
    /// How many percent more miss for one percent more load, there; NaN when
    /// that is not known.
    pub steepness: f64,
}

impl Near {
    /// The step from a rate with that many misses (over those allowed) to just
    /// beyond the capacity.
    fn step(&self, ratio: f64, tolerance: f64) -> f64 {
        let away = 1.1 * ratio.ln().abs() / self.steepness + tolerance;
        if self.steepness > 0.0 && away.is_finite() {
            (-away).exp().clamp(WIDE_STEP, 1.0 - tolerance / 2.0)
        } else {
            NARROW_STEP
        }
    }
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

impl Probe {
    /// The misses over the allowed misses of the objective that is worst off.
    fn worst_ratio(&self) -> f64 {
        self.ratios.iter().copied().fold(0.0, f64::max)
    }
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
        tolerance: f64,
    ) -> Self {
        let requests = simulator.streams.requests() as f64;
        Self {
            simulator,
            configuration,
            slos,
            tolerance: tolerance * (1e5 / requests).sqrt().max(1.0),
            simulations: Cell::new(0),
        }
    }

    /// How many miss at `rate` over how many may, for the objective that is
    /// worst off: at most 1 where all hold, infinite where the queue grows.
    pub(super) fn score(&self, service: &ServiceTimes, rate: f64) -> f64 {
        let top = MOST_UTILISATION * sustainable(service, self.configuration).get();
        if rate <= 0.0 || rate > top {
            return f64::INFINITY;
        }
        let probe = self.probe(service, rate);
        let ratio = probe.worst_ratio();
        if probe.holds {
            ratio.min(1.0)
        } else {
            ratio.max(1.0 + f64::EPSILON)
        }
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
        // A run that was given up counts for what it would have come to.
        let whole = measured / count.measured() as f64;
        let limits = count.limits();
        let span = input.arrival(requests - 1) - input.arrival(input.warm_up);
        let capacity = span * f64::from(self.configuration.instances);
        Probe {
            holds: limits.iter().all(|l| l.missed <= l.allowed),
            ratios: limits
                .iter()
                .map(|l| (l.missed as f64 * whole.max(1.0) + 1.0) / (l.allowed as f64 + 1.0))
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
    pub(super) fn seek(&self, service: &ServiceTimes, near: Option<Near>) -> Option<Found> {
        let top = MOST_UTILISATION * sustainable(service, self.configuration).get();
        let start = near.map_or(top, |near| near.rate.clamp(UNLOADED * top, top));
        let first = self.probe(service, start);
        let mut step = near.map_or(WIDE_STEP, |near| {
            near.step(first.worst_ratio(), self.tolerance)
        });
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
                step = step.powi(2).max(WIDE_STEP);
            }
        } else {
            high = (start, first);
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
        Some(self.close_in(service, (low, high)))
    }

    /// Narrows a rate that holds and a higher one that fails down to the
    /// tolerance.
    ///
    /// The logarithm of the misses is nearly a straight line over that of the
    /// rate, so the next rate is where the line through both ends says that as
    /// many miss as may, a third of the tolerance towards the end that is
    /// farther away; should that not halve the range in two steps, the middle.
    fn close_in(&self, service: &ServiceTimes, ends: ((f64, Probe), (f64, Probe))) -> Found {
        let (mut low, mut high) = ends;
        let tolerance = self.tolerance;
        let mut slow = 0;
        while high.0 > low.0 * (1.0 + tolerance) {
            let width = (high.0 / low.0).ln();
            let (below, above) = (low.1.worst_ratio().ln(), high.1.worst_ratio().ln());
            let share = -below / (above - below);
            let middle = slow >= 2 || !share.is_finite();
            let share = if middle { 0.5 } else { share };
            let nudge = tolerance / 3.0 / width * if share < 0.5 { 1.0 } else { -1.0 };
            let share = (share + nudge).clamp(0.02, 0.98);
            let rate = low.0 * (share * width).exp();
            let probe = self.probe(service, rate);
            let side = if probe.holds { &mut low } else { &mut high };
            *side = (rate, probe);
            let halved = (high.0 / low.0).ln() <= 0.5 * width;
            slow = if halved || middle { 0 } else { slow + 1 };
        }
        Found {
            rate: low.0,
            binding: self.worst(&high.1),
            probe: low.1,
        }
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
    /// fast that share rises with the rate from `lower` on, a run at
    /// [`SLOPE_SHARE`] of the capacity (delta method).
    fn noise(&self, found: &Found, lower: &Probe) -> f64 {
        let Some(slo) = found.binding else {
            return 0.0;
        };
        let at = self.slos.as_slice().iter().position(|s| *s == slo);
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
            let (below, _) = misses(lower)?;
            let t = student_t(STRETCHES - 1, self.simulator.options.level)?;
            let rise = (here - below) / ((1.0 - SLOPE_SHARE) * found.rate);
            (rise > 0.0).then(|| t * error / rise)
        };
        half()
            .unwrap_or(0.0)
            .max(self.tolerance * found.rate)
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
