//! The service times of a run, as the simulator takes them: what is left of
//! the error with them is the queueing model's alone.
//!
//! They are drawn in the order in which they came, so that a slow phase of the
//! machine stays where it was; drawn independently (as a prediction must) they
//! would lose it, which is an error of that assumption and not of the queue.

use super::{
    pauses::Pauses,
    schedule::Schedule,
    starts::{Start, starts},
};
use crate::{
    error::{Error, Result},
    measure::replica::ServedBatch,
    plan::queueing::{IdleSlowdown, ServicePoint, ServiceTimes},
    profile::hold_ups::HELD_UP,
    units::{Fraction, Time},
    workload::ServingConfiguration,
};
use std::collections::BTreeMap;

/// Batches of a size below which its mean is read off a line through the others.
const ENOUGH: usize = 8;

/// Batches in one bin of idle gaps, at least, and bins at most.
const BIN: usize = 25;
const BINS: usize = 6;

/// Places in the table of relative service times at most: half of those that the
/// simulator tells apart, so that each keeps its own.
const PLACES: usize = 32_768;

/// A batch, taken apart.
struct Piece {
    items: u32,
    /// Time during which its instance was busy alone, and the rest of it, by how
    /// many others were busy.
    alone: f64,
    shared: f64,
    /// Idle time of the instance before it, endless before its first.
    gap: f64,
}

impl Piece {
    /// What it would have taken alone, when everything takes `slowdown` times
    /// as long with all instances busy.
    fn work(&self, slowdown: f64) -> f64 {
        self.alone + self.shared / slowdown
    }
}

/// The service times of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// By batch size, contention and idle gap, to be drawn independently.
    pub service: ServiceTimes,
    /// The same for [`Recorded::draws`]: places of its tables are relative
    /// service times, the same for all batch sizes.
    pub in_order: ServiceTimes,
    /// For each request the place of what its batch took.
    pub draws: Vec<Fraction>,
    /// When the whole server stood still: hold-ups of its only instance.
    pub pauses: Pauses,
    /// Requests whose batch held up one of several instances, and for how long.
    pub hold_ups: Vec<(u32, Time)>,
    /// First requests of batches that began late, and by how much: others came
    /// aboard meanwhile.
    pub late: Vec<(u32, Time)>,
}

/// Service times by batch size, contention and idle gap, as a run of these arrivals
/// showed them. The batches are in the order of their first requests.
///
/// # Errors
/// There are no batches.
pub fn recorded_service_times(
    batches: &[ServedBatch],
    schedule: &Schedule,
    configuration: &ServingConfiguration,
) -> Result<Recorded> {
    let (instances, max_batch) = (configuration.instances, configuration.effective_max_batch());
    let starts = starts(batches, schedule.arrivals(), configuration);
    let pieces = pieces(batches, &starts, instances);
    if pieces.is_empty() {
        return Err(Error::machine(
            "no batch was served, so nothing was recorded",
        ));
    }
    let slowdown = slowdown(&pieces);
    let mut works: Vec<Work> = pieces
        .iter()
        .map(|piece| Work {
            items: piece.items,
            gap: piece.gap,
            alone: piece.work(slowdown),
            warm: piece.work(slowdown),
        })
        .collect();
    // What waiting costs and what a batch takes without it depend on each other.
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost = idle(&works, &means(&works, max_batch));
        for work in &mut works {
            // No batch takes nothing, whatever noise makes of the gaps.
            work.warm = (work.alone - at(&lost, work.gap)).max(0.1 * work.alone);
        }
    }
    let all = means(&works, max_batch);
    let service_times = |works: &[Work], means: &BTreeMap<u32, f64>| {
        // Idle slowdowns are counted in means of a single item.
        let single = means.values().next().copied().unwrap_or(1.0);
        let factors: Vec<(Time, f64)> = lost
            .iter()
            .map(|(gap, extra)| {
                let factor = (1.0 + extra / single).clamp(0.1, 1000.0);
                (Time::saturating(*gap), factor)
            })
            .collect();
        let steps = instances.max(1);
        let points = means
            .iter()
            .map(|(&items, &mean)| ServicePoint {
                batch: items,
                mean_by_busy: (0..steps)
                    .map(|others| {
                        let share = f64::from(others) / f64::from((steps - 1).max(1));
                        // Between one and all busy the pace falls evenly.
                        let pace = 1.0 + (1.0 / slowdown - 1.0) * share;
                        Time::saturating(mean / pace)
                    })
                    .collect(),
                relative: spread(works, means, items),
            })
            .collect();
        let idle = IdleSlowdown::new(&factors)
            .ok()
            .map(IdleSlowdown::of_each_gap);
        ServiceTimes::new(points, idle)
    };
    let service = service_times(&works, &all)?;
    let (held, times) = take_hold_ups(batches, &mut works);
    let (pauses, hold_ups) = if instances == 1 {
        (Pauses::new(times), Vec::new())
    } else {
        (Pauses::default(), held)
    };
    let means = means(&works, max_batch);
    let relative: Vec<f64> = works
        .iter()
        .map(|work| work.warm / means.get(&work.items).copied().unwrap_or(work.warm))
        .collect();
    let table = table(relative.clone());
    Ok(Recorded {
        service,
        in_order: service_times(&works, &means)?.with_spread(&table),
        draws: draws(&works, &relative, &table),
        pauses,
        hold_ups,
        late: batches
            .iter()
            .zip(&starts)
            .map(|(batch, start)| (batch.first, start.late))
            .filter(|(_, late)| !late.is_zero())
            .collect(),
    })
}

