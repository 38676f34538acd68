use super::Sample;

/// A straight line y = intercept + slope × x through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The value at x = 0.
    pub intercept: f64,
    /// The rise per unit of x.
    pub slope: f64,
}

impl Line {
    /// The value of the line at `x`.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    /// The share of the variance of y that the line explains (the coefficient
    /// of determination, 1 − residual over total sum of squares); none when y
    /// does not vary.
    #[must_use]
    pub fn r_squared(&self, points: &[(f64, f64)]) -> Option<f64> {
        let mean = points.iter().map(|p| p.1).sum::<f64>() / points.len() as f64;
        let total: f64 = points.iter().map(|p| (p.1 - mean).powi(2)).sum();
        let residual: f64 = points.iter().map(|p| (p.1 - self.at(p.0)).powi(2)).sum();
        (total > 0.0).then(|| 1.0 - residual / total)
    }
}

/// The line with the smallest sum of squared vertical distances, each weighted
/// by the square of `weight(point)` (return 1 for the ordinary line, 1/y for
/// the smallest relative errors).
///
/// None for fewer than two different x or a value that is not finite.
#[must_use]
pub fn least_squares(points: &[(f64, f64)], weight: impl Fn((f64, f64)) -> f64) -> Option<Line> {
    let weights: Vec<f64> = points.iter().map(|&p| weight(p).powi(2)).collect();
    let total: f64 = weights.iter().sum();
    let weighted = |f: &dyn Fn((f64, f64)) -> f64| -> f64 {
        points.iter().zip(&weights).map(|(&p, w)| w * f(p)).sum()
    };
    let mean_x = weighted(&|p| p.0) / total;
    let mean_y = weighted(&|p| p.1) / total;
    let spread = weighted(&|p| (p.0 - mean_x).powi(2));
    let slope = weighted(&|p| (p.0 - mean_x) * (p.1 - mean_y)) / spread;
    let line = Line {
        intercept: mean_y - slope * mean_x,
        slope,
    };
    (spread > 0.0 && line.slope.is_finite() && line.intercept.is_finite()).then_some(line)
}

/// The line with the median of all pairwise slopes, and the median of
/// y − slope × x as its intercept (Theil 1950, Sen 1968): up to 29 % of the
/// points may be anywhere without moving it far.
///
/// None for fewer than two different x or a value that is not finite. Takes
/// time and memory quadratic in the number of points.
#[must_use]
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Line> {
    let mut slopes = Vec::new();
    for (i, a) in points.iter().enumerate() {
        for b in points.iter().skip(i + 1) {
            let run = b.0 - a.0;
            if run.abs() > 0.0 {
                slopes.push((b.1 - a.1) / run);
            }
        }
    }
    let slope = Sample::new(slopes).ok()?.median();
    let offsets = points.iter().map(|p| p.1 - slope * p.0).collect();
    Some(Line {
        intercept: Sample::new(offsets).ok()?.median(),
        slope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of the four data sets in Anscombe, *Graphs in Statistical
    /// Analysis* (1973); R gives 3.0000909 + 0.5000909 x, R² = 0.6665425.
    const ANSCOMBE: [(f64, f64); 11] = [
        (10.0, 8.04),
        (8.0, 6.95),
        (13.0, 7.58),
        (9.0, 8.81),
        (11.0, 8.33),
        (14.0, 9.96),
        (6.0, 7.24),
        (4.0, 4.26),
        (12.0, 10.84),
        (7.0, 4.82),
        (5.0, 5.68),
    ];

    #[test]
    fn least_squares_equals_r_on_anscombes_data() {
        let line = least_squares(&ANSCOMBE, |_| 1.0).unwrap();
        assert!((line.intercept - 3.000_090_9).abs() < 1e-7);
        assert!((line.slope - 0.500_090_9).abs() < 1e-7);
        assert!((line.r_squared(&ANSCOMBE).unwrap() - 0.666_542_5).abs() < 1e-7);
    }

    #[test]
    fn theil_sen_shrugs_off_an_outlier() {
        let mut points: Vec<(f64, f64)> = (0..10)
            .map(|i| (f64::from(i), 2.0 + 3.0 * f64::from(i)))
            .collect();
        points[7].1 = 1000.0;
        let line = theil_sen(&points).unwrap();
        assert!((line.slope - 3.0).abs() < 1e-12);
        assert!((line.intercept - 2.0).abs() < 1e-12);
        let ordinary = least_squares(&points, |_| 1.0).unwrap();
        assert!((ordinary.slope - 3.0).abs() > 10.0);
    }

    #[test]
    fn relative_weights_favour_the_small_values() {
        let points = [(1.0, 1.0), (2.0, 2.0), (100.0, 50.0)];
        let plain = least_squares(&points, |_| 1.0).unwrap();
        let relative = least_squares(&points, |p| 1.0 / p.1).unwrap();
        assert!((relative.at(1.0) - 1.0).abs() < (plain.at(1.0) - 1.0).abs());
    }

    #[test]
    fn a_line_needs_two_different_places() {
        assert_eq!(least_squares(&[(1.0, 2.0), (1.0, 3.0)], |_| 1.0), None);
        assert_eq!(least_squares(&[], |_| 1.0), None);
        assert_eq!(theil_sen(&[(1.0, 2.0)]), None);
        assert_eq!(theil_sen(&[(1.0, f64::NAN), (2.0, 1.0)]), None);
    }
}
