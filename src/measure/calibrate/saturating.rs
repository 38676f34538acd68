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

/// Batches of one size in a row where sizes come in turn and batches are short:
/// caches and branch predictors know the size before, and under load most batches
/// come after one of their own size. A tree ensemble took 21.3 µs for a single item
/// after another, 21.8 after two, 24.0 after five to eight (AMD EPYC Turin).
const IN_A_ROW: usize = 4;

/// The sizes that take turns: powers of two, and the largest.
pub(super) fn sizes(max_batch: u32) -> Vec<u32> {
    std::iter::successors(Some(1_u32), |size| size.checked_mul(2))
        .take_while(|size| *size < max_batch)
        .chain([max_batch.max(1)])
        .collect()
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
        let of_turns: Time = turns.iter().map(|(_, time)| *time).sum();
        let in_a_row = if of_turns.scaled(IN_A_ROW as f64) < duration {
            IN_A_ROW
        } else {
            1
        };
        let lead_in = lead_in(each.first().map_or(Time::ZERO, |(_, time)| *time));
        let of_turns = of_turns.get().max(1e-9) * in_a_row as f64;
        let times = ((duration + lead_in).get() / of_turns).ceil();
        // The first of all is cold: every size must come once more.
        let least = if turns.len() > 2 { 1.0 } else { 2.0 };
        let times = times.clamp(least, 1e6) as usize * instances;
        let in_turn = (0..times)
            .flat_map(|_| &turns)
            .flat_map(|(size, _)| std::iter::repeat_n(*size, in_a_row))
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
        let short = sequence(0.001, &short).in_turn;
        assert_eq!(
            short[..16],
            [1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2, 2]
        );
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
