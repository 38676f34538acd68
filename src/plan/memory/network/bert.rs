//! Encoders of the BERT kind: learned positions, post-normalised blocks, dropout.

use super::super::architecture::{Head, Transformer};
use super::super::tape::{
    AttentionCall, Block, Dtype, Kind, Layout, Parameter, Softmax, Tape, Tensor, Upcast,
};
use super::layers::{Bias, Layers, Linear, Role};
use super::{Attention, Outcome, Output, Pass, WithHead};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: [Parameter; 2],
    up: Linear,
    down: Linear,
    output_norm: [Parameter; 2],
}

#[derive(Debug)]
enum HeadLayers {
    Classes {
        pooler: Option<Linear>,
        classifier: Linear,
    },
    Tokens {
        transform: Linear,
        norm: [Parameter; 2],
        decoder: Linear,
    },
    Bare,
}

/// The network with its weights.
#[derive(Debug)]
pub(in super::super) struct Bert {
    shape: Transformer,
    words: Parameter,
    positions: Parameter,
    kinds: Option<Parameter>,
    norm: [Parameter; 2],
    layers: Vec<Layer>,
    head: HeadLayers,
    _buffers: Vec<Tensor>,
}

impl Bert {
    /// Makes the weights.
    pub(in super::super) fn new(
        shape: &Transformer,
        make: &mut Layers<'_>,
        with_head: WithHead,
    ) -> Self {
        let hidden = shape.hidden;
        let words = make.table(shape.vocabulary, hidden);
        let positions = make.table(shape.position_rows, hidden);
        let kinds = (shape.segment_kinds > 0).then(|| make.table(shape.segment_kinds, hidden));
        let norm = [make.vector(hidden), make.vector(hidden)];
        let square = [hidden, hidden];
        let layers = (0..shape.layers)
            .map(|_| {
                make.block_starts();
                let layer = Layer {
                    query: make.linear(Role::QueryOrValue, square, Bias::Yes),
                    key: make.linear(Role::Inner, square, Bias::Yes),
                    value: make.linear(Role::QueryOrValue, square, Bias::Yes),
                    output: make.linear(Role::Inner, square, Bias::Yes),
                    attention_norm: [make.vector(hidden), make.vector(hidden)],
                    up: make.linear(Role::Inner, [hidden, shape.intermediate], Bias::Yes),
                    down: make.linear(Role::Inner, [shape.intermediate, hidden], Bias::Yes),
                    output_norm: [make.vector(hidden), make.vector(hidden)],
                };
                make.block_ends();
                layer
            })
            .collect();
        let head = match (with_head, shape.head) {
            (WithHead::No, _) => {
                if shape.pooler {
                    make.linear(Role::Inner, square, Bias::Yes);
                }
                HeadLayers::Bare
            }
            (WithHead::Yes, Head::Classes(classes)) => HeadLayers::Classes {
                pooler: shape
                    .pooler
                    .then(|| make.linear(Role::Inner, square, Bias::Yes)),
                classifier: make.trained_linear([hidden, classes]),
            },
            (WithHead::Yes, Head::Tokens) => HeadLayers::Tokens {
                transform: make.linear(Role::Other, square, Bias::Yes),
                norm: [make.vector(hidden), make.vector(hidden)],
                decoder: make.tied(&words, [hidden, shape.vocabulary], Bias::Yes),
            },
        };
        // Position and segment numbers.
        let buffers = vec![
            make.buffer(shape.position_rows, Dtype::Long),
            make.buffer(shape.position_rows, Dtype::Long),
        ];
        Self {
            shape: shape.clone(),
            words,
            positions,
            kinds,
            norm,
            layers,
            head,
            _buffers: buffers,
        }
    }

    /// One pass.
    pub(in super::super) fn run(&self, tape: &mut Tape, pass: Pass) -> Outcome {
        let shape = &self.shape;
        let before = tape.meter.charge_to(Kind::Inputs);
        let ids = tape.constant(pass.tokens(), Dtype::Long);
        let padding = pass
            .padded
            .then(|| tape.constant(pass.tokens(), Dtype::Long));
        let labels = (pass.output == Output::Loss).then(|| {
            let targets = match self.head {
                HeadLayers::Tokens { .. } => pass.tokens(),
                _ => pass.batch,
            };
            tape.constant(targets, Dtype::Long)
        });
        let mut inputs = vec![ids.share()];
        inputs.extend(labels.iter().map(Tensor::share));
        tape.meter.charge_to(Kind::Activations);
        inputs.extend(padding.iter().map(Tensor::share));
        let hidden = self.trunk(tape, &ids, padding.as_ref(), pass);
        tape.meter.charge_to(Kind::Head);
        let result = self.finish(tape, &hidden, labels.as_ref(), shape, pass);
        tape.meter.charge_to(before);
        Outcome {
            result,
            cache: Vec::new(),
            inputs,
        }
    }

