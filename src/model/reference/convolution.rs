//! Convolutional networks, as torchvision builds and `torch.onnx.export` writes them.

use super::draft::{Draft, ints};
use super::layers::{depthwise, kernel};
use super::spec::{Cnn, MobilenetV2, Resnet};

/// The share of a block's result that is added to what goes past it: small, so
/// that activations keep their size through all blocks.
const BRANCH_GAIN: f32 = 0.3;

pub(super) fn resnet(draft: &mut Draft, spec: &Resnet) -> Result<(), String> {
    let x = draft.float_input("input", &[3, spec.image, spec.image]);
    let x = draft.conv_norm(&x, "stem", kernel(3, spec.width, 7, 2), 1.0);
    let x = draft.node("Relu", &[&x], vec![]);
    let mut x = draft.node(
        "MaxPool",
        &[&x],
        vec![
            ints("kernel_shape", &[3, 3]),
            ints("pads", &[1, 1, 1, 1]),
            ints("strides", &[2, 2]),
        ],
    );
    let mut channels = spec.width;
    for (stage, blocks) in spec.blocks.iter().enumerate() {
        let inner = spec
            .width
            .checked_shl(stage as u32)
            .ok_or("too many stages")?;
        for block in 0..*blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let outer = inner * spec.expansion;
            let name = format!("stage{}.{block}", stage + 1);
            x = bottleneck(draft, &x, &name, [channels, inner, outer, stride]);
            channels = outer;
        }
    }
    classify(draft, &x, channels, spec.classes);
    Ok(())
}

fn bottleneck(
    draft: &mut Draft,
    x: &str,
    name: &str,
    [from, inner, outer, stride]: [u64; 4],
) -> String {
    let y = draft.conv_norm(x, &format!("{name}.conv1"), kernel(from, inner, 1, 1), 1.0);
    let y = draft.node("Relu", &[&y], vec![]);
    let y = draft.conv_norm(
        &y,
        &format!("{name}.conv2"),
        kernel(inner, inner, 3, stride),
        1.0,
    );
    let y = draft.node("Relu", &[&y], vec![]);
    let y = draft.conv_norm(
        &y,
        &format!("{name}.conv3"),
        kernel(inner, outer, 1, 1),
        BRANCH_GAIN,
    );
    let past = if stride == 1 && from == outer {
        x.to_owned()
    } else {
        draft.conv_norm(
            x,
            &format!("{name}.downsample"),
            kernel(from, outer, 1, stride),
            0.7,
        )
    };
    let sum = draft.node("Add", &[&y, &past], vec![]);
    draft.node("Relu", &[&sum], vec![])
}

pub(super) fn mobilenet_v2(draft: &mut Draft, spec: &MobilenetV2) -> Result<(), String> {
    if spec.image < 32 {
        return Err(format!(
            "an image of {} pixels is halved five times",
            spec.image
        ));
    }
    let x = draft.float_input("input", &[3, spec.image, spec.image]);
    let x = draft.conv_norm(&x, "stem", kernel(3, spec.stem, 3, 2), 1.0);
    let mut x = relu6(draft, &x);
    let mut channels = spec.stem;
    for (group, [expansion, to, repeats, first_stride]) in spec.groups.iter().enumerate() {
        for block in 0..*repeats {
            let stride = if block == 0 { *first_stride } else { 1 };
            let name = format!("block{group}.{block}");
            x = inverted_residual(draft, &x, &name, [channels, *expansion, *to, stride]);
            channels = *to;
        }
    }
    let x = draft.conv_norm(&x, "head", kernel(channels, spec.head, 1, 1), 1.0);
    let x = relu6(draft, &x);
    classify(draft, &x, spec.head, spec.classes);
    Ok(())
}

fn inverted_residual(
    draft: &mut Draft,
    x: &str,
    name: &str,
    [from, expansion, to, stride]: [u64; 4],
) -> String {
    let wide = from * expansion;
    let mut y = x.to_owned();
    if expansion != 1 {
        y = draft.conv_norm(&y, &format!("{name}.expand"), kernel(from, wide, 1, 1), 1.0);
        y = relu6(draft, &y);
    }
    y = draft.conv_norm(
        &y,
        &format!("{name}.depthwise"),
        depthwise(wide, 3, stride),
        1.0,
    );
    y = relu6(draft, &y);
    let passes = stride == 1 && from == to;
    let gain = if passes { BRANCH_GAIN } else { 1.0 };
    y = draft.conv_norm(&y, &format!("{name}.project"), kernel(wide, to, 1, 1), gain);
    if passes {
        y = draft.node("Add", &[x, &y], vec![]);
    }
    y
}

fn relu6(draft: &mut Draft, x: &str) -> String {
    let (least, most) = (draft.scalar(0.0), draft.scalar(6.0));
    draft.node("Clip", &[x, &least, &most], vec![])
}

/// The mean over the image, then a fully connected layer.
fn classify(draft: &mut Draft, x: &str, channels: u64, classes: u64) {
    let x = draft.node("GlobalAveragePool", &[x], vec![]);
    let x = draft.node("Flatten", &[&x], vec![]);
    let x = draft.gemm(&x, "classifier", channels, classes);
    draft.float_output("logits", &x, &[classes]);
}

pub(super) fn cnn(draft: &mut Draft, spec: &Cnn) -> Result<(), String> {
    let mut x = draft.float_input("input", &[3, spec.image, spec.image]);
    let (mut channels, mut side) = (3, spec.image);
    for (i, to) in spec.channels.iter().enumerate() {
        x = draft.conv(&x, &format!("conv{}", i + 1), kernel(channels, *to, 3, 1));
        x = draft.node("Relu", &[&x], vec![]);
        x = draft.node(
            "MaxPool",
            &[&x],
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
        );
        channels = *to;
        side /= 2;
    }
    if side == 0 {
        return Err(format!(
            "an image of {} pixels does not last {} poolings",
            spec.image,
            spec.channels.len()
        ));
    }
    let x = draft.node("Flatten", &[&x], vec![]);
    let x = draft.gemm(&x, "hidden", channels * side * side, spec.hidden);
    let x = draft.node("Relu", &[&x], vec![]);
    let x = draft.gemm(&x, "classifier", spec.hidden, spec.classes);
    draft.float_output("logits", &x, &[spec.classes]);
    Ok(())
}
