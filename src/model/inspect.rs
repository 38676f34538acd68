//! Sums a model up: what it is, what it takes, how large it is, how much work.

use super::cost::{Cost, trace};
use super::dims::{Batching, Sizes};
use super::element::ElementType;
use super::graph::{Graph, Port};
use super::hash::ModelHash;
use super::read::Model;
use super::trees;
use crate::error::Result;
use crate::units::{Bytes, Count};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What there is to know of a model without running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// What to call it.
    pub name: String,
    /// Where it is, if it is in a file.
    pub path: Option<PathBuf>,
    /// The fingerprint of its contents; none until it was computed.
    pub hash: Option<ModelHash>,
    /// Size on disk, external data included.
    pub file_bytes: Bytes,
    /// The tool that wrote it.
    pub producer: String,
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets by domain; the empty domain is ONNX itself.
    pub opsets: BTreeMap<String, i64>,
    /// What must be given.
    pub inputs: Vec<Port>,
    /// What is computed.
    pub outputs: Vec<Port>,
    /// How many items it takes at once.
    pub batching: Batching,
    /// Its weights.
    pub weights: WeightFacts,
    /// Number of nodes by operator; constants are not counted.
    pub operators: BTreeMap<String, u64>,
    /// The sizes that `cost` is for.
    pub sizes: Sizes,
    /// The work of one batch.
    pub cost: Cost,
    /// Why `cost` is less than the whole; empty when nothing was left out.
    pub reasons: Vec<String>,
}

/// The weights of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightFacts {
    /// What was learnt: floating-point or quantised tensors but for single
    /// values, running statistics of batch normalisation, and scales and zero
    /// points of quantisation; splits and leaf values of trees. Frameworks count
    /// the same.
    pub parameters: Count,
    /// Size of all tensors that the file carries, in memory.
    pub bytes: Bytes,
    /// The same by element type, largest first.
    pub by_type: Vec<Share>,
}

/// The weights of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The type.
    pub element: ElementType,
    /// How many elements.
    pub elements: Count,
    /// Their size in memory.
    pub bytes: Bytes,
}

/// Sums `model` up, with its work at `sizes`. The hash is left out, since it
/// takes reading the whole file.
///
/// # Errors
/// The sizes do not fit the model (see [`Model::check_sizes`]).
pub fn inspect(model: &Model, sizes: &Sizes) -> Result<ModelFacts> {
    let trace = trace(model, sizes)?;
    let mut operators = BTreeMap::new();
    for node in &model.graph.nodes {
        *operators.entry(node.qualified_op()).or_default() += 1;
    }
    Ok(ModelFacts {
        name: model.name.clone(),
        path: model.path.clone(),
        hash: None,
        file_bytes: model.file_bytes,
        producer: model.producer.clone(),
        ir_version: model.ir_version,
        opsets: model.opsets.clone(),
        inputs: model.graph.inputs.clone(),
        outputs: model.graph.outputs.clone(),
        batching: model.batching(),
        weights: weight_facts(&model.graph),
        operators,
        sizes: sizes.clone(),
        cost: trace.total,
        reasons: trace.reasons,
    })
}

/// Counts the weights of a graph; shared ones once.
pub fn weight_facts(graph: &Graph) -> WeightFacts {
    let aside = not_learnt(graph);
    let mut parameters = 0_u64;
    let mut by_type: BTreeMap<ElementType, (u64, Bytes)> = BTreeMap::new();
    for weight in graph.weights.values() {
        let elements = weight.elements();
        let share = by_type.entry(weight.element).or_default();
        share.0 = share.0.saturating_add(elements);
        share.1 = share.1 + weight.bytes();
        let learnt = match weight.element {
            e if e.is_float() => !weight.dims.is_empty(),
            e => e.is_quantised() && elements > 1,
        };
        if learnt && !aside.contains(weight.name.as_str()) {
            parameters = parameters.saturating_add(elements);
        }
    }
    for work in graph.nodes.iter().filter_map(trees::tree_work) {
        let values = work.splits.saturating_add(work.leaf_values);
        parameters = parameters.saturating_add(values);
        let share = by_type.entry(ElementType::Float32).or_default();
        share.0 = share.0.saturating_add(values);
        share.1 = share.1 + ElementType::Float32.bytes(values);
    }
    let mut by_type: Vec<Share> = by_type
        .into_iter()
        .map(|(element, (elements, bytes))| Share {
            element,
            elements: Count::new(elements),
            bytes,
        })
        .collect();
    by_type.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    WeightFacts {
        parameters: Count::new(parameters),
        bytes: by_type.iter().map(|share| share.bytes).sum(),
        by_type,
    }
}

/// Names of tensors that are no parameters: statistics, scales, zero points,
/// sizes.
fn not_learnt(graph: &Graph) -> BTreeSet<&str> {
    let mut aside = BTreeSet::new();
    let mut dynamic_scales = BTreeSet::new();
    for node in &graph.nodes {
        let places: &[usize] = match node.op() {
            "BatchNormalization" => &[3, 4],
            "QuantizeLinear" | "DequantizeLinear" => &[1, 2],
            "MatMulInteger" | "ConvInteger" | "DynamicQuantizeMatMul" | "MatMulNBits" => &[2, 3],
            "QLinearConv" | "QLinearMatMul" => &[1, 2, 4, 5, 6, 7],
            "QGemm" => &[1, 2, 4, 5, 7, 8],
            "MatMulIntegerToFloat" => &[2, 3, 4, 5],
            "Resize" | "Upsample" | "Clip" | "Pad" => &[1, 2, 3],
            _ => &[],
        };
        aside.extend(places.iter().filter_map(|i| node.input_name(*i)));
        if node.op() == "DynamicQuantizeLinear" {
            dynamic_scales.extend(node.output.get(1).map(String::as_str));
        }
        // The scale of the input times that of the weights.
        if node.op() == "Mul"
            && node
                .input
                .iter()
                .any(|i| dynamic_scales.contains(i.as_str()))
        {
            aside.extend(node.input.iter().map(String::as_str));
        }
    }
    aside
}
