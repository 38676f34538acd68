//! Batches of all sizes without pause: in which order, and what they came to.

use super::{
    protocol::{Answer, Timed},
    visit::{lead_in, told},
};
use crate::{
    measure::replica::ServedBatch,
    profile::interference::{Inference, Interference},
    units::Time,
};
use std::collections::BTreeMap;

/// Single items in a row where sizes come in turn and batches are short; the most of
/// these for which every size comes at least twice. Caches and branch predictors
/// know what was run before: a tree ensemble took 17.2 to 17.9 µs for a single item
/// in rows of 64 and under load of little more than single items, 21.4 in rows of 4,
/// 24.0 after five to eight items (AMD EPYC Turin). Where single items are what
/// comes, they come after one another.
const SINGLES_IN_A_ROW: [usize; 3] = [64, 16, 4];

/// Larger batches in a row: where these come, so do others. In rows of 4 among rows of
/// 64 single items those of a small network took 4 to 5 % longer than under load on one
/// instance, in rows of 16 at most 2 % (AMD EPYC Turin).
const LARGER_IN_A_ROW: usize = 16;

/// The sizes that take turns: powers of two, and the largest.
pub(super) fn sizes(max_batch: u32) -> Vec<u32> {
    std::iter::successors(Some(1_u32), |size| size.checked_mul(2))
        .take_while(|size| *size < max_batch)
        .chain([max_batch.max(1)])
        .collect()
}

/// How many of one size come one after the other, given so many single items.
fn in_a_row(size: u32, singles: usize) -> usize {
    if size == 1 {
        singles
    } else {
        singles.min(LARGER_IN_A_ROW)
    }
}

/// What is to be run without pause.
pub(super) struct Sequence {
    /// The sizes of the batches, in their order.
    pub(super) in_turn: Vec<u32>,
    /// What ends before is not counted.
    lead_in: Time,
    instances: usize,
}

impl Sequence {
    /// So many seconds of batches, given what each size takes, the smallest first.
    /// Each size is half as frequent as the one before it (1, 2, 1, 4, 1, 2, 1, 8,
    /// …), and where they are short each comes some times in a row.
    pub(super) fn new(each: &[(u32, Time)], duration: Time, instances: usize) -> Self {
        let turns: Vec<(u32, Time)> = (1..=1_usize << each.len().saturating_sub(1))
            .filter_map(|n| each.get((n.trailing_zeros() as usize).min(each.len() - 1)))
            .copied()
            .collect();
        let of_turns = |singles: usize| -> Time {
            turns
                .iter()
                .map(|(size, time)| time.scaled(in_a_row(*size, singles) as f64))
                .sum()
        };
        let singles = SINGLES_IN_A_ROW
            .into_iter()
            .find(|singles| of_turns(*singles).scaled(2.0) < duration)
            .unwrap_or(1);
        let lead_in = lead_in(each.first().map_or(Time::ZERO, |(_, time)| *time));
        let times = ((duration + lead_in).get() / of_turns(singles).get().max(1e-9)).ceil();
        // The first of all is cold: every size must come once more.
        let least = if turns.len() > 2 { 1.0 } else { 2.0 };
        let times = times.clamp(least, 1e6) as usize * instances;
        let in_turn = (0..times)
            .flat_map(|_| &turns)
            .flat_map(|(size, _)| std::iter::repeat_n(*size, in_a_row(*size, singles)))
            .collect();
        Self {
            in_turn,
            lead_in,
            instances,
        }
    }

    /// What it came to.
    pub(super) fn came_to(&self, served: &[ServedBatch]) -> Answer {
        let mut of_instances = vec![Vec::<Inference>::new(); self.instances];
        for batch in served {
            if let Some(own) = of_instances.get_mut(batch.instance as usize) {
                own.push((batch.items, batch.end, batch.service()));
            }
        }
        let mut by_size = BTreeMap::<u32, Vec<(Time, Time)>>::new();
        let mut interference = Interference::default();
        for own in of_instances {
            let cold = own.partition_point(|(_, end, _)| *end < self.lead_in);
            // The first batch is cold; whatever became of the time that was meant
            // for them, some must count.
            let cold = cold.clamp(1, (own.len() / 2).max(1));
            let warm = own.get(cold..).unwrap_or_default();
            interference.add(&Interference::met(warm));
            for (items, end, service) in warm {
                by_size.entry(*items).or_default().push((*end, *service));
            }
        }
        Answer::Saturated {
            by_size: by_size
                .into_iter()
                .map(|(size, times)| (size, told(times)))
                .collect::<Vec<(u32, Timed)>>(),
            interference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(duration: f64, each: &[(u32, f64)]) -> Sequence {
        let each: Vec<(u32, Time)> = each
            .iter()
            .map(|(size, time)| (*size, Time::saturating(*time)))
            .collect();
        Sequence::new(&each, Time::saturating(duration), 1)
    }

    #[test]
    fn smaller_sizes_come_more_often_and_the_largest_comes_once() {
        assert_eq!(sizes(8), [1, 2, 4, 8]);
        assert_eq!(sizes(6), [1, 2, 4, 6]);
        assert_eq!((sizes(1), sizes(0)), (vec![1], vec![1]));
        let each = [(1, 0.010), (2, 0.020), (4, 0.040), (8, 0.080)];
        assert_eq!(sequence(0.1, &each).in_turn, [1, 2, 1, 4, 1, 2, 1, 8]);
        let short = [(1, 10e-6), (2, 20e-6)];
        let rows = |duration| -> Vec<(u32, usize)> {
            let in_turn = sequence(duration, &short).in_turn;
            let rows = in_turn.chunk_by(|a, b| a == b);
            rows.map(|row| (row[0], row.len())).take(3).collect()
        };
        assert_eq!(rows(0.1), [(1, 64), (2, 16), (1, 64)]);
        assert_eq!(rows(0.001), [(1, 16), (2, 16), (1, 16)]);
        assert_eq!(rows(0.0003), [(1, 4), (2, 4), (1, 4)]);
        assert_eq!(rows(0.0001), [(1, 1), (2, 1), (1, 1)]);
        assert_eq!(sequence(0.1, &[(1, 1.0)]).in_turn, [1, 1]);
    }

    #[test]
    fn what_was_run_while_cold_does_not_count() {
        let sequence = sequence(0.1, &[(1, 0.001)]);
        let served: Vec<ServedBatch> = (0..100)
            .map(|i| ServedBatch {
                first: i,
                items: 1,
                instance: 0,
                due: Time::from_millis(f64::from(i)),
                start: Time::from_millis(f64::from(i)),
                end: Time::from_millis(f64::from(i + 1)),
                failed: false,
            })
            .collect();
        let Answer::Saturated { by_size, .. } = sequence.came_to(&served) else {
            panic!("another answer");
        };
        // 40 ms of lead-in: 39 end before.
        assert_eq!((by_size.len(), by_size[0].1.inferences), (1, 61));
    }
}
