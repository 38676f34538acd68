//! From service times, a configuration and a load to an outcome.

use super::cluster::{self, Route};
use super::kernel::{self, Input, Server, Tally};
use super::outcome::{self, Outcome, Saturation, Steady};
use super::replica::Unwatched;
use super::service::ServiceTimes;
use super::sink::{Quantity, Record, Sink};
use super::streams::Streams;
use crate::error::{Error, Result};
use crate::units::{Fraction, Rate};
use crate::workload::{Arrivals, Balancer, Batcher, Percentile, QueuePolicy, ServingConfiguration};

/// Requests of the first twentieth of a run are not measured: the run begins
/// with an empty server.
const WARM_UP_SHARE: usize = 20;

/// A throughput this much short of the arrivals, in a run in which nothing was
/// lost, is a queue that grows.
const SHORTFALL: f64 = 0.01;

/// More instances than any machine has threads for.
const MOST_INSTANCES: u32 = 4096;

/// Slower than this, in requests per second, times of arrival lose the digits
/// that latencies need.
const SLOWEST: f64 = 1e-6;

/// How a simulation is run.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationOptions {
    /// Requests in one run, the warm-up included.
    pub requests: u32,
    /// The seed of all random streams.
    pub seed: u64,
    /// The rhythm of the arrivals.
    pub arrivals: Arrivals,
    /// What happens to requests that find a long queue.
    pub policy: QueuePolicy,
    /// The level of the intervals.
    pub level: Fraction,
    /// The percentiles to report.
    pub percentiles: Vec<Percentile>,
    /// Which time to report.
    pub quantity: Quantity,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            requests: 100_000,
            seed: 1,
            arrivals: Arrivals::Poisson,
            policy: QueuePolicy::default(),
            level: Fraction::saturating(0.95),
            percentiles: Percentile::SHOWN.to_vec(),
            quantity: Quantity::Latency,
        }
    }
}

impl SimulationOptions {
    /// Few requests, for comparing many configurations: percentiles within some
    /// percent, differences between configurations much closer, since all see
    /// the same arrivals.
    #[must_use]
    pub fn coarse() -> Self {
        Self {
            requests: 20_000,
            ..Self::default()
        }
    }
}

/// Replicas behind a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// How many, at least 1.
    pub count: u32,
    /// How requests are spread over them.
    pub balancer: Balancer,
}

impl Replicas {
    /// One replica, which gets everything.
    pub const ONE: Self = Self {
        count: 1,
        balancer: Balancer::Random,
    };
}

/// A simulator with its random numbers drawn: every run compares with every
/// other (common random numbers), and the same run gives the same result.
#[derive(Debug, Clone)]
pub struct Simulator {
    pub(super) options: SimulationOptions,
    pub(super) streams: Streams,
}

impl Simulator {
    /// Draws the random numbers.
    ///
    /// # Errors
    /// Refuses a number of requests outside 1000 to 100 million.
    pub fn new(options: SimulationOptions) -> Result<Self> {
        let streams = Streams::new(&options.arrivals, options.requests, options.seed)?;
        Ok(Self { options, streams })
    }

    /// How the runs are made.
    #[must_use]
    pub const fn options(&self) -> &SimulationOptions {
        &self.options
    }

    /// Runs one replica at `rate`.
    ///
    /// # Errors
    /// Refuses a configuration that cannot be started or that the service times
    /// do not cover, and a rate of (nearly) zero.
    pub fn run(
        &self,
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
        rate: Rate,
    ) -> Result<Outcome> {
        self.run_replicas(service, configuration, Replicas::ONE, rate)
    }

