//! Small dense linear algebra: symmetric positive definite systems, ridge
//! regression, and least squares without negative coefficients.

/// A square matrix by rows.
#[derive(Debug, Clone)]
pub(super) struct Square {
    size: usize,
    cells: Vec<f64>,
}

impl Square {
    /// A matrix from its cells.
    pub(super) fn from_fn(size: usize, cell: impl Fn(usize, usize) -> f64) -> Self {
        let mut cells = Vec::with_capacity(size * size);
        for row in 0..size {
            for column in 0..size {
                cells.push(cell(row, column));
            }
        }
        Self { size, cells }
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        let start = (row * self.size).min(self.cells.len());
        let end = (start + self.size).min(self.cells.len());
        self.cells.get(start..end).unwrap_or(&[])
    }

    /// The lower triangle of the Cholesky factorisation `L Lᵀ`; none where the
    /// matrix is not positive definite.
    pub(super) fn cholesky(&self) -> Option<Self> {
        let n = self.size;
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let (before, of_i) = lower.split_at(i * n);
                let row_i = of_i.get(..n)?;
                let row_j = if j < i {
                    before.get(j * n..j * n + n)?
                } else {
                    row_i
                };
                let dot: f64 = row_i.iter().zip(row_j).take(j).map(|(a, b)| a * b).sum();
                let rest = self.cells.get(i * n + j)? - dot;
                let value = if i == j {
                    if rest <= 0.0 || !rest.is_finite() {
                        return None;
                    }
                    rest.sqrt()
                } else {
                    rest / row_j.get(j)?
                };
                *lower.get_mut(i * n + j)? = value;
            }
        }
        Some(Self {
            size: n,
            cells: lower,
        })
    }

    /// Solves `L Lᵀ x = b`, this matrix being `L`.
    pub(super) fn solve_factored(&self, right: &[f64]) -> Vec<f64> {
        let mut x = right.to_vec();
        for i in 0..self.size {
            let row = self.row(i);
            let dot: f64 = row.iter().zip(&x).take(i).map(|(l, v)| l * v).sum();
            if let (Some(value), Some(diagonal)) = (x.get_mut(i), row.get(i)) {
                *value = (*value - dot) / diagonal;
            }
        }
        for i in (0..self.size).rev() {
            let row = self.row(i);
            let Some(value) = x.get(i).zip(row.get(i)).map(|(v, d)| v / d) else {
                continue;
            };
            if let Some(slot) = x.get_mut(i) {
                *slot = value;
            }
            for (slot, l) in x.iter_mut().zip(row).take(i) {
                *slot -= l * value;
            }
        }
        x
    }

    /// The inverse; none where the matrix is not positive definite.
    pub(super) fn inverse(&self) -> Option<Self> {
        let factor = self.cholesky()?;
        let mut cells = Vec::with_capacity(self.cells.len());
        for column in 0..self.size {
            let unit: Vec<f64> = (0..self.size)
                .map(|i| f64::from(u8::from(i == column)))
                .collect();
            // Symmetric, so a column stands where a row would.
            cells.extend(factor.solve_factored(&unit));
        }
        Some(Self {
            size: self.size,
            cells,
        })
    }

    /// The cells at these rows and columns.
    pub(super) fn part(&self, at: &[usize]) -> Self {
        Self::from_fn(at.len(), |i, j| {
            let (Some(row), Some(column)) = (at.get(i), at.get(j)) else {
                return 0.0;
            };
            self.row(*row).get(*column).copied().unwrap_or_default()
        })
    }

    /// This matrix times a vector.
    pub(super) fn times(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.size).map(|i| dot(self.row(i), vector)).collect()
    }
}

/// The sum of products.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Normal equations: `XᵀX` and `Xᵀy`.
fn normal(rows: &[Vec<f64>], targets: &[f64]) -> (Square, Vec<f64>) {
    let size = rows.first().map_or(0, Vec::len);
    let mut cells = vec![0.0; size * size];
    let mut right = vec![0.0; size];
    for (row, target) in rows.iter().zip(targets) {
        for ((a, slot), line) in row
            .iter()
            .zip(&mut right)
            .zip(cells.chunks_mut(size.max(1)))
        {
            *slot += a * target;
            for (b, cell) in row.iter().zip(line) {
                *cell += a * b;
            }
        }
    }
    (Square { size, cells }, right)
}

/// Least squares that is drawn towards `prior` with the given strength:
/// minimises `|Xβ − y|² + strength |β − prior|²` (Hoerl and Kennard 1970).
pub(super) fn ridge(rows: &[Vec<f64>], targets: &[f64], prior: &[f64], strength: f64) -> Vec<f64> {
    let away: Vec<f64> = rows
        .iter()
        .zip(targets)
        .map(|(row, y)| y - dot(row, prior))
        .collect();
    let (gram, right) = normal(rows, &away);
    let damped = Square::from_fn(gram.size, |i, j| {
        gram.row(i).get(j).copied().unwrap_or_default() + if i == j { strength } else { 0.0 }
    });
    let Some(factor) = damped.cholesky() else {
        return prior.to_vec();
    };
    factor
        .solve_factored(&right)
        .iter()
        .zip(prior)
        .map(|(change, prior)| prior + change)
        .collect()
}

