//! Attention of decoders with rotary positions: grouped heads, or keys and
//! values expanded from a latent vector.

use super::super::architecture::{Latent, Transformer};
use super::super::tape::{AttentionCall, Dtype, Layout, Softmax, Tape, Tensor};
use super::cache::{Cache, Slot};
use super::layers::{Bias, Layers, Linear, Role};
use super::norm::{NormLayer, apply_norm};
use super::{Attention, Output, Pass};

/// What attention needs besides its input.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) shape: Transformer,
    /// Cosines and sines of the positions.
    pub(super) rotary: [Tensor; 2],
    pub(super) mask: Option<Tensor>,
    pub(super) pass: Pass,
    pub(super) cache: Cache,
    /// Index of the block.
    pub(super) index: usize,
}

/// The weights of one block's attention.
#[derive(Debug, Clone)]
pub(super) enum AttentionLayers {
    /// One head of keys and values for one or several heads of queries.
    Grouped(Box<Grouped>),
    /// Expanded from a latent vector.
    Latent(Box<LatentLayers>),
}

#[derive(Debug, Clone)]
pub(super) struct Grouped {
    projections: Projections,
    output: Linear,
    head_norms: Option<[NormLayer; 2]>,
}

#[derive(Debug, Clone)]
enum Projections {
    Apart(Box<[Linear; 3]>),
    Joint(Box<Linear>),
}

#[derive(Debug, Clone)]
pub(super) struct LatentLayers {
    latent: Latent,
    query_down: Option<(Linear, NormLayer)>,
    query: Linear,
    down: Linear,
    norm: NormLayer,
    up: Linear,
    output: Linear,
}

impl AttentionLayers {
    /// Makes the weights.
    pub(super) fn new(shape: &Transformer, make: &mut Layers<'_>) -> Self {
        if let Some(latent) = shape.latent {
            return Self::Latent(Box::new(LatentLayers::new(shape, latent, make)));
        }
        let hidden = shape.hidden;
        let bias = Bias::when(shape.qkv_bias);
        Self::Grouped(Box::new(Grouped {
            projections: if shape.joint_qkv {
                let all = shape.query_width() + 2 * shape.key_width();
                Projections::Joint(Box::new(make.linear(
                    Role::QueryOrValue,
                    [hidden, all],
                    bias,
                )))
            } else {
                Projections::Apart(Box::new([
                    make.linear(Role::QueryOrValue, [hidden, shape.query_width()], bias),
                    make.linear(Role::Inner, [hidden, shape.key_width()], bias),
                    make.linear(Role::QueryOrValue, [hidden, shape.key_width()], bias),
                ]))
            },
            output: make.linear(
                Role::Inner,
                [shape.query_width(), hidden],
                Bias::when(shape.output_bias),
            ),
            head_norms: shape
                .qk_norm
                .then(|| [0, 1].map(|_| NormLayer::new(shape.norm, shape.head_width, make))),
        }))
    }

    /// Applies it; gives the result and the score matrix, where there is one.
    pub(super) fn apply(
        &self,
        tape: &mut Tape,
        call: &Call,
        x: &Tensor,
    ) -> (Tensor, Option<Tensor>) {
        match self {
            Self::Grouped(layers) => layers.apply(tape, call, x),
            Self::Latent(layers) => layers.apply(tape, call, x),
        }
    }
}

impl Grouped {
    fn projected(&self, tape: &mut Tape, call: &Call, x: &Tensor) -> [Tensor; 3] {
        let normed = |tape: &mut Tape, tensor: Tensor, which: usize| match self
            .head_norms
            .as_ref()
            .and_then(|norms| norms.get(which))
        {
            Some(norm) => apply_norm(tape, &tensor, norm),
            None => tensor,
        };
        match &self.projections {
            Projections::Apart(apart) => {
                let [query, key, value] = apart.as_ref();
                let q = query.apply(tape, x);
                let q = normed(tape, q, 0);
                let k = key.apply(tape, x);
                let k = normed(tape, k, 1);
                [q, k, value.apply(tape, x)]
            }
            Projections::Joint(joint) => {
                let tokens = call.pass.tokens();
                let widths = [call.shape.query_width(), call.shape.key_width()];
                let [queries, keys] = widths.map(|width| tokens * width);
                let joint = joint.apply(tape, x);
                let [q, k, v] = tape.split_three(&joint, [queries, keys, keys]);
                drop(joint);
                // Shared heads are spread by a copy, which lets the joint tensor go.
                let v = if call.shape.kv_heads < call.shape.heads {
                    tape.copied(&v)
                } else {
                    v
                };
                [normed(tape, q, 0), normed(tape, k, 1), v]
            }
        }
    }

