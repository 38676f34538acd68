//! Follows shapes through a graph, for sizes that are all known: no symbolic
//! algebra, so that a rule is a few lines of arithmetic. What no rule can tell is
//! left unknown, with the operator that was the reason.

mod blocks;
mod convolution;
mod layout;
mod matrix;
mod reduction;
mod rules;
mod values;

pub(super) use matrix::einsum_letters;

use super::dims::{Sizes, bind};
use super::element::ElementType;
use super::graph::{Graph, Port, ValueType, element_count};
use super::proto::NodeProto;
use super::read::Model;
use crate::units::Bytes;
use std::collections::BTreeMap;

/// The type and size of a tensor when the model runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions, outermost first; none for a single value.
    pub dims: Vec<u64>,
}

impl TensorShape {
    pub(super) const fn new(element: ElementType, dims: Vec<u64>) -> Self {
        Self { element, dims }
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        element_count(&self.dims)
    }

    /// Size in memory.
    pub fn bytes(&self) -> Bytes {
        self.element.bytes(self.elements())
    }
}

/// Shapes of all values that could be told.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// By name: inputs, weights and results.
    pub(super) tensors: BTreeMap<String, TensorShape>,
    /// Operators that no rule covers or whose results depend on the values of
    /// their inputs, with the number of nodes; not those that merely follow one.
    pub(super) unknown: BTreeMap<String, u64>,
}

/// A node with what is known of its inputs.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) opset: i64,
    tensors: &'a BTreeMap<String, TensorShape>,
    known: &'a BTreeMap<String, Vec<f64>>,
}

impl Call<'_> {
    pub(super) fn input(&self, index: usize) -> Option<&TensorShape> {
        self.tensors.get(self.node.input_name(index)?)
    }

    pub(super) fn dims(&self, index: usize) -> Option<&[u64]> {
        Some(&self.input(index)?.dims)
    }

    pub(super) fn element(&self, index: usize) -> Option<ElementType> {
        Some(self.input(index)?.element)
    }

    fn values(&self, index: usize) -> Option<&[f64]> {
        self.known
            .get(self.node.input_name(index)?)
            .map(Vec::as_slice)
    }

    /// The whole numbers of a small input.
    pub(super) fn ints(&self, index: usize) -> Option<Vec<i64>> {
        Some(self.values(index)?.iter().map(|v| *v as i64).collect())
    }

    /// The numbers of an attribute, or of input `index` in newer operator sets.
    pub(super) fn attr_or_input(&self, name: &str, index: usize) -> Option<Vec<i64>> {
        match self.node.ints(name) {
            Some(ints) => Some(ints.to_vec()),
            None => self.ints(index),
        }
    }

    /// The axis set as `name`, counted from the front.
    pub(super) fn axis(&self, name: &str, default: i64, rank: usize) -> Option<usize> {
        from_front(self.node.int(name).unwrap_or(default), rank)
    }
}

/// An axis that may be counted from the back, counted from the front.
pub(super) fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}

/// Follows the shapes of `model` at `sizes`.
pub(super) fn follow(model: &Model, sizes: &Sizes) -> Shapes {
    let graph = &model.graph;
    let batching = model.batching();
    let mut known: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut shapes = Shapes::default();
    for weight in graph.weights.values() {
        let shape = TensorShape::new(weight.element, weight.dims.clone());
        shapes.tensors.insert(weight.name.clone(), shape);
        if let Some(values) = &weight.values {
            known.insert(weight.name.clone(), values.clone());
        }
    }
    let declare = |port: &Port| match &port.kind {
        ValueType::Tensor { element, dims } => Some(TensorShape::new(
            *element,
            bind(port, dims.as_deref()?, sizes, &batching)?,
        )),
        _ => None,
    };
    for port in &graph.inputs {
        if let Some(shape) = declare(port) {
            shapes.tensors.insert(port.name.clone(), shape);
        }
    }
    let declared = declared_ports(graph);
    let opset = model.opset().unwrap_or(1);
    for node in &graph.nodes {
        let call = Call {
            node,
            opset,
            tensors: &shapes.tensors,
            known: &known,
        };
        let results = rules::results(&call);
        let values = values::result(&call);
        let followed = node
            .input
            .iter()
            .any(|i| !i.is_empty() && !shapes.tensors.contains_key(i));
        let mut missing = false;
        let results = results.unwrap_or_default();
        for (index, name) in node.output.iter().enumerate() {
            if name.is_empty() {
                continue;
            }
            let shape = results
                .get(index)
                .cloned()
                .or_else(|| declared.get(name.as_str()).and_then(&declare));
            match shape {
                Some(shape) => {
                    shapes.tensors.insert(name.clone(), shape);
                }
                None => missing = true,
            }
        }
        if missing && !followed {
            *shapes.unknown.entry(node.qualified_op()).or_default() += 1;
        }
        if let (Some(values), Some(name)) = (values, node.output.first()) {
            known.insert(name.clone(), values);
        }
    }
    shapes
}

/// Values whose shapes the file declares, to fall back on.
fn declared_ports(graph: &Graph) -> BTreeMap<&str, Port> {
    let between = graph.declared.iter().map(|(name, kind)| {
        (
            name.as_str(),
            Port {
                name: name.clone(),
                kind: kind.clone(),
            },
        )
    });
    let outputs = graph
        .outputs
        .iter()
        .map(|port| (port.name.as_str(), port.clone()));
    between.chain(outputs).collect()
}