    /// Runs several replicas behind a balancer at `rate`, counted over all of them.
    ///
    /// # Errors
    /// As [`Simulator::run`]; refuses zero and more than 65535 replicas as well.
    pub fn run_replicas(
        &self,
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
        replicas: Replicas,
        rate: Rate,
    ) -> Result<Outcome> {
        check(service, configuration)?;
        if replicas.count == 0 || replicas.count > 65535 {
            return Err(Error::bad_input(format!(
                "{} replicas cannot be simulated: between 1 and 65535 can",
                replicas.count
            )));
        }
        let Some(interval) = rate.interval().filter(|_| rate.get() >= SLOWEST) else {
            return Err(Error::bad_input(format!(
                "the offered load of {} requests per second is too small to simulate",
                rate.get()
            )));
        };
        let most = sustainable(service, configuration).scaled(f64::from(replicas.count));
        if rate >= most {
            return Ok(Outcome::Saturated(Saturation {
                offered: rate,
                sustained: most,
            }));
        }
        let warm_up = self.warm_up();
        let mut record = Record::new(self.options.quantity, self.streams.requests(), warm_up);
        let input = self.input(interval.get());
        let tally = if replicas.count == 1 {
            self.one(service, configuration, input, &mut record)
        } else {
            self.several(service, configuration, replicas, (input, &mut record))
        };
        Ok(self.judge(&record, tally, (configuration, replicas), (rate, input)))
    }

    /// The highest rate that a replica could carry if every batch were full:
    /// beyond it the queue grows whatever the batch window.
    ///
    /// # Errors
    /// Refuses a configuration that cannot be started or that the service times
    /// do not cover.
    pub fn sustainable(
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
    ) -> Result<Rate> {
        check(service, configuration)?;
        Ok(sustainable(service, configuration))
    }

    /// The requests at the start that are not measured.
    pub(super) fn warm_up(&self) -> usize {
        self.streams.requests() / WARM_UP_SHARE
    }

