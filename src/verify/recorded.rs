//! The service times of a run, as the simulator takes them: what is left of
//! the error with them is the queueing model's alone.

use crate::{
    error::{Error, Result},
    measure::replica::ServedBatch,
    plan::queueing::{IdleSlowdown, ServicePoint, ServiceTimes},
    units::Time,
};
use std::collections::BTreeMap;

/// Batches of a size below which its mean is read off a line through the others.
const ENOUGH: usize = 8;

/// Batches in one bin of idle gaps, at least, and bins at most.
const BIN: usize = 25;
const BINS: usize = 6;

/// A batch that took this many times the median of its size was held up by
/// something else: it stays among the service times, but says nothing of
/// contention or of idle gaps.
const HELD_UP: f64 = 4.0;

/// A batch, taken apart.
struct Piece {
    items: u32,
    /// Time during which its instance was busy alone, and the rest of it, by how
    /// many others were busy.
    alone: f64,
    shared: f64,
    /// Idle time of the instance before it.
    gap: f64,
}

impl Piece {
    /// What it would have taken alone, when everything takes `slowdown` times
    /// as long with all instances busy.
    fn work(&self, slowdown: f64) -> f64 {
        self.alone + self.shared / slowdown
    }
}

/// Service times by batch size, contention and idle gap, as a run showed them.
///
/// # Errors
/// There are no batches.
pub fn recorded_service_times(
    batches: &[ServedBatch],
    instances: u32,
    max_batch: u32,
) -> Result<ServiceTimes> {
    let pieces = pieces(batches, instances);
    if pieces.is_empty() {
        return Err(Error::machine(
            "no batch was served, so nothing was recorded",
        ));
    }
    let slowdown = slowdown(&pieces);
    let means = means(&pieces, slowdown, max_batch);
    let relative = |piece: &Piece| {
        let mean = means.get(&piece.items).copied().unwrap_or(1.0);
        (piece.gap, piece.work(slowdown) / mean)
    };
    let mut by_gap: Vec<(f64, f64)> = pieces.iter().map(relative).collect();
    by_gap.sort_by(|a, b| a.0.total_cmp(&b.0));
    let idle = idle(&by_gap);
    // Factors are counted from short gaps, so the means are put there as well.
    let factor = |gap: f64| {
        idle.as_ref()
            .map_or(1.0, |idle| idle.factor(Time::saturating(gap)))
    };
    let mut spread = BTreeMap::<u32, Vec<f64>>::new();
    for piece in &pieces {
        let warm = piece.work(slowdown) / factor(piece.gap);
        spread.entry(piece.items).or_default().push(warm);
    }
    let all: Vec<f64> = spread
        .iter()
        .flat_map(|(items, times)| {
            let mean = means.get(items).copied().unwrap_or(1.0);
            times.iter().map(move |time| time / mean)
        })
        .collect();
    let warm = all.iter().sum::<f64>() / all.len() as f64;
    let points = means
        .iter()
        .map(|(&items, &mean)| {
            let own = spread.get(&items).filter(|times| times.len() >= ENOUGH);
            let base = own.map_or(mean * warm, |times| {
                times.iter().sum::<f64>() / times.len() as f64
            });
            let steps = instances.max(1);
            ServicePoint {
                batch: items,
                mean_by_busy: (0..steps)
                    .map(|others| {
                        let share = f64::from(others) / f64::from((steps - 1).max(1));
                        // Between one and all busy the pace falls evenly.
                        let pace = 1.0 + (1.0 / slowdown - 1.0) * share;
                        Time::saturating(base / pace)
                    })
                    .collect(),
                relative: own.cloned().unwrap_or_else(|| all.clone()),
            }
        })
        .collect();
    ServiceTimes::new(points, idle)
}

