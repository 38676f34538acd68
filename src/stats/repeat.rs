//! Intervals that hold when the measurement is repeated, not only the mean of
//! what was seen.

use super::{Interval, Sample, autocorrelation_lag1, mann_kendall, student_t};
use crate::units::Fraction;

/// The largest autocorrelation that is believed: above it a short series says
/// too little, and drift is looked for instead.
const MOST_CORRELATED: f64 = 0.8;

/// A trend this unlikely by chance is carried on into the next series.
const TREND: f64 = 0.05;

/// The variance that counts for the mean of a series whose neighbours hang
/// together: n times the variance of its mean, as if it were a first-order
/// autoregressive one: s² (1 + ρ)/(1 − ρ) (Law, *Simulation Modeling and
/// Analysis*, 5th ed., section 4.4).
///
/// ρ is the lag-1 autocorrelation freed of its bias in short series,
/// ρ + (1 + 4ρ)/n (Kendall, *Biometrika* 41, 1954, to first order), between 0
/// and 0.8: negative ones are not used to narrow an interval. None for a single value.
#[must_use]
pub fn long_run_variance(rounds: &Sample) -> Option<f64> {
    let variance = rounds.variance()?;
    let n = rounds.len() as f64;
    let seen = autocorrelation_lag1(rounds).unwrap_or(0.0);
    let rho = (seen + (1.0 + 4.0 * seen) / n).clamp(0.0, MOST_CORRELATED);
    Some(variance * (1.0 + rho) / (1.0 - rho))
}

/// The interval in which the mean of the *next* series falls, taken the same
/// way right after this one, with a probability of `level`.
///
/// Both means vary by their own rounds (twice the variance of one mean); their
/// runs may differ by more than rounds show (`between`, a standard deviation
/// relative to the mean, for each of the two); and a trend that is unlikely to
/// be chance (Mann–Kendall, 5 %) goes on: the next mean lies one length of the
/// series further along the Theil–Sen slope. The first two widen both ends by
/// Student's t, the last one end only. None for a single round.
#[must_use]
pub fn interval_of_next_mean(
    rounds: &Sample,
    between: Fraction,
    level: Fraction,
) -> Option<Interval> {
    let n = rounds.len();
    let mean = rounds.mean();
    let long_run = long_run_variance(rounds)?;
    let own = long_run / n as f64;
    let other = (between.get() * mean).powi(2);
    // Rounds that hang together are worth fewer independent ones; their spread
    // is known as badly as that of so few.
    let variance = rounds.variance()?;
    let worth = if variance > 0.0 {
        (n as f64 * variance / long_run) as usize
    } else {
        n
    };
    let freedom = worth.saturating_sub(1).max(2).min(n - 1);
    let half = student_t(freedom, level)? * (2.0 * own).sqrt();
    let half = half.hypot(1.96 * (2.0 * other).sqrt());
    let shift = mann_kendall(rounds)
        .filter(|trend| trend.p_value.get() < TREND)
        .map_or(0.0, |trend| trend.slope * n as f64);
    Some(Interval {
        // Half the mean is the least that is believed: a service time is positive.
        low: (mean - half + shift.min(0.0)).max(mean / 2.0),
        high: mean + half + shift.max(0.0),
        level,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn level(value: f64) -> Fraction {
        Fraction::new(value).unwrap()
    }

    /// Rounds 10, 12, 11, 13 …: without correlation the interval of the next
    /// mean of n values is √2 times as wide as that of the mean itself.
    #[test]
    fn independent_rounds_give_the_textbook_prediction_interval() {
        // Alternating values: negative autocorrelation, which is not used.
        let s = Sample::new(vec![10.0, 12.0, 10.0, 12.0, 10.0, 12.0, 10.0, 12.0]).unwrap();
        let own = super::super::interval_of_mean(&s, level(0.95)).unwrap();
        let next = interval_of_next_mean(&s, Fraction::ZERO, level(0.95)).unwrap();
        assert!((next.half_width() / own.half_width() - 2.0_f64.sqrt()).abs() < 1e-9);
        assert!((long_run_variance(&s).unwrap() - s.variance().unwrap()).abs() < 1e-12);
    }

    #[test]
    fn a_trend_is_carried_on_at_one_end_only() {
        let s = Sample::new((0..12).map(|i| 100.0 + f64::from(i)).collect()).unwrap();
        let i = interval_of_next_mean(&s, Fraction::ZERO, level(0.95)).unwrap();
        assert!(i.contains(105.5 + 12.0), "{i:?}");
        assert!(i.high - 105.5 > (105.5 - i.low) + 11.0, "{i:?}");
    }

    /// An autoregressive series with coefficient 0.6, cut into runs of 12
    /// rounds: the interval from one run holds the mean of the next in about 90 %
    /// of the cases (so strong a correlation cannot be told from twelve values any
    /// better), the plain interval of the mean in not much more than half.
    #[test]
    fn the_mean_of_the_next_run_is_held_though_rounds_hang_together() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut x = 0.0;
        let mut run = || {
            let mut values = Vec::new();
            for _ in 0..12 {
                x = 0.6 * x + rng.random::<f64>() - 0.5;
                values.push(10.0 + x);
            }
            Sample::new(values).unwrap()
        };
        let runs: Vec<Sample> = (0..2001).map(|_| run()).collect();
        let mut held = [0, 0];
        for pair in runs.windows(2) {
            let next = pair[1].mean();
            let promised = interval_of_next_mean(&pair[0], Fraction::ZERO, level(0.95)).unwrap();
            let plain = super::super::interval_of_mean(&pair[0], level(0.95)).unwrap();
            held[0] += usize::from(promised.contains(next));
            held[1] += usize::from(plain.contains(next));
        }
        assert!((1760..=1960).contains(&held[0]), "{held:?}");
        assert!(held[1] < 1300, "{held:?}");
    }

    proptest! {
        #[test]
        fn more_variation_between_runs_never_narrows(
            values in prop::collection::vec(1.0..2.0f64, 2..20),
            between in 0.0..0.3f64,
        ) {
            let s = Sample::new(values).unwrap();
            let none = interval_of_next_mean(&s, Fraction::ZERO, level(0.95)).unwrap();
            let some = interval_of_next_mean(&s, level(between), level(0.95)).unwrap();
            prop_assert!(some.low <= none.low && some.high >= none.high);
            prop_assert!(none.contains(s.mean()));
        }
    }
}
