//! The nearest measured models: what a formula got wrong on models like this
//! one, it will get wrong again.

/// What a formula was off by on measured models.
#[derive(Debug, Clone, Default)]
pub(super) struct Neighbours {
    points: Vec<Point>,
}

/// A measured model.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// Logarithms of its features.
    pub at: Vec<f64>,
    /// Its kind; another kind counts as farther away.
    pub kind: usize,
    /// Measured less predicted log time.
    pub residual: f64,
}

/// A correction from the neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Correction {
    /// To be added to the predicted log time.
    pub log_time: f64,
    /// How far the neighbours disagree: standard deviation of their residuals.
    pub spread: f64,
}

/// Neighbours that are asked.
const COUNT: usize = 9;

/// Distance that another kind of model adds, in units of log features.
const OTHER_KIND: f64 = 1.5;

/// Distance that is added to all, so that a twin does not decide alone.
const SOFTENING: f64 = 0.1;

/// Weight of "no correction": about that of three neighbours at distance 0.9.
const SCEPTICISM: f64 = 3.0;

impl Neighbours {
    pub(super) fn new(points: Vec<Point>) -> Self {
        Self { points }
    }

    /// The weighted mean of the nearest residuals, drawn towards zero.
    pub(super) fn correction(&self, at: &[f64], kind: usize) -> Correction {
        let mut nearest: Vec<(f64, f64)> = Vec::with_capacity(COUNT + 1);
        for point in &self.points {
            let apart: f64 = point.at.iter().zip(at).map(|(a, b)| (a - b).abs()).sum();
            let distance = apart + if point.kind == kind { 0.0 } else { OTHER_KIND };
            if nearest.len() == COUNT && nearest.last().is_some_and(|(far, _)| *far <= distance) {
                continue;
            }
            let slot = nearest.partition_point(|(near, _)| *near <= distance);
            nearest.insert(slot, (distance, point.residual));
            nearest.truncate(COUNT);
        }
        let weight = |distance: f64| 1.0 / (SOFTENING + distance);
        let total: f64 = nearest.iter().map(|(distance, _)| weight(*distance)).sum();
        if total <= 0.0 {
            return Correction {
                log_time: 0.0,
                spread: 0.0,
            };
        }
        let sum: f64 = nearest
            .iter()
            .map(|(distance, residual)| weight(*distance) * residual)
            .sum();
        let mean = sum / total;
        let variance: f64 = nearest
            .iter()
            .map(|(distance, residual)| weight(*distance) * (residual - mean).powi(2))
            .sum::<f64>()
            / total;
        Correction {
            log_time: sum / (total + SCEPTICISM),
            spread: variance.max(0.0).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, kind: usize, residual: f64) -> Point {
        Point {
            at: vec![at],
            kind,
            residual,
        }
    }

    #[test]
    fn near_ones_of_the_same_kind_decide() {
        let mut points: Vec<Point> = (0..20)
            .map(|i| point(0.01 * f64::from(i), 0, 0.2))
            .collect();
        points.extend((0..20).map(|i| point(0.01 * f64::from(i), 1, -0.2)));
        let found = Neighbours::new(points).correction(&[0.1], 0);
        assert!((0.17..0.2).contains(&found.log_time), "{found:?}");
        assert!(found.spread < 1e-9);
    }

    #[test]
    fn far_ones_hardly_count_and_none_count_nothing() {
        let far = Neighbours::new(vec![point(50.0, 0, 1.0)]).correction(&[0.0], 0);
        assert!(far.log_time < 0.01);
        assert!(Neighbours::default().correction(&[0.0], 0).log_time.abs() < 1e-12);
    }
}
