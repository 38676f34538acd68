//! Which batch size and batch window carry the most.

use super::capacity::{Near, Seeker, SloCapacity};
use super::service::ServiceRange;
use super::simulator::{SimulationOptions, Simulator, check, sustainable};
use crate::error::{Error, Result};
use crate::units::{Rate, Time};
use crate::workload::{Batcher, ServingConfiguration, Slos};

/// A challenger must carry this much more than the best so far. It saves the
/// full search for one that is as good as equal.
const BETTER: f64 = 1.01;

/// A neighbour must miss this much less often to be moved to: less is noise.
const CLEARLY: f64 = 0.97;

/// Capacities on the way are found to this tolerance (for 100,000 requests).
const ROUGHLY: f64 = 0.008;

/// Where the first capacity is expected, as a share of the sustainable rate, and
/// how steeply the misses rise there (percent per percent of load): only the
/// number of simulations depends on how good the guess is.
const LIKELY: f64 = 0.85;
const STEEP: f64 = 8.0;

/// A neighbourhood is looked at again at the rate of the new best when that is
/// this much higher.
const AGAIN: f64 = 1.03;

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
        let mut sizes: Vec<u32> = (0..32)
            .map(|power| 1_u32 << power)
            .take_while(|&b| b < largest)
            .collect();
        sizes.push(largest.max(1));
        let tightest = slos.tightest();
        let shares = [0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7];
        Self {
            batches: sizes,
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
/// Configurations are compared in short runs on common random numbers, all at
/// the same rate, a hundredth above the best so far: the one in which the fewest
/// requests miss their objective is the better one, and one in which no
/// objective is lost becomes the best, whose capacity is then looked for. From a
/// likely start in each alternative the search goes from neighbour to neighbour
/// as long as that helps. Those that cannot carry more even with full batches
/// are not simulated. The winner's capacity is computed with `options`.
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
    search(alternatives, slos, space, (Rate::ZERO, options.clone()))?
        .map_or_else(|| none_holds(alternatives, slos, space, options), Ok)
}

/// [`best_configuration`], or none when no configuration carries at least `least`:
/// that is found out at that rate alone, in a fraction of the time.
///
/// # Errors
/// As [`best_configuration`].
pub fn best_configuration_above(
    alternatives: &[Alternative],
    slos: &Slos,
    space: &SearchSpace,
    (least, options): (Rate, SimulationOptions),
) -> Result<Option<BestConfiguration>> {
    search(alternatives, slos, space, (least, options))
}

/// The simplest configuration with what is known of its lack of capacity.
fn none_holds(
    alternatives: &[Alternative],
    slos: &Slos,
    space: &SearchSpace,
    options: SimulationOptions,
) -> Result<BestConfiguration> {
    let simulator = Simulator::new(options)?;
    let race = Race::new(&simulator, (slos, space), Rate::ZERO);
    let configuration = race.simplest(alternatives.first())?;
    let service = &alternatives
        .first()
        .ok_or_else(|| Error::bad_input("there is no setup to choose from"))?
        .service;
    let capacity = simulator.slo_capacity_near(service, (&configuration, slos), None)?;
    Ok(BestConfiguration {
        configuration,
        alternative: 0,
        simulations: capacity.simulations,
        capacity,
    })
}

fn search(
    alternatives: &[Alternative],
    slos: &Slos,
    space: &SearchSpace,
    (least, options): (Rate, SimulationOptions),
) -> Result<Option<BestConfiguration>> {
    let coarse = Simulator::new(SimulationOptions {
        requests: SimulationOptions::coarse().requests.min(options.requests),
        ..options.clone()
    })?;
    let mut race = Race::new(&coarse, (slos, space), least);
    for (at, alternative) in alternatives.iter().enumerate() {
        race.climb(at, alternative)?;
    }
    let Some(best) = race.best.take() else {
        return Ok(None);
    };
    let service = &alternatives
        .get(best.alternative)
        .ok_or_else(|| Error::bad_input("there is no setup to choose from"))?
        .service;
    let capacity = Simulator::new(options)?.slo_capacity_near(
        service,
        (&best.configuration, slos),
        Some(best.near),
    )?;
    Ok(Some(BestConfiguration {
        configuration: best.configuration,
        alternative: best.alternative,
        simulations: race.simulations + capacity.simulations,
        capacity,
    }))
}

/// The best so far.
#[derive(Debug, Clone)]
struct Leader {
    alternative: usize,
    configuration: ServingConfiguration,
    near: Near,
}

/// A place in the grid of batch sizes and windows, by position in the lists.
type Place = (usize, usize);

/// One alternative with the grid it is searched on.
struct Grid<'a> {
    number: usize,
    setup: &'a Alternative,
    batches: Vec<u32>,
    windows: Vec<Time>,
}

impl Grid<'_> {
    /// Where to begin: the largest batch that takes less than half of the
    /// tightest objective; no window, except for batchers that batch by the
    /// clock alone.
    fn start(&self, slos: &Slos, batcher: &Batcher) -> Place {
        let half = slos.tightest().scaled(0.5);
        let fits = |&batch: &u32| {
            let mean = self.setup.service.value.mean(batch, self.setup.instances);
            mean.is_some_and(|mean| mean <= half)
        };
        let batch = self.batches.iter().rposition(fits).unwrap_or(0);
        let by_clock = matches!(
            batcher,
            Batcher::MlServer | Batcher::MlServerInProcess | Batcher::KServe
        );
        (batch, if by_clock { self.windows.len() / 2 } else { 0 })
    }

    /// The places around: larger and smaller batches, longer and shorter
    /// windows, and larger batches with the window that fills them.
    fn neighbours(&self, (batch, window): Place) -> Vec<Place> {
        let step = |place: usize, by: isize| place.checked_add_signed(by);
        let around = [(1, 0), (0, 2), (-1, 0), (1, 2), (0, -1), (0, 1), (-1, -1)];
        around
            .iter()
            .filter_map(|&(b, w)| Some((step(batch, b)?, step(window, w)?)))
            .filter(|&(b, w)| b < self.batches.len() && w < self.windows.len())
            // A batch of one waits for nobody.
            .filter(|&(b, w)| w == 0 || self.batches.get(b).is_some_and(|b| *b > 1))
            .collect()
    }
}

