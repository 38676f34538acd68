//! From a machine's curves to how many of them are needed: which layout, batch
//! size and batch window carry most, and what latency that gives at the load.

use super::{
    bound::curve_bound,
    footprint::{Fit, MemoryFit, MemoryUse},
    machine::{Candidate, Kind},
    option::Setup,
    question::Question,
};
use crate::{
    error::Result,
    plan::{
        latency::{End, LatencyCurve, curve::at},
        queueing::{
            Alternative, IdleSlowdown, SearchSpace, ServicePoint, ServiceRange, ServiceTimes,
            SimulationOptions, best_configuration_above,
        },
    },
    profile::{
        calibration::{ModelSummary, SessionLayout},
        hold_ups::HoldUpRate,
    },
    units::{Rate, Time},
    workload::{Batcher, Percentile},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Requests of the runs that size a replica. What comes out is checked by longer
/// runs before it is shown.
pub const REQUESTS_SIZING: u32 = 10_000;

/// Below this slowdown by the other instances contention is not simulated.
const HARDLY_DISTURBED: f64 = 1.06;

/// Below this slowdown after waiting it is not told from noise and left out: the
/// medians of three visits on a steady machine differ by some hundredths.
const HARDLY_SLOWED: f64 = 1.05;

/// The least share of its estimate that a service time is simulated with.
const LEAST_FACTOR: f64 = 0.01;

/// Another layout must carry this much more than the best so far.
const BETTER: f64 = 1.01;

/// A larger batch must make an item cheaper by this share to be tried.
const WORTH_BATCHING: f64 = 0.03;

/// The largest batch must make an item cheaper by this share for windows to be tried.
const WORTH_WAITING: f64 = 0.15;

/// What one replica of a machine carries, set up at its best.
#[derive(Debug, Clone, PartialEq)]
pub struct Sized {
    /// Which of the candidate's curves.
    pub curve: usize,
    /// How the replica is set up.
    pub setup: Setup,
    /// What it carries within every objective.
    pub capacity: Rate,
}

/// Memory and the largest batch that fits, per layout.
#[derive(Debug, Clone, Copy)]
pub struct Room<'r> {
    /// The model.
    pub model: &'r ModelSummary,
    /// What an instance and an item take.
    pub memory: MemoryUse<'r>,
}

impl Room<'_> {
    /// What a layout needs on a machine at a largest batch.
    #[must_use]
    pub fn fit(&self, candidate: &Candidate, layout: SessionLayout, max_batch: u32) -> MemoryFit {
        let available = candidate.machine.memory;
        match candidate.machine.kind {
            Kind::Cpu => self.memory.on_cpu(layout, max_batch, available),
            Kind::Gpu => self.memory.on_gpu(self.model, max_batch, available),
        }
    }

    /// The largest measured batch that fits; none when not even one item does.
    fn largest_batch(&self, candidate: &Candidate, curve: &LatencyCurve) -> Option<u32> {
        curve
            .points
            .iter()
            .map(|point| point.batch_size)
            .filter(|batch| self.fit(candidate, curve.layout, *batch).fit != Fit::DoesNotFit)
            .max()
    }
}

/// Finds and remembers what machines carry.
#[derive(Debug)]
pub struct Sizer<'s> {
    question: &'s Question,
    room: Room<'s>,
    known: Mutex<BTreeMap<String, Option<Sized>>>,
}

impl<'s> Sizer<'s> {
    /// A sizer for one question about one model.
    #[must_use]
    pub fn new(question: &'s Question, room: Room<'s>) -> Self {
        Self {
            question,
            room,
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// What memory says.
    #[must_use]
    pub const fn room(&self) -> &Room<'s> {
        &self.room
    }

    /// A rate that one replica can hardly exceed, whatever the batch and window.
    #[must_use]
    pub fn bound(&self, candidate: &Candidate, end: End) -> Rate {
        candidate
            .curves
            .iter()
            .map(|curve| self.curve_bound(candidate, curve, end))
            .max()
            .unwrap_or(Rate::ZERO)
    }

    fn curve_bound(&self, candidate: &Candidate, curve: &LatencyCurve, end: End) -> Rate {
        self.room
            .largest_batch(candidate, curve)
            .map_or(Rate::ZERO, |largest| {
                curve_bound(curve, end, (self.question.slos.as_slice(), largest))
            })
    }

    /// The setup that carries most at one end of the intervals; none when no
    /// setup holds the objectives.
    ///
    /// Layouts are searched in the order of their bounds until the next bound is
    /// below what was found, or below `least`: less is of no interest.
    ///
    /// # Errors
    /// A curve is unusable.
    pub fn size(&self, candidate: &Candidate, end: End, least: Rate) -> Result<Option<Sized>> {
        let mut usable: Vec<Layout<'_>> = candidate
            .curves
            .iter()
            .enumerate()
            .filter_map(|(index, curve)| {
                let bound = self.curve_bound(candidate, curve, end);
                let largest = self.room.largest_batch(candidate, curve)?;
                (!bound.is_zero()).then_some(Layout {
                    index,
                    curve,
                    largest,
                    bound,
                })
            })
            .collect();
        usable.sort_by_key(|layout| (std::cmp::Reverse(layout.bound), layout.index));
        let limits: Vec<_> = usable.iter().map(|l| (l.index, l.largest)).collect();
        let key = format!(
            "{} {end:?} {:x} {limits:?}",
            candidate.speed_key,
            least.get().to_bits()
        );
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut found: Option<Sized> = None;
        for layout in &usable {
            let least = found
                .as_ref()
                .map_or(least, |best| best.capacity.scaled(BETTER));
            if layout.bound <= least {
                break;
            }
            if let Some(sized) = self.search(layout, end, least)?
                && sized.capacity >= least
            {
                found = Some(sized);
            }
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, found.clone());
        Ok(found)
    }

    fn search(&self, layout: &Layout<'_>, end: End, least: Rate) -> Result<Option<Sized>> {
        let curve = layout.curve;
        let alternative = Alternative {
            instances: curve.layout.instances,
            intra_op_threads: curve.layout.intra_op_threads,
            service: ServiceRange::exact(
                service_times(curve, (end, Waiting::Ignored), layout.largest)?,
                curve.source.clone(),
            ),
        };
        let space = layout.space(self.question, end);
        let options = SimulationOptions {
            requests: REQUESTS_SIZING,
            ..SimulationOptions::default()
        };
        let slos = &self.question.slos;
        let Some(best) = best_configuration_above(&[alternative], slos, &space, (least, options))?
        else {
            return Ok(None);
        };
        let capacity = best.capacity.rate.value;
        Ok((!capacity.is_zero()).then_some(Sized {
            curve: layout.index,
            setup: Setup {
                layout: curve.layout,
                max_batch: best.configuration.effective_max_batch(),
                batch_window: best.configuration.batch_window,
            },
            capacity,
        }))
    }
}

/// A layout that may carry something.
#[derive(Debug)]
struct Layout<'l> {
    index: usize,
    curve: &'l LatencyCurve,
    /// The largest batch that fits into memory.
    largest: u32,
    bound: Rate,
}

