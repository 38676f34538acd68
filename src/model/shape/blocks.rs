//! Shapes of whole blocks written as one node: attention, embeddings, tree
//! ensembles and the other classic models of `ai.onnx.ml`.

use super::{Call, TensorShape};
use crate::model::element::ElementType as E;

pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    match call.node.domain_name() {
        "com.microsoft" => fused(call),
        "ai.onnx.ml" => classic(call),
        _ if call.node.op() == "Attention" => attention(call),
        _ => None,
    }
}

/// The fused forms of ONNX Runtime.
fn fused(call: &Call) -> Option<Vec<TensorShape>> {
    match call.node.op() {
        "Attention" | "QAttention" => {
            let (_, outer) = call.dims(0)?.split_last()?;
            let projected = *call.dims(1)?.last()?;
            let sizes = call.node.ints("qkv_hidden_sizes").and_then(|s| s.get(2));
            let hidden = sizes.map_or(projected / 3, |h| h.unsigned_abs());
            // The quantised form has its scale, a float, as fourth input.
            let float = usize::from(call.node.op() == "QAttention") * 3;
            let dims = [outer, &[hidden]].concat();
            Some(vec![TensorShape::new(call.element(float)?, dims)])
        }
        "MultiHeadAttention" => {
            let &[b, s, h] = call.dims(0)? else {
                return None;
            };
            let hidden = match call.dims(2) {
                Some(&[_, _, hidden]) => hidden,
                _ => h,
            };
            let mut results = vec![TensorShape::new(call.element(0)?, vec![b, s, hidden])];
            results.extend(presents(call, [6, 7], s));
            Some(results)
        }
        "GroupQueryAttention" => {
            // With queries, keys and values in one input the width is not the result's.
            call.node.input_name(1)?;
            let &[_, s, _] = call.dims(0)? else {
                return None;
            };
            let mut results = vec![call.input(0)?.clone()];
            results.extend(presents(call, [3, 4], s));
            Some(results)
        }
        "EmbedLayerNormalization" => {
            let &[b, s] = call.dims(0)? else {
                return None;
            };
            let hidden = *call.dims(2)?.last()?;
            let rows = TensorShape::new(call.element(2)?, vec![b, s, hidden]);
            let lengths = TensorShape::new(E::Int32, vec![b]);
            Some(vec![rows.clone(), lengths, rows])
        }
        _ => None,
    }
}

/// Keys and values kept for the next token: those of before and the new ones.
fn presents(call: &Call, pasts: [usize; 2], added: u64) -> Vec<TensorShape> {
    pasts
        .into_iter()
        .map_while(|past| {
            let mut shape = call.input(past)?.clone();
            let steps = shape.dims.get_mut(2)?;
            *steps = steps.checked_add(added)?;
            Some(shape)
        })
        .collect()
}

/// ONNX's own attention, from operator set 23 on.
fn attention(call: &Call) -> Option<Vec<TensorShape>> {
    let heads = |name| call.node.int(name).and_then(|h| u64::try_from(h).ok());
    let (query, key, value) = (call.dims(0)?, call.dims(1)?, call.dims(2)?);
    let added = *key.get(key.len().checked_sub(2)?)?;
    let width = *value.last()?;
    let (dims, scores) = match *query {
        [batch, heads, steps, _] => (vec![batch, heads, steps, width], [batch, heads, steps]),
        [batch, steps, _] => {
            let per_head = width.checked_div(heads("kv_num_heads")?)?;
            let heads = heads("q_num_heads")?;
            let all = per_head.checked_mul(heads)?;
            (vec![batch, steps, all], [batch, heads, steps])
        }
        _ => return None,
    };
    let element = call.element(0)?;
    let mut results = vec![TensorShape::new(element, dims)];
    let presents = presents(call, [4, 5], added);
    if let Some(keys) = presents.first().and_then(|p| p.dims.get(2).copied()) {
        results.extend(presents);
        results.push(TensorShape::new(
            element,
            [scores.as_slice(), &[keys]].concat(),
        ));
    }
    Some(results)
}

/// Trees, linear models and support vectors of `ai.onnx.ml`.
fn classic(call: &Call) -> Option<Vec<TensorShape>> {
    if call.node.domain_name() != "ai.onnx.ml" {
        return None;
    }
    let rows = *call.dims(0)?.first()?;
    let count = |name: &str| {
        call.node
            .ints(name)
            .map(|v| v.len() as u64)
            .filter(|n| *n > 0)
    };
    let labels = || {
        if let Some(n) = call
            .node
            .attr("classlabels_strings")
            .map(|a| a.strings.len() as u64)
            .filter(|n| *n > 0)
        {
            return Some((E::String, n));
        }
        let names = ["classlabels_int64s", "classlabels_ints"];
        names.iter().find_map(|n| count(n)).map(|n| (E::Int64, n))
    };
    match call.node.op() {
        "LabelEncoder" => {
            let to = [
                ("values_int64s", E::Int64),
                ("values_floats", E::Float32),
                ("values_strings", E::String),
            ];
            let (_, element) = to
                .into_iter()
                .find(|(name, _)| call.node.attr(name).is_some())?;
            Some(vec![TensorShape::new(element, call.dims(0)?.to_vec())])
        }
        "TreeEnsembleRegressor" | "TreeEnsemble" => {
            let targets = u64::try_from(call.node.int("n_targets").unwrap_or(1)).ok()?;
            let element = match call.node.op() {
                "TreeEnsemble" => call.element(0)?,
                _ => E::Float32,
            };
            Some(vec![TensorShape::new(element, vec![rows, targets])])
        }
        "LinearRegressor" => {
            let targets = u64::try_from(call.node.int("targets").unwrap_or(1)).ok()?;
            Some(vec![TensorShape::new(E::Float32, vec![rows, targets])])
        }
        "SVMRegressor" => Some(vec![TensorShape::new(E::Float32, vec![rows, 1])]),
        "TreeEnsembleClassifier" | "LinearClassifier" | "SVMClassifier" => {
            let (element, classes) = labels()?;
            Some(vec![
                TensorShape::new(element, vec![rows]),
                TensorShape::new(E::Float32, vec![rows, classes]),
            ])
        }
        _ => None,
    }
}