struct Race<'a> {
    simulator: &'a Simulator,
    slos: &'a Slos,
    space: &'a SearchSpace,
    /// A capacity below this is of no interest, in requests per second.
    least: f64,
    best: Option<Leader>,
    simulations: u32,
}

impl<'a> Race<'a> {
    const fn new(
        simulator: &'a Simulator,
        (slos, space): (&'a Slos, &'a SearchSpace),
        least: Rate,
    ) -> Self {
        Self {
            simulator,
            slos,
            space,
            least: least.get(),
            best: None,
            simulations: 0,
        }
    }

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
    fn simplest(&self, first: Option<&Alternative>) -> Result<ServingConfiguration> {
        first
            .and_then(|first| {
                let batch = self.batches(first).first().copied()?;
                Some(self.configuration(first, batch, self.no_window()))
            })
            .ok_or_else(|| {
                Error::bad_input(
                    "there is no setup, or no batch size that was measured, to choose from",
                )
            })
    }

    /// Goes from neighbour to neighbour through the grid of one alternative.
    fn climb(&mut self, number: usize, setup: &Alternative) -> Result<()> {
        let mut windows: Vec<Time> = self.space.windows.clone();
        windows.push(self.no_window());
        windows.retain(|w| *w >= self.no_window());
        windows.sort_unstable();
        windows.dedup();
        let grid = Grid {
            number,
            setup,
            batches: self.batches(setup),
            windows,
        };
        if grid.batches.is_empty() {
            return Ok(());
        }
        let mut place = grid.start(self.slos, &self.space.batcher);
        // With nothing to beat yet, the start itself is what is to be beaten; if
        // it holds at no rate, smaller batches and windows may.
        while self.rate_to_beat() <= 0.0 && !self.take_the_lead(&grid, place)? {
            place = match place {
                (0, 0) => return Ok(()),
                (batch, 0) => (batch - 1, 0),
                (batch, window) => (batch, window / 2),
            };
        }
        loop {
            let before = self.rate_to_beat();
            let (at, score) = self.descend(&grid, place)?;
            place = at;
            if score > 1.0 || !self.take_the_lead(&grid, place)? {
                return Ok(());
            }
            if self.rate_to_beat() < before * AGAIN {
                return Ok(());
            }
        }
    }

    fn rate_to_beat(&self) -> f64 {
        self.best
            .as_ref()
            .map_or(self.least, |b| b.near.rate * BETTER)
    }

    /// From `place` to the place where no neighbour misses clearly less, all at
    /// the rate to beat.
    fn descend(&mut self, grid: &Grid<'_>, mut place: Place) -> Result<(Place, f64)> {
        let rate = self.rate_to_beat();
        let mut seen = vec![place];
        let mut score = self.score(grid, place, rate)?;
        loop {
            let mut better = None;
            for neighbour in grid.neighbours(place) {
                if seen.contains(&neighbour) {
                    continue;
                }
                seen.push(neighbour);
                let other = self.score(grid, neighbour, rate)?;
                if other < score * CLEARLY {
                    better = Some((neighbour, other));
                    break;
                }
            }
            match better {
                Some(found) => (place, score) = found,
                None => return Ok((place, score)),
            }
        }
    }

    fn score(&mut self, grid: &Grid<'_>, place: Place, rate: f64) -> Result<f64> {
        let Some(configuration) = self.at(grid, place) else {
            return Ok(f64::INFINITY);
        };
        let service = &grid.setup.service.value;
        check(service, &configuration)?;
        let seeker = Seeker::new(self.simulator, &configuration, self.slos, ROUGHLY);
        let score = seeker.score(service, rate);
        self.simulations += seeker.simulations.get();
        Ok(score)
    }

    /// Finds the capacity of a place that is thought to beat the best; says
    /// whether it does, and it is then the best.
    fn take_the_lead(&mut self, grid: &Grid<'_>, place: Place) -> Result<bool> {
        let Some(configuration) = self.at(grid, place) else {
            return Ok(false);
        };
        let service = &grid.setup.service.value;
        check(service, &configuration)?;
        let likely = LIKELY * sustainable(service, &configuration).get();
        let near = Near {
            rate: if self.rate_to_beat() > 0.0 {
                self.rate_to_beat()
            } else {
                likely
            },
            steepness: STEEP,
        };
        let seeker = Seeker::new(self.simulator, &configuration, self.slos, ROUGHLY);
        let found = seeker.seek(service, Some(near));
        self.simulations += seeker.simulations.get();
        let Some(found) = found else { return Ok(false) };
        let best = self.best.as_ref();
        let leads = best.is_none_or(|best| found.rate > best.near.rate);
        if leads {
            self.best = Some(Leader {
                alternative: grid.number,
                configuration,
                near: Near {
                    rate: found.rate,
                    steepness: STEEP,
                },
            });
        }
        Ok(leads)
    }

    fn at(&self, grid: &Grid<'_>, (batch, window): Place) -> Option<ServingConfiguration> {
        let batch = *grid.batches.get(batch)?;
        Some(self.configuration(grid.setup, batch, *grid.windows.get(window)?))
    }
}
