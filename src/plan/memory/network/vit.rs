//! The transformer over patches (torchvision's `vision_transformer.py`).

use super::super::architecture::Vit;
use super::super::tape::{
    AttentionCall, Block, Convolution, Dtype, Image, Layout, Parameter, Softmax, Tape, Tensor,
    Window,
};
use super::layers::{Bias, Layers, Linear, Role};
use super::{Attention, ImagePass};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Layer {
    input_norm: [Parameter; 2],
    joint: Linear,
    output: Linear,
    mlp_norm: [Parameter; 2],
    up: Linear,
    down: Linear,
}

/// The network with its weights.
#[derive(Debug)]
pub(in super::super) struct VisionTransformer {
    shape: Vit,
    class_token: Parameter,
    patches: Convolution,
    positions: Parameter,
    layers: Vec<Layer>,
    norm: [Parameter; 2],
    head: Linear,
}

impl VisionTransformer {
    /// Makes the weights.
    pub(super) fn new(shape: &Vit, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let window = Window {
            size: shape.patch,
            stride: shape.patch,
            padding: 0,
        };
        let class_token = make.vector(hidden);
        let patches = make.convolution([3, hidden], window, 1, Bias::Yes);
        let side = shape.image / shape.patch.max(1);
        let positions = make.table(side * side + 1, hidden);
        let layers = (0..shape.layers)
            .map(|_| {
                make.block_starts();
                let layer = Layer {
                    input_norm: [make.vector(hidden), make.vector(hidden)],
                    joint: make.linear(Role::QueryOrValue, [hidden, 3 * hidden], Bias::Yes),
                    output: make.linear(Role::Inner, [hidden, hidden], Bias::Yes),
                    mlp_norm: [make.vector(hidden), make.vector(hidden)],
                    up: make.linear(Role::Inner, [hidden, shape.intermediate], Bias::Yes),
                    down: make.linear(Role::Inner, [shape.intermediate, hidden], Bias::Yes),
                };
                make.block_ends();
                layer
            })
            .collect();
        let norm = [make.vector(hidden), make.vector(hidden)];
        let head = make.linear(Role::Other, [hidden, shape.classes], Bias::Yes);
        Self {
            shape: shape.clone(),
            class_token,
            patches,
            positions,
            layers,
            norm,
            head,
        }
    }

    /// From pixels to logits.
    pub(super) fn forward(&self, tape: &mut Tape, image: &Image, pass: ImagePass) -> Tensor {
        let hidden = self.shape.hidden;
        let trunk = {
            let tokens = {
                let patches = tape.convolved(image, &self.patches).tensor;
                let class = self.class_token.tensor.view(pass.batch * hidden);
                tape.concatenated(&[&class, &patches])
            };
            let placed = tape.add(&tokens, &self.positions.tensor);
            let mut x = placed.clone();
            for layer in &self.layers {
                let block = self.block(layer, pass);
                x = if pass.checkpointing {
                    tape.checkpointed(&x, &block)
                } else {
                    block(tape, &x)
                };
            }
            tape.layer_norm(&x, hidden, &self.norm.each_ref())
        };
        let class = tape.sliced(&trunk, pass.batch * hidden);
        self.head.apply(tape, &class)
    }

    fn block(&self, layer: &Layer, pass: ImagePass) -> Block {
        let shape = self.shape.clone();
        let layer = layer.clone();
        Rc::new(move |tape, input| {
            let hidden = shape.hidden;
            let mut x = tape.layer_norm(input, hidden, &layer.input_norm.each_ref());
            x = attention(tape, &shape, &layer, &x, pass);
            x = tape.add(&x, input);
            let normed = tape.layer_norm(&x, hidden, &layer.mlp_norm.each_ref());
            let mut y = normed.clone();
            y = layer.up.apply(tape, &y);
            y = tape.activation(&y);
            y = layer.down.apply(tape, &y);
            tape.add(&x, &y)
        })
    }
}

fn attention(tape: &mut Tape, shape: &Vit, layer: &Layer, x: &Tensor, pass: ImagePass) -> Tensor {
    let tokens = x.elements / (shape.hidden * pass.batch).max(1);
    let joint = {
        // Positions come first here: more than one image means a copy.
        let input = if pass.batch > 1 {
            let x = tape.cast(x, tape.product_dtype(x.dtype));
            tape.copied(&x)
        } else {
            x.clone()
        };
        let joint = if pass.batch > 1 {
            layer.joint.apply_bias_apart(tape, &input)
        } else {
            layer.joint.apply(tape, &input)
        };
        drop(input);
        tape.copied(&joint)
    };
    let third = joint.elements / 3;
    let [q, k, v] = tape.split_three(&joint, [third, third, third]);
    drop(joint);
    let call = AttentionCall {
        batch: pass.batch,
        heads: shape.heads,
        queries: tokens,
        keys: tokens,
        value_width: shape.hidden / shape.heads.max(1),
        key_layout: Layout::Strided,
        dropout: false,
    };
    let mixed = match pass.attention {
        Attention::Fused => {
            let mixed = tape.fused_attention([&q, &k, &v], call, None);
            // The 16-bit kernel writes positions first, as the next layer wants it.
            if pass.batch > 1 && mixed.dtype == Dtype::Float {
                tape.copied(&mixed)
            } else {
                mixed
            }
        }
        Attention::Eager => {
            tape.eager_attention([&q, &k, &v], call, None, Softmax::AsIs)
                .0
        }
    };
    layer.output.apply(tape, &mixed)
}