/// The service times of a size over their mean; of all sizes where it came rarely.
fn spread(works: &[Work], means: &BTreeMap<u32, f64>, items: u32) -> Vec<f64> {
    let relative = |items: Option<u32>| -> Vec<f64> {
        works
            .iter()
            .filter(|work| items.is_none_or(|items| work.items == items))
            .filter_map(|work| Some((work.warm / means.get(&work.items)?).max(0.01)))
            .collect()
    };
    let own = relative(Some(items));
    if own.len() >= ENOUGH {
        own
    } else {
        relative(None)
    }
}

/// First requests of batches and how long each was held up.
type ByRequest = Vec<(u32, Time)>;

/// Moments of hold-ups and their lengths, in seconds.
type ByMoment = Vec<(f64, f64)>;

/// Takes hold-ups out of the service times: by the first request of their batch
/// and by their moment. While an instance was held up, by whatever else the
/// machine did, it stood still once, whatever batches a replay makes; an only
/// instance at that moment, others where that request comes.
fn take_hold_ups(batches: &[ServedBatch], works: &mut [Work]) -> (ByRequest, ByMoment) {
    let mut by_size = BTreeMap::<u32, Vec<f64>>::new();
    for work in works.iter() {
        by_size.entry(work.items).or_default().push(work.warm);
    }
    let mut medians = BTreeMap::<u32, f64>::new();
    for (items, times) in by_size {
        // Of a size that came rarely every batch may have been held up.
        let rare = times.len() < ENOUGH;
        let most = medians
            .last_key_value()
            .filter(|_| rare)
            .map_or(f64::INFINITY, |(smaller, median)| {
                median * f64::from(items) / f64::from(*smaller)
            });
        medians.insert(items, median(times).min(most));
    }
    let (mut by_request, mut by_moment) = (Vec::new(), Vec::new());
    for (batch, work) in batches.iter().zip(works) {
        let usual = medians.get(&work.items).copied().unwrap_or(work.warm);
        if work.warm > HELD_UP * usual {
            let length = work.warm - usual;
            by_request.push((batch.first, Time::saturating(length)));
            // In the middle of the batch, so that rounding cannot move the end of
            // the one before it behind the pause.
            by_moment.push((batch.due.get() + usual / 2.0, length));
            work.warm = usual;
        }
    }
    (by_request, by_moment)
}

/// Relative service times, ascending: as they are, or [`PLACES`] of them evenly
/// spread over their order.
fn table(mut relative: Vec<f64>) -> Vec<f64> {
    relative.sort_by(f64::total_cmp);
    let n = relative.len();
    if n <= PLACES {
        return relative;
    }
    (0..PLACES)
        .filter_map(|i| relative.get((2 * i + 1) * n / (2 * PLACES)).copied())
        .collect()
}

/// For each request the place in `table` of what its batch took, relative to the
/// mean of its size. The batches of a replay begin at other requests now and
/// then; where the machine was slow they meet that all the same.
fn draws(works: &[Work], relative: &[f64], table: &[f64]) -> Vec<Fraction> {
    works
        .iter()
        .zip(relative)
        .flat_map(|(work, relative)| {
            let place = table.partition_point(|v| v < relative);
            let place = place.min(table.len().saturating_sub(1));
            let middle = Fraction::saturating((place as f64 + 0.5) / table.len() as f64);
            std::iter::repeat_n(middle, work.items as usize)
        })
        .collect()
}

/// What a batch would have taken alone, with and without what waiting cost it.
struct Work {
    items: u32,
    gap: f64,
    alone: f64,
    warm: f64,
}

