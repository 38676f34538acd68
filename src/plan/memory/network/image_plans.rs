//! Which units the known families of image networks are made of (torchvision's
//! `models/{resnet,vgg,mobilenetv2,efficientnet,convnext}.py`).

use super::super::architecture::{ConvNext, EfficientNet, ImageNet, ResNet, Vgg};
use super::super::tape::Window;
use super::image::Unit;
use super::layers::{Bias, Layers, Role};
use std::rc::Rc;

const fn window(size: u64, stride: u64) -> Window {
    Window {
        size,
        stride,
        padding: (size - 1) / 2,
    }
}

/// The units of a convolutional network.
pub(super) fn units(shape: &ImageNet, make: &mut Layers<'_>) -> Vec<Unit> {
    match shape {
        ImageNet::Resnet(resnet) => self::resnet(resnet, make),
        ImageNet::Vgg(vgg) => self::vgg(vgg, make),
        ImageNet::MobilenetV2(net) => mobilenet_v2(net.classes, make),
        ImageNet::Efficientnet(net) => efficientnet(net, make),
        ImageNet::Convnext(net) => convnext(net, make),
        ImageNet::Vit(_) => Vec::new(),
    }
}

fn block(unit: Unit) -> Unit {
    Unit::Block(Rc::new(unit))
}

fn classifier(make: &mut Layers<'_>, inputs: u64, classes: u64) -> Unit {
    Unit::Linear(
        make.linear(Role::Other, [inputs, classes], Bias::Yes),
        classes,
    )
}

/// Convolution and batch normalisation.
fn normed(make: &mut Layers<'_>, widths: [u64; 2], window: Window, groups: u64) -> [Unit; 2] {
    [
        Unit::Convolution(make.convolution(widths, window, groups, Bias::No)),
        Unit::BatchNorm(make.batch_norm(widths[1])),
    ]
}

fn resnet(shape: &ResNet, make: &mut Layers<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    units.extend(normed(make, [3, 64], window(7, 2), 1));
    units.push(Unit::Rectifier);
    units.push(Unit::MaxPool(window(3, 2)));
    let expansion = if shape.bottleneck { 4 } else { 1 };
    let mut inputs = 64;
    for (stage, &depth) in shape.depths.iter().enumerate() {
        let width = 64 << stage;
        let outputs = width * expansion;
        let mut blocks = Vec::new();
        for index in 0..depth {
            let stride = if index == 0 && stage > 0 { 2 } else { 1 };
            let mut branch = Vec::new();
            if shape.bottleneck {
                let inner = width * shape.width_per_group / 64 * shape.groups;
                branch.extend(normed(make, [inputs, inner], window(1, 1), 1));
                branch.push(Unit::Rectifier);
                branch.extend(normed(
                    make,
                    [inner, inner],
                    window(3, stride),
                    shape.groups,
                ));
                branch.push(Unit::Rectifier);
                branch.extend(normed(make, [inner, outputs], window(1, 1), 1));
            } else {
                branch.extend(normed(make, [inputs, outputs], window(3, stride), 1));
                branch.push(Unit::Rectifier);
                branch.extend(normed(make, [outputs, outputs], window(3, 1), 1));
            }
            let shortcut = (stride != 1 || inputs != outputs).then(|| {
                let units = normed(make, [inputs, outputs], window(1, stride), 1);
                Box::new(Unit::Sequence(units.into()))
            });
            blocks.push(block(Unit::Residual {
                branch: Box::new(Unit::Sequence(branch)),
                shortcut,
                rectified: true,
            }));
            inputs = outputs;
        }
        units.push(Unit::Sequence(blocks));
    }
    units.push(Unit::Average(1));
    units.push(classifier(make, inputs, shape.classes));
    units
}

fn vgg(shape: &Vgg, make: &mut Layers<'_>) -> Vec<Unit> {
    let mut features = Vec::new();
    let mut inputs = 3;
    let last = shape.stages.len().saturating_sub(1);
    for (stage, &[outputs, depth]) in shape.stages.iter().enumerate() {
        for _ in 0..depth {
            if shape.batch_norm {
                features.extend(normed(make, [inputs, outputs], window(3, 1), 1));
            } else {
                features.push(Unit::Convolution(make.convolution(
                    [inputs, outputs],
                    window(3, 1),
                    1,
                    Bias::Yes,
                )));
            }
            features.push(Unit::Rectifier);
            inputs = outputs;
        }
        if stage < last || shape.pool_last {
            features.push(Unit::MaxPool(Window {
                size: 2,
                stride: 2,
                padding: 0,
            }));
        }
    }
    let mut units = vec![Unit::Sequence(features), Unit::Average(shape.average_to)];
    let mut width = inputs * shape.average_to * shape.average_to;
    for &outputs in &shape.hidden {
        units.push(Unit::Linear(
            make.linear(Role::Other, [width, outputs], Bias::Yes),
            outputs,
        ));
        units.push(Unit::Rectifier);
        units.push(Unit::Dropout);
        width = outputs;
    }
    units.push(classifier(make, width, shape.classes));
    units
}

/// Channel numbers as multiples of 8, never below nine tenths of `value`.
fn divisible(value: f64) -> u64 {
    let rounded = (((value + 4.0) / 8.0).floor() * 8.0).max(8.0);
    if rounded < 0.9 * value {
        rounded as u64 + 8
    } else {
        rounded as u64
    }
}

