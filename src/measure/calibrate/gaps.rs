//! Idle gaps: which are waited for, and what inferences take after them.

use super::{
    inputs::Turns,
    visit::{lead_in, timed},
};
use crate::{
    error::Result,
    measure::{replica::Clock, runtime::session::Session},
    units::Time,
};

/// Idle gaps that are measured, in milliseconds: from the pauses within a burst
/// to those of ten requests per second.
pub const GAPS_MS: [f64; 6] = [0.05, 0.2, 1.0, 5.0, 20.0, 100.0];

/// Seconds spent on one gap in one visit.
const PER_GAP: f64 = 0.015;

/// The most inferences after one gap.
const MOST: f64 = 20.0;

/// Seconds of back-to-back inferences before and after the idle gaps.
const BACK_TO_BACK: f64 = 0.010;

/// The most of them.
const MOST_RUNS: f64 = 200.0;

/// Mean service time back to back, and for each gap its length, the mean time
/// from its end to that of the inference after it, how many.
pub(super) type AfterGaps = (Time, Vec<(Time, Time, u32)>);

/// How often each of these gaps is waited for in one visit, where an inference takes
/// about so long.
#[must_use]
pub fn in_one_visit(gaps: &[Time], inference: Time) -> Vec<(Time, u32)> {
    gaps.iter()
        .map(|&gap| {
            let times = (PER_GAP / (gap + inference).get().max(1e-9)).clamp(1.0, MOST);
            (gap, times as u32)
        })
        .collect()
}

/// Runs a session back to back, after each gap, back to back again.
///
/// What comes back to back is warmed up as in any visit, with which it is compared.
pub(super) fn after_gaps(
    session: &mut Session,
    inputs: &mut Turns<'_>,
    (clock, gaps): (Clock, &[(Time, u32)]),
) -> Result<AfterGaps> {
    let first = timed(session, inputs.next()?)?;
    let runs = (BACK_TO_BACK / first.get().max(1e-9)).clamp(1.0, MOST_RUNS) as u32;
    let mut total = back_to_back(session, inputs, (clock, runs))?;
    let mut after = Vec::new();
    for &(gap, times) in gaps {
        let times = times.max(1);
        let mut spent = 0.0;
        for _ in 0..times {
            let moment = clock.now() + gap.get();
            clock.wait_until(moment);
            timed(session, inputs.next()?)?;
            spent += clock.now() - moment;
        }
        let mean = Time::saturating(spent / f64::from(times));
        after.push((gap, mean, times));
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
        assert_eq!(times(10e-6), [20, 20, 14, 2, 1, 1]);
        assert_eq!(times(0.1), [1; 6]);
    }
}
