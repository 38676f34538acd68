//! Normalisation, by the operators that models write it with.

use super::super::architecture::Norm;
use super::super::tape::{Dtype, Parameter, Tape, Tensor};
use super::layers::Layers;

/// A normalisation with its weights.
#[derive(Debug, Clone)]
pub(super) struct NormLayer {
    kind: Norm,
    width: u64,
    weights: Vec<Parameter>,
}

impl NormLayer {
    /// Makes the weights.
    pub(super) fn new(kind: Norm, width: u64, make: &mut Layers<'_>) -> Self {
        let count = if kind == Norm::Layer { 2 } else { 1 };
        Self {
            kind,
            width,
            weights: (0..count).map(|_| make.vector(width)).collect(),
        }
    }
}

/// Applies a normalisation.
pub(super) fn apply_norm(tape: &mut Tape, x: &Tensor, norm: &NormLayer) -> Tensor {
    match (norm.kind, norm.weights.first()) {
        (Norm::Rms, Some(weight)) => rms(tape, x, weight, norm.width),
        (Norm::RmsScaledInFloat, Some(weight)) => rms_scaled_in_float(tape, x, weight, norm.width),
        _ => {
            let weights: Vec<&Parameter> = norm.weights.iter().collect();
            tape.layer_norm(x, norm.width, &weights)
        }
    }
}

fn normalised_in_float(tape: &mut Tape, x: &Tensor, width: u64) -> Tensor {
    let x = tape.cast(x, Dtype::Float);
    let square = tape.squared(&x);
    let variance = tape.mean(&square, width);
    drop(square);
    let shifted = tape.shifted(&variance);
    let scale = tape.activation_by_result(&shifted);
    drop(shifted);
    tape.multiply(&x, &scale)
}

/// In 32 bit, back to the model's type, then scaled.
fn rms(tape: &mut Tape, x: &Tensor, weight: &Parameter, width: u64) -> Tensor {
    let normed = normalised_in_float(tape, x, width);
    let back = tape.cast(&normed, x.dtype);
    drop(normed);
    tape.multiply(&weight.tensor, &back)
}

/// Scaled by one plus the weight while still in 32 bit, then back.
fn rms_scaled_in_float(tape: &mut Tape, x: &Tensor, weight: &Parameter, width: u64) -> Tensor {
    let normed = normalised_in_float(tape, x, width);
    let scaled = {
        let weight = tape.cast(&weight.tensor, Dtype::Float);
        let scale = tape.shifted(&weight);
        drop(weight);
        tape.multiply(&normed, &scale)
    };
    drop(normed);
    tape.cast(&scaled, x.dtype)
}