fn mobilenet_v2(classes: u64, make: &mut Layers<'_>) -> Vec<Unit> {
    // Expansion, channels, repeats, stride: table 2 of arXiv:1801.04381.
    const SETTING: [[u64; 4]; 7] = [
        [1, 16, 1, 1],
        [6, 24, 2, 2],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ];
    let mut features = Vec::new();
    features.extend(normed(make, [3, 32], window(3, 2), 1));
    features.push(Unit::CappedRectifier);
    let mut inputs = 32;
    for [expansion, outputs, repeats, first_stride] in SETTING {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { first_stride } else { 1 };
            let inner = inputs * expansion;
            let mut branch = Vec::new();
            if expansion != 1 {
                branch.extend(normed(make, [inputs, inner], window(1, 1), 1));
                branch.push(Unit::CappedRectifier);
            }
            branch.extend(normed(make, [inner, inner], window(3, stride), inner));
            branch.push(Unit::CappedRectifier);
            branch.extend(normed(make, [inner, outputs], window(1, 1), 1));
            let branch = Unit::Sequence(branch);
            features.push(block(if stride == 1 && inputs == outputs {
                Unit::Sum(Box::new(branch))
            } else {
                branch
            }));
            inputs = outputs;
        }
    }
    features.extend(normed(make, [inputs, 1280], window(1, 1), 1));
    features.push(Unit::CappedRectifier);
    vec![
        Unit::Sequence(features),
        Unit::Average(1),
        Unit::Dropout,
        classifier(make, 1280, classes),
    ]
}

fn efficientnet(shape: &EfficientNet, make: &mut Layers<'_>) -> Vec<Unit> {
    // Expansion, window, stride, channels in, channels out, repeats: table 1 of
    // arXiv:1905.11946.
    const SETTING: [[u64; 6]; 7] = [
        [1, 3, 1, 32, 16, 1],
        [6, 3, 2, 16, 24, 2],
        [6, 5, 2, 24, 40, 2],
        [6, 3, 2, 40, 80, 3],
        [6, 5, 1, 80, 112, 3],
        [6, 5, 2, 112, 192, 4],
        [6, 3, 1, 192, 320, 1],
    ];
    let wide = |channels: u64| divisible(channels as f64 * shape.width);
    let mut features = Vec::new();
    features.extend(normed(make, [3, wide(32)], window(3, 2), 1));
    features.push(Unit::Silu);
    let mut first = true;
    for [expansion, size, stride, stage_in, stage_out, repeats] in SETTING {
        let repeats = (repeats as f64 * shape.depth).ceil() as u64;
        let mut stage = Vec::new();
        for repeat in 0..repeats {
            let inputs = if repeat == 0 {
                wide(stage_in)
            } else {
                wide(stage_out)
            };
            let stride = if repeat == 0 { stride } else { 1 };
            let inner = divisible((inputs * expansion) as f64);
            let mut branch = Vec::new();
            if expansion != 1 {
                branch.extend(normed(make, [inputs, inner], window(1, 1), 1));
                branch.push(Unit::Silu);
            }
            branch.extend(normed(make, [inner, inner], window(size, stride), inner));
            branch.push(Unit::Silu);
            let squeezed = (inputs / 4).max(1);
            branch.push(Unit::SqueezeExcite([
                make.convolution([inner, squeezed], window(1, 1), 1, Bias::Yes),
                make.convolution([squeezed, inner], window(1, 1), 1, Bias::Yes),
            ]));
            branch.extend(normed(make, [inner, wide(stage_out)], window(1, 1), 1));
            if stride == 1 && inputs == wide(stage_out) {
                if !first {
                    branch.push(Unit::StochasticDepth);
                }
                stage.push(block(Unit::Residual {
                    branch: Box::new(Unit::Sequence(branch)),
                    shortcut: None,
                    rectified: false,
                }));
            } else {
                stage.push(block(Unit::Sequence(branch)));
            }
            first = false;
        }
        features.push(Unit::Sequence(stage));
    }
    let last = 4 * wide(320);
    features.extend(normed(make, [wide(320), last], window(1, 1), 1));
    features.push(Unit::Silu);
    vec![
        Unit::Sequence(features),
        Unit::Average(1),
        Unit::Dropout,
        classifier(make, last, shape.classes),
    ]
}

fn convnext(shape: &ConvNext, make: &mut Layers<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut inputs = 3;
    let mut first = true;
    for (&depth, &width) in shape.depths.iter().zip(&shape.widths) {
        let size = if inputs == 3 { 4 } else { 2 };
        let window_of = Window {
            size,
            stride: size,
            padding: 0,
        };
        if inputs == 3 {
            units.push(Unit::Convolution(make.convolution(
                [inputs, width],
                window_of,
                1,
                Bias::Yes,
            )));
            units.push(channel_norm(make, width));
        } else {
            units.push(channel_norm(make, inputs));
            units.push(Unit::Convolution(make.convolution(
                [inputs, width],
                window_of,
                1,
                Bias::Yes,
            )));
        }
        for _ in 0..depth {
            let mut branch = vec![
                Unit::Convolution(make.convolution([width, width], window(7, 1), width, Bias::Yes)),
                channel_norm(make, width),
                Unit::Linear(
                    make.linear(Role::Other, [width, 4 * width], Bias::Yes),
                    4 * width,
                ),
                Unit::Gelu,
                Unit::Linear(
                    make.linear(Role::Other, [4 * width, width], Bias::Yes),
                    width,
                ),
                Unit::ChannelScale(make.vector(width)),
            ];
            if !first {
                branch.push(Unit::StochasticDepth);
            }
            first = false;
            units.push(block(Unit::Residual {
                branch: Box::new(Unit::Sequence(branch)),
                shortcut: None,
                rectified: false,
            }));
        }
        inputs = width;
    }
    vec![
        Unit::Sequence(units),
        Unit::Average(1),
        channel_norm(make, inputs),
        classifier(make, inputs, shape.classes),
    ]
}

fn channel_norm(make: &mut Layers<'_>, width: u64) -> Unit {
    Unit::ChannelNorm([make.vector(width), make.vector(width)])
}
