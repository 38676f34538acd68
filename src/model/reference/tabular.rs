//! Models over rows of features: a multi-layer perceptron and boosted trees.

use super::draft::{Draft, floats, int, ints, text, texts};
use super::spec::{Mlp, Trees};
use crate::model::graph::signed;
use crate::model::random::Stream;

pub(super) fn mlp(draft: &mut Draft, spec: &Mlp) -> Result<(), String> {
    if spec.features == 0 || spec.hidden.contains(&0) {
        return Err("every layer has at least one neuron".to_owned());
    }
    let mut x = draft.float_input("input", &[spec.features]);
    let mut from = spec.features;
    for (i, to) in spec.hidden.iter().enumerate() {
        x = draft.gemm(&x, &format!("layer{}", i + 1), from, *to);
        x = draft.node("Relu", &[&x], vec![]);
        from = *to;
    }
    let x = draft.gemm(&x, "classifier", from, spec.classes);
    draft.float_output("logits", &x, &[spec.classes]);
    Ok(())
}

/// Thresholds lie within ±0.5: for features that are standard normal, a branch
/// is taken by 31 to 69 % of the rows, so that all leaves are reached.
const THRESHOLD: f64 = 0.5;

/// Boosted trees as converters write those of `XGBoost`, `LightGBM` and scikit-learn.
pub(super) fn trees(draft: &mut Draft, spec: &Trees, seed: u64) -> Result<(), String> {
    if !(1..=16).contains(&spec.depth) || spec.count == 0 {
        return Err("a tree ensemble has trees of depth 1 to 16".to_owned());
    }
    // No feature twice on a path: else some branches could never be taken.
    if spec.features < u64::from(spec.depth) {
        return Err(format!(
            "{} features are too few for depth {}",
            spec.features, spec.depth
        ));
    }
    let x = draft.input(
        "input",
        crate::model::ElementType::Float32,
        &[spec.features],
    );
    let rows = Rows::grow(spec, seed);
    let attributes = vec![
        int("n_targets", 1),
        text("aggregate_function", "SUM"),
        text("post_transform", "NONE"),
        ints("nodes_falsenodeids", &rows.no),
        ints("nodes_featureids", &rows.feature),
        ints("nodes_missing_value_tracks_true", &vec![0; rows.ids.len()]),
        texts("nodes_modes", rows.modes),
        ints("nodes_nodeids", &rows.ids),
        ints("nodes_treeids", &rows.trees),
        ints("nodes_truenodeids", &rows.yes),
        floats("nodes_values", rows.thresholds),
        ints("target_ids", &vec![0; rows.leaf_ids.len()]),
        ints("target_nodeids", &rows.leaf_ids),
        ints("target_treeids", &rows.leaf_trees),
        floats("target_weights", rows.leaf_values),
    ];
    let y = draft.classic_node("TreeEnsembleRegressor", &x, attributes);
    draft.float_output("prediction", &y, &[1]);
    Ok(())
}

/// The parallel lists in which ONNX keeps trees.
#[derive(Default)]
struct Rows {
    trees: Vec<i64>,
    ids: Vec<i64>,
    feature: Vec<i64>,
    thresholds: Vec<f32>,
    modes: Vec<&'static str>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_ids: Vec<i64>,
    leaf_values: Vec<f32>,
}

impl Rows {
    fn grow(spec: &Trees, seed: u64) -> Self {
        let mut rows = Self::default();
        let mut stream = Stream::new(seed, "trees");
        let splits = (1_i64 << spec.depth) - 1;
        for tree in 0..signed(spec.count) {
            // Node `i` has children `2i + 1` and `2i + 2`; its path is known by
            // walking up.
            let mut features: Vec<i64> = Vec::new();
            for id in 0..=2 * splits {
                rows.trees.push(tree);
                rows.ids.push(id);
                if id < splits {
                    let feature = unused(&mut stream, spec.features, id, &features);
                    features.push(feature);
                    rows.feature.push(feature);
                    rows.thresholds
                        .push(((stream.unit() * 2.0 - 1.0) * THRESHOLD) as f32);
                    rows.modes.push("BRANCH_LT");
                    rows.yes.push(2 * id + 1);
                    rows.no.push(2 * id + 2);
                } else {
                    rows.feature.push(0);
                    rows.thresholds.push(0.0);
                    rows.modes.push("LEAF");
                    rows.yes.push(0);
                    rows.no.push(0);
                    rows.leaf_trees.push(tree);
                    rows.leaf_ids.push(id);
                    rows.leaf_values.push((stream.normal() * 0.1) as f32);
                }
            }
        }
        rows
    }
}

/// A feature that no split above node `id` asks for.
fn unused(stream: &mut Stream, features: u64, id: i64, taken: &[i64]) -> i64 {
    loop {
        let feature = signed(stream.below(features));
        let mut above = id;
        let clash = loop {
            if above == 0 {
                break false;
            }
            above = (above - 1) / 2;
            if usize::try_from(above).is_ok_and(|a| taken.get(a) == Some(&feature)) {
                break true;
            }
        };
        if !clash {
            return feature;
        }
    }
}
