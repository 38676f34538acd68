//! How much work a model is: arithmetic and bytes moved, node by node.
//!
//! A multiply-add counts as two operations, an elementary function as one. The
//! arithmetic of matrix operators is exact; that of the others is a rounded
//! count, and small beside it in every model for which arithmetic decides.

mod node;
mod operators;

use super::dims::Sizes;
use super::read::Model;
use super::shape::{self, TensorShape};
use crate::error::Result;
use crate::units::{Bytes, Count, Flops};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An amount of work for one batch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// All arithmetic.
    pub flops: Flops,
    /// Multiply-adds of matrix operators, what papers call MACs; two of `flops` each.
    pub multiply_adds: Count,
    /// Splits of trees visited.
    pub tree_nodes: Count,
    /// Weights read: the same for every batch size, but for rows looked up.
    pub weight_bytes: Bytes,
    /// Inputs and results read and written by each node on its own. A runtime
    /// that fuses nodes moves less.
    pub activation_bytes: Bytes,
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let count = |a: Count, b: Count| Count::new(a.get().saturating_add(b.get()));
        Self {
            flops: Flops::saturating(self.flops.get() + other.flops.get()),
            multiply_adds: count(self.multiply_adds, other.multiply_adds),
            tree_nodes: count(self.tree_nodes, other.tree_nodes),
            weight_bytes: self.weight_bytes + other.weight_bytes,
            activation_bytes: self.activation_bytes + other.activation_bytes,
        }
    }
}

/// What sort of work a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkKind {
    /// Multiplies matrices, or slides a kernel.
    Matrix,
    /// Computes element by element, or sums up.
    Arithmetic,
    /// Copies elements to other places.
    Movement,
    /// Gives the same bytes another shape: nothing is copied.
    View,
    /// Walks trees.
    Tree,
    /// Not known, or its shapes are not.
    Unknown,
}

/// The work of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeWork {
    /// What sort of work it is.
    pub kind: WorkKind,
    /// How much.
    pub cost: Cost,
}

/// A model followed from inputs to outputs at given sizes.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The sizes it was followed at.
    pub sizes: Sizes,
    /// Type and size of every value that could be told: inputs, weights, results.
    pub tensors: BTreeMap<String, TensorShape>,
    /// The work of each node of `graph.nodes`, in the same order.
    pub nodes: Vec<NodeWork>,
    /// The work of one batch.
    pub total: Cost,
    /// Why the figures are less than the whole; empty when nothing was left out.
    pub reasons: Vec<String>,
}

/// Follows `model` at `sizes`: the shape of every value and the work of every node.
///
/// # Errors
/// The sizes do not fit the model (see [`Model::check_sizes`]).
pub fn trace(model: &Model, sizes: &Sizes) -> Result<Trace> {
    model.check_sizes(sizes)?;
    let shapes = shape::follow(model, sizes);
    let mut nodes = Vec::with_capacity(model.graph.nodes.len());
    let mut strange: BTreeMap<String, u64> = BTreeMap::new();
    let mut shapeless = 0_u64;
    for node in &model.graph.nodes {
        let view = node::View {
            node,
            tensors: &shapes.tensors,
            model,
        };
        let kind = operators::kind_of(node);
        let cost = view.cost(kind);
        if kind == WorkKind::Unknown {
            *strange.entry(node.qualified_op()).or_default() += 1;
        } else if cost.is_none() {
            shapeless += 1;
        }
        nodes.push(NodeWork {
            kind: if cost.is_some() {
                kind
            } else {
                WorkKind::Unknown
            },
            cost: cost.unwrap_or_default(),
        });
    }
    let mut reasons = Vec::new();
    for (op, count) in &strange {
        reasons.push(format!("the work of `{op}` is not known ({count} nodes)"));
    }
    for (op, count) in &shapes.unknown {
        if !strange.contains_key(op) {
            reasons.push(format!(
                "the size of what `{op}` makes depends on values ({count} nodes)"
            ));
        }
    }
    if shapeless > 0 {
        reasons.push(format!(
            "{shapeless} of {} nodes work on tensors of unknown size",
            nodes.len()
        ));
    }
    Ok(Trace {
        sizes: sizes.clone(),
        tensors: shapes.tensors,
        total: nodes.iter().fold(Cost::default(), |sum, n| sum + n.cost),
        nodes,
        reasons,
    })
}
