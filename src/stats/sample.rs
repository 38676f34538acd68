use crate::units::Fraction;

/// Numbers in the order in which they were taken: at least one, all finite.
///
/// Enforced once, here, so that no statistic has to ask again.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    values: Vec<f64>,
    sorted: Vec<f64>,
}

/// Why numbers are not a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// There are none.
    #[error("a sample needs at least one value")]
    Empty,
    /// One of them is NaN or infinite.
    #[error("value {position} of the sample is not a finite number")]
    NotFinite {
        /// Which one, counted from 1.
        position: usize,
    },
}

impl Sample {
    /// Takes the values in the order in which they were measured.
    ///
    /// # Errors
    /// Refuses an empty list and a NaN or infinite value.
    pub fn new(values: Vec<f64>) -> Result<Self, SampleError> {
        if values.is_empty() {
            return Err(SampleError::Empty);
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(SampleError::NotFinite { position: at + 1 });
        }
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Self { values, sorted })
    }

    /// The values in the order in which they were taken.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values from the smallest to the largest.
    #[must_use]
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// How many values there are, at least 1.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a sample is never empty, the constructor sees to it"
    )]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sorted.first().copied().unwrap_or_default()
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sorted.last().copied().unwrap_or_default()
    }

    /// The arithmetic mean, by Welford's running update, which does not lose
    /// digits when the values are large and close together.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.moments().0
    }

    /// The sample variance (divisor n − 1); none for a single value.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        let n = self.values.len();
        (n > 1).then(|| self.moments().1 / (n as f64 - 1.0))
    }

    /// The sample standard deviation (divisor n − 1); none for a single value.
    #[must_use]
    pub fn standard_deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The standard deviation over the mean; none for a single value or a mean
    /// that is not positive.
    #[must_use]
    pub fn coefficient_of_variation(&self) -> Option<f64> {
        let mean = self.mean();
        let deviation = self.standard_deviation()?;
        (mean > 0.0).then(|| deviation / mean)
    }

    /// The smallest value x of the sample such that at least the share `p` of
    /// the values is at most x (Hyndman and Fan's type 1, an order statistic).
    ///
    /// This is what a latency percentile means here: "p95 ≤ 120 ms" is then the
    /// same as "95 % of the requests took at most 120 ms", and no percentile
    /// lies between two latencies that nobody saw.
    #[must_use]
    pub fn quantile(&self, p: Fraction) -> f64 {
        let rank = rank_of(p.get(), self.sorted.len());
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// The quantile interpolated between neighbouring values (Hyndman and Fan's
    /// type 7, the default of R and `NumPy`): for smooth quantities such as a
    /// median of medians, not for latency percentiles.
    #[must_use]
    pub fn interpolated_quantile(&self, p: Fraction) -> f64 {
        let last = self.sorted.len() - 1;
        let position = p.get() * last as f64;
        let below = position.floor();
        let low = self.sorted.get(below as usize).copied().unwrap_or_default();
        let high = self
            .sorted
            .get((below as usize + 1).min(last))
            .copied()
            .unwrap_or_default();
        low + (position - below) * (high - low)
    }

    /// The middle of the sorted values (the mean of the middle two of an even number).
    #[must_use]
    pub fn median(&self) -> f64 {
        self.interpolated_quantile(Fraction::saturating(0.5))
    }

    /// Mean and sum of squared deviations.
    fn moments(&self) -> (f64, f64) {
        let mut mean = 0.0;
        let mut squares = 0.0;
        for (i, v) in self.values.iter().enumerate() {
            let step = v - mean;
            mean += step / (i as f64 + 1.0);
            squares += step * (v - mean);
        }
        (mean, squares)
    }
}

/// The rank, from 1, of the order statistic that is the quantile `p` of `n` values.
///
/// `p × n` is rounded up, except when it is a whole number but for the rounding
/// of floats (0.55 × 100 is 55.000000000000007).
pub(crate) fn rank_of(p: f64, n: usize) -> usize {
    let exact = p * n as f64;
    let rank = (exact - 1e-9 * exact.max(1.0)).ceil();
    (rank as usize).clamp(1, n.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec()).unwrap()
    }

    fn p(value: f64) -> Fraction {
        Fraction::new(value).unwrap()
    }

    /// `NumAcc1` to `NumAcc4` of the NIST Statistical Reference Datasets: the
    /// certified mean and standard deviation are exact by construction.
    #[test]
    fn mean_and_deviation_reach_the_certified_values_of_nist() {
        let one = sample(&[10_000_001.0, 10_000_003.0, 10_000_002.0]);
        assert!((one.mean() - 10_000_002.0).abs() < 1e-8);
        assert!((one.standard_deviation().unwrap() - 1.0).abs() < 1e-12);
        for (base, digits) in [(1.2, 1e-13), (1_000_000.2, 1e-8), (10_000_000.2, 1e-7)] {
            let mut values = vec![base];
            for _ in 0..500 {
                values.extend([base - 0.1, base + 0.1]);
            }
            let s = sample(&values);
            assert!((s.mean() - base).abs() < digits);
            assert!((s.standard_deviation().unwrap() - 0.1).abs() < digits);
        }
    }

    /// `NumPy` 2.4, `quantile` with `inverted_cdf` and with `linear`: types 1 and 7 of R.
    #[test]
    fn quantiles_equal_those_of_numpy() {
        let primes = sample(&[29.0, 2.0, 23.0, 3.0, 19.0, 5.0, 17.0, 7.0, 13.0, 11.0]);
        for (share, one, seven) in [
            (0.0, 2.0, 2.0),
            (0.1, 2.0, 2.9),
            (0.25, 5.0, 5.5),
            (0.5, 11.0, 12.0),
            (0.9, 23.0, 23.6),
            (0.95, 29.0, 26.3),
            (1.0, 29.0, 29.0),
        ] {
            assert!((primes.quantile(p(share)) - one).abs() < 1e-12, "{share}");
            let got = primes.interpolated_quantile(p(share));
            assert!((got - seven).abs() < 1e-9, "{share}: {got}");
        }
    }

    #[test]
    fn the_rank_forgives_the_rounding_of_floats() {
        assert_eq!(rank_of(0.55, 100), 55);
        assert_eq!(rank_of(0.95, 100), 95);
        assert_eq!(rank_of(0.951, 100), 96);
        assert_eq!(rank_of(0.0, 5), 1);
        assert_eq!(rank_of(1.0, 5), 5);
    }

    #[test]
    fn what_is_not_a_sample_is_refused() {
        assert_eq!(Sample::new(vec![]), Err(SampleError::Empty));
        assert_eq!(
            Sample::new(vec![1.0, f64::NAN]),
            Err(SampleError::NotFinite { position: 2 })
        );
        assert!(Sample::new(vec![f64::INFINITY]).is_err());
        assert_eq!(sample(&[3.0]).variance(), None);
    }

    proptest! {
        #[test]
        fn a_quantile_has_its_share_of_values_at_or_below_it(
            values in prop::collection::vec(-1e6..1e6f64, 1..200),
            share in 0.01..0.999f64,
        ) {
            let s = Sample::new(values).unwrap();
            let q = s.quantile(p(share));
            let below = s.values().iter().filter(|v| **v <= q).count() as f64;
            let under = s.values().iter().filter(|v| **v < q).count() as f64;
            let n = s.len() as f64;
            prop_assert!(below / n >= share - 1e-9);
            prop_assert!(under / n < share);
        }
    }
}
