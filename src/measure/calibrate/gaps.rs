//! Idle gaps: which are waited for, and what inferences take after them.

use super::{
    inputs::Turns,
    visit::{lead_in, timed},
};
use crate::{
    error::Result,
    measure::{
        replica::{Clock, ServedBatch},
        runtime::session::Session,
    },
    profile::hold_ups::HoldUps,
    units::Time,
};

/// Idle gaps that are measured, in milliseconds: from the pauses between requests
/// for inferences of microseconds to those of ten requests per second.
pub const GAPS_MS: [f64; 7] = [0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 100.0];

/// Shorter gaps are those between requests under load: there the loop that waits for
/// requests is itself a part of what slows the next inference, so that loop waits.
/// A tree ensemble that took 16.1 to 16.8 µs without pause took 16.6 to 16.9 after
/// 40 µs in a loop of three lines, and 17.0 in a replica (2 threads of an AMD EPYC).
const UNDER_LOAD: f64 = 0.000_1;

/// A gap that is this much shorter than an inference changes nothing that noise
/// would not hide.
const LEAST_GAP: f64 = 0.01;

/// Seconds spent on one gap in one visit.
const PER_GAP: f64 = 0.020;

/// The most inferences after one gap, and how many are enough for a mean.
const MOST: f64 = 1000.0;
const ENOUGH: u32 = 20;

/// Seconds of back-to-back inferences before and after the idle gaps.
const BACK_TO_BACK: f64 = 0.010;

/// Gaps, and how often each is waited for.
pub(super) type Gaps = Vec<(Time, u32)>;

/// Mean service time back to back, and for each gap its length, the mean time
/// from its end to that of the inference after it, how many.
pub(super) type AfterGaps = (Time, Vec<(Time, Time, u32)>);

/// How often each of these gaps is waited for in one visit, where an inference takes
/// about so long.
#[must_use]
pub fn in_one_visit(gaps: &[Time], inference: Time) -> Vec<(Time, u32)> {
    gaps.iter()
        .filter(|gap| gap.get() >= LEAST_GAP * inference.get())
        .map(|&gap| {
            let times = (PER_GAP / (gap + inference).get().max(1e-9)).clamp(1.0, MOST);
            (gap, times as u32)
        })
        .collect()
}

/// Which gaps are those between requests under load, and which are longer.
pub(super) fn by_length(gaps: &[(Time, u32)]) -> (Gaps, Gaps) {
    gaps.iter().partition(|(gap, _)| gap.get() < UNDER_LOAD)
}

/// Arrivals of single items for an instance that takes so long for each and is to
/// wait so long before each; back to back where that is no time.
pub(super) fn arrivals(inference: Time, gap: Time) -> Vec<Time> {
    let apart = inference + gap;
    let length = lead_in(inference) + Time::saturating(PER_GAP);
    let times = (length.get() / apart.get().max(1e-9)).clamp(2.0, 1e6) as u32;
    let apart = if gap.is_zero() { Time::ZERO } else { apart };
    (0..times).map(|i| apart.scaled(f64::from(i))).collect()
}

/// The mean service time of what was served once the instance was warm, without
/// hold-ups, and of how many.
pub(super) fn usual(served: &[ServedBatch], inference: Time) -> (Time, u32) {
    let warm = lead_in(inference);
    let mut service: Vec<Time> = served
        .iter()
        .filter(|batch| batch.end >= warm && !batch.failed)
        .map(ServedBatch::service)
        .collect();
    let _ = HoldUps::taken_from(&mut service);
    let total: Time = service.iter().copied().sum();
    let count = service.len() as u32;
    (total.scaled(1.0 / f64::from(count.max(1))), count)
}

/// Runs a session back to back, after each gap, back to back again.
///
/// An instance that waits now and then never becomes as fast as one that never does:
/// caches and branch predictors know less. So what comes back to back is warmed up as
/// in any visit, and of many inferences after short gaps only the later half counts.
pub(super) fn after_gaps(
    session: &mut Session,
    inputs: &mut Turns<'_>,
    (clock, gaps): (Clock, &[(Time, u32)]),
) -> Result<AfterGaps> {
    let first = timed(session, inputs.next()?)?;
    let runs = (BACK_TO_BACK / first.get().max(1e-9)).clamp(1.0, MOST) as u32;
    let mut total = back_to_back(session, inputs, (clock, runs))?;
    let mut after = Vec::new();
    for &(gap, times) in gaps {
        let times = times.max(1);
        let counted = if times > ENOUGH {
            times.div_ceil(2)
        } else {
            times
        };
        let mut spent = 0.0;
        for turn in 0..times {
            let moment = clock.now() + gap.get();
            clock.wait_until(moment);
            timed(session, inputs.next()?)?;
            if turn >= times - counted {
                spent += clock.now() - moment;
            }
        }
        let mean = Time::saturating(spent / f64::from(counted));
        after.push((gap, mean, counted));
    }
    total = total + back_to_back(session, inputs, (clock, runs))?;
    Ok((total.scaled(0.5 / f64::from(runs)), after))
}

/// What so many inferences take in all, one after the other, once warm.
fn back_to_back(
    session: &mut Session,
    inputs: &mut Turns<'_>,
    (clock, runs): (Clock, u32),
) -> Result<Time> {
    let begun = clock.now();
    let first = timed(session, inputs.next()?)?;
    while clock.now() - begun < lead_in(first).get() {
        timed(session, inputs.next()?)?;
    }
    let begun = clock.now();
    for _ in 0..runs {
        timed(session, inputs.next()?)?;
    }
    Ok(Time::saturating(clock.now() - begun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_gaps_come_often_and_long_ones_at_least_once() {
        let gaps = GAPS_MS.map(Time::from_millis);
        let times = |inference: f64| -> Vec<u32> {
            in_one_visit(&gaps, Time::saturating(inference))
                .into_iter()
                .map(|(_, times)| times)
                .collect()
        };
        assert_eq!(times(10e-6), [1000, 333, 95, 19, 3, 1, 1]);
        assert_eq!(times(0.1), [1; 4]);
        assert_eq!(times(0.0)[0], 1000);
    }

    #[test]
    fn a_load_of_even_gaps_keeps_them() {
        let (inference, gap) = (Time::from_micros(10.0), Time::from_micros(40.0));
        let even = arrivals(inference, gap);
        assert_eq!(even.len(), 1200);
        assert!((even[1] - even[0] - inference - gap).get().abs() < 1e-12);
        let without = arrivals(inference, Time::ZERO);
        assert!(without.len() == 6000 && without.iter().all(|at| at.is_zero()));
        let served: Vec<ServedBatch> = (0..100)
            .map(|i| ServedBatch {
                first: i,
                items: 1,
                instance: 0,
                due: Time::from_millis(f64::from(i)),
                start: Time::from_millis(f64::from(i)),
                end: Time::from_millis(f64::from(i) + if i == 70 { 0.9 } else { 0.1 }),
                failed: false,
            })
            .collect();
        // 40 of them before it was warm, one held up.
        let (mean, count) = usual(&served, inference);
        assert!(
            (mean.as_millis() - 0.1).abs() < 1e-9 && count == 59,
            "{mean} {count}"
        );
    }
}