impl Layout<'_> {
    /// The batch sizes and windows worth simulating: a batch that does not make
    /// items clearly cheaper than every smaller one cannot raise what is carried,
    /// and waiting to fill batches cannot either where they are hardly cheaper.
    fn space(&self, question: &Question, end: End) -> SearchSpace {
        let mut space = SearchSpace::up_to(self.largest, &question.slos, Batcher::WhenFree);
        let per_item = |batch: u32| {
            let point = self.curve.point(batch)?;
            Some(at(&point.busy, end).get() / f64::from(batch))
        };
        let Some(single) = per_item(1) else {
            return space;
        };
        let mut cheapest = single;
        let mut batches = vec![1];
        for point in self
            .curve
            .points
            .iter()
            .filter(|p| (2..=self.largest).contains(&p.batch_size))
        {
            if let Some(each) = per_item(point.batch_size)
                && each < cheapest * (1.0 - WORTH_BATCHING)
            {
                cheapest = each;
                batches.push(point.batch_size);
            }
        }
        if cheapest > single * (1.0 - WORTH_WAITING) {
            space.windows = vec![Time::ZERO];
        }
        space.batches = batches;
        space
    }
}

/// The smallest relative service time that a share of all do not exceed.
#[must_use]
pub fn quantile(relative: &Arc<[f64]>, percentile: Percentile) -> f64 {
    let rank = (percentile.get() * relative.len() as f64).ceil() as usize;
    relative
        .get(rank.saturating_sub(1))
        .or(relative.last())
        .copied()
        .unwrap_or(1.0)
}

/// Whether service times depend on how long an instance has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// As measured. For what is shown, and what decides the verdict.
    Counts,
    /// Not at all, which is several times as fast to simulate. For sizing: near its
    /// capacity a replica hardly waits.
    Ignored,
}

/// The service times that the simulator draws from, up to a largest batch.
///
/// # Errors
/// A point is unusable (zero time, no samples).
pub fn service_times(
    curve: &LatencyCurve,
    (end, waiting): (End, Waiting),
    largest: u32,
) -> Result<ServiceTimes> {
    let instances = curve.layout.instances.max(1);
    // Hardly disturbed instances are simulated as if always disturbed: the error
    // is small and on the safe side, and the simulation several times as fast.
    let undisturbed = curve
        .points
        .iter()
        .all(|point| point.busy.value.ratio(point.alone) < HARDLY_DISTURBED);
    let steps = if undisturbed { 1 } else { instances };
    let usual = curve.hold_ups.as_ref().map_or(1.0, HoldUpRate::factor);
    let points = curve
        .points
        .iter()
        .filter(|point| point.batch_size <= largest)
        .map(|point| {
            // An interval of more than 100 % reaches down to 0, which no batch takes.
            let factor = at(&point.busy, end)
                .ratio(point.busy.value)
                .max(LEAST_FACTOR);
            // Between one busy instance and all of them the slowdown grows in
            // proportion.
            let mean_by_busy = (0..steps)
                .map(|busy| {
                    let share = if steps == 1 {
                        1.0
                    } else {
                        f64::from(busy) / f64::from(steps - 1)
                    };
                    let mean =
                        point.alone.get() + (point.busy.value.get() - point.alone.get()) * share;
                    Time::saturating(mean * factor / usual)
                })
                .collect();
            ServicePoint {
                batch: point.batch_size,
                mean_by_busy,
                relative: point.relative.to_vec(),
            }
        })
        .collect();
    let slowed =
        waiting == Waiting::Counts && curve.idle.iter().any(|(_, factor)| *factor > HARDLY_SLOWED);
    let idle = slowed.then(|| IdleSlowdown::new(&curve.idle)).transpose()?;
    Ok(ServiceTimes::new(points, idle)?
        .with_hold_ups(curve.hold_ups.clone())
        .with_interference(curve.interference.clone()))
}
