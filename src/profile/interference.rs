//! Interference: how the pace of an instance changed from millisecond to
//! millisecond because of others on the machine: most likely a neighbour on the other
//! thread of its core, in its caches, on its memory.
//!
//! Service times drawn one by one spread a slow spell over the whole run. It comes
//! in one piece: a spell in which everything takes 1.3 times as long overloads an
//! instance that is busy for 0.85 of its time, and the queue grows as long as it
//! lasts. Seen on 2 threads of an AMD EPYC under a network of 5 µs at utilisation
//! 0.83: p95 was 58 µs and p99 348; the same service times in random order gave 48
//! and 79, in blocks of 1 ms 55 and 157, of 5 ms 58 and 276, of 20 ms 58 and 320.

use super::hold_ups::HELD_UP;
use crate::units::Time;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The length of a window, in seconds.
pub const WINDOW: f64 = 0.001;

/// Windows of a block, which stay together.
pub const BLOCK: usize = 40;

/// The share of a window that a visit of whole windows may be short of them.
const SLACK: f64 = 0.1;

/// Inferences per window below which their jitter would count as interference.
const LEAST_INFERENCES: f64 = 8.0;

/// A window with less than this share of usual work was held up for the rest.
const LEAST_WORK: f64 = 0.25;

/// Blocks below which chance decides which spells were met.
const LEAST_BLOCKS: usize = 5;

/// Beyond this a factor is not interference.
const MOST: f32 = 1000.0;

/// One inference of an instance: how many items, when it ended, how long it took.
pub type Inference = (u32, Time, Time);

/// How many times as long as usual inferences took, window after window on one
/// instance; whole blocks of windows that followed each other. Empty where
/// inferences are too long to tell.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interference {
    factors: Vec<f32>,
}

impl Interference {
    /// What an instance met in one visit, from its inferences in their order. Those
    /// that were held up do not count.
    #[must_use]
    pub fn met(inferences: &[Inference]) -> Self {
        let Some((begin, length)) = span(inferences) else {
            return Self::default();
        };
        let windows = (length.get() / WINDOW + SLACK) as usize / BLOCK * BLOCK;
        if (inferences.len() as f64) < LEAST_INFERENCES * length.get() / WINDOW || windows == 0 {
            return Self::default();
        }
        let usual = medians(inferences);
        let mut work = vec![(0.0, 0.0); windows];
        for (items, end, service) in inferences {
            let usual = usual.get(items).copied().unwrap_or_default();
            let at = ((*end - begin).get() / WINDOW) as usize;
            if let Some((spent, expected)) = work.get_mut(at)
                && service.get() <= HELD_UP * usual.get()
            {
                *spent += service.get();
                *expected += usual.get();
            }
        }
        let mut last = 1.0;
        let factors = work.into_iter().map(|(spent, expected)| {
            if expected > LEAST_WORK * WINDOW {
                last = spent / expected;
            }
            // Thousandths are more than there is to know.
            ((last * 1e3).round() / 1e3) as f32
        });
        Self {
            factors: factors.collect(),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.factors.is_empty()
    }

    /// How many times as long as usual an inference took on average.
    #[must_use]
    pub fn slowdown(&self) -> f64 {
        // An instance without pause does fewer inferences in a slow window.
        let done: f64 = self.factors.iter().map(|f| 1.0 / f64::from(*f)).sum();
        if done > 0.0 {
            self.factors.len() as f64 / done
        } else {
            1.0
        }
    }

    /// Adds what was met at another time or by another instance.
    pub fn add(&mut self, other: &Self) {
        self.factors.extend_from_slice(&other.factors);
    }

    /// At most so many blocks, evenly spread over all.
    #[must_use]
    pub fn thinned(&self, blocks: usize) -> Self {
        let all = self.factors.len() / BLOCK;
        let keep = blocks.min(all);
        let factors = (0..keep)
            .filter_map(|i| self.factors.chunks_exact(BLOCK).nth(i * all / keep))
            .flatten()
            .copied()
            .collect();
        Self { factors }
    }

    /// Whether these can be factors on service times, in whole blocks.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let sane = |factor: &f32| *factor > 0.0 && *factor <= MOST;
        self.factors.len().is_multiple_of(BLOCK) && self.factors.iter().all(sane)
    }
}

/// Interference to draw from: factors on mean service times.
#[derive(Debug, Clone, PartialEq)]
pub struct InterferenceTrace {
    /// Blocks of [`BLOCK`] windows, each as likely as the other.
    blocks: Arc<[[f32; BLOCK]]>,
}

