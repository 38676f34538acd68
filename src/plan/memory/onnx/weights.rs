//! The weights while a session loads and after, in a process whose C library
//! gives freed blocks back at once ([`crate::plan::memory::onnx_footprint`]).
//!
//! Then a session ends up with each weight once: packing for a kernel, folding
//! of normalisation and joining of queries, keys and values replace weights. What
//! counts is when the old ones go. ONNX Runtime copies each initialiser out of
//! the protobuf and frees it there (one at a time); a pass over the graph that
//! rewrites weights keeps all the old ones until the pass is over
//! (`Graph::CleanUnusedInitializersAndNodeArgs`), and computes each new one
//! through an intermediate copy.

use crate::model::{ElementType, Model, Weight, proto::NodeProto};
use crate::units::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of a rewritten weight that are held beside the old and the new one while
/// it is computed. Fitted: the steps of the resident set of a process that loads
/// `resnet50` (ONNX Runtime 1.31.1) are those of two more copies.
const INTERMEDIATE_COPIES: u64 = 2;

/// For each byte of a tree ensemble's attributes, numbers and texts as objects:
/// kept after loading, and held besides while loading. Fitted to the one
/// reference model of that kind (`gradient-boosting`, 63,500 nodes, 7.4 MiB of
/// attributes: 16.2 MiB after loading, 27 MiB at most; ONNX Runtime 1.31.1).
const TREES_LOADED: f64 = 2.2;
const TREES_LOADING: f64 = 1.45;

/// A text in a protobuf attribute: pointer, string object, the heap's header.
const TEXT: u64 = 56;

/// Memory of the weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) by_type: BTreeMap<ElementType, Bytes>,
    /// As stored in the file or beside it.
    pub(super) stored: Bytes,
    /// Tables of tree ensembles, whose nodes are attributes and not weights.
    pub(super) trees: Bytes,
    /// What is held besides while loading, and then given back.
    pub(super) transient: Bytes,
    /// How `transient` comes about.
    pub(super) formula: String,
}

pub(super) fn held(model: &Model) -> Held {
    let graph = &model.graph;
    let mut by_type: BTreeMap<ElementType, Bytes> = BTreeMap::new();
    for weight in graph.weights.values() {
        let sum = by_type.entry(weight.element).or_default();
        *sum = *sum + weight.bytes();
    }
    let attributes: Bytes = graph
        .nodes
        .iter()
        .filter(|n| n.op().starts_with("TreeEnsemble"))
        .map(attribute_bytes)
        .sum();
    let largest = graph.weights.values().map(Weight::bytes).max();
    let (transient, why) = [
        (
            largest.unwrap_or_default(),
            "the largest weight, copied out of the file's message",
        ),
        (
            rewritten(&convolutions(model)),
            "filters of convolutions, old beside new, and two copies of the largest",
        ),
        (
            rewritten(&joined(model)),
            "queries, keys and values, old beside joined, and two copies of the largest",
        ),
        (
            attributes.scaled(TREES_LOADING),
            "attributes of trees, of which the tables are made",
        ),
    ]
    .into_iter()
    .max_by_key(|(bytes, _)| *bytes)
    .unwrap_or_default();
    Held {
        stored: by_type.values().copied().sum(),
        by_type,
        trees: attributes.scaled(TREES_LOADED),
        transient,
        formula: format!("{transient}: {why}"),
    }
}

/// A pass that rewrites these weights: all new ones, and what computing the
/// largest takes besides.
fn rewritten(weights: &[Bytes]) -> Bytes {
    let all: Bytes = weights.iter().copied().sum();
    all + weights.iter().copied().max().unwrap_or_default() * INTERMEDIATE_COPIES
}

fn weight_bytes(model: &Model, name: Option<&str>) -> Bytes {
    name.and_then(|n| model.graph.weights.get(n))
        .map_or(Bytes::ZERO, Weight::bytes)
}

/// Filters: normalisation is folded in, and the result laid out in blocks of
/// channels; each pass holds them twice.
fn convolutions(model: &Model) -> Vec<Bytes> {
    let nodes = model.graph.nodes.iter().filter(|n| n.op() == "Conv");
    nodes
        .map(|n| weight_bytes(model, n.input_name(1)))
        .collect()
}

/// Weights of three products on one input, joined for attention; one sum for each
/// three.
fn joined(model: &Model) -> Vec<Bytes> {
    let mut of_input: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in &model.graph.nodes {
        if let ("MatMul" | "Gemm", Some(input), Some(weight)) =
            (node.op(), node.input_name(0), node.input_name(1))
            && model.graph.weights.contains_key(weight)
        {
            of_input.entry(input).or_default().insert(weight);
        }
    }
    of_input
        .values()
        .filter(|weights| weights.len() == 3)
        .map(|weights| weights.iter().map(|w| weight_bytes(model, Some(w))).sum())
        .collect()
}

fn attribute_bytes(node: &NodeProto) -> Bytes {
    let length = |n: usize| n as u64;
    let bytes = node.attribute.iter().map(|a| {
        let tensor = a.t.as_ref().map_or(0, |t| {
            let raw = t.raw_data.as_ref().map_or(0, |raw| length(raw.len()));
            raw + length(t.float_data.len()) * 4
        });
        length(a.ints.len()) * 8
            + length(a.floats.len()) * 4
            + length(a.strings.len()) * TEXT
            + tensor
    });
    Bytes::new(bytes.sum())
}
