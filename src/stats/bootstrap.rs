use super::{Interval, Sample};
use crate::units::Fraction;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// How many times the rounds are drawn again: enough that the ends of a 95 %
/// interval move by a few percent of its width from seed to seed (Efron and
/// Tibshirani, *An Introduction to the Bootstrap*, section 14.3, ask for 1000).
const RESAMPLES: usize = 1000;

/// The percentile-bootstrap interval of `statistic`, drawing whole rounds again
/// with replacement.
///
/// Values of one round hang together (the machine drifts from round to round),
/// so a round, not a value, is what is drawn. The statistic sees the values of
/// the drawn rounds one after the other; it returns none where it cannot be
/// taken, and such a draw is left out. The same seed gives the same interval.
/// None for fewer than two rounds that have values.
#[must_use]
pub fn bootstrap_over_rounds(
    rounds: &[Vec<f64>],
    statistic: impl Fn(&[f64]) -> Option<f64>,
    level: Fraction,
    seed: u64,
) -> Option<Interval> {
    let rounds: Vec<&Vec<f64>> = rounds.iter().filter(|r| !r.is_empty()).collect();
    if rounds.len() < 2 {
        return None;
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn = Vec::new();
    let mut results = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.clear();
        for _ in 0..rounds.len() {
            if let Some(round) = rounds.get(rng.random_range(0..rounds.len())) {
                drawn.extend_from_slice(round);
            }
        }
        results.extend(statistic(&drawn));
    }
    let results = Sample::new(results).ok()?;
    let tail = (1.0 - level.get()) / 2.0;
    Some(Interval {
        low: results.interpolated_quantile(Fraction::saturating(tail)),
        high: results.interpolated_quantile(Fraction::saturating(1.0 - tail)),
        level,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> Option<f64> {
        let n = values.len();
        (n > 0).then(|| values.iter().sum::<f64>() / n as f64)
    }

    fn level() -> Fraction {
        Fraction::new(0.95).unwrap()
    }

    /// The mouse data of Efron and Tibshirani (1993), table 2.1, treated group:
    /// mean 86.86, and the bootstrap standard error of the mean tends to 23.36
    /// (their table 2.2), so that a 95 % interval is about ± 1.96 of that wide.
    #[test]
    fn the_spread_is_that_of_efron_and_tibshirani() {
        let mice = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0].map(|v| vec![v]);
        let i = bootstrap_over_rounds(&mice, mean, level(), 7).unwrap();
        assert!(i.contains(86.857));
        let error = i.half_width() / 1.96;
        assert!((error / 23.36 - 1.0).abs() < 0.06, "{error}");
    }

    #[test]
    fn values_that_hang_together_give_a_wider_interval() {
        let rounds: Vec<Vec<f64>> = (0..10).map(|r| vec![f64::from(r); 50]).collect();
        let singly: Vec<Vec<f64>> = rounds.iter().flatten().map(|v| vec![*v]).collect();
        let together = bootstrap_over_rounds(&rounds, mean, level(), 1).unwrap();
        let apart = bootstrap_over_rounds(&singly, mean, level(), 1).unwrap();
        assert!(together.half_width() > 5.0 * apart.half_width());
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let rounds = [vec![1.0, 2.0], vec![3.0], vec![], vec![5.0, 8.0]];
        let once = bootstrap_over_rounds(&rounds, mean, level(), 3);
        assert_eq!(once, bootstrap_over_rounds(&rounds, mean, level(), 3));
        assert!(once.is_some());
        assert_eq!(
            bootstrap_over_rounds(&[vec![1.0], vec![]], mean, level(), 3),
            None
        );
    }
}
