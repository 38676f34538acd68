//! Scaled dot-product attention: fused, or score matrix by score matrix.

use super::autograd::{Record, Rule};
use super::{Dtype, HalfKind, Tape, Tensor};

/// One call of attention.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct AttentionCall {
    /// Sequences in the batch.
    pub(in super::super) batch: u64,
    /// Query heads.
    pub(in super::super) heads: u64,
    /// Positions that ask.
    pub(in super::super) queries: u64,
    /// Positions that are looked at.
    pub(in super::super) keys: u64,
    /// Width of a head's values.
    pub(in super::super) value_width: u64,
    /// How keys and values lie in memory.
    pub(in super::super) key_layout: Layout,
    /// Whether attention weights are dropped at random.
    pub(in super::super) dropout: bool,
}

/// How a tensor of heads lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Layout {
    /// Head by head.
    Gathered,
    /// Position by position, heads within: the projections' layout.
    Strided,
}

impl Tape {
    /// A fused kernel: keeps queries, keys, values, result and one 32-bit number
    /// per query and head.
    pub(in super::super) fn fused_attention(
        &mut self,
        [q, k, v]: [&Tensor; 3],
        call: AttentionCall,
        mask: Option<&Tensor>,
    ) -> Tensor {
        let dtype = self.matrix_dtype(q.dtype);
        let q = self.cast(q, dtype);
        let k = self.cast(k, dtype);
        let v = self.cast(v, dtype);
        let out = self.constant(
            call.batch * call.heads * call.queries * call.value_width,
            dtype,
        );
        let recording = self.is_recording();
        // The memory-efficient kernel pads this to blocks of 32 queries, and
        // leaves it out when there will be no backward pass.
        let rows = match (dtype, recording) {
            (Dtype::Half, _) if mask.is_none() => call.queries,
            (_, true) => call.queries.next_multiple_of(32),
            (_, false) => 0,
        };
        let sums = self.constant(call.batch * call.heads * rows, Dtype::Float);
        let mut saved = vec![
            q.held.clone(),
            k.held.clone(),
            v.held.clone(),
            out.held.clone(),
            sums.held,
        ];
        // A boolean mask becomes one that is added to the scores.
        if let Some(mask) = mask {
            saved.push(self.constant(mask.elements, dtype).held);
        }
        let edge = self.record(Record {
            inputs: vec![
                (q.edge, Rule::fresh(q.bytes())),
                (k.edge, Rule::fresh(k.bytes())),
                (v.edge, Rule::fresh(v.bytes())),
            ],
            saved,
            ..Record::default()
        });
        Tensor { edge, ..out }
    }

    /// Scores, softmax, weighted sum, each as its own operator; the score
    /// matrices are kept. Gives the result and the weights.
    pub(in super::super) fn eager_attention(
        &mut self,
        [q, k, v]: [&Tensor; 3],
        call: AttentionCall,
        mask: Option<&Tensor>,
        softmax: Softmax,
    ) -> (Tensor, Tensor) {
        let scores = call.batch * call.heads * call.queries * call.keys;
        let width = call.value_width;
        let mut weights = {
            let dtype = self.matrix_dtype(q.dtype);
            let (q, k) = (self.cast(q, dtype), self.cast(k, dtype));
            // Heads lie behind positions in memory: a batch of products needs
            // copies as soon as there is more than one sequence.
            let q = self.gathered(&q, call, Layout::Strided);
            let k = self.gathered(&k, call, call.key_layout);
            self.product(&q, &k, scores)
        };
        weights = self.scaled(&weights);
        if let Some(mask) = mask {
            weights = self.add(&weights, mask);
        }
        let soft = match softmax {
            Softmax::InFloat => self.softmax(&weights, Dtype::Float),
            _ if self.autocasting() => self.softmax(&weights, Dtype::Float),
            _ => self.softmax(&weights, weights.dtype),
        };
        weights = match softmax {
            Softmax::InFloat => self.cast(&soft, q.dtype),
            Softmax::AsIs => soft.clone(),
            Softmax::ThenAsValues => self.cast(&soft, v.dtype),
        };
        drop(soft);
        if call.dropout {
            weights = self.dropout(&weights);
        }
        let mut out = {
            let dtype = self.matrix_dtype(weights.dtype);
            let (w, v) = (self.cast(&weights, dtype), self.cast(v, dtype));
            let v = self.gathered(&v, call, call.key_layout);
            self.product(&w, &v, call.batch * call.heads * call.queries * width)
        };
        out = self.copied(&out);
        (out, weights)
    }

    /// Reads 16 bit and writes 32 bit in one operator for fp16; bf16 is copied
    /// to 32 bit first (`aten/src/ATen/native/SoftMax.cpp`).
    fn softmax(&mut self, x: &Tensor, dtype: Dtype) -> Tensor {
        let x = if self.half == HalfKind::Fp16 {
            x.clone()
        } else {
            self.cast(x, dtype)
        };
        self.result_of(x.elements, dtype, |out| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![out.held.clone()],
            ..Record::default()
        })
    }

    fn gathered(&mut self, x: &Tensor, call: AttentionCall, layout: Layout) -> Tensor {
        if call.batch > 1 && layout == Layout::Strided {
            self.copied(x)
        } else {
            x.clone()
        }
    }
}

/// In which type the softmax of the scores runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Softmax {
    /// In 32 bit, then back.
    InFloat,
    /// In the type of the scores.
    AsIs,
    /// In the type of the scores, then the type of the values.
    ThenAsValues,
}
