//! Which batch size and batch window carry the most.

use super::capacity::{Seeker, SloCapacity};
use super::service::ServiceRange;
use super::simulator::{SimulationOptions, Simulator, check, sustainable};
use crate::error::{Error, Result};
use crate::units::Time;
use crate::workload::{Batcher, ServingConfiguration, Slos};

/// A challenger must carry this much more than the best so far. It saves the
/// full search for one that is as good as equal.
const BETTER: f64 = 1.01;

/// Setups whose best capacity without a window is at least this share of the
/// best of all are tried with windows.
const IN_REACH: f64 = 0.85;

/// A setup of instances and threads with the service times measured for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// How many batches can run at the same time.
    pub instances: u32,
    /// Threads inside each instance.
    pub intra_op_threads: u32,
    /// Service times with that many threads, at that contention.
    pub service: ServiceRange,
}

/// Which configurations are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSpace {
    /// The maximum batch sizes, in any order; those beyond the measured ones
    /// are left out.
    pub batches: Vec<u32>,
    /// The batch windows, in any order; zero is always tried.
    pub windows: Vec<Time>,
    /// The rule by which batches are made.
    pub batcher: Batcher,
}

impl SearchSpace {
    /// Batch sizes 1, 2, 4, … up to the largest measured (and that one), and
    /// windows from none to seven tenths of the tightest objective.
    #[must_use]
    pub fn up_to(largest: u32, slos: &Slos, batcher: Batcher) -> Self {
        let mut batches: Vec<u32> = (0..32)
            .map(|power| 1_u32 << power)
            .take_while(|&b| b < largest)
            .collect();
        batches.push(largest.max(1));
        let tightest = slos.tightest();
        let shares = [0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7];
        Self {
            batches,
            windows: shares.map(|share| tightest.scaled(share)).to_vec(),
            batcher,
        }
    }
}

/// The configuration that carries the most.
#[derive(Debug, Clone, PartialEq)]
pub struct BestConfiguration {
    /// How the replica is set up.
    pub configuration: ServingConfiguration,
    /// Which of the alternatives it uses, counted from 0.
    pub alternative: usize,
    /// What it carries; zero when no configuration holds the objectives.
    pub capacity: SloCapacity,
    /// How many simulations the search took, those of the final capacity
    /// included.
    pub simulations: u32,
}

/// Finds the maximum batch size, the batch window and the alternative with the
/// highest SLO capacity; of equals the smaller batch and the shorter window.
///
/// Configurations are compared in short runs on common random numbers. One that
/// cannot carry more than the best so far even with full batches is not
/// simulated; another is first run once, a hundredth above the best, and only
/// when that holds is its capacity looked for. The winner's capacity is then
/// computed with `options`.
///
/// # Errors
/// Refuses no alternatives, a search space without a batch size that the service
/// times cover, and configurations that cannot be started.
pub fn best_configuration(
    alternatives: &[Alternative],
    slos: &Slos,
    space: &SearchSpace,
    options: SimulationOptions,
) -> Result<BestConfiguration> {
    let coarse = Simulator::new(SimulationOptions {
        requests: SimulationOptions::coarse().requests.min(options.requests),
        ..options.clone()
    })?;
    let mut race = Race {
        simulator: &coarse,
        alternatives,
        slos,
        space,
        best: None,
        simulations: 0,
    };
    let leaders = race.without_window()?;
    race.with_windows(&leaders)?;
    let simulations = race.simulations;
    let (alternative, configuration) = match race.best {
        Some(best) => (best.alternative, best.configuration),
        None => race.simplest()?,
    };
    let service = &alternatives
        .get(alternative)
        .ok_or_else(|| Error::bad_input("there is no setup to choose from"))?
        .service;
    let capacity = Simulator::new(options)?.slo_capacity(service, &configuration, slos)?;
    Ok(BestConfiguration {
        configuration,
        alternative,
        simulations: simulations + capacity.simulations,
        capacity,
    })
}

/// The best so far.
#[derive(Debug, Clone)]
struct Leader {
    alternative: usize,
    configuration: ServingConfiguration,
    rate: f64,
}

struct Race<'a> {
    simulator: &'a Simulator,
    alternatives: &'a [Alternative],
    slos: &'a Slos,
    space: &'a SearchSpace,
    best: Option<Leader>,
    simulations: u32,
}

