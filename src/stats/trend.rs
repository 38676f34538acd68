use super::{Sample, theil_sen};
use crate::units::Fraction;
use statrs::distribution::{ContinuousCDF, Normal};

/// Whether a series goes up or down over time, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Kendall's S: pairs that rise minus pairs that fall.
    pub score: i64,
    /// The probability of a score at least this far from zero in a series
    /// without trend (normal approximation with continuity correction).
    pub p_value: Fraction,
    /// The Theil–Sen slope, per position in the series.
    pub slope: f64,
}

/// The share of a value's deviation that is found again in the next value: the
/// lag-1 autocorrelation Σ(xᵢ−m)(xᵢ₊₁−m) / Σ(xᵢ−m)², as NIST defines it.
///
/// None for a series that does not vary.
#[must_use]
pub fn autocorrelation_lag1(sample: &Sample) -> Option<f64> {
    let mean = sample.mean();
    let total: f64 = sample.values().iter().map(|v| (v - mean).powi(2)).sum();
    let shared: f64 = sample
        .values()
        .windows(2)
        .map(|w| w.iter().map(|v| v - mean).product::<f64>())
        .sum();
    (total > 0.0).then(|| shared / total)
}

/// The Mann–Kendall test for a trend (Mann 1945; Kendall 1975; the variance
/// with the correction for ties, as in Gilbert, *Statistical Methods for
/// Environmental Pollution Monitoring*, 1987, section 16.4).
///
/// None for fewer than three values. Takes time quadratic in their number.
#[must_use]
pub fn mann_kendall(sample: &Sample) -> Option<Trend> {
    let values = sample.values();
    if values.len() < 3 {
        return None;
    }
    let mut score = 0_i64;
    for (i, a) in values.iter().enumerate() {
        for b in values.iter().skip(i + 1) {
            score += i64::from(b > a) - i64::from(b < a);
        }
    }
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let ties: f64 = sample
        .sorted()
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|group| spread(group.len() as f64))
        .sum();
    let variance = (spread(values.len() as f64) - ties) / 18.0;
    let p_value = if variance > 0.0 && score != 0 {
        let z = (score.unsigned_abs() as f64 - 1.0) / variance.sqrt();
        2.0 * Normal::standard().cdf(-z)
    } else {
        1.0
    };
    let places: Vec<(f64, f64)> = values
        .iter()
        .enumerate()
        .map(|(i, v)| (i as f64, *v))
        .collect();
    Some(Trend {
        score,
        p_value: Fraction::saturating(p_value),
        slope: theil_sen(&places)?.slope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec()).unwrap()
    }

    /// `NumAcc1` and `NumAcc2` of the NIST Statistical Reference Datasets:
    /// certified lag-1 autocorrelations −0.5 and −0.999.
    #[test]
    fn autocorrelation_reaches_the_certified_values_of_nist() {
        let one = sample(&[10_000_001.0, 10_000_003.0, 10_000_002.0]);
        assert!((autocorrelation_lag1(&one).unwrap() + 0.5).abs() < 1e-9);
        let mut values = vec![1.2];
        for _ in 0..500 {
            values.extend([1.1, 1.3]);
        }
        assert!((autocorrelation_lag1(&sample(&values)).unwrap() + 0.999).abs() < 1e-9);
        assert_eq!(autocorrelation_lag1(&sample(&[1.0, 1.0])), None);
    }

    /// With all pairs rising, S = n(n−1)/2 and the variance n(n−1)(2n+5)/18:
    /// for n = 10, S = 45 and z = 44/√125 = 3.9354796; twice the normal tail is
    /// 8.3031e-5.
    #[test]
    fn a_rising_series_has_the_tabulated_score() {
        let values: Vec<f64> = (0..10).map(|i| 5.0 + 0.25 * f64::from(i)).collect();
        let trend = mann_kendall(&sample(&values)).unwrap();
        assert_eq!(trend.score, 45);
        assert!((trend.p_value.get() - 8.303_1e-5).abs() < 1e-8, "{trend:?}");
        assert!((trend.slope - 0.25).abs() < 1e-12);
    }

    #[test]
    fn ties_and_flat_series_are_no_trend() {
        let trend = mann_kendall(&sample(&[1.0, 1.0, 1.0, 1.0])).unwrap();
        assert_eq!(trend.score, 0);
        assert!((trend.p_value.get() - 1.0).abs() < 1e-12);
        assert_eq!(mann_kendall(&sample(&[1.0, 2.0])), None);
    }
}