    pub(super) fn input(&self, interval: f64) -> Input<'_> {
        Input {
            unit_arrivals: &self.streams.unit_arrivals,
            codes: &self.streams.codes,
            hold_ups: &self.streams.hold_ups,
            late: &self.streams.late,
            seed: self.streams.seed,
            interval,
            warm_up: self.warm_up(),
        }
    }

    /// One replica: by a kernel where there is one, else by the engine.
    pub(super) fn one(
        &self,
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
        input: Input<'_>,
        sink: &mut impl Sink,
    ) -> Tally {
        if has_kernel(configuration, self.options.policy) {
            let server = Server {
                instances: configuration.instances as usize,
                max_batch: configuration.effective_max_batch() as usize,
                window: configuration.batch_window.get(),
            };
            return kernel::run(service, server, input, sink);
        }
        let server = (configuration, self.options.policy);
        let route = Route::LeastOutstanding;
        cluster::run(service, server, (1, &route), input, (sink, &mut Unwatched))
    }

    fn several(
        &self,
        service: &ServiceTimes,
        configuration: &ServingConfiguration,
        replicas: Replicas,
        (input, sink): (Input<'_>, &mut Record),
    ) -> Tally {
        let count = replicas.count as usize;
        let route = match replicas.balancer {
            Balancer::Random => {
                let drawn = self.streams.random_replicas(count);
                Route::Given(drawn.map(|r| r as u16).collect())
            }
            Balancer::RoundRobin => {
                let turns = (0..self.streams.requests()).map(|i| (i % count) as u16);
                Route::Given(turns.collect())
            }
            Balancer::LeastOutstanding => Route::LeastOutstanding,
        };
        let server = (configuration, self.options.policy);
        cluster::run(
            service,
            server,
            (count, &route),
            input,
            (sink, &mut Unwatched),
        )
    }

    fn judge(
        &self,
        record: &Record,
        tally: Tally,
        (configuration, replicas): (&ServingConfiguration, Replicas),
        (rate, input): (Rate, Input<'_>),
    ) -> Outcome {
        let warm_up = input.warm_up;
        let times = record.times.get(warm_up..).unwrap_or_default();
        let lost = record.rejected + record.timed_out;
        let from = input.arrival(warm_up);
        let until = input.arrival(self.streams.requests() - 1);
        let served = times.len() as f64 - lost as f64;
        // Served within the time it takes to serve them: the tail after the last
        // arrival is the queue that was left.
        let took = (tally.end - from).max(until - from);
        let offered_time = until - from;
        if lost == 0 && took > offered_time * (1.0 + SHORTFALL) && growing(&record.times) {
            return Outcome::Saturated(Saturation {
                offered: rate,
                sustained: Rate::saturating(served / took),
            });
        }
        let instances = f64::from(configuration.instances) * f64::from(replicas.count);
        Outcome::Steady(Steady {
            offered: rate,
            throughput: rate.scaled(served / times.len() as f64),
            percentiles: outcome::percentiles(times, &self.options.percentiles, self.options.level),
            mean: outcome::mean(times, self.options.level),
            utilisation: Fraction::saturating(tally.busy / (instances * offered_time)),
            mean_batch: tally.items as f64 / tally.batches.max(1) as f64,
            requests: times.len() as u64,
            rejected: record.rejected,
            timed_out: record.timed_out,
        })
    }
}

/// Whether times rise from each quarter of the run to the next, as they do
/// where a queue grows: chance makes one such run in twenty-four, but then
/// hardly with a queue of a hundredth of the run.
fn growing(times: &[f64]) -> bool {
    let quarter = times.len() / 4;
    let means: Vec<f64> = times
        .chunks_exact(quarter.max(1))
        .take(4)
        .map(|c| c.iter().sum::<f64>() / c.len() as f64)
        .collect();
    means.windows(2).all(|w| matches!(w, [a, b] if a < b))
}

/// Whether a kernel computes this configuration exactly.
fn has_kernel(configuration: &ServingConfiguration, policy: QueuePolicy) -> bool {
    if policy != QueuePolicy::default() {
        return false;
    }
    match &configuration.batcher {
        Batcher::None | Batcher::WhenFree => true,
        Batcher::Triton {
            preferred_batch_sizes,
        } => {
            // Without a delay and without smaller preferred sizes Triton makes
            // its batches when an instance is free.
            let only_largest = preferred_batch_sizes
                .iter()
                .all(|&size| size == configuration.max_batch);
            (configuration.batch_window.is_zero() && only_largest) || configuration.max_batch == 1
        }
        Batcher::MlServer | Batcher::MlServerInProcess => {
            configuration.instances == 1 && configuration.effective_max_batch() == 1
        }
        Batcher::KServe => false,
    }
}

/// The rate at which the queue begins to grow, whatever the batch window: full
/// batches on all instances without pause.
///
/// `KServe` has one batch under way at a time, and so has `MLServer` in one process.
/// Under `MLServer` with workers batches fill by the clock, so its limit may be lower;
/// there this is an upper bound, and the simulation finds the rest.
pub(super) fn sustainable(service: &ServiceTimes, configuration: &ServingConfiguration) -> Rate {
    let largest = configuration.effective_max_batch();
    let instances = match configuration.batcher {
        Batcher::MlServerInProcess | Batcher::KServe => 1,
        _ => configuration.instances,
    };
    let rate = |batch| service.throughput(batch, instances).unwrap_or_default();
    match configuration.batcher {
        Batcher::MlServer | Batcher::Triton { .. } => {
            (1..=largest).map(rate).max().unwrap_or_default()
        }
        _ => rate(largest),
    }
}

/// Checks that the server can be started and that the service times cover it.
pub(super) fn check(service: &ServiceTimes, configuration: &ServingConfiguration) -> Result<()> {
    configuration.check()?;
    let wanted = configuration.effective_max_batch();
    if wanted > service.max_batch() {
        return Err(Error::bad_input(format!(
            "batches of up to {wanted} are asked for, but service times are known only up to {}",
            service.max_batch()
        ))
        .hint("calibrate larger batches or lower the maximum batch size"));
    }
    if configuration.instances > MOST_INSTANCES {
        return Err(Error::bad_input(format!(
            "{} instances are asked for, but at most {MOST_INSTANCES} are simulated",
            configuration.instances
        )));
    }
    match service.max_busy() {
        Some(most) if configuration.instances > most => Err(Error::bad_input(format!(
            "{} instances are asked for, but contention is known only for up to {most}",
            configuration.instances
        ))
        .hint("calibrate more instances together")),
        _ => Ok(()),
    }
}
