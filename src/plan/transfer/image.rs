//! Image models at large batches: how fast a model that was never measured runs
//! on a device that is known, and how a measured one carries over.
//!
//! Learnt from timm's tables: a thousand architectures, each on a few devices
//! and software stacks. Device and stack are keys; nothing is averaged over them.

use super::{
    bench::ImageRow,
    linear::{dot, relative_non_negative, ridge},
    neighbours::{Neighbours, Point},
    tables::Path,
};
use crate::profile::hardware_book::HardwareBook;

/// The kinds of image model that timm's rows name, in the order of the columns below.
const KINDS: [&str; 5] = ["conv", "dwconv", "hybrid", "vit", "mlp"];

/// The last of the kinds above whose arithmetic is mostly convolutions.
const CONVOLUTIONAL: usize = 1;

/// Units that bring the columns of the design to about one.
const FLOPS: f64 = 1e13;
const BYTES: f64 = 1e11;

/// Bytes of one element as counted here; a constant factor, absorbed by the fit.
const ELEMENT: f64 = 4.0;

/// A predicted log time per image, and how hard the case looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Predicted {
    pub log_time: f64,
    pub difficulty: f64,
}

/// Index of a kind; the first for one that is unknown.
fn kind(row: &ImageRow) -> usize {
    KINDS
        .iter()
        .position(|kind| *kind == row.kind)
        .unwrap_or_default()
}

/// Time on one device with one stack: per kind of model so much per FLOP and
/// per byte, the weights once per batch, and a constant; then what the nearest
/// measured models say.
#[derive(Debug, Clone)]
pub(super) struct ImageForm {
    coefficients: Vec<f64>,
    neighbours: Neighbours,
}

impl ImageForm {
    /// Fits to the rows of one device and stack.
    pub(super) fn fit(rows: &[&ImageRow]) -> Self {
        let design: Vec<Vec<f64>> = rows.iter().map(|row| terms(row)).collect();
        let times: Vec<f64> = rows.iter().map(|row| row.seconds).collect();
        let coefficients = relative_non_negative(&design, &times);
        let points = rows.iter().zip(&design).map(|(row, terms)| Point {
            at: place(row),
            kind: kind(row),
            residual: row.seconds.ln() - log(dot(terms, &coefficients)),
        });
        let neighbours = Neighbours::new(points.collect());
        Self {
            coefficients,
            neighbours,
        }
    }

    /// Predicts a model that was not among the rows.
    pub(super) fn predict(&self, row: &ImageRow) -> Predicted {
        /// What remains where all neighbours agree.
        const FLOOR: f64 = 0.12;
        let correction = self.neighbours.correction(&place(row), kind(row));
        Predicted {
            log_time: log(dot(&terms(row), &self.coefficients)) + correction.log_time,
            difficulty: FLOOR.hypot(correction.spread),
        }
    }
}

fn log(value: f64) -> f64 {
    value.max(1e-12).ln()
}

fn terms(row: &ImageRow) -> Vec<f64> {
    let mut terms = vec![0.0; KINDS.len() * 2];
    let at = kind(row) * 2;
    if let Some(slot) = terms.get_mut(at) {
        *slot = row.flops / FLOPS;
    }
    if let Some(slot) = terms.get_mut(at + 1) {
        *slot = row.activations * ELEMENT / BYTES;
    }
    terms.push(row.parameters * ELEMENT / row.batch / BYTES);
    terms.push(1e-5);
    terms
}

/// Where a model stands among others.
fn place(row: &ImageRow) -> Vec<f64> {
    vec![
        row.flops.ln(),
        row.activations.ln(),
        row.parameters.ln(),
        (row.flops / row.activations).ln(),
        f64::from(row.side).ln() / 2.0,
    ]
}

/// How convolutions spend their time on GPUs, as multiples of what the peak
/// arithmetic and the peak bandwidth would take: fitted to timm's eager rows,
/// whose thousand architectures tell the two apart.
pub(super) fn convolution_balance(rows: &[ImageRow], hardware: &HardwareBook) -> (f64, f64) {
    let (mut design, mut times) = (Vec::new(), Vec::new());
    for row in rows
        .iter()
        .filter(|row| row.stack.ends_with("eager") && kind(row) <= CONVOLUTIONAL)
    {
        let Some(gpu) = hardware.gpu(&row.device) else {
            continue;
        };
        // Half precision: each activation is written once and read once.
        let bytes = row.activations * 4.0;
        design.push(vec![
            row.flops / Path::Half.peak(gpu),
            bytes / gpu.bandwidth.get().max(1.0),
        ]);
        times.push(row.seconds);
    }
    let found = relative_non_negative(&design, &times);
    let at = |k: usize| found.get(k).copied().unwrap_or_default();
    (at(0), at(1))
}

/// A model measured on two devices with the same stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twice<'r> {
    pub here: &'r ImageRow,
    pub there: &'r ImageRow,
}