fn pieces(batches: &[ServedBatch], instances: u32) -> Vec<Piece> {
    let mut events: Vec<(f64, f64)> = batches
        .iter()
        .flat_map(|b| [(b.due.get(), 1.0), (b.end.get(), -1.0)])
        .collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    // At each event, the integral up to it of (busy − 1) / (instances − 1).
    let mut times = Vec::with_capacity(events.len());
    let mut integral = Vec::with_capacity(events.len());
    let (mut busy, mut last, mut sum) = (0.0, 0.0, 0.0);
    let others = f64::from(instances.saturating_sub(1)).max(1.0);
    for (time, change) in events {
        sum += (time - last) * f64::max(busy - 1.0, 0.0) / others;
        last = time;
        busy += change;
        times.push(time);
        integral.push(sum);
    }
    let upto = |time: f64| {
        let at = times.partition_point(|t| *t <= time);
        integral.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let mut free = BTreeMap::<u32, f64>::new();
    batches
        .iter()
        .map(|batch| {
            let (due, end) = (batch.due.get(), batch.end.get());
            let shared = (upto(end) - upto(due)).clamp(0.0, end - due);
            let since = free.insert(batch.instance, end).unwrap_or(0.0);
            Piece {
                items: batch.items,
                alone: end - due - shared,
                shared,
                gap: (due - since).max(0.0),
            }
        })
        .collect()
}

/// How many times longer everything takes with all instances busy, by least
/// squares: each batch does one unit of work, at one pace alone and another
/// together, relative to the mean of its size.
fn slowdown(pieces: &[Piece]) -> f64 {
    let mut by_size = BTreeMap::<u32, Vec<f64>>::new();
    for piece in pieces {
        let times = by_size.entry(piece.items).or_default();
        times.push(piece.alone + piece.shared);
    }
    let medians: BTreeMap<u32, f64> = by_size
        .into_iter()
        .map(|(items, times)| (items, median(times)))
        .collect();
    let (mut aa, mut ss, mut both, mut a1, mut s1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for piece in pieces {
        let typical = medians.get(&piece.items).copied().unwrap_or(1.0);
        let (a, s) = (piece.alone / typical, piece.shared / typical);
        if a + s > HELD_UP {
            continue;
        }
        aa += a * a;
        ss += s * s;
        both += a * s;
        a1 += a;
        s1 += s;
    }
    let determinant = aa * ss - both * both;
    if ss <= 1e-9 || determinant <= 1e-6 * aa * ss {
        return 1.0;
    }
    let alone = (a1 * ss - s1 * both) / determinant;
    let together = (s1 * aa - a1 * both) / determinant;
    if alone > 0.0 && together > 0.0 {
        (alone / together).clamp(0.8, 5.0)
    } else {
        1.0
    }
}

/// The mean work of every batch size that came often enough, and of the
/// smallest and the largest size in any case: read off the line through the
/// others where they were rare.
fn means(pieces: &[Piece], slowdown: f64, max_batch: u32) -> BTreeMap<u32, f64> {
    let mut sums = BTreeMap::<u32, (f64, f64)>::new();
    for piece in pieces {
        let slot = sums.entry(piece.items).or_default();
        slot.0 += piece.work(slowdown);
        slot.1 += 1.0;
    }
    let (mut n, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&items, &(sum, count)) in &sums {
        let items = f64::from(items);
        n += count;
        x += count * items;
        y += sum;
        xx += count * items * items;
        xy += items * sum;
    }
    let spread = xx - x * x / n;
    let slope = if spread > 1e-9 {
        ((xy - x * y / n) / spread).max(0.0)
    } else {
        0.0
    };
    let line = |items: u32| {
        let at = y / n + slope * (f64::from(items) - x / n);
        at.max(0.1 * y / n)
    };
    let mut means: BTreeMap<u32, f64> = sums
        .iter()
        .filter(|(_, (_, count))| *count >= ENOUGH as f64)
        .map(|(&items, &(sum, count))| (items, sum / count))
        .collect();
    for items in sums.keys().copied().chain([1, max_batch.max(1)]) {
        means.entry(items).or_insert_with(|| line(items));
    }
    means
}

/// Factors by idle gap: back-to-back batches (or the shortest gaps, where there
/// are too few of them) are 1.
fn idle(by_gap: &[(f64, f64)]) -> Option<IdleSlowdown> {
    let typical = median(by_gap.iter().map(|(_, factor)| *factor).collect());
    let by_gap: Vec<(f64, f64)> = by_gap
        .iter()
        .copied()
        .filter(|(_, factor)| *factor <= HELD_UP * typical)
        .collect();
    let first = by_gap.partition_point(|(gap, _)| *gap <= 0.0);
    let (back_to_back, waited) = by_gap.split_at(first);
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        let (gap, factor) = part
            .iter()
            .fold((0.0, 0.0), |(g, f), (gap, factor)| (g + gap, f + factor));
        (gap / n, factor / n)
    };
    let bins = (waited.len() / BIN).min(BINS);
    if bins == 0 {
        return None;
    }
    let size = waited.len().div_ceil(bins);
    let points: Vec<(f64, f64)> = waited.chunks(size).map(mean).collect();
    let base = if back_to_back.len() >= BIN {
        mean(back_to_back).1
    } else {
        points.first()?.1
    };
    let mut last = 0.0;
    let points: Vec<(Time, f64)> = points
        .into_iter()
        .filter(|(gap, _)| {
            let rises = *gap > last;
            last = gap.max(last);
            rises
        })
        .map(|(gap, factor)| (Time::saturating(gap), factor / base))
        .collect();
    IdleSlowdown::new(&points).ok()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u32, (instance, items): (u32, u32), due: f64, end: f64) -> ServedBatch {
        ServedBatch {
            first,
            items,
            instance,
            due: Time::saturating(due),
            start: Time::saturating(due),
            end: Time::saturating(end),
            failed: false,
        }
    }

    #[test]
    fn constant_service_is_found_again() {
        let batches: Vec<ServedBatch> = (0..40)
            .map(|i| batch(i, (0, 1), f64::from(i) * 0.01, f64::from(i) * 0.01 + 0.01))
            .collect();
        let service = recorded_service_times(&batches, 1, 4).unwrap();
        assert!((service.mean(1, 1).unwrap().as_millis() - 10.0).abs() < 1e-6);
        assert_eq!(service.max_batch(), 4);
        assert!(!service.slows_when_idle());
    }

    #[test]
    fn contention_is_told_from_the_overlap() {
        // Alone a batch takes 10 ms, beside another one 20 ms.
        let mut batches = Vec::new();
        let mut now = 0.0;
        for i in 0..40 {
            if i % 2 == 0 {
                batches.push(batch(3 * i, (0, 1), now, now + 0.010));
                now += 0.010;
            } else {
                batches.push(batch(3 * i, (0, 1), now, now + 0.020));
                batches.push(batch(3 * i + 1, (1, 1), now, now + 0.020));
                now += 0.020;
            }
        }
        let service = recorded_service_times(&batches, 2, 1).unwrap();
        let ms = |busy| service.mean(1, busy).unwrap().as_millis();
        assert!((ms(1) - 10.0).abs() < 0.2, "{}", ms(1));
        assert!((ms(2) - 20.0).abs() < 0.4, "{}", ms(2));
    }

    #[test]
    fn slow_starts_after_waiting_are_told_from_the_rest() {
        let mut batches = Vec::new();
        let mut now = 0.0;
        for i in 0..200 {
            let (gap, takes) = if i % 2 == 0 {
                (0.0, 0.01)
            } else {
                (0.05, 0.02)
            };
            batches.push(batch(i, (0, 1), now + gap, now + gap + takes));
            now += gap + takes;
        }
        let service = recorded_service_times(&batches, 1, 1).unwrap();
        assert!((service.mean(1, 1).unwrap().as_millis() - 10.0).abs() < 0.1);
        assert!(service.slows_when_idle());
        assert!(recorded_service_times(&[], 1, 1).is_err());
    }
}
