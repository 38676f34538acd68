//! Shapes of operators that move, cut, join, repeat or pick.

use super::rules::broadcast;
use super::{Call, TensorShape, from_front, values};
use crate::model::graph::{element_count, signed};

pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    let like = |dims| Some(vec![TensorShape::new(call.element(0)?, dims)]);
    match call.node.op() {
        "Reshape" => like(reshape(call)?),
        "Flatten" => {
            let dims = call.dims(0)?;
            let axis = call.node.int("axis").unwrap_or(1);
            let cut = if axis == signed(dims.len()) {
                dims.len()
            } else {
                from_front(axis, dims.len())?
            };
            like(vec![
                element_count(dims.get(..cut)?),
                element_count(dims.get(cut..)?),
            ])
        }
        "Transpose" => {
            let dims = call.dims(0)?;
            match call.node.ints("perm") {
                Some(perm) => like(
                    perm.iter()
                        .map(|p| dims.get(from_front(*p, dims.len())?).copied())
                        .collect::<Option<_>>()?,
                ),
                None => like(dims.iter().rev().copied().collect()),
            }
        }
        "Squeeze" => like(squeeze(call)?),
        "Unsqueeze" => like(unsqueeze(call)?),
        "Concat" => like(concat(call)?),
        "Split" => split(call),
        "Slice" => like(slice(call)?),
        "Gather" => {
            let dims = call.dims(0)?;
            let axis = call.axis("axis", 0, dims.len())?;
            like([dims.get(..axis)?, call.dims(1)?, dims.get(axis + 1..)?].concat())
        }
        "GatherElements" => like(call.dims(1)?.to_vec()),
        "ArrayFeatureExtractor" => {
            let dims = call.dims(0)?;
            let (_, outer) = dims.split_last()?;
            let picked = element_count(call.dims(1)?);
            like(if outer.is_empty() {
                vec![1, picked]
            } else {
                [outer, &[picked]].concat()
            })
        }
        "GatherND" => like(gather_nd(call)?),
        "Expand" => like(broadcast(call.dims(0)?, &sizes(&call.ints(1)?)?)?),
        "Tile" => {
            let dims = call.dims(0)?.iter();
            like(
                dims.zip(sizes(&call.ints(1)?)?)
                    .map(|(d, r)| d.saturating_mul(r))
                    .collect(),
            )
        }
        "Pad" => like(pad(call)?),
        "Resize" | "Upsample" => like(resize(call)?),
        "DepthToSpace" | "SpaceToDepth" => like(block_move(call)?),
        _ => None,
    }
}

fn block_move(call: &Call) -> Option<Vec<u64>> {
    let side = u64::try_from(call.node.int("blocksize")?).ok()?;
    let &[batch, channels, height, width] = call.dims(0)? else {
        return None;
    };
    let block = side.checked_mul(side).filter(|b| *b > 0)?;
    let times = |size: u64, by: u64| size.saturating_mul(by);
    Some(if call.node.op() == "DepthToSpace" {
        vec![
            batch,
            channels / block,
            times(height, side),
            times(width, side),
        ]
    } else {
        vec![batch, times(channels, block), height / side, width / side]
    })
}

/// Sizes as whole numbers that are not negative.
pub(super) fn sizes(ints: &[i64]) -> Option<Vec<u64>> {
    ints.iter().map(|v| u64::try_from(*v).ok()).collect()
}

fn reshape(call: &Call) -> Option<Vec<u64>> {
    let from = call.dims(0)?;
    let wanted = call.attr_or_input("shape", 1)?;
    let keep_zero = call.node.int("allowzero").unwrap_or(0) != 0;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, w) in wanted.iter().enumerate() {
        dims.push(match w {
            -1 => {
                open = Some(i);
                1
            }
            0 if !keep_zero => *from.get(i)?,
            w => u64::try_from(*w).ok()?,
        });
    }
    if let Some(i) = open {
        let rest = element_count(&dims);
        *dims.get_mut(i)? = element_count(from).checked_div(rest).unwrap_or(0);
    }
    Some(dims)
}

/// The axes of `Squeeze` or `Unsqueeze`, as dimensions of a tensor of `rank`.
fn axes(call: &Call, rank: usize) -> Option<Vec<usize>> {
    call.attr_or_input("axes", 1)?
        .into_iter()
        .map(|a| from_front(a, rank))
        .collect()
}

fn squeeze(call: &Call) -> Option<Vec<u64>> {
    let dims = call.dims(0)?;
    let all = call.node.attr("axes").is_none() && call.node.input_name(1).is_none();
    let drop: Vec<usize> = if all {
        (0..dims.len())
            .filter(|i| dims.get(*i) == Some(&1))
            .collect()
    } else {
        axes(call, dims.len())?
    };
    let kept = dims.iter().enumerate().filter(|(i, _)| !drop.contains(i));
    Some(kept.map(|(_, d)| *d).collect())
}

fn unsqueeze(call: &Call) -> Option<Vec<u64>> {
    let dims = call.dims(0)?;
    let count = call.attr_or_input("axes", 1)?.len();
    let mut axes = axes(call, dims.len() + count)?;
    axes.sort_unstable();
    let mut out = dims.to_vec();
    for axis in axes {
        (axis <= out.len()).then_some(())?;
        out.insert(axis, 1);
    }
    Some(out)
}