impl Twice<'_> {
    /// Log of the time there over the time here.
    pub(super) fn log_ratio(&self) -> f64 {
        (self.there.seconds / self.here.seconds).ln()
    }
}

/// From a time measured here to a time there: the ratio is linear in the
/// model's features and in the efficiency that it reached here, then the
/// nearest measured models.
#[derive(Debug, Clone)]
pub(super) struct Carry {
    coefficients: Vec<f64>,
    ranges: Vec<(f64, f64)>,
    neighbours: Neighbours,
}

impl Carry {
    /// Fits to models that were measured on both devices.
    pub(super) fn fit(pairs: &[Twice<'_>]) -> Self {
        let places: Vec<Vec<f64>> = pairs.iter().map(|pair| place_here(pair.here)).collect();
        let ranges = (0..places.first().map_or(0, Vec::len))
            .map(|k| {
                let column = places.iter().filter_map(|place| place.get(k));
                column.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                    (low.min(*v), high.max(*v))
                })
            })
            .collect();
        let design: Vec<Vec<f64>> = pairs
            .iter()
            .zip(&places)
            .map(|(pair, place)| columns(pair.here, place))
            .collect();
        let ratios: Vec<f64> = pairs.iter().map(Twice::log_ratio).collect();
        let prior = vec![0.0; design.first().map_or(0, Vec::len)];
        let coefficients = ridge(&design, &ratios, &prior, 1e-3);
        let points = places
            .into_iter()
            .zip(&design)
            .zip(pairs)
            .map(|((at, terms), pair)| Point {
                residual: pair.log_ratio() - dot(terms, &coefficients),
                kind: kind(pair.here),
                at,
            });
        let neighbours = Neighbours::new(points.collect());
        Self {
            coefficients,
            ranges,
            neighbours,
        }
    }

    /// Predicts the time there of a model that was measured here alone.
    pub(super) fn predict(&self, here: &ImageRow) -> Predicted {
        /// What remains where all neighbours agree.
        const FLOOR: f64 = 0.03;
        let place = place_here(here);
        // No straight line is followed beyond the models that it was fitted to.
        let inside: Vec<f64> = place
            .iter()
            .zip(&self.ranges)
            .map(|(v, (low, high))| v.max(*low).min(*high))
            .collect();
        let correction = self.neighbours.correction(&place, kind(here));
        Predicted {
            log_time: here.seconds.ln()
                + dot(&columns(here, &inside), &self.coefficients)
                + correction.log_time,
            difficulty: FLOOR.hypot(correction.spread),
        }
    }
}

fn place_here(row: &ImageRow) -> Vec<f64> {
    vec![
        row.flops.ln(),
        row.activations.ln(),
        row.parameters.ln(),
        2.0 * (row.flops / row.activations).ln(),
        2.0 * (row.seconds / row.flops).ln(),
    ]
}

fn columns(row: &ImageRow, place: &[f64]) -> Vec<f64> {
    let at = kind(row);
    let kinds = (0..KINDS.len()).map(|k| f64::from(u8::from(k == at)));
    kinds.chain(place.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(i: u32, seconds: impl Fn(f64, f64) -> f64) -> ImageRow {
        let (flops, activations) = (1e9 * f64::from(i % 7 + 1), 1e6 * f64::from(i % 5 + 3));
        ImageRow {
            architecture: format!("m{i}"),
            kind: "conv".into(),
            flops,
            activations,
            parameters: 1e7,
            side: 224,
            device: "a".into(),
            stack: "s".into(),
            batch: 128.0,
            seconds: seconds(flops, activations),
        }
    }

    #[test]
    fn a_formula_that_holds_is_found_and_carries_to_an_unseen_model() {
        let rows: Vec<ImageRow> = (0..35)
            .map(|i| row(i, |f, a| f / 2e13 + a * 4.0 / 1e11))
            .collect();
        let form = ImageForm::fit(&rows.iter().take(30).collect::<Vec<_>>());
        for unseen in rows.iter().skip(30) {
            let error = form.predict(unseen).log_time - unseen.seconds.ln();
            assert!(error.abs() < 0.02, "{error}");
        }
    }

    #[test]
    fn a_constant_ratio_carries_over() {
        let here: Vec<ImageRow> = (0..35)
            .map(|i| row(i, |f, a| f / 2e13 + a / 1e11))
            .collect();
        let there: Vec<ImageRow> = (0..35)
            .map(|i| row(i, |f, a| 0.4 * (f / 2e13 + a / 1e11)))
            .collect();
        let pairs: Vec<Twice> = here
            .iter()
            .zip(&there)
            .map(|(here, there)| Twice { here, there })
            .collect();
        let carry = Carry::fit(&pairs);
        let error = carry.predict(&here[3]).log_time - there[3].seconds.ln();
        assert!(error.abs() < 0.01, "{error}");
    }
}
