//! Filling in a table of networks by devices: a Gaussian process over the
//! measured cells (Rasmussen and Williams 2006, chapter 2), whose covariance
//! says which devices and which networks are alike.
//!
//! Small tables of log times, as `MLPerf` and `OpenVINO` publish them. The
//! covariance is a sum: a level per network; a straight dependence on the
//! datasheet figures; a smooth effect of the device, alike for devices of like
//! figures; the same by kind of network; and noise.

use super::linear::Square;

/// A measured cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// Index of the network.
    pub network: usize,
    /// Kind of network; what is alike within a kind is learnt together.
    pub kind: usize,
    /// Index of the device.
    pub device: usize,
    /// Edition of the benchmark: workloads change between editions.
    pub edition: usize,
    /// Logarithms of the device's figures, each scaled to a spread of about one.
    pub figures: Vec<f64>,
    /// Devices of one design are more alike than their figures say.
    pub design: usize,
    /// Logarithm of the time.
    pub log_time: f64,
}

/// How large the parts of the covariance are: standard deviations of log time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Covariance {
    /// Of the level of a network between editions.
    pub edition: f64,
    /// Per unit of a datasheet figure, common to all networks.
    pub figures: f64,
    /// Per unit of a datasheet figure, for one network.
    pub figures_by_network: f64,
    /// Of a device, common to all networks; smooth over the figures.
    pub device: f64,
    /// Of this very device, common to all networks.
    pub own: f64,
    /// Of a device for one kind of network.
    pub device_by_kind: f64,
    /// Of a device for one network.
    pub device_by_network: f64,
    /// Distance of figures over which devices stay alike.
    pub reach: f64,
    /// Likeness of devices of different designs with the same figures.
    pub other_design: f64,
    /// Of a repeated measurement.
    pub noise: f64,
}

/// Standard deviation of the level of a network: anything is possible.
const LEVEL: f64 = 3.0;

/// What the rest of the table says about a hidden cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hidden {
    /// Predicted less measured log time.
    pub error: f64,
    /// Standard deviation that the process gives the prediction.
    pub spread: f64,
}

/// A table with the inverse of its covariance, ready to hide cells.
pub(super) struct Grid<'c> {
    cells: &'c [Cell],
    precision: Square,
    weighted: Vec<f64>,
}

impl<'c> Grid<'c> {
    /// Prepares a table; none where the covariance is degenerate.
    pub(super) fn new(cells: &'c [Cell], covariance: &Covariance) -> Option<Self> {
        let matrix = Square::from_fn(cells.len(), |i, j| match (cells.get(i), cells.get(j)) {
            (Some(a), Some(b)) => {
                covariance.between(a, b)
                    + if i == j {
                        covariance.noise.powi(2)
                    } else {
                        0.0
                    }
            }
            _ => 0.0,
        });
        let precision = matrix.inverse()?;
        let values: Vec<f64> = cells.iter().map(|cell| cell.log_time).collect();
        let weighted = precision.times(&values);
        Some(Self {
            cells,
            precision,
            weighted,
        })
    }

    /// Predicts cells from all others: with `Q` the inverse covariance, the
    /// errors of the hidden cells are `−(Q_hh)⁻¹ (Q y)_h` and their covariance
    /// `(Q_hh)⁻¹` (Dubrule 1983), without another factorisation per split.
    pub(super) fn hide(&self, hidden: &[usize]) -> Option<Vec<Hidden>> {
        let block = self.precision.part(hidden).inverse()?;
        let right: Vec<f64> = hidden
            .iter()
            .map(|h| self.weighted.get(*h).copied().unwrap_or_default())
            .collect();
        let away = block.times(&right);
        Some(
            away.iter()
                .enumerate()
                .map(|(i, away)| Hidden {
                    error: -away,
                    spread: block
                        .row(i)
                        .get(i)
                        .copied()
                        .unwrap_or_default()
                        .max(0.0)
                        .sqrt(),
                })
                .collect(),
        )
    }

    /// The cells that fulfil a condition.
    pub(super) fn which(&self, condition: impl Fn(&Cell) -> bool) -> Vec<usize> {
        (0..self.cells.len())
            .filter(|i| self.cells.get(*i).is_some_and(&condition))
            .collect()
    }
}

impl Covariance {
    fn between(&self, a: &Cell, b: &Cell) -> f64 {
        let same_network = f64::from(u8::from(a.network == b.network));
        let same_kind = f64::from(u8::from(a.kind == b.kind));
        let same_edition = f64::from(u8::from(a.edition == b.edition));
        let product = super::linear::dot(&a.figures, &b.figures);
        let distance: f64 = a
            .figures
            .iter()
            .zip(&b.figures)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let design = if a.design == b.design {
            1.0
        } else {
            self.other_design
        };
        let alike = (-distance / (2.0 * self.reach.powi(2))).exp() * design;
        let own = f64::from(u8::from(a.device == b.device));
        same_network * (LEVEL.powi(2) + self.edition.powi(2) * same_edition)
            + product * (self.figures.powi(2) + self.figures_by_network.powi(2) * same_network)
            + self.own.powi(2) * own
            + alike
                * (self.device.powi(2)
                    + self.device_by_kind.powi(2) * same_kind
                    + self.device_by_network.powi(2) * same_network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covariance() -> Covariance {
        Covariance {
            edition: 0.5,
            figures: 1.0,
            figures_by_network: 0.05,
            device: 0.3,
            own: 0.1,
            device_by_kind: 0.1,
            device_by_network: 0.1,
            reach: 1.0,
            other_design: 0.3,
            noise: 0.05,
        }
    }

    fn table() -> Vec<Cell> {
        let mut cells = Vec::new();
        for network in 0..3 {
            for device in 0..4 {
                cells.push(Cell {
                    network,
                    kind: network % 2,
                    device,
                    edition: 0,
                    figures: vec![device as f64 / 2.0],
                    design: device % 2,
                    log_time: network as f64 - device as f64 * 0.5,
                });
            }
        }
        cells
    }

    #[test]
    fn hiding_by_the_inverse_is_the_same_as_predicting_from_the_rest() {
        let cells = table();
        let hidden = Grid::new(&cells, &covariance())
            .unwrap()
            .hide(&[0, 5])
            .unwrap();
        let rest: Vec<Cell> = cells
            .iter()
            .enumerate()
            .filter(|(i, _)| ![0, 5].contains(i))
            .map(|(_, c)| c.clone())
            .collect();
        let c = covariance();
        let matrix = Square::from_fn(rest.len(), |i, j| {
            c.between(&rest[i], &rest[j]) + if i == j { c.noise.powi(2) } else { 0.0 }
        });
        let values: Vec<f64> = rest.iter().map(|cell| cell.log_time).collect();
        let weights = matrix.cholesky().unwrap().solve_factored(&values);
        for (found, at) in hidden.iter().zip([0, 5]) {
            let predicted: f64 = rest
                .iter()
                .zip(&weights)
                .map(|(r, w)| c.between(&cells[at], r) * w)
                .sum();
            assert!((found.error - (predicted - cells[at].log_time)).abs() < 1e-8);
        }
    }

    #[test]
    fn a_table_that_follows_the_figures_is_filled_in() {
        let cells = table();
        let grid = Grid::new(&cells, &covariance()).unwrap();
        for hidden in grid
            .hide(&grid.which(|c| c.network == 1 && c.device == 2))
            .unwrap()
        {
            assert!(
                hidden.error.abs() < 0.05 && hidden.spread > 0.05,
                "{hidden:?}"
            );
        }
    }
}
