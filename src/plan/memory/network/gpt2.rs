//! Decoders of the GPT-2 kind: learned positions, pre-normalised blocks, a joint
//! projection of queries, keys and values.

use super::super::architecture::{Norm, Transformer};
use super::super::tape::{
    AttentionCall, Block, Dtype, Kind, Layout, Parameter, Softmax, Tape, Tensor,
};
use super::cache::{Cache, Slot};
use super::decoder::{causal_mask, scores_or_loss};
use super::feed_forward::activate;
use super::layers::{Bias, Layers, Linear, Role};
use super::norm::{NormLayer, apply_norm};
use super::{Attention, Outcome, Output, Pass};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Layer {
    input_norm: NormLayer,
    joint: Vec<Linear>,
    output: Linear,
    mlp_norm: NormLayer,
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
    norm: NormLayer,
    head: Linear,
}

impl Gpt2 {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let words = make.table(shape.vocabulary, hidden);
        let positions = make.table(shape.position_rows, hidden);
        let (queries, keys) = (shape.query_width(), shape.key_width());
        let widths = if shape.joint_qkv {
            vec![queries + 2 * keys]
        } else {
            vec![queries, keys, keys]
        };
        let layers = (0..shape.layers)
            .map(|_| {
                make.block_starts();
                let layer = Layer {
                    input_norm: NormLayer::new(Norm::Layer, hidden, make),
                    joint: widths
                        .iter()
                        .map(|&width| make.linear(Role::QueryOrValue, [hidden, width], Bias::Yes))
                        .collect(),
                    output: make.linear(Role::Inner, [hidden, hidden], Bias::Yes),
                    mlp_norm: NormLayer::new(Norm::Layer, hidden, make),
                    up: make.linear(Role::Inner, [hidden, shape.intermediate], Bias::Yes),
                    down: make.linear(Role::Inner, [shape.intermediate, hidden], Bias::Yes),
                };
                make.block_ends();
                layer
            })
            .collect();
        let norm = NormLayer::new(Norm::Layer, hidden, make);
        let widths = [hidden, shape.vocabulary];
        let head = if shape.tied {
            make.tied(&words, widths, Bias::No)
        } else {
            make.linear(Role::Head, widths, Bias::No)
        };
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
        let before = tape.meter.charge_to(Kind::Inputs);
        let ids = tape.constant(pass.tokens(), Dtype::Long);
        let padding = pass
            .padded
            .then(|| tape.constant(pass.tokens(), Dtype::Long));
        let labels =
            (pass.output == Output::Loss).then(|| tape.constant(pass.tokens(), Dtype::Long));
        let mut inputs = vec![ids.share()];
        inputs.extend(labels.iter().chain(&padding).map(Tensor::share));
        tape.meter.charge_to(Kind::Activations);
        let cache = Cache::filled(tape, &self.shape, pass);
        let hidden = self.trunk(tape, &ids, &cache, pass);
        tape.meter.charge_to(Kind::Head);
        let result = scores_or_loss(tape, &self.head, &hidden, labels.as_ref(), pass);
        tape.meter.charge_to(before);
        Outcome {
            result,
            cache: cache.take(),
            inputs,
        }
    }

    fn trunk(&self, tape: &mut Tape, ids: &Tensor, cache: &Cache, pass: Pass) -> Tensor {
        let shape = &self.shape;
        let mut words = tape.embedding(ids, &self.words, shape.hidden);
        if pass.checkpointing && !words.needs_gradient() {
            words = tape.require_gradient(&words);
        }
        let places = tape.constant(pass.sequence, Dtype::Long);
        let positioned = tape.embedding(&places, &self.positions, shape.hidden);
        let mut hidden = tape.add(&words, &positioned);
        let mask = causal_mask(tape, pass, hidden.dtype);
        hidden = tape.dropout(&hidden);
        for (index, layer) in self.layers.iter().enumerate() {
            let block = self.block(layer, mask.as_ref(), (pass, cache, index));
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        apply_norm(tape, &hidden, &self.norm)
    }

    fn block(
        &self,
        layer: &Layer,
        mask: Option<&Tensor>,
        (pass, cache, index): (Pass, &Cache, usize),
    ) -> Block {
        let activation = self.shape.activation;
        let layer = layer.clone();
        let call = Call {
            shape: self.shape.clone(),
            mask: mask.cloned(),
            pass,
            cache: cache.clone(),
            index,
        };
        Rc::new(move |tape, input| {
            let mut x = apply_norm(tape, input, &layer.input_norm);
            let (attended, _weights) = attention(tape, &layer, &call, &x);
            x = tape.add(&attended, input);
            let residual = x.clone();
            x = apply_norm(tape, &x, &layer.mlp_norm);
            let mlp = {
                let mut y = layer.up.apply(tape, &x);
                y = activate(tape, &y, activation);
                y = layer.down.apply(tape, &y);
                tape.dropout(&y)
            };
            tape.add(&residual, &mlp)
        })
    }
}

#[derive(Debug)]
struct Call {
    shape: Transformer,
    mask: Option<Tensor>,
    pass: Pass,
    cache: Cache,
    index: usize,
}

/// Queries, keys and values, by one projection or by three.
fn projected(tape: &mut Tape, layer: &Layer, call: &Call, x: &Tensor) -> [Tensor; 3] {
    if let [query, key, value] = layer.joint.as_slice() {
        return [query, key, value].map(|linear| linear.apply(tape, x));
    }
    let tokens = call.pass.tokens();
    let widths = [call.shape.query_width(), call.shape.key_width()];
    let [queries, keys] = widths.map(|width| tokens * width);
    let joint = match layer.joint.first() {
        Some(linear) => linear.apply(tape, x),
        None => x.clone(),
    };
    tape.split_three(&joint, [queries, keys, keys])
}

fn attention(tape: &mut Tape, layer: &Layer, call: &Call, x: &Tensor) -> (Tensor, Option<Tensor>) {
    let (shape, pass) = (&call.shape, call.pass);
    let [q, mut k, mut v] = projected(tape, layer, call, x);
    if pass.output == Output::NextToken {
        k = call
            .cache
            .extended(tape, Slot::Key(call.index), &k, (&call.shape, pass));
        v = call
            .cache
            .extended(tape, Slot::Value(call.index), &v, (&call.shape, pass));
    }
    let kernel = AttentionCall {
        batch: pass.batch,
        heads: shape.heads,
        queries: pass.sequence,
        keys: pass.sequence + pass.past,
        value_width: shape.head_width,
        key_layout: Layout::Strided,
        dropout: shape.attention_dropout,
    };
    let wide = pass.batch * shape.heads * kernel.keys * shape.head_width;
    let mask = call.mask.as_ref();
    let (mut out, weights) = match pass.attention {
        Attention::Fused => {
            // Only the 16-bit kernel takes shared heads as they are.
            if q.dtype == Dtype::Float && !tape.autocasting() {
                k = tape.repeated(&k, wide);
                v = tape.repeated(&v, wide);
            }
            (tape.fused_attention([&q, &k, &v], kernel, mask), None)
        }
        Attention::Eager => {
            let (k, v) = (tape.repeated(&k, wide), tape.repeated(&v, wide));
            let (out, weights) =
                tape.eager_attention([&q, &k, &v], kernel, mask, Softmax::ThenAsValues);
            (out, Some(weights))
        }
    };
    out = layer.output.apply(tape, &out);
    out = tape.dropout(&out);
    (out, weights)
}
