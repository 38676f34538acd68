//! Decoders of the GPT-2 kind: learned positions, pre-normalised blocks, joint
//! projection of queries, keys and values, GELU written out as operators.

use super::super::architecture::Transformer;
use super::super::tape::{
    AttentionCall, Dtype, Kind, Layout, Parameter, Softmax, Tape, Tensor,
};
use super::cache::{Cache, Slot};
use super::decoder::{causal_loss, causal_mask};
use super::layers::{Bias, Layers, Linear, Role};
use super::{Attention, Block, Outcome, Output, Pass};
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
pub(in super::super) struct Gpt2 {
    shape: Transformer,
    words: Parameter,
    positions: Parameter,
    layers: Vec<Layer>,
    norm: [Parameter; 2],
    head: Linear,
}

impl Gpt2 {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let words = make.table(shape.vocabulary, hidden);
        let positions = make.table(shape.positions, hidden);
        let layers = (0..shape.layers)
            .map(|_| Layer {
                input_norm: [make.vector(hidden), make.vector(hidden)],
                joint: make.linear(Role::QueryOrValue, [hidden, 3 * hidden], Bias::Yes),
                output: make.linear(Role::Inner, [hidden, hidden], Bias::Yes),
                mlp_norm: [make.vector(hidden), make.vector(hidden)],
                up: make.linear(Role::Inner, [hidden, shape.intermediate], Bias::Yes),
                down: make.linear(Role::Inner, [shape.intermediate, hidden], Bias::Yes),
            })
            .collect();
        let norm = [make.vector(hidden), make.vector(hidden)];
        let head = make.tied(&words, [hidden, shape.vocabulary], Bias::No);
        Self {
            shape: shape.clone(),
            words,
            positions,
            layers,
            norm,
            head,
        }
    }

    /// One pass.
    pub(in super::super) fn run(&self, tape: &mut Tape, pass: Pass) -> Outcome {
        let shape = &self.shape;
        let before = tape.meter.charge_to(Kind::Inputs);
        let ids = tape.constant(pass.tokens(), Dtype::Long);
        let padding = pass.padded.then(|| tape.constant(pass.tokens(), Dtype::Long));
        let labels = (pass.output == Output::Loss).then(|| tape.constant(pass.tokens(), Dtype::Long));
        let mut inputs = vec![ids.share()];
        inputs.extend(labels.iter().map(Tensor::share));
        tape.meter.charge_to(Kind::Activations);
        let cache = Cache::filled(tape, shape, pass);
        let hidden = self.trunk(tape, &ids, &cache, pass);
        tape.meter.charge_to(Kind::Head);
        let result = match (pass.output, labels) {
            (Output::Loss, Some(labels)) => {
                let logits = self.head.apply(tape, &hidden);
                causal_loss(tape, &logits, &labels, pass)
            }
            (Output::NextToken, _) => {
                let last = tape.sliced(&hidden, pass.batch * shape.hidden);
                self.head.apply(tape, &last)
            }
            _ => self.head.apply(tape, &hidden),
        };
        tape.meter.charge_to(before);
        inputs.extend(padding.iter().map(Tensor::share));
        Outcome { result, cache: cache.take(), inputs }
    }

    fn trunk(&self, tape: &mut Tape, ids: &Tensor, cache: &Cache, pass: Pass) -> Tensor {
        let shape = &self.shape;
        let mut words = tape.embedding(ids, &self.words, shape.hidden);
        if pass.checkpointing && !words.needs_gradient() {
            words = tape.require_gradient(&words);
        }
        let places = tape.constant(pass.sequence, Dtype::Long);
        let placed = tape.embedding(&places, &self.positions, shape.hidden);
        let mut hidden = tape.add(&words, &placed);
        let mask = causal_mask(tape, pass, hidden.dtype);
        hidden = tape.dropout(&hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let block = self.block(layer, mask.as_ref(), pass, (cache.clone(), index));
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        tape.layer_norm(&hidden, shape.hidden, &self.norm.each_ref())
    }

    fn block(
        &self,
        layer: &Layer,
        mask: Option<&Tensor>,
        pass: Pass,
        (cache, index): (Cache, usize),
    ) -> Block {
        let shape = self.shape.clone();
        let layer = layer.clone();
        let mask = mask.cloned();
        Rc::new(move |tape, input| {
            let hidden = shape.hidden;
            let mut x = tape.layer_norm(input, hidden, &layer.input_norm.each_ref());
            let (attended, _weights) = attention(tape, &shape, &layer, &x, mask.as_ref(), pass, (&cache, index));
            x = tape.add(&attended, input);
            let residual = x.clone();
            x = tape.layer_norm(&x, hidden, &layer.mlp_norm.each_ref());
            let mlp = {
                let mut y = layer.up.apply(tape, &x);
                y = written_out_gelu(tape, &y);
                y = layer.down.apply(tape, &y);
                tape.dropout(&y)
            };
            tape.add(&residual, &mlp)
        })
    }
}

fn attention(
    tape: &mut Tape,
    shape: &Transformer,
    layer: &Layer,
    x: &Tensor,
    mask: Option<&Tensor>,
    pass: Pass,
    (cache, index): (&Cache, usize),
) -> (Tensor, Option<Tensor>) {
    let joint = layer.joint.apply(tape, x);
    let third = joint.elements / 3;
    let parts = tape.split(&joint, &[third, third, third]);
    drop(joint);
    let [q, k, v] = [0, 1, 2].map(|i| parts.get(i).cloned());
    let (Some(q), Some(mut k), Some(mut v)) = (q, k, v) else {
        return (x.clone(), None);
    };
    drop(parts);
    if pass.output == Output::NextToken {
        k = cache.extended(tape, Slot::Key(index), &k, pass);
        v = cache.extended(tape, Slot::Value(index), &v, pass);
    }
    let call = AttentionCall {
        batch: pass.batch,
        heads: shape.heads,
        queries: pass.sequence,
        keys: pass.sequence + pass.past,
        value_width: shape.head_width,
        key_layout: Layout::Strided,
        dropout: true,
    };
    let (mut out, weights) = match pass.attention {
        Attention::Fused => (tape.fused_attention([&q, &k, &v], call, mask), None),
        Attention::Eager => {
            let (out, weights) = tape.eager_attention([&q, &k, &v], call, mask, Softmax::ThenAsValues);
            (out, Some(weights))
        }
    };
    out = layer.output.apply(tape, &out);
    out = tape.dropout(&out);
    (out, weights)
}

/// `0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, operator by operator.
fn written_out_gelu(tape: &mut Tape, x: &Tensor) -> Tensor {
    let half = tape.scaled(x);
    let bracket = {
        let mut y = if tape.autocasting() {
            let up = tape.cast(x, Dtype::Float);
            tape.powered(&up)
        } else {
            tape.powered(x)
        };
        y = tape.scaled(&y);
        y = tape.add(x, &y);
        y = tape.scaled(&y);
        y = tape.activation_by_result(&y);
        tape.shifted(&y)
    };
    tape.multiply(&half, &bracket)
}