impl InterferenceTrace {
    /// Scaled so that an instance that is never idle takes its mean service time on
    /// average; none where there are too few windows.
    #[must_use]
    pub fn new(met: &Interference) -> Option<Self> {
        if met.factors.len() < LEAST_BLOCKS * BLOCK || !met.is_possible() {
            return None;
        }
        let scale = 1.0 / met.slowdown();
        let scaled: Vec<f32> = met
            .factors
            .iter()
            .map(|factor| (f64::from(*factor) * scale) as f32)
            .collect();
        let (blocks, _) = scaled.as_chunks::<BLOCK>();
        Some(Self {
            blocks: blocks.into(),
        })
    }

    /// How many blocks there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// The factor in a window of a block; 1 beyond the last.
    #[inline]
    #[must_use]
    pub fn factor(&self, block: usize, window: usize) -> f64 {
        let factor = self.blocks.get(block).and_then(|block| block.get(window));
        factor.map_or(1.0, |factor| f64::from(*factor))
    }
}

/// When the first inference began, and the time until the last ended.
fn span(inferences: &[Inference]) -> Option<(Time, Time)> {
    let (_, end, service) = inferences.first()?;
    let begin = *end - *service;
    let (_, last, _) = inferences.last()?;
    Some((begin, *last - begin))
}

/// The median service time of each batch size.
fn medians(inferences: &[Inference]) -> BTreeMap<u32, Time> {
    let mut by_size = BTreeMap::<u32, Vec<Time>>::new();
    for (items, _, service) in inferences {
        by_size.entry(*items).or_default().push(*service);
    }
    by_size
        .into_iter()
        .map(|(items, mut times)| {
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            (items, *median)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inferences of 10 and 20 µs in turn, `slow` times as long between 30 and 40 ms.
    fn visit(milliseconds: f64, slow: f64) -> Vec<Inference> {
        let mut now = 0.0;
        let mut inferences = Vec::new();
        while now < milliseconds * 1e-3 {
            let items = 1 + inferences.len() as u32 % 2;
            let factor = if (0.030..0.040).contains(&now) {
                slow
            } else {
                1.0
            };
            let service = 10e-6 * f64::from(items) * factor;
            now += service;
            inferences.push((items, Time::saturating(now), Time::saturating(service)));
        }
        inferences
    }

    #[test]
    fn a_slow_spell_is_found_in_its_windows() {
        let met = Interference::met(&visit(85.0, 1.5));
        assert_eq!(met.factors.len(), 80);
        for (at, factor) in met.factors.iter().enumerate() {
            let expected = if (30..40).contains(&at) { 1.5 } else { 1.0 };
            assert!((factor - expected).abs() < 0.02, "{at}: {factor}");
        }
        assert!(met.is_possible());
        // A hold-up is not interference.
        let mut held = visit(85.0, 1.0);
        held[1000].2 = Time::from_millis(1.0);
        assert!(
            Interference::met(&held)
                .factors
                .iter()
                .all(|f| (f - 1.0).abs() < 0.01)
        );
    }

    #[test]
    fn long_inferences_and_short_visits_tell_nothing() {
        assert!(Interference::met(&[]).is_empty());
        assert!(Interference::met(&visit(35.0, 1.0)).is_empty());
        let long: Vec<Inference> = (1..500)
            .map(|i| (1, Time::from_millis(f64::from(i)), Time::from_millis(1.0)))
            .collect();
        assert!(Interference::met(&long).is_empty());
    }

    #[test]
    fn a_trace_keeps_the_throughput() {
        let mut met = Interference::met(&visit(125.0, 1.5));
        assert_eq!(InterferenceTrace::new(&met), None);
        met.add(&Interference::met(&visit(125.0, 1.2)));
        let trace = InterferenceTrace::new(&met).unwrap();
        assert_eq!(trace.count(), 6);
        let done: f64 = (0..6)
            .flat_map(|block| (0..BLOCK).map(move |window| (block, window)))
            .map(|(block, window)| 1.0 / trace.factor(block, window))
            .sum();
        assert!((done / 240.0 - 1.0).abs() < 1e-6, "{done}");
        let slow = trace.factor(0, 35) / trace.factor(0, 0);
        assert!((slow - 1.5).abs() < 0.02, "{slow}");
    }

    #[test]
    fn thinning_keeps_whole_blocks_of_all_times() {
        let mut met = Interference::met(&visit(125.0, 1.5));
        met.add(&Interference::met(&visit(125.0, 2.0)));
        let thin = met.thinned(3);
        assert_eq!(thin.factors.len(), 3 * BLOCK);
        assert_eq!(thin.factors[2 * BLOCK..], met.factors[4 * BLOCK..5 * BLOCK]);
        assert_eq!(met.thinned(100), met);
        assert!(met.thinned(0).is_empty());
    }

    #[test]
    fn impossible_factors_are_noticed() {
        let of = |factor: f32| Interference {
            factors: vec![factor; BLOCK],
        };
        assert!(of(1.0).is_possible());
        for factor in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(!of(factor).is_possible());
        }
        let torn = Interference {
            factors: vec![1.0; BLOCK + 1],
        };
        assert!(!torn.is_possible());
    }
}