fn pieces(batches: &[ServedBatch], starts: &[Start], instances: u32) -> Vec<Piece> {
    let mut events: Vec<(f64, f64)> = batches
        .iter()
        .zip(starts)
        .flat_map(|(batch, start)| [(start.begin.get(), 1.0), (batch.end.get(), -1.0)])
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
    batches
        .iter()
        .zip(starts)
        .map(|(batch, start)| {
            let (begin, end) = (start.begin.get(), batch.end.get());
            let shared = (upto(end) - upto(begin)).clamp(0.0, end - begin);
            Piece {
                items: batch.items,
                alone: end - begin - shared,
                shared,
                gap: start.gap,
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

/// The mean of every batch size that came often enough, and of the smallest and
/// the largest size in any case: read off the line through the others where
/// they were rare.
fn means(works: &[Work], max_batch: u32) -> BTreeMap<u32, f64> {
    let mut sums = BTreeMap::<u32, (f64, f64)>::new();
    for work in works {
        let slot = sums.entry(work.items).or_default();
        slot.0 += work.warm;
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
        .map(|(&items, &(sum, count))| (items, (sum / count).max(0.01 * line(items))))
        .collect();
    for items in sums.keys().copied().chain([1, max_batch.max(1)]) {
        means.entry(items).or_insert_with(|| line(items));
    }
    means
}

/// Time lost by idle gap, ascending: after back-to-back batches (or the shortest
/// gaps, where there are too few of them) none.
fn idle(works: &[Work], means: &BTreeMap<u32, f64>) -> Vec<(f64, f64)> {
    let mut by_gap: Vec<(f64, f64)> = works
        .iter()
        .filter_map(|work| {
            let mean = means.get(&work.items)?;
            // What waiting cost must not look like a hold-up where it is large.
            (work.gap.is_finite() && work.warm <= HELD_UP * mean)
                .then_some((work.gap, work.alone - mean))
        })
        .collect();
    by_gap.sort_by(|a, b| a.0.total_cmp(&b.0));
    let first = by_gap.partition_point(|(gap, _)| *gap <= 0.0);
    let (back_to_back, waited) = by_gap.split_at(first);
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        let (gap, extra) = part
            .iter()
            .fold((0.0, 0.0), |(g, e), (gap, extra)| (g + gap, e + extra));
        (gap / n, extra / n)
    };
    let bins = (waited.len() / BIN).min(BINS);
    if bins == 0 {
        return Vec::new();
    }
    let points: Vec<(f64, f64)> = waited
        .chunks(waited.len().div_ceil(bins))
        .map(mean)
        .collect();
    let base = if back_to_back.len() >= BIN {
        mean(back_to_back).1
    } else {
        points.first().map_or(0.0, |first| first.1)
    };
    let mut last = 0.0;
    points
        .into_iter()
        .filter(|(gap, _)| {
            let rises = *gap > last;
            last = gap.max(last);
            rises
        })
        .map(|(gap, extra)| (gap, extra - base))
        .collect()
}

/// The time lost after a gap: linear between the points, none at a gap of 0.
fn at(lost: &[(f64, f64)], gap: f64) -> f64 {
    let mut before = (0.0, 0.0);
    for &(to, extra) in lost {
        if gap < to {
            return before.1 + (extra - before.1) * (gap - before.0) / (to - before.0);
        }
        before = (to, extra);
    }
    before.1
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

    /// Every batch was due when its first request came.
    fn recorded(batches: &[ServedBatch], instances: u32, max_batch: u32) -> Recorded {
        let mut arrivals = Vec::new();
        for batch in batches {
            arrivals.resize(batch.first as usize, batch.due);
            arrivals.extend((0..batch.items).map(|_| batch.due));
        }
        let configuration = ServingConfiguration::when_free(instances, max_batch, Time::ZERO);
        recorded_service_times(batches, &Schedule::at(arrivals), &configuration).unwrap()
    }

    #[test]
    fn constant_service_is_found_again() {
        let batches: Vec<ServedBatch> = (0..40)
            .map(|i| batch(i, (0, 1), f64::from(i) * 0.01, f64::from(i) * 0.01 + 0.01))
            .collect();
        let recorded = recorded(&batches, 1, 4);
        assert_eq!(recorded.draws.len(), 40);
        let service = recorded.service;
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
        let service = recorded(&batches, 2, 1).service;
        let ms = |busy| service.mean(1, busy).unwrap().as_millis();
        assert!((ms(1) - 10.0).abs() < 0.2, "{}", ms(1));
        assert!((ms(2) - 20.0).abs() < 0.4, "{}", ms(2));
    }

    #[test]
    fn late_starts_of_one_of_several_are_no_part_of_the_service() {
        let late = |i: u32, instance| ServedBatch {
            start: Time::saturating(f64::from(i) + 0.5),
            ..batch(i, (instance, 1), f64::from(i), f64::from(i) + 0.51)
        };
        let mut batches: Vec<ServedBatch> = (0..40)
            .map(|i| batch(i, (i % 2, 1), f64::from(i), f64::from(i) + 0.01))
            .collect();
        batches.push(late(40, 0));
        let both = recorded(&batches, 2, 1);
        assert_eq!(both.late, [(40, Time::saturating(0.5))]);
        assert!(both.hold_ups.is_empty());
        let only = recorded(&batches, 1, 1);
        assert!(only.late.is_empty() && only.pauses != Pauses::default());
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
        let service = recorded(&batches, 1, 1).service;
        assert!((service.mean(1, 1).unwrap().as_millis() - 10.0).abs() < 0.1);
        assert!(service.slows_when_idle());
        let configuration = ServingConfiguration::unbatched(1);
        assert!(recorded_service_times(&[], &Schedule::at(Vec::new()), &configuration).is_err());
    }
}
