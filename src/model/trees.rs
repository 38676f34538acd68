//! The work of a tree ensemble: inner nodes visited, not arithmetic.

use super::graph::element_count;
use super::proto::{NodeProto, TensorProto};
use std::collections::{BTreeMap, BTreeSet};

/// What a tree ensemble consists of and asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TreeWork {
    /// Nodes that compare.
    pub(super) splits: u64,
    /// Values at the leaves.
    pub(super) leaf_values: u64,
    /// Comparisons for one item, if both branches of every split are as likely.
    pub(super) visited: f64,
}

/// Reads the trees of a node; none if it is not a tree ensemble.
pub(super) fn tree_work(node: &NodeProto) -> Option<TreeWork> {
    if node.domain_name() != "ai.onnx.ml" {
        return None;
    }
    match node.op() {
        "TreeEnsembleRegressor" => listed(node, "target_weights"),
        "TreeEnsembleClassifier" => listed(node, "class_weights"),
        "TreeEnsemble" => rooted(node),
        _ => None,
    }
}

/// A split's two ways on; a leaf has none.
type Ways = Option<(usize, usize)>;

/// The form up to version 4 of `ai.onnx.ml`: parallel lists, a row for each node.
fn listed(node: &NodeProto, weights: &str) -> Option<TreeWork> {
    let trees = node.ints("nodes_treeids")?;
    let ids = node.ints("nodes_nodeids")?;
    let yes = node.ints("nodes_truenodeids")?;
    let no = node.ints("nodes_falsenodeids")?;
    let modes = &node.attr("nodes_modes")?.strings;
    let place: BTreeMap<(i64, i64), usize> = trees
        .iter()
        .zip(ids)
        .enumerate()
        .map(|(row, (tree, id))| ((*tree, *id), row))
        .collect();
    let mut ways: Vec<Ways> = Vec::with_capacity(trees.len());
    for (row, tree) in trees.iter().enumerate() {
        let leaf = modes.get(row).is_none_or(|m| &m[..] == b"LEAF");
        ways.push(if leaf {
            None
        } else {
            let to = |next: &[i64]| place.get(&(*tree, *next.get(row)?)).copied();
            Some((to(yes)?, to(no)?))
        });
    }
    // The first row of each tree is its root.
    let mut seen = BTreeSet::new();
    let roots: Vec<usize> = (0..trees.len())
        .filter(|row| trees.get(*row).is_some_and(|t| seen.insert(*t)))
        .collect();
    let floats = |name: &str| node.attr(name).map_or(0, |a| a.floats.len());
    let tensor = |name: &str| {
        let t = node.attr(name).and_then(|a| a.t.as_ref());
        t.map_or(0, tensor_elements)
    };
    let leaves = (floats(weights) as u64).saturating_add(tensor(&format!("{weights}_as_tensor")));
    Some(sum_up(&ways, &roots, leaves))
}

/// The form from version 5 on: splits and leaves apart, roots listed.
fn rooted(node: &NodeProto) -> Option<TreeWork> {
    let roots = node.ints("tree_roots")?;
    let yes = node.ints("nodes_truenodeids")?;
    let no = node.ints("nodes_falsenodeids")?;
    let (yes_leaf, no_leaf) = (
        node.ints("nodes_trueleafs")?,
        node.ints("nodes_falseleafs")?,
    );
    // Leaves have their own numbering: put them behind the splits.
    let splits = yes.len();
    let to = |next: &[i64], leaf: &[i64], row: usize| {
        let next = usize::try_from(*next.get(row)?).ok()?;
        Some(if *leaf.get(row)? == 0 {
            next
        } else {
            splits.checked_add(next)?
        })
    };
    let ways: Option<Vec<Ways>> = (0..splits)
        .map(|row| Some(Some((to(yes, yes_leaf, row)?, to(no, no_leaf, row)?))))
        .collect();
    let roots: Vec<usize> = roots
        .iter()
        .filter_map(|r| usize::try_from(*r).ok())
        .collect();
    let leaves = node
        .attr("leaf_weights")
        .and_then(|a| a.t.as_ref())
        .map_or(0, tensor_elements);
    Some(sum_up(&ways?, &roots, leaves))
}

fn tensor_elements(tensor: &TensorProto) -> u64 {
    let dims: Vec<u64> = tensor.dims.iter().map(|d| d.unsigned_abs()).collect();
    element_count(&dims)
}

/// Walks every tree from its root, halving the odds at every split.
fn sum_up(ways: &[Ways], roots: &[usize], leaf_values: u64) -> TreeWork {
    let mut visited = 0.0;
    for root in roots {
        let mut open = vec![(*root, 1.0_f64)];
        while let Some((row, odds)) = open.pop() {
            let Some(Some((yes, no))) = ways.get(row) else {
                continue;
            };
            visited += odds;
            // A tree never gets this deep; a damaged file may lead in circles.
            if odds > 1e-9 {
                open.push((*yes, odds / 2.0));
                open.push((*no, odds / 2.0));
            }
        }
    }
    TreeWork {
        splits: ways.iter().flatten().count() as u64,
        leaf_values,
        visited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::AttributeProto;
    use bytes::Bytes;

    #[test]
    fn a_stump_and_a_lopsided_tree_are_walked() {
        let ints = |name: &str, v: &[i64]| AttributeProto {
            name: Some(name.to_owned()),
            ints: v.to_vec(),
            ..AttributeProto::default()
        };
        let modes = ["LT", "LEAF", "LEAF", "LT", "LEAF", "LT", "LEAF", "LEAF"];
        let node = NodeProto {
            op_type: Some("TreeEnsembleRegressor".to_owned()),
            domain: Some("ai.onnx.ml".to_owned()),
            attribute: vec![
                ints("nodes_treeids", &[0, 0, 0, 1, 1, 1, 1, 1]),
                ints("nodes_nodeids", &[0, 1, 2, 0, 1, 2, 3, 4]),
                ints("nodes_truenodeids", &[1, 0, 0, 1, 0, 3, 0, 0]),
                ints("nodes_falsenodeids", &[2, 0, 0, 2, 0, 4, 0, 0]),
                AttributeProto {
                    name: Some("nodes_modes".to_owned()),
                    strings: modes.map(|m| Bytes::from_static(m.as_bytes())).to_vec(),
                    ..AttributeProto::default()
                },
                AttributeProto {
                    name: Some("target_weights".to_owned()),
                    floats: vec![0.0; 5],
                    ..AttributeProto::default()
                },
            ],
            ..NodeProto::default()
        };
        let work = tree_work(&node).unwrap();
        assert_eq!((work.splits, work.leaf_values), (3, 5));
        // The stump asks once; the other tree once, and again half of the time.
        assert!((work.visited - 2.5).abs() < 1e-12);
    }
}
