//! Operators that work element by element, and normalisation.

use super::autograd::{Record, Rule};
use super::linear::Parameter;
use super::{Dtype, Tape, Tensor};

impl Tape {
    /// A result with one recorded input.
    pub(super) fn result_of(
        &mut self,
        elements: u64,
        dtype: Dtype,
        record: impl FnOnce(&Tensor) -> Record,
    ) -> Tensor {
        let mut out = self.constant(elements, dtype);
        let record = record(&out);
        out.edge = self.record(record);
        out
    }

    /// Another type; the same tensor when it has that type already.
    pub(in super::super) fn cast(&mut self, x: &Tensor, dtype: Dtype) -> Tensor {
        if x.dtype == dtype {
            return x.clone();
        }
        self.result_of(x.elements, dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        })
    }

    /// A copy of the same type (`contiguous` after a transposition).
    pub(in super::super) fn copied(&mut self, x: &Tensor) -> Tensor {
        self.result_of(x.elements, x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::Pass)],
            ..Record::default()
        })
    }

    /// Repeats `x` to `elements`; the gradient is summed back.
    pub(in super::super) fn repeated(&mut self, x: &Tensor, elements: u64) -> Tensor {
        if elements == x.elements {
            return x.clone();
        }
        self.result_of(elements, x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        })
    }

    /// Sum of two tensors; the smaller one is broadcast.
    pub(in super::super) fn add(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        let (elements, dtype) = joined(a, b);
        let rule = |x: &Tensor| {
            if x.elements == elements && x.dtype == dtype {
                Rule::Pass
            } else {
                Rule::fresh(x.bytes())
            }
        };
        self.result_of(elements, dtype, |_| Record {
            inputs: vec![(a.edge, rule(a)), (b.edge, rule(b))],
            ..Record::default()
        })
    }

    /// Product of two tensors; the smaller one is broadcast.
    pub(in super::super) fn multiply(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        let (elements, dtype) = joined(a, b);
        let bytes = elements * dtype.bytes();
        let mut saved = Vec::new();
        if a.needs_gradient() {
            saved.push(b.held.clone());
        }
        if b.needs_gradient() {
            saved.push(a.held.clone());
        }
        self.result_of(elements, dtype, |_| Record {
            inputs: vec![
                (a.edge, Rule::reduced(bytes, a.bytes())),
                (b.edge, Rule::reduced(bytes, b.bytes())),
            ],
            saved,
            ..Record::default()
        })
    }

    /// Product with a number: nothing is kept.
    pub(in super::super) fn scaled(&mut self, x: &Tensor) -> Tensor {
        self.result_of(x.elements, x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        })
    }

    /// Sum with a number.
    pub(in super::super) fn shifted(&mut self, x: &Tensor) -> Tensor {
        self.copied(x)
    }

    /// The square; its derivative needs two scratch tensors of the same size.
    pub(in super::super) fn squared(&mut self, x: &Tensor) -> Tensor {
        self.powered(x)
    }

    /// Any power with a number as exponent.
    pub(in super::super) fn powered(&mut self, x: &Tensor) -> Tensor {
        self.result_of(x.elements, x.dtype, |_| Record {
            inputs: vec![(
                x.edge,
                Rule::Fresh {
                    bytes: x.bytes(),
                    scratch: 2 * x.bytes(),
                    reduced: None,
                },
            )],
            saved: vec![x.held.clone()],
            ..Record::default()
        })
    }

    /// Sums rows that belong together, down to `elements`.
    pub(in super::super) fn summed(&mut self, x: &Tensor, elements: u64) -> Tensor {
        self.result_of(elements, x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        })
    }

    /// Mean over the last dimension, of size `width`.
    pub(in super::super) fn mean(&mut self, x: &Tensor, width: u64) -> Tensor {
        self.result_of(x.elements / width.max(1), x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        })
    }

    /// A function whose derivative needs its input (GELU, `SiLU`).
    pub(in super::super) fn activation(&mut self, x: &Tensor) -> Tensor {
        self.result_of(x.elements, x.dtype, |_| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![x.held.clone()],
            ..Record::default()
        })
    }

    /// A function whose derivative needs its result (tanh, sigmoid, softmax, rsqrt).
    pub(in super::super) fn activation_by_result(&mut self, x: &Tensor) -> Tensor {
        self.result_of(x.elements, x.dtype, |out| Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![out.held.clone()],
            ..Record::default()
        })
    }

    /// A function that overwrites its input: no new memory; the derivative needs
    /// `kept`'s storage, which is the input's and now holds the result.
    pub(in super::super) fn in_place(&mut self, x: Tensor) -> Tensor {
        let edge = self.record(Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![x.held.clone()],
            ..Record::default()
        });
        if edge == super::Edge::None {
            x.detached()
        } else {
            Tensor { edge, ..x }
        }
    }

    /// Dropout: keeps a mask of one byte per element.
    pub(in super::super) fn dropout(&mut self, x: &Tensor) -> Tensor {
        if !self.training {
            return x.clone();
        }
        let out = self.constant(x.elements, x.dtype);
        let mask = self.constant(x.elements, Dtype::Bool);
        let edge = self.record(Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            saved: vec![mask.held],
            ..Record::default()
        });
        Tensor { edge, ..out }
    }

    /// Layer normalisation by the fused operator, over a last dimension of
    /// `width`: keeps its input, and mean and inverse deviation as 32-bit numbers.
    /// Runs in 32 bit under automatic casting.
    pub(in super::super) fn layer_norm(
        &mut self,
        x: &Tensor,
        width: u64,
        weights: &[&Parameter],
    ) -> Tensor {
        let x = if self.autocasting() {
            self.cast(x, Dtype::Float)
        } else {
            x.clone()
        };
        let out = self.constant(x.elements, x.dtype);
        let statistics = self.constant(2 * (x.elements / width.max(1)), Dtype::Float);
        let mut inputs = vec![(x.edge, Rule::fresh(x.bytes()))];
        inputs.extend(
            weights
                .iter()
                .map(|w| (w.tensor.edge, Rule::fresh(w.tensor.bytes()))),
        );
        let edge = self.record(Record {
            inputs,
            saved: vec![x.held.clone(), statistics.held],
            ..Record::default()
        });
        Tensor { edge, ..out }
    }

    /// Concatenation; gradients of the parts are views of the incoming one.
    pub(in super::super) fn concatenated(&mut self, parts: &[&Tensor]) -> Tensor {
        let elements = parts.iter().map(|p| p.elements).sum();
        let dtype = parts.first().map_or(Dtype::Float, |p| p.dtype);
        self.result_of(elements, dtype, |_| Record {
            inputs: parts.iter().map(|p| (p.edge, Rule::Pass)).collect(),
            ..Record::default()
        })
    }

    /// A part of a tensor, sharing its memory; the gradient is put into zeros of
    /// the full size.
    pub(in super::super) fn sliced(&mut self, x: &Tensor, elements: u64) -> Tensor {
        let edge = self.record(Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            ..Record::default()
        });
        Tensor {
            edge,
            ..x.view(elements)
        }
    }

    /// Splits into three parts; see [`Self::split`].
    pub(in super::super) fn split_three(&mut self, x: &Tensor, parts: [u64; 3]) -> [Tensor; 3] {
        let mut made = self.split(x, &parts).into_iter();
        parts.map(|elements| made.next().unwrap_or_else(|| x.view(elements)))
    }

    /// Splits into that share the memory; the gradients of the parts
    /// are concatenated.
    pub(in super::super) fn split(&mut self, x: &Tensor, parts: &[u64]) -> Vec<Tensor> {
        let edge = self.record(Record {
            inputs: vec![(x.edge, Rule::fresh(x.bytes()))],
            outputs: parts.len(),
            ..Record::default()
        });
        parts
            .iter()
            .enumerate()
            .map(|(slot, &elements)| Tensor {
                edge: match edge {
                    super::Edge::Node(node, _) => super::Edge::Node(node, slot),
                    other => other,
                },
                ..x.view(elements)
            })
            .collect()
    }
}

/// Size and type of the result of an operator on two tensors.
fn joined(a: &Tensor, b: &Tensor) -> (u64, Dtype) {
    (a.elements.max(b.elements), a.dtype.max(b.dtype))
}
