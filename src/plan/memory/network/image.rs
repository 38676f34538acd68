//! Networks on images, as trees of units.

use super::super::architecture::ImageNet;
use super::super::tape::{Convolution, Dtype, Image, Kind, Tape, Tensor, Upcast, Window};
use super::layers::{BatchNorm, Layers, Linear};
use super::vit::VisionTransformer;
use super::{ImagePass, Outcome, Output, image_plans};
use std::rc::Rc;

/// One step of an image network.
#[derive(Debug)]
pub(in super::super) enum Unit {
    /// Steps one after the other.
    Sequence(Vec<Unit>),
    /// A convolution.
    Convolution(Convolution),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// Layer normalisation over the channels.
    ChannelNorm([super::super::tape::Parameter; 2]),
    /// Steps that gradient checkpointing runs again as a whole.
    Block(Rc<Unit>),
    /// A rectifier written over its input.
    Rectifier,
    /// A rectifier capped at 6, in place but keeping a copy.
    CappedRectifier,
    /// `SiLU`, in place but keeping a copy.
    Silu,
    /// GELU.
    Gelu,
    /// Maximum pooling.
    MaxPool(Window),
    /// Averaging to so many rows and columns.
    Average(u64),
    /// Dropout.
    Dropout,
    /// A linear layer on the channels.
    Linear(Linear, u64),
    /// Scaling by one learned number per channel.
    ChannelScale(super::super::tape::Parameter),
    /// Scaling of channels by what two small layers make of their means.
    SqueezeExcite([Convolution; 2]),
    /// Random omission of whole branches.
    StochasticDepth,
    /// A branch added to its input by a fresh sum.
    Sum(Box<Unit>),
    /// A branch added to its input (or to what the shortcut makes of it).
    Residual {
        /// The branch.
        branch: Box<Unit>,
        /// What the input passes through.
        shortcut: Option<Box<Unit>>,
        /// A rectifier after the sum.
        rectified: bool,
    },
}

/// An image network with its weights.
#[derive(Debug)]
pub(in super::super) enum ImageNetwork {
    /// Convolutions.
    Convolutional(Vec<Unit>),
    /// A transformer over patches.
    Patches(Box<VisionTransformer>),
}

impl ImageNetwork {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &ImageNet, make: &mut Layers<'_>) -> Self {
        match shape {
            ImageNet::Vit(vit) => Self::Patches(Box::new(VisionTransformer::new(vit, make))),
            other => Self::Convolutional(image_plans::units(other, make)),
        }
    }

    /// One pass.
    pub(in super::super) fn run(&self, tape: &mut Tape, pass: ImagePass) -> Outcome {
        let before = tape.meter.charge_to(Kind::Inputs);
        let pixels = 3 * pass.side * pass.side * pass.batch;
        let input = tape.constant(pixels, pass.input);
        let mut inputs = vec![input.share()];
        let labels = (pass.output == Output::Loss).then(|| tape.constant(pass.batch, Dtype::Long));
        tape.meter.charge_to(Kind::Activations);
        let image = Image {
            tensor: input,
            batch: pass.batch,
            channels: 3,
            side: pass.side,
        };
        let checkpointing = if pass.checkpointing {
            Checkpointing::Blocks
        } else {
            Checkpointing::None
        };
        let logits = match self {
            Self::Convolutional(units) => sequence(tape, &image, units, checkpointing).tensor,
            Self::Patches(vit) => vit.forward(tape, &image, pass),
        };
        tape.meter.charge_to(Kind::Head);
        inputs.extend(labels.iter().map(Tensor::share));
        let result = match labels {
            Some(labels) => tape.cross_entropy(&logits, &labels, Upcast::No),
            None => logits,
        };
        tape.meter.charge_to(before);
        Outcome {
            result,
            cache: Vec::new(),
            inputs,
        }
    }
}

/// Runs steps one after the other; the first input stays until the end, as the
/// caller holds it.
fn sequence(tape: &mut Tape, input: &Image, units: &[Unit], checkpointing: Checkpointing) -> Image {
    let mut x = input.clone();
    for unit in units {
        x = step(tape, x, unit, checkpointing);
    }
    x
}

