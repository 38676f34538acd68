//! What a setup does under its load, in long runs.

use super::{
    option::{Predicted, Setup},
    question::Question,
    sizing::{Waiting, service_times},
};
use crate::{
    error::Result,
    estimate::Estimate,
    plan::{
        latency::{End, LatencyCurve},
        queueing::{Outcome, Replicas, SimulationOptions, Simulator},
    },
    units::{Fraction, Rate, Time},
    workload::{Balancer, Percentile, ServingConfiguration},
};

/// Requests of the run that a printed percentile rests on: its own noise is then
/// below the noise of any calibration (0.7 % of a p95 at half load).
pub const REQUESTS_SHOWN: u32 = 100_000;

/// More replicas than this behind a balancer behave as this many with their
/// share of the load.
const REPLICAS_SIMULATED: u64 = 16;

/// Latencies of a setup at a load.
#[derive(Debug, Clone, PartialEq)]
pub struct AtLoad {
    /// The shown percentiles and those of the objectives.
    pub predicted: Vec<Predicted>,
    /// Share of time that the instances are busy; 1 at overload.
    pub utilisation: Fraction,
    /// Mean items per batch.
    pub mean_batch: f64,
}

/// A setup under its share of the load, ready to be simulated.
struct Run<'r> {
    curve: &'r LatencyCurve,
    configuration: ServingConfiguration,
    balancer: Balancer,
    /// Replicas in the simulation, and the load of all of them.
    simulated: u32,
    rate: Rate,
    simulator: Simulator,
}

impl<'r> Run<'r> {
    fn new(
        curve: &'r LatencyCurve,
        setup: &Setup,
        question: &Question,
        (replicas, requests): (u64, u32),
    ) -> Result<Self> {
        let configuration = ServingConfiguration::when_free(
            setup.layout.instances,
            setup.max_batch,
            setup.batch_window,
        )
        .with_threads(setup.layout.intra_op_threads);
        let simulated = replicas.clamp(1, REPLICAS_SIMULATED);
        Ok(Self {
            curve,
            configuration,
            balancer: question.balancer,
            simulated: simulated as u32,
            rate: question
                .rate
                .scaled(simulated as f64 / replicas.max(1) as f64),
            simulator: Simulator::new(SimulationOptions {
                requests,
                percentiles: percentiles(question),
                ..SimulationOptions::default()
            })?,
        })
    }

    fn at(&self, end: End) -> Result<Outcome> {
        let largest = self.configuration.max_batch;
        let service = service_times(self.curve, (end, Waiting::Counts), largest)?;
        if self.balancer == Balancer::Random {
            // A random split of Poisson arrivals is Poisson again.
            let each = self.rate.scaled(1.0 / f64::from(self.simulated));
            return self.simulator.run(&service, &self.configuration, each);
        }
        let replicas = Replicas {
            count: self.simulated,
            balancer: self.balancer,
        };
        self.simulator
            .run_replicas(&service, &self.configuration, replicas, self.rate)
    }
}

/// The shown percentiles and those of the objectives.
fn percentiles(question: &Question) -> Vec<Percentile> {
    let mut all: Vec<Percentile> = Percentile::SHOWN.to_vec();
    all.extend(question.slos.as_slice().iter().map(|slo| slo.percentile));
    all.sort();
    all.dedup();
    all
}

/// Whether every objective holds at one end of the service times: a setup that fails
/// at the pessimistic end meets nothing, and one run tells that, not three.
///
/// # Errors
/// The setup cannot be started.
pub fn holds_at(
    end: End,
    curve: &LatencyCurve,
    setup: &Setup,
    (question, replicas, requests): (&Question, u64, u32),
) -> Result<bool> {
    let outcome = Run::new(curve, setup, question, (replicas, requests))?.at(end)?;
    let Some(steady) = outcome.steady() else {
        return Ok(false);
    };
    Ok(question.slos.as_slice().iter().all(|slo| {
        steady
            .percentile(slo.percentile)
            .and_then(|entry| entry.value)
            .is_some_and(|latency| latency <= slo.latency)
    }))
}

/// Simulates a setup under the whole load in runs of that many requests, at the
/// estimate and at both ends of the service times' interval.
///
/// # Errors
/// The setup cannot be started.
pub fn at_load(
    curve: &LatencyCurve,
    setup: &Setup,
    question: &Question,
    (replicas, requests): (u64, u32),
) -> Result<AtLoad> {
    let slos = question.slos.as_slice();
    let run = Run::new(curve, setup, question, (replicas, requests))?;
    let (middle, fast, slow) = (
        run.at(End::Middle)?,
        run.at(End::Optimistic)?,
        run.at(End::Pessimistic)?,
    );
    let level = curve
        .points
        .first()
        .map_or(Fraction::saturating(0.9), |point| point.busy.level);
    let predicted = percentiles(question)
        .into_iter()
        .map(|percentile| Predicted {
            percentile,
            objective: slos
                .iter()
                .find(|slo| slo.percentile == percentile)
                .map(|slo| slo.latency),
            latency: joined(percentile, [&middle, &fast, &slow], (level, curve)),
            open_ended: slow.steady().is_none(),
        })
        .collect();
    Ok(AtLoad {
        predicted,
        utilisation: middle
            .steady()
            .map_or(Fraction::saturating(1.0), |s| s.utilisation),
        mean_batch: middle
            .steady()
            .map_or(f64::from(setup.max_batch), |s| s.mean_batch),
    })
}

/// The estimate with an interval that joins the ends of the service times and
/// the noise of the simulation, as independent errors.
fn joined(
    percentile: Percentile,
    [middle, fast, slow]: [&Outcome; 3],
    (level, curve): (Fraction, &LatencyCurve),
) -> Option<Estimate<Time>> {
    let entry = |outcome: &Outcome| {
        outcome
            .steady()
            .and_then(|s| s.percentile(percentile))
            .copied()
    };
    let middle = entry(middle)?;
    let value = middle.value?;
    let below = |other: Option<Time>| other.map_or(0.0, |t| (value - t).get());
    let above = |other: Option<Time>| other.map_or(0.0, |t| (t - value).get());
    let down = below(entry(fast).and_then(|e| e.value)).hypot(below(middle.low));
    let up = above(entry(slow).and_then(|e| e.value)).hypot(above(middle.high));
    Some(Estimate::new(
        value,
        (value - Time::saturating(down), value + Time::saturating(up)),
        level,
        curve.source.clone(),
    ))
}
