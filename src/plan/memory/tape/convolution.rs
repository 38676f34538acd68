//! Operators on images: convolution, batch normalisation, pooling.

use super::autograd::{Record, Rule};
use super::linear::Parameter;
use super::{Dtype, Tape, Tensor};

/// A batch of feature maps.
#[derive(Debug, Clone)]
pub(in super::super) struct Image {
    /// The numbers.
    pub(in super::super) tensor: Tensor,
    /// Images in the batch.
    pub(in super::super) batch: u64,
    /// Feature maps per image.
    pub(in super::super) channels: u64,
    /// Rows and columns of each (images are square).
    pub(in super::super) side: u64,
}

impl Image {
    /// The shape without the numbers.
    pub(in super::super) const fn outline(&self) -> Outline {
        Outline {
            batch: self.batch,
            channels: self.channels,
            side: self.side,
        }
    }

    /// The same shape with other numbers.
    pub(in super::super) fn with(&self, tensor: Tensor) -> Self {
        Self {
            tensor,
            ..self.clone()
        }
    }
}

/// The shape of a batch of feature maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Outline {
    batch: u64,
    channels: u64,
    side: u64,
}

impl Outline {
    /// This shape with numbers.
    pub(in super::super) const fn filled(self, tensor: Tensor) -> Image {
        Image {
            tensor,
            batch: self.batch,
            channels: self.channels,
            side: self.side,
        }
    }
}

/// A convolution or pooling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Window {
    /// Rows and columns.
    pub(in super::super) size: u64,
    /// Step.
    pub(in super::super) stride: u64,
    /// Zeros added on each side.
    pub(in super::super) padding: u64,
}

impl Window {
    /// Rows and columns of the result; 0 when the window does not fit.
    pub(in super::super) const fn result_side(&self, side: u64) -> u64 {
        match (side + 2 * self.padding).checked_sub(self.size) {
            Some(room) => room / self.stride + 1,
            None => 0,
        }
    }
}

/// A convolution with its weights.
#[derive(Debug, Clone)]
pub(in super::super) struct Convolution {
    /// The weight.
    pub(in super::super) weight: Parameter,
    /// The bias, if there is one.
    pub(in super::super) bias: Option<Parameter>,
    /// Feature maps of the result.
    pub(in super::super) outputs: u64,
    /// The window.
    pub(in super::super) window: Window,
}

impl Tape {
    /// A convolution: keeps its input and its weight.
    pub(in super::super) fn convolved(&mut self, x: &Image, convolution: &Convolution) -> Image {
        let dtype = self.matrix_dtype(x.tensor.dtype);
        let input = self.cast(&x.tensor, dtype);
        let weight = self.seen(&convolution.weight);
        let bias = convolution.bias.as_ref().map(|b| self.seen(b));
        let side = convolution.window.result_side(x.side);
        let elements = x.batch * convolution.outputs * side * side;
        let mut inputs = vec![
            (input.edge, Rule::fresh(input.bytes())),
            (weight.edge, Rule::fresh(weight.bytes())),
        ];
        if let Some(bias) = &bias {
            inputs.push((bias.edge, Rule::fresh(bias.bytes())));
        }
        let saved = vec![input.held.clone(), weight.held.clone()];
        let tensor = self.result_of(elements, dtype, |_| Record {
            inputs,
            saved,
            ..Record::default()
        });
        Image {
            tensor,
            batch: x.batch,
            channels: convolution.outputs,
            side,
        }
    }

    /// Batch normalisation: keeps its input, mean and inverse deviation.
    pub(in super::super) fn batch_norm(&mut self, x: &Image, weights: &[Parameter; 2]) -> Image {
        let out = self.constant(x.tensor.elements, x.tensor.dtype);
        let statistics = self
            .training
            .then(|| self.constant(2 * x.channels, Dtype::Float));
        let mut inputs = vec![(x.tensor.edge, Rule::fresh(x.tensor.bytes()))];
        inputs.extend(
            weights
                .iter()
                .map(|w| (w.tensor.edge, Rule::fresh(w.tensor.bytes()))),
        );
        let mut saved = vec![x.tensor.held.clone()];
        saved.extend(statistics.map(|s| s.held));
        let edge = self.record(Record {
            inputs,
            saved,
            ..Record::default()
        });
        x.with(Tensor { edge, ..out })
    }

    /// Maximum in each window: keeps its input and the places of the maxima.
    pub(in super::super) fn max_pooled(&mut self, x: &Image, window: Window) -> Image {
        let side = window.result_side(x.side);
        let elements = x.batch * x.channels * side * side;
        let places = self.constant(elements, Dtype::Long);
        let saved = vec![x.tensor.held.clone(), places.held];
        let input = &x.tensor;
        let tensor = self.result_of(elements, input.dtype, |_| Record {
            inputs: vec![(input.edge, Rule::fresh(input.bytes()))],
            saved,
            ..Record::default()
        });
        Image {
            tensor,
            side,
            ..x.clone()
        }
    }

    /// Mean over windows such that `side` rows and columns are left.
    pub(in super::super) fn averaged(&mut self, x: &Image, side: u64) -> Image {
        let input = &x.tensor;
        // Averaging to more than one cell keeps the input for its shape.
        let saved = if side > 1 {
            vec![input.held.clone()]
        } else {
            Vec::new()
        };
        let tensor = self.result_of(x.batch * x.channels * side * side, input.dtype, |_| {
            Record {
                inputs: vec![(input.edge, Rule::fresh(input.bytes()))],
                saved,
                ..Record::default()
            }
        });
        Image {
            tensor,
            side,
            ..x.clone()
        }
    }

    /// Sum written over the first operand: takes no memory and keeps nothing.
    pub(in super::super) fn added_in_place(&mut self, x: &Image, y: &Image) -> Image {
        let edge = self.record(Record {
            inputs: vec![(x.tensor.edge, Rule::Pass), (y.tensor.edge, Rule::Pass)],
            ..Record::default()
        });
        x.with(Tensor {
            edge,
            ..x.tensor.clone()
        })
    }

    /// A function written over its input whose derivative needs the input: the
    /// framework keeps a copy (`SiLU`).
    pub(in super::super) fn in_place_with_copy(&mut self, x: Tensor) -> Tensor {
        if !self.is_recording() || !x.needs_gradient() {
            return x;
        }
        let copy = self.constant(x.elements, x.dtype);
        let edge = self.record(Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![copy.held],
            ..Record::default()
        });
        Tensor { edge, ..x }
    }
}
