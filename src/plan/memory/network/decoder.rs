//! Decoders of the Llama kind: pre-normalised residual blocks, rotary positions,
//! grouped heads, a gated or plain feed-forward part.

use super::super::architecture::Transformer;
use super::super::tape::{
    AttentionCall, Dtype, Kind, Layout, Parameter, Softmax, Tape, Tensor, Upcast,
};
use super::layers::{Bias, Layers, Linear, Role};
use super::cache::{Cache, Slot};
use super::{Attention, Block, Outcome, Output, Pass};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Layer {
    input_norm: Parameter,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: Parameter,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

/// The network with its weights.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    shape: Transformer,
    embeddings: Parameter,
    layers: Vec<Layer>,
    final_norm: Parameter,
    head: Linear,
    _buffers: Vec<Tensor>,
}

impl Decoder {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let embeddings = make.table(shape.vocabulary, hidden);
        let layers = (0..shape.layers)
            .map(|_| {
                let bias = Bias::when(shape.qkv_bias);
                Layer {
                    input_norm: make.vector(hidden),
                    query: make.linear(Role::QueryOrValue, [hidden, shape.query_width()], bias),
                    key: make.linear(Role::Inner, [hidden, shape.key_width()], bias),
                    value: make.linear(Role::QueryOrValue, [hidden, shape.key_width()], bias),
                    output: make.linear(Role::Inner, [shape.query_width(), hidden], Bias::No),
                    mlp_norm: make.vector(hidden),
                    gate: shape
                        .gated
                        .then(|| make.linear(Role::Inner, [hidden, shape.intermediate], Bias::No)),
                    up: make.linear(Role::Inner, [hidden, shape.intermediate], Bias::No),
                    down: make.linear(Role::Inner, [shape.intermediate, hidden], Bias::No),
                }
            })
            .collect();
        let final_norm = make.vector(hidden);
        let head = if shape.tied {
            make.tied(&embeddings, [hidden, shape.vocabulary], Bias::No)
        } else {
            make.linear(Role::Head, [hidden, shape.vocabulary], Bias::No)
        };
        // Inverse frequencies of the rotary positions, and the original copy.
        let buffers = vec![make.buffer(shape.head_width, Dtype::Float)];
        Self {
            shape: shape.clone(),
            embeddings,
            layers,
            final_norm,
            head,
            _buffers: buffers,
        }
    }

    /// One pass.
    pub(in super::super) fn run(&self, tape: &mut Tape, pass: Pass) -> Outcome {
        let shape = &self.shape;
        let before = tape.meter.charge_to(Kind::Inputs);
        let ids = tape.constant(pass.tokens(), Dtype::Long);
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
        Outcome { result, cache: cache.take(), inputs }
    }

    fn trunk(&self, tape: &mut Tape, ids: &Tensor, cache: &Cache, pass: Pass) -> Tensor {
        let shape = &self.shape;
        let mut embedded = tape.embedding(ids, &self.embeddings, shape.hidden);
        if pass.checkpointing && !embedded.needs_gradient() {
            embedded = tape.require_gradient(&embedded);
        }
        let mut hidden = embedded.clone();
        let _positions = tape.constant(pass.sequence, Dtype::Long);
        let mask = causal_mask(tape, pass, hidden.dtype);
        let table = pass.sequence * shape.head_width;
        let rotary = [
            tape.constant(table, hidden.dtype),
            tape.constant(table, hidden.dtype),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            let block = self.block(layer, &rotary, mask.as_ref(), pass, (cache.clone(), index));
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        rms_norm(tape, &hidden, &self.final_norm, shape.hidden)
    }

    fn block(
        &self,
        layer: &Layer,
        rotary: &[Tensor; 2],
        mask: Option<&Tensor>,
        pass: Pass,
        (cache, index): (Cache, usize),
    ) -> Block {
        let shape = self.shape.clone();
        let layer = layer.clone();
        let rotary = rotary.clone();
        let mask = mask.cloned();
        Rc::new(move |tape, input| {
            let mut x = rms_norm(tape, input, &layer.input_norm, shape.hidden);
            let (mixed, _weights) = attention(tape, &shape, &layer, &x, &rotary, mask.as_ref(), pass, (&cache, index));
            x = mixed;
            let residual = tape.add(input, &x);
            drop(x);
            x = rms_norm(tape, &residual, &layer.mlp_norm, shape.hidden);
            x = feed_forward(tape, &layer, &x);
            tape.add(&residual, &x)
        })
    }
}