impl Race<'_> {
    fn configuration(
        &self,
        alternative: &Alternative,
        batch: u32,
        window: Time,
    ) -> ServingConfiguration {
        ServingConfiguration {
            instances: alternative.instances,
            intra_op_threads: alternative.intra_op_threads,
            max_batch: batch,
            batch_window: window,
            batcher: self.space.batcher.clone(),
        }
    }

    /// Batch sizes that the alternative's service times cover, from the smallest.
    fn batches(&self, alternative: &Alternative) -> Vec<u32> {
        let most = alternative.service.value.max_batch();
        let mut batches: Vec<u32> = self.space.batches.clone();
        batches.retain(|b| (1..=most).contains(b));
        batches.sort_unstable();
        batches.dedup();
        batches
    }

    /// The shortest window that the batcher knows: zero, but for `KServe`, which
    /// has none below a millisecond.
    fn no_window(&self) -> Time {
        match self.space.batcher {
            Batcher::KServe => Time::from_millis(1.0),
            _ => Time::ZERO,
        }
    }

    /// One small configuration for when nothing holds the objectives.
    fn simplest(&self) -> Result<(usize, ServingConfiguration)> {
        let first = self.alternatives.first();
        let batch = first.and_then(|a| self.batches(a).first().copied());
        match (first, batch) {
            (Some(first), Some(batch)) => {
                Ok((0, self.configuration(first, batch, self.no_window())))
            }
            _ => Err(Error::bad_input(
                "there is no setup, or no batch size that was measured, to choose from",
            )),
        }
    }

    /// Every alternative with every batch size and no window; returns the best
    /// batch size and capacity of each alternative that was in reach.
    fn without_window(&mut self) -> Result<Vec<(usize, u32, f64)>> {
        let mut leaders = Vec::new();
        for (at, alternative) in self.alternatives.iter().enumerate() {
            let mut own: Option<(u32, f64)> = None;
            for batch in self.batches(alternative) {
                let configuration = self.configuration(alternative, batch, self.no_window());
                let floor = own.map_or(0.0, |(_, rate)| rate);
                // An alternative far behind the best so far is not followed up.
                let reach = self.best.as_ref().map_or(0.0, |b| b.rate * IN_REACH);
                if let Some(rate) = self.challenge(at, &configuration, floor.max(reach))? {
                    own = Some((batch, rate));
                }
            }
            leaders.extend(own.map(|(batch, rate)| (at, batch, rate)));
        }
        let reach = self.best.as_ref().map_or(0.0, |b| b.rate * IN_REACH);
        leaders.retain(|(_, _, rate)| *rate >= reach);
        Ok(leaders)
    }

    /// Windows for the batch sizes around the best of each alternative in reach:
    /// it, and the next two larger ones, which only a window fills.
    fn with_windows(&mut self, leaders: &[(usize, u32, f64)]) -> Result<()> {
        let mut windows: Vec<Time> = self.space.windows.clone();
        windows.retain(|w| *w > self.no_window());
        windows.sort_unstable();
        windows.dedup();
        for &(at, batch, _) in leaders {
            let Some(alternative) = self.alternatives.get(at) else {
                continue;
            };
            let batches = self.batches(alternative);
            let near = batches.into_iter().filter(|&b| b > 1 && b >= batch).take(3);
            for batch in near {
                for &window in &windows {
                    let configuration = self.configuration(alternative, batch, window);
                    let best = self.best.as_ref().map_or(0.0, |b| b.rate);
                    self.challenge(at, &configuration, best)?;
                }
            }
        }
        Ok(())
    }

    /// Lets a configuration try to carry more than `floor`; its capacity when it
    /// does. It becomes the best when it carries more than that, too.
    fn challenge(
        &mut self,
        alternative: usize,
        configuration: &ServingConfiguration,
        floor: f64,
    ) -> Result<Option<f64>> {
        let Some(setup) = self.alternatives.get(alternative) else {
            return Ok(None);
        };
        let service = &setup.service.value;
        check(service, configuration)?;
        let most = sustainable(service, configuration).get();
        let wanted = floor * BETTER;
        if wanted >= most {
            return Ok(None);
        }
        let seeker = Seeker::new(self.simulator, configuration, self.slos);
        let found = if floor <= 0.0 {
            seeker.seek(service, None)
        } else if seeker.holds(service, wanted) {
            seeker.seek(service, Some(wanted))
        } else {
            None
        };
        self.simulations += seeker.simulations.get();
        let Some(found) = found else { return Ok(None) };
        let best = self.best.as_ref().map_or(0.0, |b| b.rate * BETTER);
        if found.rate > best {
            self.best = Some(Leader {
                alternative,
                configuration: configuration.clone(),
                rate: found.rate,
            });
        }
        Ok(Some(found.rate))
    }
}
