//! What is measured: which session layouts, which batch sizes, in which order.

use crate::profile::calibration::{Device, SessionLayout};

/// The layouts to measure on a device with that many usable logical processors.
///
/// On a CPU: every power of two of threads up to all processors, once alone
/// (what a quiet server sees) and once with as many instances as fill the
/// machine (what a busy one sees). On a GPU: one and two instances, since a
/// second one can hide the copies behind the arithmetic.
#[must_use]
pub fn layouts(device: &Device, usable_threads: u32) -> Vec<SessionLayout> {
    let usable = usable_threads.max(1);
    let layout = |instances, intra_op_threads| SessionLayout {
        instances,
        intra_op_threads,
        spinning: spinning(instances, intra_op_threads, usable),
    };
    match device {
        Device::Cuda { .. } => vec![layout(1, 1), layout(2, 1)],
        Device::Cpu => {
            let mut threads: Vec<u32> = std::iter::successors(Some(1_u32), |t| t.checked_mul(2))
                .take_while(|t| *t < usable)
                .collect();
            threads.push(usable);
            let mut all = Vec::new();
            for &t in &threads {
                all.push(layout(1, t));
                let filling = usable / t;
                if filling > 1 {
                    all.push(layout(filling, t));
                }
            }
            all.sort();
            all.dedup();
            all
        }
    }
}

/// Idle threads may spin only where a processor is to spare for the rest of the
/// server. With more spinning threads than processors the tail is many times as
/// long (two sessions of two threads on two cores: p95 of a small network 12.4 ms
/// against 0.5 ms), and with exactly as many any other work has the same effect.
#[must_use]
pub const fn spinning(instances: u32, intra_op_threads: u32, usable_threads: u32) -> bool {
    intra_op_threads > 1 && instances.saturating_mul(intra_op_threads) < usable_threads
}

/// Batch sizes 1, 2, 4, … up to `largest`, which is included.
#[must_use]
pub fn batch_sizes(largest: u32) -> Vec<u32> {
    let largest = largest.max(1);
    let mut sizes: Vec<u32> = std::iter::successors(Some(1_u32), |b| b.checked_mul(2))
        .take_while(|b| *b < largest)
        .collect();
    sizes.push(largest);
    sizes
}

/// The order in which round `round` visits `points` points: each round starts
/// one further on and every other one goes backwards, so that no point is
/// always measured early or always after the same neighbour.
pub fn visiting_order(points: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points).map(|i| (i + round) % points.max(1)).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_give_three_layouts_and_none_spins() {
        let all = layouts(&Device::Cpu, 2);
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1 × 1 threads", "1 × 2 threads", "2 × 1 threads"]);
    }

    #[test]
    fn six_cores_are_filled_but_never_overfilled() {
        let all = layouts(&Device::Cpu, 6);
        assert!(all.iter().all(|l| l.instances * l.intra_op_threads <= 6));
        assert!(all.iter().any(|l| l.intra_op_threads == 6 && !l.spinning));
        assert!(
            all.iter()
                .any(|l| l.instances == 1 && l.intra_op_threads == 4 && l.spinning)
        );
    }

    #[test]
    fn every_round_visits_every_point_once() {
        for round in 0..7 {
            let mut order = visiting_order(5, round);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        assert_ne!(visiting_order(5, 0)[0], visiting_order(5, 2)[0]);
        assert!(visiting_order(0, 3).is_empty());
    }

    #[test]
    fn batch_sizes_double_up_to_the_largest() {
        assert_eq!(batch_sizes(32), [1, 2, 4, 8, 16, 32]);
        assert_eq!(batch_sizes(12), [1, 2, 4, 8, 12]);
        assert_eq!(batch_sizes(1), [1]);
    }
}