fn feed_forward(tape: &mut Tape, layer: &Layer, x: &Tensor) -> Tensor {
    let inner = match &layer.gate {
        Some(gate) => {
            let mut gated = gate.apply(tape, x);
            gated = tape.activation(&gated);
            let up = layer.up.apply(tape, x);
            tape.multiply(&gated, &up)
        }
        None => {
            let up = layer.up.apply(tape, x);
            tape.activation(&up)
        }
    };
    layer.down.apply(tape, &inner)
}

#[expect(clippy::too_many_arguments, reason = "mirrors the operator it replays")]
fn attention(
    tape: &mut Tape,
    shape: &Transformer,
    layer: &Layer,
    x: &Tensor,
    rotary: &[Tensor; 2],
    mask: Option<&Tensor>,
    pass: Pass,
    (cache, index): (&Cache, usize),
) -> (Tensor, Option<Tensor>) {
    let mut q = layer.query.apply(tape, x);
    let mut k = layer.key.apply(tape, x);
    let mut v = layer.value.apply(tape, x);
    let (rotated_q, rotated_k) = (rotate(tape, &q, rotary), rotate(tape, &k, rotary));
    q = rotated_q;
    k = rotated_k;
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
        key_layout: if shape.kv_heads == shape.heads { Layout::Strided } else { Layout::Gathered },
        dropout: false,
    };
    let wide = call.batch * call.heads * call.keys * shape.head_width;
    let (mixed, weights) = match pass.attention {
        Attention::Fused => {
            let half = tape.autocasting() || q.dtype == Dtype::Half;
            if mask.is_some() || !half {
                let (k, v) = (tape.repeated(&k, wide), tape.repeated(&v, wide));
                (tape.fused_attention([&q, &k, &v], call, mask), None)
            } else {
                (tape.fused_attention([&q, &k, &v], call, mask), None)
            }
        }
        Attention::Eager => {
            let (k, v) = (tape.repeated(&k, wide), tape.repeated(&v, wide));
            let (out, weights) = tape.eager_attention([&q, &k, &v], call, mask, Softmax::InFloat);
            (out, Some(weights))
        }
    };
    (layer.output.apply(tape, &mixed), weights)
}

fn rotate(tape: &mut Tape, x: &Tensor, [cos, sin]: &[Tensor; 2]) -> Tensor {
    let straight = tape.multiply(x, cos);
    let half = tape.sliced(x, x.elements / 2);
    let other = tape.sliced(x, x.elements - x.elements / 2);
    let negative = tape.scaled(&half);
    drop(half);
    let mut turned = tape.concatenated(&[&negative, &other]);
    drop(negative);
    drop(other);
    turned = tape.multiply(&turned, sin);
    tape.add(&straight, &turned)
}

/// Root-mean-square normalisation as models write it: in 32 bit, step by step.
pub(super) fn rms_norm(tape: &mut Tape, x: &Tensor, weight: &Parameter, width: u64) -> Tensor {
    let dtype = x.dtype;
    let mut x = tape.cast(x, Dtype::Float);
    let square = tape.squared(&x);
    let variance = tape.mean(&square, width);
    drop(square);
    let shifted = tape.shifted(&variance);
    let scale = tape.activation_by_result(&shifted);
    drop(shifted);
    x = tape.multiply(&x, &scale);
    drop(scale);
    let back = tape.cast(&x, dtype);
    tape.multiply(&weight.tensor, &back)
}

/// The loss of a causal language model: logits to 32 bit, targets shifted.
pub(super) fn causal_loss(tape: &mut Tape, logits: &Tensor, labels: &Tensor, pass: Pass) -> Tensor {
    let _padded = tape.constant(pass.batch * (pass.sequence + 1), Dtype::Long);
    let targets = tape.constant(labels.elements, Dtype::Long);
    // The caller still holds the logits while the loss is computed.
    tape.cross_entropy(logits, &targets, Upcast::Yes)
}

/// The mask of allowed positions, where the kernel does not know it itself.
pub(super) fn causal_mask(tape: &mut Tape, pass: Pass, dtype: Dtype) -> Option<Tensor> {
    let explicit = pass.attention == Attention::Eager || pass.padded;
    (explicit && pass.sequence > 1).then(|| {
        let elements = pass.batch * pass.sequence * (pass.sequence + pass.past);
        let dtype = if pass.attention == Attention::Eager {
            dtype
        } else {
            Dtype::Bool
        };
        let _allowed = tape.constant(elements, Dtype::Bool);
        tape.constant(elements, dtype)
    })
}