    fn trunk(&self, tape: &mut Tape, ids: &Tensor, padding: Option<&Tensor>, pass: Pass) -> Tensor {
        let kinds = tape.constant(pass.sequence, Dtype::Long);
        let embedded = self.embed(tape, ids, &kinds, pass);
        drop(kinds);
        let mut hidden = embedded.clone();
        let mask =
            padding.map(|_| tape.constant(pass.batch * pass.sequence * pass.sequence, Dtype::Bool));
        for layer in &self.layers {
            let block = self.block(layer, mask.as_ref(), pass);
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        hidden
    }

    fn embed(&self, tape: &mut Tape, ids: &Tensor, kinds: &Tensor, pass: Pass) -> Tensor {
        let hidden = self.shape.hidden;
        let mut words = tape.embedding(ids, &self.words, hidden);
        if pass.checkpointing && !words.needs_gradient() {
            words = tape.require_gradient(&words);
        }
        let kinds = kinds.view(pass.tokens());
        let segments = self
            .kinds
            .as_ref()
            .map(|table| tape.embedding(&kinds, table, hidden));
        let mut sum = match &segments {
            Some(segments) => tape.add(&words, segments),
            None => words.clone(),
        };
        let places = kinds.view(pass.sequence);
        let places = tape.embedding(&places, &self.positions, hidden);
        sum = tape.add(&sum, &places);
        sum = tape.layer_norm(&sum, hidden, &self.norm.each_ref());
        tape.dropout(&sum)
    }

    fn block(&self, layer: &Layer, mask: Option<&Tensor>, pass: Pass) -> Block {
        let shape = self.shape.clone();
        let layer = layer.clone();
        let mask = mask.cloned();
        Rc::new(move |tape, input| {
            let (mixed, _weights) = attention(tape, &shape, &layer, input, mask.as_ref(), pass);
            let attended = projected(
                tape,
                (&layer.output, &layer.attention_norm),
                &mixed,
                input,
                shape.hidden,
            );
            drop(mixed);
            let mut inner = layer.up.apply(tape, &attended);
            inner = tape.activation(&inner);
            projected(
                tape,
                (&layer.down, &layer.output_norm),
                &inner,
                &attended,
                shape.hidden,
            )
        })
    }

    fn finish(
        &self,
        tape: &mut Tape,
        hidden: &Tensor,
        labels: Option<&Tensor>,
        shape: &Transformer,
        pass: Pass,
    ) -> Tensor {
        let logits = match &self.head {
            HeadLayers::Bare => hidden.clone(),
            HeadLayers::Classes { pooler, classifier } => {
                let mut pooled = tape.sliced(hidden, pass.batch * shape.hidden);
                if let Some(pooler) = pooler {
                    pooled = pooler.apply(tape, &pooled);
                    pooled = tape.activation_by_result(&pooled);
                }
                pooled = tape.dropout(&pooled);
                classifier.apply(tape, &pooled)
            }
            HeadLayers::Tokens {
                transform,
                norm,
                decoder,
            } => {
                let mut x = transform.apply(tape, hidden);
                x = tape.activation(&x);
                x = tape.layer_norm(&x, shape.hidden, &norm.each_ref());
                decoder.apply(tape, &x)
            }
        };
        match labels {
            Some(labels) => tape.cross_entropy(&logits, labels, Upcast::No),
            None => logits,
        }
    }
}

/// Projection, dropout, sum with the residual, normalisation.
fn projected(
    tape: &mut Tape,
    (linear, norm): (&Linear, &[Parameter; 2]),
    x: &Tensor,
    residual: &Tensor,
    width: u64,
) -> Tensor {
    let mut y = linear.apply(tape, x);
    y = tape.dropout(&y);
    let sum = tape.add(&y, residual);
    tape.layer_norm(&sum, width, &norm.each_ref())
}

fn attention(
    tape: &mut Tape,
    shape: &Transformer,
    layer: &Layer,
    x: &Tensor,
    mask: Option<&Tensor>,
    pass: Pass,
) -> (Tensor, Option<Tensor>) {
    let q = layer.query.apply(tape, x);
    let k = layer.key.apply(tape, x);
    let v = layer.value.apply(tape, x);
    let call = AttentionCall {
        batch: pass.batch,
        heads: shape.heads,
        queries: pass.sequence,
        keys: pass.sequence,
        value_width: shape.head_width,
        key_layout: Layout::Strided,
        dropout: shape.attention_dropout,
    };
    match pass.attention {
        Attention::Fused => (tape.fused_attention([&q, &k, &v], call, mask), None),
        Attention::Eager => {
            let (out, weights) = tape.eager_attention([&q, &k, &v], call, mask, Softmax::AsIs);
            (out, Some(weights))
        }
    }
}
