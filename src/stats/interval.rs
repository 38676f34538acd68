use super::{Sample, sample::rank_of};
use crate::units::Fraction;
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::beta::checked_beta_reg;

/// Two ends with the share of cases in which the truth is expected between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How often the truth is expected inside.
    pub level: Fraction,
}

impl Interval {
    /// Whether `value` lies between the ends.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Half the distance between the ends.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// The two-sided critical value of Student's t: a share `level` of the
/// distribution with that many degrees of freedom lies within ± this value.
///
/// None for zero degrees of freedom or a level of 0 or 1.
#[must_use]
pub fn student_t(degrees_of_freedom: usize, level: Fraction) -> Option<f64> {
    let level = level.get();
    if level <= 0.0 || level >= 1.0 {
        return None;
    }
    let t = StudentsT::new(0.0, 1.0, degrees_of_freedom as f64).ok()?;
    Some(t.inverse_cdf(f64::midpoint(1.0, level)))
}

/// The interval of the mean of independent values, by Student's t.
///
/// None for a single value: one value says nothing about its own spread.
#[must_use]
pub fn interval_of_mean(sample: &Sample, level: Fraction) -> Option<Interval> {
    let n = sample.len();
    let half =
        student_t(n.checked_sub(1)?, level)? * sample.standard_deviation()? / (n as f64).sqrt();
    let mean = sample.mean();
    Some(Interval {
        low: mean - half,
        high: mean + half,
        level,
    })
}

/// The interval of the mean of values that hang together in time, from the
/// means of `batches` equal stretches (batch means; Law, *Simulation Modeling
/// and Analysis*, 5th ed., section 9.5.3).
///
/// An i.i.d. interval is far too narrow on a machine that drifts; the spread
/// between stretches holds the drift as well. Values that do not fill the last
/// stretch are left out at the start. None for fewer than two batches or fewer
/// values than batches.
#[must_use]
pub fn batch_means(sample: &Sample, batches: usize, level: Fraction) -> Option<Interval> {
    if batches < 2 {
        return None;
    }
    let size = sample.len() / batches;
    if size == 0 {
        return None;
    }
    let skipped = sample.len() - size * batches;
    let means = sample
        .values()
        .get(skipped..)?
        .chunks_exact(size)
        .map(|chunk| chunk.iter().sum::<f64>() / size as f64)
        .collect();
    interval_of_mean(&Sample::new(means).ok()?, level)
}

/// The distribution-free interval of the quantile `p` between two order
/// statistics of independent values (David and Nagaraja, *Order Statistics*,
/// 3rd ed., section 7.1): the number of values below the true quantile is
/// binomial, so the ranks follow from the binomial tails.
///
/// Each tail gets at most half of 1 − `level`, so the real level is at least
/// the one asked for; it is the level of the returned interval. None when the
/// sample is too small for both ends to exist (a p99 needs hundreds of values).
#[must_use]
pub fn quantile_interval(sample: &Sample, p: Fraction, level: Fraction) -> Option<Interval> {
    let n = sample.len();
    let tail = (1.0 - level.get()) / 2.0;
    let centre = rank_of(p.get(), n);
    // Rank `r` is a lower end when the quantile lies under the r-th value with a
    // probability of at most `tail`: at most r − 1 values lie below it.
    let low = (1..=centre)
        .rev()
        .find(|&r| at_most(r - 1, n, p.get()) <= tail)?;
    let high = (centre..=n).find(|&r| 1.0 - at_most(r - 1, n, p.get()) <= tail)?;
    let held = at_most(high - 1, n, p.get()) - at_most(low - 1, n, p.get());
    Some(Interval {
        low: *sample.sorted().get(low - 1)?,
        high: *sample.sorted().get(high - 1)?,
        level: Fraction::saturating(held),
    })
}

/// The probability that at most `k` of `n` independent trials succeed, each
/// with probability `p`: a regularised incomplete beta function.
pub(super) fn at_most(k: usize, n: usize, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    checked_beta_reg((n - k) as f64, k as f64 + 1.0, 1.0 - p).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn level(value: f64) -> Fraction {
        Fraction::new(value).unwrap()
    }

    /// The printed tables of Student's t (e.g. Abramowitz and Stegun, table 26.10).
    #[test]
    fn student_t_equals_the_printed_tables() {
        for (freedom, share, value) in [
            (1, 0.95, 12.706),
            (9, 0.95, 2.262),
            (9, 0.99, 3.250),
            (19, 0.95, 2.093),
            (30, 0.99, 2.750),
        ] {
            let t = student_t(freedom, level(share)).unwrap();
            assert!((t - value).abs() < 6e-4, "{freedom}: {t}");
        }
        assert_eq!(student_t(0, level(0.95)), None);
        assert_eq!(student_t(5, level(1.0)), None);
    }

    /// The extra-sleep data of Student's own paper (1908), second drug minus
    /// first: R's `t.test` gives 0.7001142 to 2.4598858.
    #[test]
    fn the_interval_of_a_mean_equals_that_of_r_on_students_data() {
        let data = vec![1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
        let i = interval_of_mean(&Sample::new(data).unwrap(), level(0.95)).unwrap();
        assert!((i.low - 0.700_114_2).abs() < 1e-6, "{i:?}");
        assert!((i.high - 2.459_885_8).abs() < 1e-6, "{i:?}");
    }

    #[test]
    fn batch_means_of_one_value_per_batch_are_the_plain_interval() {
        let s = Sample::new(vec![1.0, 2.0, 4.0, 7.0]).unwrap();
        assert_eq!(
            batch_means(&s, 4, level(0.9)),
            interval_of_mean(&s, level(0.9))
        );
        assert_eq!(batch_means(&s, 1, level(0.9)), None);
        assert_eq!(batch_means(&s, 5, level(0.9)), None);
    }

    #[test]
    fn batch_means_hold_the_truth_as_often_as_they_say_on_a_drifting_series() {
        // An autoregressive series with coefficient 0.9 and mean 10: an i.i.d.
        // interval would hold the mean in about a third of the cases.
        let mut held = [0, 0];
        for seed in 0..300 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut x = 0.0;
            let mut values = Vec::new();
            for i in 0..4200 {
                x = 0.9 * x + rng.random::<f64>() - 0.5;
                if i >= 200 {
                    values.push(10.0 + x);
                }
            }
            let s = Sample::new(values).unwrap();
            held[0] += usize::from(batch_means(&s, 20, level(0.95)).unwrap().contains(10.0));
            held[1] += usize::from(interval_of_mean(&s, level(0.95)).unwrap().contains(10.0));
        }
        assert!((275..=295).contains(&held[0]), "{held:?}");
        assert!(held[1] < 160, "{held:?}");
    }

    /// Ranks for the median at 95 %: the table of order-statistic intervals in
    /// Conover, *Practical Nonparametric Statistics*, and elsewhere: 2 and 9 of
    /// 10 (97.9 %), 6 and 15 of 20 (95.9 %).
    #[test]
    fn the_interval_of_a_median_has_the_tabulated_ranks() {
        for (n, low, high, held) in [(10, 2, 9, 0.978_5), (20, 6, 15, 0.958_6)] {
            let s = Sample::new((1..=n).map(f64::from).collect()).unwrap();
            let i = quantile_interval(&s, level(0.5), level(0.95)).unwrap();
            assert_eq!((i.low, i.high), (f64::from(low), f64::from(high)));
            assert!((i.level.get() - held).abs() < 1e-3, "{i:?}");
        }
    }

    #[test]
    fn a_small_sample_has_no_interval_for_a_high_percentile() {
        let s = Sample::new((0..100).map(f64::from).collect()).unwrap();
        assert_eq!(quantile_interval(&s, level(0.99), level(0.95)), None);
        assert!(quantile_interval(&s, level(0.9), level(0.95)).is_some());
    }

    /// `SciPy`: `binom.cdf(3, 10, 0.4)` = 0.3822806; no success at all is 0.95^90.
    #[test]
    fn binomial_tails_equal_those_of_scipy() {
        assert!((at_most(3, 10, 0.4) - 0.382_280_6).abs() < 1e-7);
        assert!((at_most(0, 90, 0.05) - 0.95f64.powi(90)).abs() < 1e-12);
        assert_eq!(at_most(10, 10, 0.4).to_bits(), 1f64.to_bits());
    }
}
