//! The work of one node, from the shapes around it.

use super::operators::{per_element, sums_up};
use super::{Cost, WorkKind};
use crate::model::graph::element_count;
use crate::model::proto::NodeProto;
use crate::model::read::Model;
use crate::model::shape::{self, TensorShape};
use crate::model::trees;
use crate::units::{Bytes, Count, Flops};
use std::collections::BTreeMap;

/// A node with the shapes around it.
pub(super) struct View<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) tensors: &'a BTreeMap<String, TensorShape>,
    pub(super) model: &'a Model,
}

impl View<'_> {
    fn input(&self, index: usize) -> Option<&TensorShape> {
        self.tensors.get(self.node.input_name(index)?)
    }

    fn dims(&self, index: usize) -> Option<&[u64]> {
        Some(&self.input(index)?.dims)
    }

    fn output(&self, index: usize) -> Option<&TensorShape> {
        self.tensors.get(self.node.output.get(index)?)
    }

    pub(super) fn cost(&self, kind: WorkKind) -> Option<Cost> {
        let mut cost = Cost::default();
        match kind {
            WorkKind::Unknown => return None,
            WorkKind::View => return Some(cost),
            WorkKind::Movement => {}
            WorkKind::Matrix => {
                let macs = self.multiply_adds()?;
                cost.multiply_adds = Count::new(macs);
                cost.flops = Flops::saturating(2.0 * macs as f64);
            }
            WorkKind::Arithmetic => cost.flops = Flops::saturating(self.operations()?),
            WorkKind::Tree => {
                let rows = *self.dims(0)?.first()?;
                let visited = trees::tree_work(self.node)?.visited * rows as f64;
                cost.tree_nodes = Count::new(visited.round() as u64);
                cost.flops = Flops::saturating(visited);
            }
        }
        (cost.weight_bytes, cost.activation_bytes) = self.traffic()?;
        Some(cost)
    }

    /// Bytes of weights read, and of other values read and written.
    fn traffic(&self) -> Option<(Bytes, Bytes)> {
        let written: Bytes = (0..self.node.output.len())
            .filter_map(|i| self.output(i))
            .map(TensorShape::bytes)
            .sum();
        // A look-up reads the rows it returns, not the table.
        let looks_up = matches!(
            self.node.op(),
            "Gather" | "GatherElements" | "GatherND" | "Slice"
        );
        let (mut weights, mut others) = (Bytes::ZERO, written);
        for (index, name) in self
            .node
            .input
            .iter()
            .enumerate()
            .filter(|(_, n)| !n.is_empty())
        {
            let shape = self.tensors.get(name)?;
            let bytes = if looks_up && index == 0 {
                shape.bytes().min(self.output(0)?.bytes())
            } else {
                shape.bytes()
            };
            if self.model.graph.weights.contains_key(name) {
                weights = weights + bytes;
            } else {
                others = others + bytes;
            }
        }
        Some((weights, others))
    }

    fn operations(&self) -> Option<f64> {
        let op = self.node.op();
        let made = self.output(0)?.elements() as f64;
        if let Some(each) = per_element(op) {
            return Some(each * made);
        }
        if sums_up(op) {
            return Some(self.input(0)?.elements() as f64);
        }
        match op {
            "Sum" | "Max" | "Min" | "Mean" => {
                Some(made * self.node.input.len().saturating_sub(1).max(1) as f64)
            }
            _ => {
                let kernel = self.node.ints("kernel_shape")?;
                Some(
                    made * kernel
                        .iter()
                        .map(|k| k.unsigned_abs() as f64)
                        .product::<f64>(),
                )
            }
        }
    }

    /// Multiply-adds of a matrix operator, from the definitions of the operators.
    fn multiply_adds(&self) -> Option<u64> {
        let mul = |parts: &[u64]| element_count(parts);
        let made = || Some(self.output(0)?.elements());
        match self.node.op() {
            "MatMul"
            | "MatMulInteger"
            | "DynamicQuantizeMatMul"
            | "MatMulIntegerToFloat"
            | "QLinearMatMul" => Some(mul(&[made()?, *self.dims(0)?.last()?])),
            "FusedMatMul" | "TransposeMatMul" | "Gemm" | "FusedGemm" | "QGemm" => {
                Some(mul(&[made()?, self.inner("transA")?]))
            }
            "MatMulNBits" => Some(mul(&[made()?, self.node.int("K")?.unsigned_abs()])),
            "Conv" | "FusedConv" | "ConvInteger" => self.convolution(1, made()?),
            "QLinearConv" => self.convolution(3, made()?),
            // Every input element meets every kernel position of its group.
            "ConvTranspose" => {
                let (_, rest) = self.dims(1)?.split_first()?;
                Some(mul(&[self.input(0)?.elements(), mul(rest)]))
            }
            "LSTM" | "GRU" | "RNN" => {
                let &[steps, batch, _] = self.dims(0)? else {
                    return None;
                };
                let each = mul(self.dims(1)?).saturating_add(mul(self.dims(2)?));
                Some(mul(&[steps, batch, each]))
            }
            "Einsum" => {
                let inputs: Option<Vec<&[u64]>> =
                    (0..self.node.input.len()).map(|i| self.dims(i)).collect();
                let sizes = shape::einsum_letters(self.node.text("equation")?, &inputs?)?.sizes;
                Some(
                    sizes
                        .iter()
                        .fold(1_u64, |n, (_, size)| n.saturating_mul(*size)),
                )
            }
            "LinearClassifier" | "LinearRegressor" => {
                let coefficients = self.node.attr("coefficients")?.floats.len() as u64;
                Some(mul(&[*self.dims(0)?.first()?, coefficients]))
            }
            _ => self.attention(),
        }
    }

    /// The dimension that a product runs over.
    fn inner(&self, flip: &str) -> Option<u64> {
        let dims = self.dims(0)?;
        let from_end = if self.node.int(flip).unwrap_or(0) == 0 {
            1
        } else {
            2
        };
        dims.get(dims.len().checked_sub(from_end)?).copied()
    }

    fn convolution(&self, weight: usize, made: u64) -> Option<u64> {
        let (_, per_result) = self.dims(weight)?.split_first()?;
        Some(element_count(&[made, element_count(per_result)]))
    }

    /// Scores and weighted sums over all positions, and for the fused form of
    /// `com.microsoft` the projections in front.
    fn attention(&self) -> Option<u64> {
        let op = self.node.op();
        if self.node.domain_name().is_empty() {
            let (query, key, value) = (self.dims(0)?, self.dims(1)?, self.dims(2)?);
            let (_, query_rows) = query.split_last()?;
            let keys = *key.get(key.len().checked_sub(2)?)?;
            // Scores run over the width of the queries, sums over that of the values.
            let width = query.last()?.saturating_add(match value.len() {
                4 => *value.last()?,
                _ => *query.last()?,
            });
            return Some(element_count(&[element_count(query_rows), keys, width]));
        }
        let &[batch, steps, hidden] = self.dims(0)? else {
            return None;
        };
        let core = |keys: u64, width: u64| element_count(&[batch, steps, keys, width, 2]);
        match op {
            "Attention" | "QAttention" => {
                let projected = *self.dims(1)?.last()?;
                let width = *self.output(0)?.dims.last()?;
                let front = element_count(&[batch, steps, hidden, projected]);
                Some(front.saturating_add(core(steps, width)))
            }
            _ => {
                let keys = match self.dims(1) {
                    Some(&[_, keys, _]) => keys,
                    _ => steps,
                };
                Some(core(keys, *self.output(0)?.dims.last()?))
            }
        }
    }
}