    fn apply(&self, tape: &mut Tape, call: &Call, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let (shape, pass) = (&call.shape, call.pass);
        let [mut q, mut k, mut v] = self.projected(tape, call, x);
        let (rotated_q, rotated_k) = (
            rotate(tape, &q, &call.rotary),
            rotate(tape, &k, &call.rotary),
        );
        q = rotated_q;
        k = rotated_k;
        if pass.output == Output::NextToken {
            k = call
                .cache
                .extended(tape, Slot::Key(call.index), &k, (&call.shape, pass));
            v = call
                .cache
                .extended(tape, Slot::Value(call.index), &v, (&call.shape, pass));
        }
        let grouped = shape.kv_heads != shape.heads;
        let kernel = AttentionCall {
            batch: pass.batch,
            heads: shape.heads,
            queries: pass.sequence,
            keys: pass.sequence + pass.past,
            value_width: shape.head_width,
            key_layout: if grouped {
                Layout::Gathered
            } else {
                Layout::Strided
            },
            dropout: false,
        };
        let wide = kernel.batch * kernel.heads * kernel.keys * shape.head_width;
        let mask = call.mask.as_ref();
        let (mixed, weights) = match pass.attention {
            Attention::Fused => {
                let half = tape.autocasting() || q.dtype == Dtype::Half;
                // Only the 16-bit kernel without a mask takes grouped heads as they are.
                let broadcast = shape.joint_qkv && shape.kv_heads == 1;
                if (mask.is_some() || !half) && !broadcast {
                    let (k, v) = (tape.repeated(&k, wide), tape.repeated(&v, wide));
                    (tape.fused_attention([&q, &k, &v], kernel, mask), None)
                } else {
                    (tape.fused_attention([&q, &k, &v], kernel, mask), None)
                }
            }
            Attention::Eager => {
                let (k, v) = (tape.repeated(&k, wide), tape.repeated(&v, wide));
                let (out, weights) =
                    tape.eager_attention([&q, &k, &v], kernel, mask, Softmax::InFloat);
                (out, Some(weights))
            }
        };
        (self.output.apply(tape, &mixed), weights)
    }
}

impl LatentLayers {
    fn new(shape: &Transformer, latent: Latent, make: &mut Layers<'_>) -> Self {
        let hidden = shape.hidden;
        let head = latent.plain_width + latent.rope_width;
        let (query_down, query_inputs) = if latent.query_rank > 0 {
            let down = make.linear(Role::QueryOrValue, [hidden, latent.query_rank], Bias::No);
            let norm = NormLayer::new(shape.norm, latent.query_rank, make);
            (Some((down, norm)), latent.query_rank)
        } else {
            (None, hidden)
        };
        Self {
            latent,
            query_down,
            query: make.linear(
                Role::QueryOrValue,
                [query_inputs, shape.heads * head],
                Bias::No,
            ),
            down: make.linear(
                Role::Inner,
                [hidden, latent.kv_rank + latent.rope_width],
                Bias::No,
            ),
            norm: NormLayer::new(shape.norm, latent.kv_rank, make),
            up: make.linear(
                Role::QueryOrValue,
                [
                    latent.kv_rank,
                    shape.heads * (latent.plain_width + latent.value_width),
                ],
                Bias::No,
            ),
            output: make.linear(
                Role::Inner,
                [shape.heads * latent.value_width, hidden],
                Bias::No,
            ),
        }
    }

    fn apply(&self, tape: &mut Tape, call: &Call, x: &Tensor) -> (Tensor, Option<Tensor>) {
        let (heads, pass, latent) = (call.shape.heads, call.pass, self.latent);
        let tokens = pass.tokens();
        let mut q = match &self.query_down {
            Some((down, norm)) => {
                let low = down.apply(tape, x);
                let low = apply_norm(tape, &low, norm);
                self.query.apply(tape, &low)
            }
            None => self.query.apply(tape, x),
        };
        let joint = self.down.apply(tape, x);
        let parts = tape.split(
            &joint,
            &[tokens * latent.kv_rank, tokens * latent.rope_width],
        );
        drop(joint);
        let [Some(low), Some(position)] = [0, 1].map(|i| parts.get(i)) else {
            return (x.clone(), None);
        };
        let mut low = apply_norm(tape, low, &self.norm);
        let mut position = rotate(tape, position, &call.rotary);
        if pass.output == Output::NextToken {
            low = call
                .cache
                .extended(tape, Slot::Key(call.index), &low, (&call.shape, pass));
            position = call.cache.extended(
                tape,
                Slot::Value(call.index),
                &position,
                (&call.shape, pass),
            );
        }
        let keys = pass.batch * (pass.sequence + pass.past);
        q = tape.copied(&q);
        let expanded = self.up.apply(tape, &low);
        let halves = tape.split(
            &expanded,
            &[
                keys * heads * latent.plain_width,
                keys * heads * latent.value_width,
            ],
        );
        drop(expanded);
        let [Some(plain), Some(v)] = [0, 1].map(|i| halves.get(i)) else {
            return (x.clone(), None);
        };
        let spread = tape.repeated(&position, keys * heads * latent.rope_width);
        let k = tape.concatenated(&[plain, &spread]);
        drop(spread);
        let kernel = AttentionCall {
            batch: pass.batch,
            heads,
            queries: pass.sequence,
            keys: pass.sequence + pass.past,
            value_width: latent.value_width,
            key_layout: Layout::Gathered,
            dropout: false,
        };
        let mask = call.mask.as_ref();
        let (mixed, weights) = match pass.attention {
            Attention::Fused => (tape.fused_attention([&q, &k, v], kernel, mask), None),
            Attention::Eager => {
                let (out, weights) =
                    tape.eager_attention([&q, &k, v], kernel, mask, Softmax::InFloat);
                (out, Some(weights))
            }
        };
        (self.output.apply(tape, &mixed), weights)
    }
}

/// Rotation by position: `x·cos + rotate_half(x)·sin`, operator by operator.
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
