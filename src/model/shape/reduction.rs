//! Shapes of operators that sum up, choose, or make tensors from numbers.

use super::layout::sizes;
use super::{Call, TensorShape, from_front, values};
use crate::model::element::ElementType as E;

pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    let op = call.node.op();
    let one = |element, dims| Some(vec![TensorShape::new(element, dims)]);
    let like = |dims| one(call.element(0)?, dims);
    match op {
        "Shape" => {
            let (start, end) = values::shape_range(call, call.dims(0)?.len());
            one(E::Int64, vec![(end - start) as u64])
        }
        "Size" => one(E::Int64, vec![]),
        "ConstantOfShape" => {
            let tensor = call.node.attr("value").and_then(|a| a.t.as_ref());
            let element = tensor.map_or(Some(E::Float32), |t| E::from_onnx(t.data_type?))?;
            one(element, sizes(&call.ints(0)?)?)
        }
        "RandomNormal" | "RandomUniform" => one(E::Float32, sizes(call.node.ints("shape")?)?),
        "EyeLike" => {
            let to = call
                .node
                .int("dtype")
                .and_then(|t| E::from_onnx(i32::try_from(t).ok()?));
            one(to.or(call.element(0))?, call.dims(0)?.to_vec())
        }
        "Range" => {
            let (start, limit, step) = values::range_bounds(call)?;
            like(vec![values::range_count(start, limit, step)?])
        }
        "TopK" => top_k(call),
        "OneHot" => {
            let indices = call.dims(0)?;
            let depth = u64::try_from(*call.ints(1)?.first()?).ok()?;
            let axis = call.axis("axis", -1, indices.len() + 1)?;
            let mut dims = indices.to_vec();
            dims.insert(axis, depth);
            one(call.element(2)?, dims)
        }
        "ArgMax" | "ArgMin" => {
            let dims = call.dims(0)?;
            let axis = call.axis("axis", 0, dims.len())?;
            one(E::Int64, reduced(dims, &[axis], keeps(call)))
        }
        _ if op.starts_with("Reduce") => like(reduce(call)?),
        _ => None,
    }
}

fn top_k(call: &Call) -> Option<Vec<TensorShape>> {
    let mut dims = call.dims(0)?.to_vec();
    let axis = call.axis("axis", -1, dims.len())?;
    let k = match call.node.int("k") {
        Some(k) => k,
        None => *call.ints(1)?.first()?,
    };
    *dims.get_mut(axis)? = u64::try_from(k).ok()?;
    Some(vec![
        TensorShape::new(call.element(0)?, dims.clone()),
        TensorShape::new(E::Int64, dims),
    ])
}

fn keeps(call: &Call) -> bool {
    call.node.int("keepdims").unwrap_or(1) != 0
}

fn reduced(dims: &[u64], axes: &[usize], keep: bool) -> Vec<u64> {
    dims.iter()
        .enumerate()
        .filter_map(|(i, d)| match (axes.contains(&i), keep) {
            (false, _) => Some(*d),
            (true, true) => Some(1),
            (true, false) => None,
        })
        .collect()
}

fn reduce(call: &Call) -> Option<Vec<u64>> {
    let dims = call.dims(0)?;
    let given = match call.node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if call.node.input_name(1).is_some() => call.ints(1)?,
        None => vec![],
    };
    let axes: Vec<usize> = if given.is_empty() {
        if call.node.int("noop_with_empty_axes").unwrap_or(0) != 0 {
            return Some(dims.to_vec());
        }
        (0..dims.len()).collect()
    } else {
        given
            .into_iter()
            .map(|a| from_front(a, dims.len()))
            .collect::<Option<_>>()?
    };
    Some(reduced(dims, &axes, keeps(call)))
}