/// Least squares with all coefficients at least zero, by cyclic coordinate
/// descent on the normal equations (Franc, Hlaváč and Navara 2005).
pub(super) fn non_negative(rows: &[Vec<f64>], targets: &[f64]) -> Vec<f64> {
    const SWEEPS: usize = 2000;
    let (gram, right) = normal(rows, targets);
    let mut solution = vec![0.0; gram.size];
    // Gradient of the quadratic, kept up to date.
    let mut gradient: Vec<f64> = right.iter().map(|r| -r).collect();
    for _ in 0..SWEEPS {
        let mut moved = 0.0_f64;
        for k in 0..gram.size {
            let line = gram.row(k);
            let diagonal = line.get(k).copied().unwrap_or_default();
            if diagonal <= 0.0 {
                continue;
            }
            let (Some(value), Some(slope)) = (solution.get_mut(k), gradient.get(k).copied()) else {
                continue;
            };
            let next = (*value - slope / diagonal).max(0.0);
            let step = next - *value;
            *value = next;
            if step != 0.0 {
                for (g, cell) in gradient.iter_mut().zip(line) {
                    *g += step * cell;
                }
                moved = moved.max(step.abs() * diagonal.sqrt());
            }
        }
        if moved < 1e-9 {
            break;
        }
    }
    solution
}

/// Coefficients, none negative, for which `Xβ` comes nearest to `times` in
/// relative error: least squares on `Xβ / times = 1`, reweighted towards the
/// sum of absolute log errors (Beaton and Tukey 1974), so that a few outliers
/// do not bend the whole.
pub(super) fn relative_non_negative(rows: &[Vec<f64>], times: &[f64]) -> Vec<f64> {
    const ROUNDS: usize = 12;
    /// Errors below this count as equally small.
    const SMALL: f64 = 0.05;
    let scaled: Vec<Vec<f64>> = rows
        .iter()
        .zip(times)
        .map(|(row, time)| row.iter().map(|cell| cell / time).collect())
        .collect();
    let mut weights = vec![1.0; rows.len()];
    let mut solution = Vec::new();
    for _ in 0..ROUNDS {
        let weighted: Vec<Vec<f64>> = scaled
            .iter()
            .zip(&weights)
            .map(|(row, w)| row.iter().map(|cell| cell * w).collect())
            .collect();
        solution = non_negative(&weighted, &weights);
        weights = scaled
            .iter()
            .map(|row| 1.0 / dot(row, &solution).max(1e-9).ln().abs().max(SMALL).sqrt())
            .collect();
    }
    solution
}

/// The value below which that share of the values lies, by linear
/// interpolation between order statistics (Hyndman and Fan 1996, type 7); none
/// without values.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (
        sorted.get(at.floor() as usize)?,
        sorted.get(at.ceil() as usize)?,
    );
    Some(low + (high - low) * at.fract())
}

/// The middle value; zero without values.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(a: &[f64], b: &[f64], within: f64) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < within)
    }

    #[test]
    fn cholesky_of_a_published_matrix() {
        // The example of the Wikipedia article "Cholesky decomposition".
        let cells = [
            [4.0, 12.0, -16.0],
            [12.0, 37.0, -43.0],
            [-16.0, -43.0, 98.0],
        ];
        let matrix = Square::from_fn(3, |i, j| cells[i][j]);
        let lower = matrix.cholesky().unwrap();
        assert!(near(lower.row(1), &[6.0, 1.0, 0.0], 1e-12));
        assert!(near(lower.row(2), &[-8.0, 5.0, 3.0], 1e-12));
        let x = lower.solve_factored(&matrix.times(&[1.0, -2.0, 0.5]));
        assert!(near(&x, &[1.0, -2.0, 0.5], 1e-9));
        assert!(Square::from_fn(2, |_, _| 1.0).cholesky().is_none());
    }

    #[test]
    fn ridge_without_strength_is_least_squares_and_with_much_is_the_prior() {
        // Anscombe's first set (1973): intercept 3.00, slope 0.500.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [
            8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
        ];
        let rows: Vec<Vec<f64>> = x.iter().map(|x| vec![1.0, *x]).collect();
        assert!(near(
            &ridge(&rows, &y, &[0.0, 0.0], 0.0),
            &[3.0001, 0.5001],
            1e-4
        ));
        assert!(near(
            &ridge(&rows, &y, &[1.0, 1.0], 1e12),
            &[1.0, 1.0],
            1e-6
        ));
    }

    #[test]
    fn quantiles_of_type_seven() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.25), Some(1.75));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&[], 0.5), None);
    }

    proptest! {
        /// The conditions of Karush, Kuhn and Tucker hold at the solution.
        #[test]
        fn non_negative_least_squares_is_optimal(
            rows in proptest::collection::vec(proptest::collection::vec(0.1_f64..2.0, 3), 6..12),
            shift in -1.0_f64..1.0,
        ) {
            let targets: Vec<f64> = rows.iter().map(|r| r[0] - 0.5 * r[1] + shift * r[2]).collect();
            let beta = non_negative(&rows, &targets);
            for k in 0..3 {
                let slope: f64 = rows.iter().zip(&targets).map(|(r, y)| r[k] * (dot(r, &beta) - y)).sum();
                prop_assert!(beta[k] >= 0.0);
                prop_assert!(slope > -1e-3, "slope {slope}");
                prop_assert!(beta[k] < 1e-9 || slope.abs() < 1e-3, "slope {slope} at {}", beta[k]);
            }
        }

        #[test]
        fn exact_relative_data_is_recovered(a in 0.1_f64..5.0, b in 0.1_f64..5.0) {
            let rows: Vec<Vec<f64>> = (1..9).map(|i| vec![f64::from(i), 10.0 / f64::from(i)]).collect();
            let times: Vec<f64> = rows.iter().map(|r| a * r[0] + b * r[1]).collect();
            let beta = relative_non_negative(&rows, &times);
            prop_assert!(near(&beta, &[a, b], 1e-4), "{beta:?}");
        }
    }
}
