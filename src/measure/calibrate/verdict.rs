//! The verdict on a measurement itself: did the machine hold still?

use crate::{
    caveat::{Caveat, CaveatKind},
    measure::probe::load::Disturbance,
    profile::{
        calibration::{Row, Steadiness},
        machine::Machine,
    },
    stats::{Sample, mann_kendall},
    units::{Fraction, Time},
};

/// Stretches into which a run is cut to look for drift.
const STRETCHES: usize = 12;

/// A trend must be this unlikely by chance and change the speed by so much over
/// the run to be called drift.
const TREND: f64 = 0.05;
const DRIFT: f64 = 0.03;

/// Stretches whose speed varies by more than this (standard deviation) are
/// disturbed by something, whether or not it can be named.
const RESTLESS: f64 = 0.10;

/// Judges a run by what disturbed it and by how its speed went; the caveats
/// tell the size of each finding.
pub(super) fn judge(
    rows: &[Row],
    disturbance: &Disturbance,
    machine: &Machine,
) -> (Steadiness, Vec<Caveat>) {
    let mut caveats = disturbance.caveats();
    let mut verdict = Steadiness::Steady;
    if caveats.iter().any(|c| c.kind == CaveatKind::Drift) {
        verdict = Steadiness::Drifting;
    }
    let speeds = relative_times(rows);
    if let Some(change) = drift(&speeds) {
        verdict = Steadiness::Drifting;
        let way = if change > 0.0 { "slower" } else { "faster" };
        caveats.push(
            Caveat::new(
                CaveatKind::Drift,
                format!(
                    "the machine became {way} by {} over the run",
                    Fraction::saturating(change.abs())
                ),
            )
            .hint("measure longer with `--time`, or again when the machine has settled"),
        );
    }
    let restless = Sample::new(speeds)
        .ok()
        .and_then(|sample| sample.coefficient_of_variation())
        .filter(|variation| *variation > RESTLESS);
    if let Some(variation) = restless {
        caveats.push(Caveat::new(
            CaveatKind::Noise,
            format!(
                "the speed varied by {} (standard deviation) from one stretch of the run to the next",
                Fraction::saturating(variation)
            ),
        ));
    }
    if caveats.iter().any(|c| c.kind == CaveatKind::Noise) {
        verdict = Steadiness::Disturbed;
    }
    caveats.extend(limited(machine));
    (verdict, caveats)
}

/// Service times relative to the median of their row, averaged over stretches
/// of the run with about as many visits each, in the order of time.
fn relative_times(rows: &[Row]) -> Vec<f64> {
    let mut visits: Vec<(Time, f64)> = Vec::new();
    for row in rows.iter().filter(|row| row.rounds.len() >= 3) {
        let means = row.rounds.iter().map(|round| round.mean.get()).collect();
        let Ok(sample) = Sample::new(means) else {
            continue;
        };
        let median = sample.median();
        if median > 0.0 {
            let relative =
                |round: &crate::profile::calibration::Round| (round.at, round.mean.get() / median);
            visits.extend(row.rounds.iter().map(relative));
        }
    }
    visits.sort_by_key(|(at, _)| *at);
    let stretches = STRETCHES.min(visits.len() / 2);
    if stretches == 0 {
        return Vec::new();
    }
    (0..stretches)
        .filter_map(|i| {
            let range = i * visits.len() / stretches..(i + 1) * visits.len() / stretches;
            let values: Vec<f64> = visits.get(range)?.iter().map(|(_, v)| *v).collect();
            Some(Sample::new(values).ok()?.median())
        })
        .collect()
}

/// The relative change over the run, where it is a trend and large enough.
fn drift(speeds: &[f64]) -> Option<f64> {
    if speeds.len() < 6 {
        return None;
    }
    let trend = mann_kendall(&Sample::new(speeds.to_vec()).ok()?)?;
    let change = trend.slope * speeds.len() as f64;
    (trend.p_value.get() < TREND && change.abs() >= DRIFT).then_some(change)
}

/// What the container leaves of the machine shapes every number.
fn limited(machine: &Machine) -> Option<Caveat> {
    let usable = machine.usable_threads();
    let all = machine.cpu.logical_cores;
    (usable < all).then(|| {
        let why = machine.limits.cpu_quota_cores.map_or_else(
            || "the set of processors it may use".to_owned(),
            |cores| format!("its CPU quota of {cores:.2} cores"),
        );
        Caveat::new(
            CaveatKind::Limit,
            format!("this container may use {usable} of {all} processors, by {why}; measured within that"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::calibration::{Round, SessionLayout};

    fn row(batch_size: u32, means: impl Fn(usize) -> f64) -> Row {
        let layout = SessionLayout {
            instances: 1,
            intra_op_threads: 1,
            spinning: false,
        };
        let mut row = Row::new(layout, batch_size);
        row.rounds = (0..24)
            .map(|i| Round {
                inferences: 10,
                mean: Time::saturating(means(i)),
                at: Time::saturating(i as f64),
            })
            .collect();
        row
    }

    #[test]
    fn a_slow_change_of_all_rows_is_drift_with_its_size() {
        let rows: Vec<Row> = (1..4)
            .map(|b| row(b, move |i| f64::from(b) * (1.0 + 0.01 * i as f64)))
            .collect();
        let change = drift(&relative_times(&rows)).unwrap();
        assert!((0.15..0.30).contains(&change), "{change}");
    }

    #[test]
    fn noise_around_a_level_is_no_drift() {
        let rows: Vec<Row> = (1..4)
            .map(|b| {
                row(b, move |i| {
                    1.0 + 0.02 * ((i * 7919 % 13) as f64 / 13.0 - 0.5)
                })
            })
            .collect();
        assert_eq!(drift(&relative_times(&rows)), None);
        assert_eq!(relative_times(&[]), Vec::<f64>::new());
    }
}
