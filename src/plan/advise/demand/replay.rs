//! Demand replayed through the simulator, interval by interval.

use super::policy::Course;
use crate::{
    error::Result,
    plan::{
        advise::{
            machine::Candidate,
            option::{ServingOption, Verdict},
            sizing::{Waiting, service_times},
        },
        latency::End,
        queueing::{Outcome, SimulationOptions, Simulator},
    },
    units::{Fraction, Rate, Time},
    workload::{Percentile, ServingConfiguration, Slos},
};
use std::collections::BTreeMap;

/// Loads of one replica that are simulated: so many steps up to its capacity.
const STEPS: f64 = 50.0;

/// Percentiles that tell how many requests are answered in time.
const SHARES: [f64; 10] = [
    0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995,
];

/// How well the objectives held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Replayed {
    pub attainment: Fraction,
    pub within: Fraction,
    requests: f64,
}

impl Replayed {
    /// Two fleets that share the requests.
    pub fn joined(self, other: Self) -> Self {
        let all = (self.requests + other.requests).max(f64::MIN_POSITIVE);
        let mean = |a: Fraction, b: Fraction| {
            Fraction::saturating((a.get() * self.requests + b.get() * other.requests) / all)
        };
        Self {
            attainment: mean(self.attainment, other.attainment),
            within: mean(self.within, other.within),
            requests: all,
        }
    }
}

/// One load of a replica: whether every objective holds, and the share in time.
#[derive(Debug, Clone, Copy)]
struct AtLoad {
    holds: bool,
    within: f64,
}

/// Replays rates against numbers of machines. Requests that a fleet cannot carry in
/// an interval wait for the next ones, and miss; while they are worked off, all miss.
pub(super) fn replay(
    option: &ServingOption,
    candidate: &Candidate,
    slos: &Slos,
    (rates, course, step): (&[Rate], &Course, Time),
) -> Result<Replayed> {
    let mut replica = Replica::new(option, candidate, slos)?;
    let (mut all, mut held, mut within, mut waiting) = (0.0, 0.0, 0.0, 0.0);
    for (rate, machines) in rates.iter().zip(course) {
        let arriving = rate.get() * step.get();
        all += arriving;
        let most = replica.most.get() * *machines as f64 * step.get();
        let before = waiting;
        waiting = (waiting + arriving - most).max(0.0);
        if waiting > 0.0 || arriving <= 0.0 {
            continue;
        }
        let load = rate.scaled(1.0 / (*machines).max(1) as f64);
        let at = replica.at(load)?;
        // Working off what waited takes this part of the interval.
        let late = if before > 0.0 {
            (before / (most - arriving).max(before)).min(1.0)
        } else {
            0.0
        };
        let good = arriving * (1.0 - late);
        held += if at.holds { good } else { 0.0 };
        within += good * at.within;
    }
    let share = |part: f64| Fraction::saturating(if all > 0.0 { part / all } else { 1.0 });
    Ok(Replayed {
        attainment: share(held),
        within: share(within),
        requests: all,
    })
}

/// One replica under different loads, each simulated once.
struct Replica<'r> {
    simulator: Simulator,
    service: crate::plan::queueing::ServiceTimes,
    configuration: ServingConfiguration,
    slos: &'r Slos,
    /// Carries no more than this, whatever the latency.
    most: Rate,
    step: Rate,
    known: BTreeMap<u64, AtLoad>,
}

impl<'r> Replica<'r> {
    fn new(option: &ServingOption, candidate: &Candidate, slos: &'r Slos) -> Result<Self> {
        let curve = candidate
            .curves
            .iter()
            .find(|curve| curve.layout == option.setup.layout)
            .or(candidate.curves.first())
            .ok_or_else(|| crate::error::Error::bad_input("the machine has no speed"))?;
        // As certain as the plan itself was.
        let end = if option.verdict == Verdict::Meets {
            End::Pessimistic
        } else {
            End::Middle
        };
        let mut percentiles: Vec<Percentile> = SHARES
            .into_iter()
            .filter_map(|share| Percentile::new(share).ok())
            .chain(slos.as_slice().iter().map(|slo| slo.percentile))
            .collect();
        percentiles.sort();
        percentiles.dedup();
        Ok(Self {
            simulator: Simulator::new(SimulationOptions {
                percentiles,
                ..SimulationOptions::coarse()
            })?,
            service: service_times(curve, (end, Waiting::Counts), option.setup.max_batch)?,
            configuration: ServingConfiguration::when_free(
                option.setup.layout.instances,
                option.setup.max_batch,
                option.setup.batch_window,
            )
            .with_threads(option.setup.layout.intra_op_threads),
            slos,
            most: curve.throughput_bound(end, option.setup.max_batch),
            step: option
                .capacity
                .value
                .max(option.offered_load)
                .scaled(1.0 / STEPS),
            known: BTreeMap::new(),
        })
    }

    /// At the next step above a load.
    fn at(&mut self, load: Rate) -> Result<AtLoad> {
        let step = (load.ratio(self.step) - 1e-9).ceil().clamp(1.0, 1e6) as u64;
        if let Some(known) = self.known.get(&step) {
            return Ok(*known);
        }
        let rate = self.step.scaled(step as f64);
        let outcome = self
            .simulator
            .run(&self.service, &self.configuration, rate)?;
        let found = match outcome {
            Outcome::Saturated(_) => AtLoad {
                holds: false,
                within: 0.0,
            },
            Outcome::Steady(steady) => {
                let value = |percentile| steady.percentile(percentile).and_then(|p| p.value);
                let slos = self.slos.as_slice();
                let holds = slos
                    .iter()
                    .all(|slo| value(slo.percentile).is_some_and(|time| time <= slo.latency));
                let tightest = self.slos.tightest();
                let within = steady
                    .percentiles
                    .iter()
                    .filter(|p| p.value.is_some_and(|time| time <= tightest))
                    .map(|p| p.percentile.get())
                    .fold(0.0, f64::max);
                AtLoad { holds, within }
            }
        };
        self.known.insert(step, found);
        Ok(found)
    }
}
