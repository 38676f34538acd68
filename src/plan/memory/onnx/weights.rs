//! The weights as ONNX Runtime holds them: as stored, and the copies that
//! preparing them for its kernels leaves behind.

use crate::model::{ElementType, Model};
use crate::units::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Of a convolution's weights, by how much the process grows for each time that
/// they are rewritten (normalisation folded in, then laid out in blocks of
/// channels): the freed originals stay with the C library.
const CONVOLUTION_COPY: f64 = 0.95;

/// The same for a product's weights packed for the kernel: each original is
/// freed as soon as it is packed, and most of the next copies fit where it was.
const PACKED_SHARE: f64 = 0.30;

/// For each byte of a tree ensemble in the file: attributes read as objects,
/// copied to the node, and the tables of the kernel.
const TREE_BYTES: f64 = 14.0;

/// Larger blocks go back to the system when they are freed
/// (`M_MMAP_THRESHOLD`, at most 32 MiB).
const RETURNED: Bytes = Bytes::from_mib(32);

/// Memory of the weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) by_type: BTreeMap<ElementType, Bytes>,
    pub(super) stored: Bytes,
    /// What copies add for good.
    pub(super) copies: Bytes,
    /// What is held besides while loading, and then given back.
    pub(super) transient: Bytes,
    /// How far `copies` may be off either way.
    pub(super) doubt: Bytes,
    pub(super) formula: String,
}

pub(super) fn held(model: &Model) -> Held {
    let graph = &model.graph;
    let mut by_type: BTreeMap<ElementType, Bytes> = BTreeMap::new();
    for weight in graph.weights.values() {
        let sum = by_type.entry(weight.element).or_default();
        *sum = *sum + weight.bytes();
    }
    let stored: Bytes = by_type.values().copied().sum();
    let bytes = |name: Option<&str>| {
        name.and_then(|n| graph.weights.get(n))
            .map_or(Bytes::ZERO, crate::model::Weight::bytes)
    };
    let normalised: BTreeSet<&str> = graph
        .nodes
        .iter()
        .filter(|n| n.op() == "BatchNormalization")
        .filter_map(|n| n.input_name(0))
        .collect();
    let (mut plain, mut folded, mut packed) = (Bytes::ZERO, Bytes::ZERO, Bytes::ZERO);
    // Weights of products on the same input are joined when they are queries,
    // keys and values.
    let mut of_input: BTreeMap<&str, Vec<Bytes>> = BTreeMap::new();
    let mut trees = false;
    for node in &graph.nodes {
        match node.op() {
            "Conv" => {
                let weight = bytes(node.input_name(1));
                let follows = node
                    .output
                    .first()
                    .is_some_and(|o| normalised.contains(o.as_str()));
                if follows {
                    folded = folded + weight;
                } else {
                    plain = plain + weight;
                }
            }
            "MatMul" | "Gemm" => {
                let weight = bytes(node.input_name(1));
                packed = packed + weight;
                if let (Some(input), true) = (node.input_name(0), weight > Bytes::ZERO) {
                    of_input.entry(input).or_default().push(weight);
                }
            }
            op => trees |= op.starts_with("TreeEnsemble"),
        }
    }
    let joined: Bytes = of_input
        .values()
        .filter(|w| w.len() == 3)
        .flatten()
        .copied()
        .sum();
    let tree = if trees {
        (model.file_bytes - stored).scaled(TREE_BYTES)
    } else {
        Bytes::ZERO
    };
    let copies = plain.scaled(CONVOLUTION_COPY)
        + folded.scaled(2.0 * CONVOLUTION_COPY)
        + packed.scaled(PACKED_SHARE)
        + joined
        + tree;
    let largest = graph
        .weights
        .values()
        .map(crate::model::Weight::bytes)
        .max()
        .unwrap_or_default();
    let transient = if largest > RETURNED {
        largest
    } else {
        Bytes::ZERO
    };
    Held {
        doubt: (plain + folded).scaled(0.15) + packed.scaled(0.25) + tree.scaled(0.25),
        by_type,
        stored,
        copies,
        transient,
        formula: format!(
            "{CONVOLUTION_COPY} × {plain} of convolutions + 2 × {CONVOLUTION_COPY} × {folded} of normalised ones + {PACKED_SHARE} × {packed} packed for products + {joined} of joined queries, keys and values + {tree} of trees"
        ),
    }
}
