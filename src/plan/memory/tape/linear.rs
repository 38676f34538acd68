//! Parameters, matrix products and embeddings.

use super::autograd::{Record, Rule};
use super::{Dtype, Edge, Tape, Tensor};

/// A weight or bias of the model.
#[derive(Debug, Clone)]
pub(in super::super) struct Parameter {
    pub(super) id: usize,
    pub(in super::super) tensor: Tensor,
}

impl Parameter {
    /// Whether a gradient flows into it.
    pub(in super::super) fn is_trained(&self) -> bool {
        matches!(self.tensor.edge, Edge::Leaf(_))
    }
}

/// A linear layer: how the weight lies in memory decides what its use costs.
#[derive(Debug, Clone)]
pub(in super::super) struct Matrix {
    /// The weight.
    pub(in super::super) weight: Parameter,
    /// The bias, if there is one.
    pub(in super::super) bias: Option<Parameter>,
    /// Inputs per row.
    pub(in super::super) inputs: u64,
    /// Outputs per row.
    pub(in super::super) outputs: u64,
    /// Whether the weight is stored in fewer bits and expanded for each use.
    pub(in super::super) expanded: Option<Expanded>,
}

/// A weight in fewer bits.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Expanded {
    /// The type that it is expanded to.
    pub(in super::super) dtype: Dtype,
    /// Bytes per number of a copy of the input that is kept for the backward
    /// pass although the weight is frozen; 0 for none.
    pub(in super::super) keeps_input: u64,
}

impl Tape {
    /// A parameter as an operator sees it: under automatic casting its 16-bit
    /// copy, made once per forward pass for a trained parameter.
    pub(super) fn seen(&mut self, parameter: &Parameter) -> Tensor {
        let target = self.matrix_dtype(parameter.tensor.dtype);
        if parameter.tensor.dtype == target {
            return parameter.tensor.clone();
        }
        if let Some(copy) = self.cast_copies.get(&parameter.id) {
            return copy.clone();
        }
        let before = self.meter.charge_to(super::Kind::WeightCopies);
        let copy = self.cast(&parameter.tensor, target);
        self.meter.charge_to(before);
        if parameter.is_trained() {
            self.cast_copies.insert(parameter.id, copy.clone());
        }
        copy
    }

    /// `x · Wᵀ + b`.
    pub(in super::super) fn linear(&mut self, x: &Tensor, matrix: &Matrix) -> Tensor {
        if let Some(expanded) = matrix.expanded {
            return self.linear_expanded(x, matrix, expanded);
        }
        let x = self.cast(x, self.matrix_dtype(x.dtype));
        let weight = self.seen(&matrix.weight);
        let bias = matrix.bias.as_ref().map(|b| self.seen(b));
        let rows = x.elements / matrix.inputs.max(1);
        let mut saved = Vec::new();
        if weight.needs_gradient() {
            saved.push(x.held.clone());
        }
        if x.needs_gradient() {
            saved.push(weight.held.clone());
        }
        let mut inputs = vec![
            (x.edge, Rule::fresh(x.bytes())),
            (weight.edge, Rule::fresh(weight.bytes())),
        ];
        if let Some(bias) = &bias {
            inputs.push((bias.edge, Rule::fresh(bias.bytes())));
        }
        let dtype = x.dtype;
        self.result_of(rows * matrix.outputs, dtype, |_| Record {
            inputs,
            saved,
            ..Record::default()
        })
    }

    /// A product with a weight that is expanded to 16 or 32 bit for the moment
    /// of the product, forward and backward (bitsandbytes `MatMul4Bit`).
    fn linear_expanded(&mut self, x: &Tensor, matrix: &Matrix, expanded: Expanded) -> Tensor {
        let x = self.cast(x, self.matrix_dtype(x.dtype));
        let rows = x.elements / matrix.inputs.max(1);
        let full = matrix.inputs * matrix.outputs * expanded.dtype.bytes();
        let before = self.meter.charge_to(super::Kind::Scratch);
        let room = self.allocate(full);
        self.meter.charge_to(before);
        let dtype = x.dtype;
        let mut saved = vec![matrix.weight.tensor.held.clone()];
        if expanded.keeps_input > 0 && self.is_recording() {
            saved.push(self.allocate(x.elements * expanded.keeps_input));
        }
        let out = self.result_of(rows * matrix.outputs, dtype, |_| Record {
            inputs: vec![(
                x.edge,
                Rule::Fresh {
                    bytes: x.bytes(),
                    scratch: full,
                    reduced: None,
                },
            )],
            saved,
            ..Record::default()
        });
        drop(room);
        match &matrix.bias {
            Some(bias) => {
                let bias = self.seen(bias);
                self.add(&out, &bias)
            }
            None => out,
        }
    }

    /// Sum with a parameter, seen as a product would see it.
    pub(in super::super) fn add_parameter(&mut self, x: &Tensor, parameter: &Parameter) -> Tensor {
        let parameter = self.seen(parameter);
        self.add(x, &parameter)
    }

    /// A batched product of two tensors, of `elements` results.
    pub(in super::super) fn product(&mut self, a: &Tensor, b: &Tensor, elements: u64) -> Tensor {
        let dtype = self.matrix_dtype(a.dtype.max(b.dtype));
        let a = self.cast(a, dtype);
        let b = self.cast(b, dtype);
        let mut saved = Vec::new();
        if a.needs_gradient() {
            saved.push(b.held.clone());
        }
        if b.needs_gradient() {
            saved.push(a.held.clone());
        }
        self.result_of(elements, dtype, |_| Record {
            inputs: vec![
                (a.edge, Rule::fresh(a.bytes())),
                (b.edge, Rule::fresh(b.bytes())),
            ],
            saved,
            ..Record::default()
        })
    }

    /// Rows of a table; the gradient is dense, of the table's size. Keeps `ids`.
    pub(in super::super) fn embedding(
        &mut self,
        ids: &Tensor,
        table: &Parameter,
        width: u64,
    ) -> Tensor {
        let table = &table.tensor;
        self.result_of(ids.elements * width, table.dtype, |_| Record {
            inputs: vec![(table.edge, Rule::fresh(table.bytes()))],
            saved: vec![ids.held.clone()],
            ..Record::default()
        })
    }

    /// Cross entropy: the log-softmax is kept, with the targets.
    pub(in super::super) fn cross_entropy(
        &mut self,
        logits: &Tensor,
        targets: &Tensor,
        upcast: Upcast,
    ) -> Tensor {
        let log = match upcast {
            Upcast::Yes => {
                let logits = self.cast(logits, Dtype::Float);
                self.activation_by_result(&logits)
            }
            Upcast::No => self.activation_by_result(logits),
        };
        let log = if self.autocasting() {
            self.cast(&log, Dtype::Float)
        } else {
            log
        };
        let saved = vec![log.held.clone(), targets.held.clone()];
        self.result_of(1, log.dtype, |_| Record {
            inputs: vec![(log.edge, Rule::fresh(log.bytes()))],
            saved,
            ..Record::default()
        })
    }
}

/// Whether the loss is computed in 32 bit whatever the logits are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Upcast {
    /// In 32 bit.
    Yes,
    /// In the type of the logits.
    No,
}