fn concat(call: &Call) -> Option<Vec<u64>> {
    let mut out = call.dims(0)?.to_vec();
    // Before operator set 4 the axis had a default.
    let axis = call.axis("axis", 1, out.len())?;
    for index in 1..call.node.input.len() {
        let add = *call.dims(index)?.get(axis)?;
        let total = out.get_mut(axis)?;
        *total = total.saturating_add(add);
    }
    Some(out)
}

fn split(call: &Call) -> Option<Vec<TensorShape>> {
    let input = call.input(0)?;
    let axis = call.axis("axis", 0, input.dims.len())?;
    let whole = *input.dims.get(axis)?;
    let parts = match call.attr_or_input("split", 1) {
        Some(parts) => sizes(&parts)?,
        // A split whose sizes are computed by nodes that are not known.
        None if call.node.input_name(1).is_some() => return None,
        None => {
            let n = call.node.output.len() as u64;
            let part = whole.div_ceil(n.max(1));
            (0..n)
                .map(|i| part.min(whole.saturating_sub(i * part)))
                .collect()
        }
    };
    parts
        .into_iter()
        .map(|part| {
            let mut shape = input.clone();
            *shape.dims.get_mut(axis)? = part;
            Some(shape)
        })
        .collect()
}

fn slice(call: &Call) -> Option<Vec<u64>> {
    let mut dims = call.dims(0)?.to_vec();
    let starts = call.attr_or_input("starts", 1)?;
    let ends = call.attr_or_input("ends", 2)?;
    let axes: Vec<i64> = match call.node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None if call.node.input_name(3).is_some() => call.ints(3)?,
        None => (0..signed(starts.len())).collect(),
    };
    let steps = match call.node.input_name(4) {
        Some(_) => call.ints(4)?,
        None => vec![1; starts.len()],
    };
    for (i, given) in axes.iter().enumerate() {
        let rank = dims.len();
        let dim = dims.get_mut(from_front(*given, rank)?)?;
        let (_, count) = values::slice_range(*starts.get(i)?, *ends.get(i)?, *steps.get(i)?, *dim)?;
        *dim = u64::try_from(count).ok()?;
    }
    Some(dims)
}

fn gather_nd(call: &Call) -> Option<Vec<u64>> {
    let (data, indices) = (call.dims(0)?, call.dims(1)?);
    let shared = usize::try_from(call.node.int("batch_dims").unwrap_or(0)).ok()?;
    let (depth, outer) = indices.split_last()?;
    let inner = data.get(shared.checked_add(usize::try_from(*depth).ok()?)?..)?;
    Some([outer, inner].concat())
}

fn pad(call: &Call) -> Option<Vec<u64>> {
    let mut dims = call.dims(0)?.to_vec();
    let pads = match call.node.ints("paddings") {
        Some(pads) => pads.to_vec(),
        None => call.attr_or_input("pads", 1)?,
    };
    let axes: Vec<usize> = match call.node.input_name(3) {
        Some(_) => call
            .ints(3)?
            .into_iter()
            .map(|a| from_front(a, dims.len()))
            .collect::<Option<_>>()?,
        None => (0..dims.len()).collect(),
    };
    for (i, axis) in axes.iter().enumerate() {
        let add = pads.get(i)?.saturating_add(*pads.get(i + axes.len())?);
        let dim = dims.get_mut(*axis)?;
        *dim = u64::try_from(i64::try_from(*dim).ok()?.checked_add(add)?).ok()?;
    }
    Some(dims)
}

fn resize(call: &Call) -> Option<Vec<u64>> {
    let dims = call.dims(0)?;
    // `Upsample` has scales only; `Resize` had them second before operator set 11.
    let (scales, wanted) = match (call.node.op(), call.opset) {
        ("Upsample", _) | ("Resize", ..11) => (1, usize::MAX),
        _ => (2, 3),
    };
    let axes: Vec<usize> = match call.node.ints("axes") {
        Some(axes) => axes
            .iter()
            .map(|a| from_front(*a, dims.len()))
            .collect::<Option<_>>()?,
        None => (0..dims.len()).collect(),
    };
    let mut out = dims.to_vec();
    if let Some(sizes) = call.ints(wanted).filter(|s| !s.is_empty()) {
        // Keeping the aspect ratio makes the result smaller than asked for.
        let policy = call.node.text("keep_aspect_ratio_policy");
        policy.is_none_or(|p| p == "stretch").then_some(())?;
        for (axis, size) in axes.iter().zip(sizes) {
            *out.get_mut(*axis)? = u64::try_from(size).ok()?;
        }
        return Some(out);
    }
    let attribute = call
        .node
        .attr("scales")
        .map(|a| a.floats.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
    let scales = match attribute {
        Some(scales) => scales,
        None => call.values(scales)?.to_vec(),
    };
    (scales.len() == axes.len()).then_some(())?;
    for (axis, scale) in axes.iter().zip(scales) {
        let dim = out.get_mut(*axis)?;
        *dim = (*dim as f64 * scale).floor() as u64;
    }
    Some(out)
}