fn step(tape: &mut Tape, x: Image, unit: &Unit, checkpointing: Checkpointing) -> Image {
    match unit {
        Unit::Sequence(units) => sequence(tape, &x, units, checkpointing),
        Unit::Block(inner) if checkpointing == Checkpointing::Blocks => rerun(tape, &x, inner),
        Unit::Block(inner) => step(tape, x, inner, checkpointing),
        Unit::Convolution(convolution) => tape.convolved(&x, convolution),
        Unit::BatchNorm(norm) => tape.batch_norm(&x, &norm.weights),
        Unit::ChannelNorm(norm) => {
            let out = tape.layer_norm(&x.tensor, x.channels, &norm.each_ref());
            x.with(out)
        }
        Unit::Rectifier => {
            let tensor = tape.in_place(x.tensor.clone());
            Image { tensor, ..x }
        }
        Unit::Silu | Unit::CappedRectifier => {
            let tensor = tape.in_place_with_copy(x.tensor.clone());
            Image { tensor, ..x }
        }
        Unit::Gelu => x.with(tape.activation(&x.tensor)),
        Unit::MaxPool(window) => tape.max_pooled(&x, *window),
        Unit::Average(side) => tape.averaged(&x, *side),
        Unit::Dropout => x.with(tape.dropout(&x.tensor)),
        Unit::Linear(linear, outputs) => {
            let tensor = linear.apply(tape, &x.tensor);
            let side = if tensor.elements == x.batch * outputs * x.side * x.side {
                x.side
            } else {
                1
            };
            Image {
                tensor,
                channels: *outputs,
                side,
                ..x
            }
        }
        Unit::ChannelScale(scale) => x.with(tape.multiply(&scale.tensor, &x.tensor)),
        Unit::SqueezeExcite([down, up]) => squeeze_excite(tape, &x, down, up),
        Unit::StochasticDepth => {
            if !tape.is_training() {
                return x;
            }
            let noise = tape.constant(x.batch, x.tensor.dtype);
            x.with(tape.multiply(&x.tensor, &noise))
        }
        Unit::Sum(branch) => {
            let out = step(tape, x.clone(), branch, Checkpointing::None);
            x.with(tape.add(&x.tensor, &out.tensor))
        }
        Unit::Residual {
            branch,
            shortcut,
            rectified,
        } => residual(tape, &x, (branch, shortcut.as_deref()), *rectified),
    }
}

/// Whether blocks are run again in the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checkpointing {
    Blocks,
    None,
}

fn rerun(tape: &mut Tape, x: &Image, unit: &Rc<Unit>) -> Image {
    let shape = Rc::new(std::cell::Cell::new((x.channels, x.side)));
    let (found, unit, outline) = (Rc::clone(&shape), Rc::clone(unit), x.outline());
    let body: super::super::tape::Block = Rc::new(move |tape, tensor| {
        let out = step(
            tape,
            outline.filled(tensor.clone()),
            &unit,
            Checkpointing::None,
        );
        found.set((out.channels, out.side));
        out.tensor
    });
    let tensor = tape.checkpointed(&x.tensor, &body);
    let (channels, side) = shape.get();
    Image {
        tensor,
        batch: x.batch,
        channels,
        side,
    }
}

fn squeeze_excite(tape: &mut Tape, x: &Image, down: &Convolution, up: &Convolution) -> Image {
    let mut scale = tape.averaged(x, 1);
    scale = tape.convolved(&scale, down);
    scale = step(tape, scale, &Unit::Silu, Checkpointing::None);
    scale = tape.convolved(&scale, up);
    let gate: Tensor = tape.activation_by_result(&scale.tensor);
    drop(scale);
    x.with(tape.multiply(&gate, &x.tensor))
}

fn residual(
    tape: &mut Tape,
    x: &Image,
    (branch, shortcut): (&Unit, Option<&Unit>),
    rectified: bool,
) -> Image {
    let out = match branch {
        Unit::Sequence(units) => sequence(tape, x, units, Checkpointing::None),
        other => step(tape, x.clone(), other, Checkpointing::None),
    };
    let identity = match shortcut {
        Some(Unit::Sequence(units)) => sequence(tape, x, units, Checkpointing::None),
        Some(other) => step(tape, x.clone(), other, Checkpointing::None),
        None => x.clone(),
    };
    let sum = tape.added_in_place(&out, &identity);
    drop((out, identity));
    if rectified {
        step(tape, sum, &Unit::Rectifier, Checkpointing::None)
    } else {
        sum
    }
}
