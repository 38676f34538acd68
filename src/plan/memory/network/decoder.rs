//! Decoders with rotary positions: pre-normalised blocks, in sequence or side by
//! side, grouped or latent attention, dense or mixture-of-experts feed-forward.

use super::super::architecture::{Block as Wiring, Norm, Transformer};
use super::super::tape::{Block, Dtype, Kind, Parameter, Tape, Tensor};
use super::attend::{AttentionLayers, Call};
use super::cache::Cache;
use super::feed_forward::FeedForwardLayers;
use super::layers::{Bias, Layers, Linear, Role};
use super::loss::causal_loss;
use super::norm::{NormLayer, apply_norm};
use super::{Attention, Outcome, Output, Pass};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Layer {
    input_norm: NormLayer,
    attention: AttentionLayers,
    after_attention: Option<NormLayer>,
    mlp_norm: Option<NormLayer>,
    mlp: FeedForwardLayers,
    after_mlp: Option<NormLayer>,
}

/// The network with its weights.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    shape: Transformer,
    embeddings: Parameter,
    layers: Vec<Layer>,
    final_norm: NormLayer,
    head: Linear,
    _buffers: Vec<Tensor>,
}

impl Decoder {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let embeddings = make.table(shape.vocabulary, hidden);
        let layers = (0..shape.layers)
            .map(|index| {
                make.block_starts();
                let layer = Layer::new(shape, index, make);
                make.block_ends();
                layer
            })
            .collect();
        let final_norm = NormLayer::new(shape.norm, hidden, make);
        let bias = Bias::when(shape.head_bias);
        let head = if shape.tied {
            make.tied(&embeddings, [hidden, shape.vocabulary], bias)
        } else {
            make.linear(Role::Head, [hidden, shape.vocabulary], bias)
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
        let before = tape.meter.charge_to(Kind::Inputs);
        let ids = tape.constant(pass.tokens(), Dtype::Long);
        let labels =
            (pass.output == Output::Loss).then(|| tape.constant(pass.tokens(), Dtype::Long));
        let mut inputs = vec![ids.share()];
        inputs.extend(labels.iter().map(Tensor::share));
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
        let mut embedded = tape.embedding(ids, &self.embeddings, shape.hidden);
        if pass.checkpointing && !embedded.needs_gradient() {
            embedded = tape.require_gradient(&embedded);
        }
        let mut hidden = if shape.norm == Norm::RmsScaledInFloat {
            // Gemma multiplies by the root of the width.
            tape.scaled(&embedded)
        } else {
            embedded.clone()
        };
        let _positions = tape.constant(pass.sequence, Dtype::Long);
        let mask = causal_mask(tape, pass, hidden.dtype);
        let table = pass.sequence * shape.head_width;
        let rotary = [
            tape.constant(table, hidden.dtype),
            tape.constant(table, hidden.dtype),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            let block = self.block(layer, &rotary, mask.as_ref(), (pass, cache, index));
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        apply_norm(tape, &hidden, &self.final_norm)
    }

    fn block(
        &self,
        layer: &Layer,
        rotary: &[Tensor; 2],
        mask: Option<&Tensor>,
        (pass, cache, index): (Pass, &Cache, usize),
    ) -> Block {
        let wiring = self.shape.block;
        let layer = layer.clone();
        let call = Call {
            shape: self.shape.clone(),
            rotary: rotary.clone(),
            mask: mask.cloned(),
            pass,
            cache: cache.clone(),
            index,
        };
        Rc::new(move |tape, input| match wiring {
            Wiring::Parallel => side_by_side(tape, &layer, &call, input),
            _ => in_sequence(tape, &layer, &call, input),
        })
    }
}

impl Layer {
    fn new(shape: &Transformer, index: u64, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let parallel = shape.block == Wiring::Parallel;
        let norm = |make: &mut Layers<'_>, wanted: bool| {
            wanted.then(|| NormLayer::new(shape.norm, hidden, make))
        };
        Self {
            input_norm: NormLayer::new(shape.norm, hidden, make),
            attention: AttentionLayers::new(shape, make),
            after_attention: norm(make, shape.post_norms),
            mlp_norm: norm(make, !parallel || shape.parallel_norms > 1),
            mlp: FeedForwardLayers::new(shape, index, make),
            after_mlp: norm(make, shape.post_norms),
        }
    }
}

fn in_sequence(tape: &mut Tape, layer: &Layer, call: &Call, input: &Tensor) -> Tensor {
    let mut x = apply_norm(tape, input, &layer.input_norm);
    let (mixed, _weights) = layer.attention.apply(tape, call, &x);
    x = mixed;
    if let Some(norm) = &layer.after_attention {
        x = apply_norm(tape, &x, norm);
    }
    let residual = tape.add(input, &x);
    drop(x);
    x = match &layer.mlp_norm {
        Some(norm) => apply_norm(tape, &residual, norm),
        None => residual.clone(),
    };
    x = layer.mlp.apply(tape, &x);
    if let Some(norm) = &layer.after_mlp {
        x = apply_norm(tape, &x, norm);
    }
    tape.add(&residual, &x)
}

fn side_by_side(tape: &mut Tape, layer: &Layer, call: &Call, input: &Tensor) -> Tensor {
    let normed = apply_norm(tape, input, &layer.input_norm);
    let for_mlp = layer
        .mlp_norm
        .as_ref()
        .map(|norm| apply_norm(tape, input, norm));
    let (mixed, _weights) = layer.attention.apply(tape, call, &normed);
    let fed = layer.mlp.apply(tape, for_mlp.as_ref().unwrap_or(&normed));
    let sum = tape.add(&mixed, &fed);
    tape.add(&sum, input)
}

/// The end of a language model: the loss, the scores of every position, or those
/// of the last one.
pub(super) fn scores_or_loss(
    tape: &mut Tape,
    head: &Linear,
    hidden: &Tensor,
    labels: Option<&Tensor>,
    pass: Pass,
) -> Tensor {
    match (pass.output, labels) {
        (Output::Loss, Some(labels)) => {
            let logits = head.apply(tape, hidden);
            causal_loss(tape, &logits, labels, pass)
        }
        (Output::NextToken, _) => {
            let width = hidden.elements / pass.tokens().max(1);
            let last = tape.sliced(hidden, pass.batch * width);
            head.apply(tape, &last)
        }
        _ => head.apply(tape, hidden),
    }
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
