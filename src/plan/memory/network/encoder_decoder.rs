//! Encoder–decoders of the T5 kind: pre-normalised blocks, a learned bias on the
//! scores instead of positions, cross attention.

use super::super::architecture::Transformer;
use super::super::tape::{
    AttentionCall, Block, Dtype, Kind, Layout, Parameter, Softmax, Tape, Tensor, Upcast,
};
use super::feed_forward::FeedForwardLayers;
use super::layers::{Bias, Layers, Linear, Role};
use super::norm::{NormLayer, apply_norm};
use super::{Attention, Outcome, Output, Pass};
use std::rc::Rc;

#[derive(Debug, Clone)]
struct Attend {
    norm: NormLayer,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

#[derive(Debug, Clone)]
struct Layer {
    own: Attend,
    cross: Option<Attend>,
    mlp_norm: NormLayer,
    mlp: FeedForwardLayers,
}

#[derive(Debug)]
struct Stack {
    bias: Parameter,
    layers: Vec<Layer>,
    norm: NormLayer,
}

/// The network with its weights.
#[derive(Debug)]
pub(in super::super) struct EncoderDecoder {
    shape: Transformer,
    embeddings: Parameter,
    encoder: Stack,
    decoder: Stack,
    head: Linear,
}

impl EncoderDecoder {
    /// Makes the weights.
    pub(in super::super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let embeddings = make.table(shape.vocabulary, shape.hidden);
        let encoder = Stack::new(shape, shape.layers, Side::Encoder, make);
        let decoder = Stack::new(shape, shape.decoder_layers, Side::Decoder, make);
        let widths = [shape.hidden, shape.vocabulary];
        let head = if shape.tied {
            make.tied(&embeddings, widths, Bias::No)
        } else {
            make.linear(Role::Head, widths, Bias::No)
        };
        Self {
            shape: shape.clone(),
            embeddings,
            encoder,
            decoder,
            head,
        }
    }

    /// One pass: the encoder reads, and the decoder writes, `pass.sequence` tokens.
    pub(in super::super) fn run(&self, tape: &mut Tape, pass: Pass) -> Outcome {
        let before = tape.meter.charge_to(Kind::Inputs);
        let sources = tape.constant(pass.tokens(), Dtype::Long);
        let targets = tape.constant(pass.tokens(), Dtype::Long);
        let inputs = vec![sources.share(), targets.share()];
        tape.meter.charge_to(Kind::Activations);
        let read = self.stack(tape, &self.encoder, &sources, None, pass);
        let written = self.stack(tape, &self.decoder, &targets, Some(&read), pass);
        tape.meter.charge_to(Kind::Head);
        let scaled = if self.shape.tied {
            tape.scaled(&written)
        } else {
            written.clone()
        };
        let logits = self.head.apply(tape, &scaled);
        let result = if pass.output == Output::Loss {
            tape.cross_entropy(&logits, &targets, Upcast::No)
        } else {
            logits
        };
        tape.meter.charge_to(before);
        Outcome {
            result,
            cache: Vec::new(),
            inputs,
        }
    }

    fn stack(
        &self,
        tape: &mut Tape,
        stack: &Stack,
        ids: &Tensor,
        read: Option<&Tensor>,
        pass: Pass,
    ) -> Tensor {
        let shape = &self.shape;
        let mut embedded = tape.embedding(ids, &self.embeddings, shape.hidden);
        if pass.checkpointing && !embedded.needs_gradient() {
            embedded = tape.require_gradient(&embedded);
        }
        let mut hidden = tape.dropout(&embedded);
        let square = pass.sequence * pass.sequence;
        let buckets = tape.constant(square, Dtype::Long);
        let bias = tape.embedding(&buckets, &stack.bias, shape.heads);
        drop(buckets);
        // Cross attention adds a bias of zeros.
        let zeros = tape.constant(square * shape.heads, embedded.dtype);
        let read = read.map(|read| (read.clone(), zeros));
        for layer in &stack.layers {
            let block = block(shape, layer, &bias, read.as_ref(), pass);
            hidden = if pass.checkpointing {
                tape.checkpointed(&hidden, &block)
            } else {
                block(tape, &hidden)
            };
        }
        let normed = apply_norm(tape, &hidden, &stack.norm);
        tape.dropout(&normed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Encoder,
    Decoder,
}

impl Stack {
    fn new(shape: &Transformer, layers: u64, side: Side, make: &mut Layers<'_>) -> Self {
        // 32 distances, a number per head and distance.
        let bias = make.table(32, shape.heads);
        let layers = (0..layers)
            .map(|index| {
                make.block_starts();
                let layer = Layer {
                    own: Attend::new(shape, make),
                    cross: (side == Side::Decoder).then(|| Attend::new(shape, make)),
                    mlp_norm: NormLayer::new(shape.norm, shape.hidden, make),
                    mlp: FeedForwardLayers::new(shape, index, make),
                };
                make.block_ends();
                layer
            })
            .collect();
        Self {
            bias,
            layers,
            norm: NormLayer::new(shape.norm, shape.hidden, make),
        }
    }
}

impl Attend {
    fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        let (hidden, width) = (shape.hidden, shape.query_width());
        Self {
            norm: NormLayer::new(shape.norm, hidden, make),
            query: make.linear(Role::QueryOrValue, [hidden, width], Bias::No),
            key: make.linear(Role::Inner, [hidden, width], Bias::No),
            value: make.linear(Role::QueryOrValue, [hidden, width], Bias::No),
            output: make.linear(Role::Inner, [width, hidden], Bias::No),
        }
    }

    fn apply(
        &self,
        tape: &mut Tape,
        shape: &Transformer,
        (x, read): (&Tensor, Option<&Tensor>),
        bias: Option<&Tensor>,
        pass: Pass,
    ) -> Tensor {
        let normed = apply_norm(tape, x, &self.norm);
        let source = read.unwrap_or(&normed);
        let q = self.query.apply(tape, &normed);
        let k = self.key.apply(tape, source);
        let v = self.value.apply(tape, source);
        let call = AttentionCall {
            batch: pass.batch,
            heads: shape.heads,
            queries: pass.sequence,
            keys: pass.sequence,
            value_width: shape.head_width,
            key_layout: Layout::Strided,
            dropout: shape.attention_dropout,
        };
        let mut mixed = match pass.attention {
            Attention::Fused => tape.fused_attention([&q, &k, &v], call, bias),
            Attention::Eager => {
                tape.eager_attention([&q, &k, &v], call, bias, Softmax::AsIs)
                    .0
            }
        };
        mixed = self.output.apply(tape, &mixed);
        mixed = tape.dropout(&mixed);
        tape.add(x, &mixed)
    }
}

fn block(
    shape: &Transformer,
    layer: &Layer,
    bias: &Tensor,
    read: Option<&(Tensor, Tensor)>,
    pass: Pass,
) -> Block {
    let shape = shape.clone();
    let layer = layer.clone();
    let bias = bias.clone();
    let read = read.cloned();
    Rc::new(move |tape, input| {
        let mut x = layer
            .own
            .apply(tape, &shape, (input, None), Some(&bias), pass);
        if let (Some(cross), Some((read, zeros))) = (&layer.cross, &read) {
            x = cross.apply(tape, &shape, (&x, Some(read)), Some(zeros), pass);
        }
        let normed = apply_norm(tape, &x, &layer.mlp_norm);
        let fed = layer.mlp.apply(tape, &normed);
        let dropped = tape.dropout(&fed);
        tape.add(&x, &dropped)
    })
}
