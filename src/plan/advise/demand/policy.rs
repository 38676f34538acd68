//! Ways to decide how many machines run in which interval.

use super::Following;
use crate::{
    units::{Fraction, Rate},
    workload::Demand,
};
use std::ops::Range;

/// Machines in each interval.
pub(super) type Course = Vec<u64>;

/// Intervals that a lower demand must last before machines are given back.
const PATIENCE: usize = 3;

fn needed(rate: Rate, capacity: Rate) -> u64 {
    if rate.is_zero() {
        return 0;
    }
    rate.ratio(capacity).ceil().clamp(1.0, 1e9) as u64
}

/// As many as the busiest interval of all needs, all the time.
pub(super) fn fixed(demand: &Demand, replayed: Range<usize>, capacity: Rate) -> Course {
    vec![needed(demand.peak(), capacity).max(1); replayed.len()]
}

/// As many as the busiest interval at that hour of the day needed in the days that
/// the schedule is learnt from, by hour.
pub(super) fn scheduled(
    demand: &Demand,
    learnt: Range<usize>,
    (capacity, headroom): (Rate, Fraction),
) -> Vec<u64> {
    let mut busiest = [Rate::ZERO; 24];
    for interval in learnt {
        let rate = demand.rates.get(interval).copied().unwrap_or(Rate::ZERO);
        if let Some(slot) = busiest.get_mut(demand.hour_of_day(interval)) {
            *slot = (*slot).max(rate);
        }
    }
    busiest
        .iter()
        .map(|rate| needed(rate.scaled(1.0 + headroom.get()), capacity).max(1))
        .collect()
}

/// As many as the highest demand of the last intervals needed, seen an interval late
/// and started a cold start later still. Machines that start are paid for.
pub(super) fn autoscaled(
    demand: &Demand,
    replayed: Range<usize>,
    capacity: Rate,
    following: Following,
) -> Course {
    let late = 1 + following.cold_start.ratio(demand.step).ceil().min(1e6) as usize;
    replayed
        .map(|interval| {
            let seen = (late..late + PATIENCE).filter_map(|ago| {
                let at = interval.checked_sub(ago)?;
                demand.rates.get(at).copied()
            });
            let highest = seen
                .max()
                .unwrap_or_else(|| demand.rates.first().copied().unwrap_or(Rate::ZERO));
            needed(highest.scaled(1.0 + following.headroom.get()), capacity).max(1)
        })
        .collect()
}

/// The larger of two courses at each interval.
pub(super) fn combined(a: &[u64], b: &[u64]) -> Course {
    a.iter().zip(b).map(|(a, b)| *a.max(b)).collect()
}
