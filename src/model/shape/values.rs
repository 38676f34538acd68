//! Small values computed along with the shapes: exporters compute shapes by
//! nodes (`Shape`, `Gather`, `Concat`, …), and a `Reshape` needs the result.

use super::{Call, from_front};
use crate::model::graph::{element_count, signed};

/// Results with more elements are not computed.
const MOST: u64 = 4096;

/// The values of the first result; none if they are not small or not computable.
pub(super) fn result(call: &Call) -> Option<Vec<f64>> {
    let op = call.node.op();
    match op {
        "Shape" => {
            let dims = call.dims(0)?;
            let (start, end) = shape_range(call, dims.len());
            Some(dims.get(start..end)?.iter().map(|d| *d as f64).collect())
        }
        "Size" => Some(vec![call.input(0)?.elements() as f64]),
        "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "CastLike" => {
            Some(call.values(0)?.to_vec())
        }
        "Cast" => {
            let integer = !matches!(call.node.int("to")?, 1 | 10 | 11 | 16);
            let values = call.values(0)?.iter();
            Some(
                values
                    .map(|v| if integer { v.trunc() } else { *v })
                    .collect(),
            )
        }
        "Gather" => gather(call),
        "Slice" => slice(call),
        "Concat" => {
            let mut all = Vec::new();
            for index in 0..call.node.input.len() {
                // Joining beyond one dimension would interleave.
                (call.dims(index)?.len() == 1).then_some(())?;
                all.extend_from_slice(call.values(index)?);
            }
            (all.len() as u64 <= MOST).then_some(all)
        }
        "ConstantOfShape" => {
            let count = element_count(
                &call
                    .ints(0)?
                    .iter()
                    .map(|d| u64::try_from(*d).unwrap_or(0))
                    .collect::<Vec<_>>(),
            );
            let value = match call.node.attr("value").and_then(|a| a.t.as_ref()) {
                Some(t) => *crate::model::graph::weight("", t)?.values?.first()?,
                None => 0.0,
            };
            (count <= MOST).then(|| vec![value; count as usize])
        }
        "Range" => {
            let (start, limit, step) = range_bounds(call)?;
            let count = range_count(start, limit, step)?;
            (count <= MOST).then(|| (0..count).map(|i| start + step * i as f64).collect())
        }
        "Neg" => map(call, |v| -v),
        "Abs" => map(call, f64::abs),
        "Floor" => map(call, f64::floor),
        "Ceil" => map(call, f64::ceil),
        "Sqrt" => map(call, f64::sqrt),
        "Not" => map(call, |v| f64::from(u8::from(v == 0.0))),
        "ReduceProd" => Some(vec![call.values(0)?.iter().product()]),
        "ReduceSum" => whole(call).map(|v| vec![v.iter().sum()]),
        "ReduceMax" => whole(call).map(|v| vec![v.iter().copied().fold(f64::MIN, f64::max)]),
        "ReduceMin" => whole(call).map(|v| vec![v.iter().copied().fold(f64::MAX, f64::min)]),
        "Where" => {
            let (cond, yes, no) = (call.values(0)?, call.values(1)?, call.values(2)?);
            let n = cond.len().max(yes.len()).max(no.len());
            (0..n)
                .map(|i| {
                    Some(if at(cond, i)? == 0.0 {
                        at(no, i)?
                    } else {
                        at(yes, i)?
                    })
                })
                .collect()
        }
        "Div" => {
            let integer = !call.element(0)?.is_float();
            zip(call, |a, b| if integer { (a / b).trunc() } else { a / b })
        }
        "Add" | "Sub" | "Mul" | "Mod" | "Min" | "Max" | "Pow" | "Equal" | "Greater" | "Less"
        | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" => zip(call, binary(op)),
        _ => None,
    }
}

fn binary(op: &str) -> fn(f64, f64) -> f64 {
    fn yes(v: bool) -> f64 {
        f64::from(u8::from(v))
    }
    match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Mod" => f64::rem_euclid,
        "Min" => f64::min,
        "Max" => f64::max,
        "Pow" => f64::powf,
        "Equal" => |a, b| yes((a - b).abs() < f64::EPSILON),
        "Greater" => |a, b| yes(a > b),
        "Less" => |a, b| yes(a < b),
        "GreaterOrEqual" => |a, b| yes(a >= b),
        "LessOrEqual" => |a, b| yes(a <= b),
        "And" => |a, b| yes(a != 0.0 && b != 0.0),
        "Or" => |a, b| yes(a != 0.0 || b != 0.0),
        _ => |_, _| f64::NAN,
    }
}

fn map(call: &Call, f: impl Fn(f64) -> f64) -> Option<Vec<f64>> {
    Some(call.values(0)?.iter().map(|v| f(*v)).collect())
}

/// The values of the first input, if all of it is reduced to one.
fn whole<'c>(call: &'c Call) -> Option<&'c [f64]> {
    (call.dims(0)?.len() <= 1).then_some(())?;
    call.values(0)
}

/// One value for many, or one each; values of more dimensions are left alone.
fn zip(call: &Call, f: impl Fn(f64, f64) -> f64) -> Option<Vec<f64>> {
    let (a, b) = (call.values(0)?, call.values(1)?);
    let plain = call.dims(0)?.len() <= 1 && call.dims(1)?.len() <= 1;
    (plain || call.dims(0) == call.dims(1)).then_some(())?;
    let n = if a.is_empty() || b.is_empty() {
        0
    } else {
        a.len().max(b.len())
    };
    (0..n).map(|i| Some(f(at(a, i)?, at(b, i)?))).collect()
}

fn at(values: &[f64], i: usize) -> Option<f64> {
    match values {
        [one] => Some(*one),
        many => many.get(i).copied(),
    }
}

fn gather(call: &Call) -> Option<Vec<f64>> {
    let data = call.values(0)?;
    (call.dims(0)?.len() == 1).then_some(())?;
    call.ints(1)?
        .into_iter()
        .map(|i| data.get(from_front(i, data.len())?).copied())
        .collect()
}

fn slice(call: &Call) -> Option<Vec<f64>> {
    let data = call.values(0)?;
    (call.dims(0)?.len() == 1).then_some(())?;
    let start = *call.attr_or_input("starts", 1)?.first()?;
    let end = *call.attr_or_input("ends", 2)?.first()?;
    let step = call.ints(4).and_then(|s| s.first().copied()).unwrap_or(1);
    let (first, count) = slice_range(start, end, step, data.len() as u64)?;
    (0..count)
        .map(|i| data.get(usize::try_from(first + step * i).ok()?).copied())
        .collect()
}

/// First index and number of elements that a slice takes of a dimension.
pub(super) fn slice_range(start: i64, end: i64, step: i64, dim: u64) -> Option<(i64, i64)> {
    let dim = i64::try_from(dim).ok()?;
    let wrap = |v: i64| if v < 0 { v.saturating_add(dim) } else { v };
    let (first, span) = match step {
        0 => return None,
        s if s > 0 => {
            let first = wrap(start).clamp(0, dim);
            (first, wrap(end).clamp(0, dim) - first)
        }
        _ => {
            let first = wrap(start).clamp(0, (dim - 1).max(0));
            (first, first - wrap(end).clamp(-1, dim - 1))
        }
    };
    let by = i64::try_from(step.unsigned_abs()).ok()?;
    Some((first, if span <= 0 { 0 } else { (span - 1) / by + 1 }))
}

/// The dimensions that `Shape` reports (`start`, `end` from operator set 15).
pub(super) fn shape_range(call: &Call, rank: usize) -> (usize, usize) {
    let bound = |name: &str, default: i64| {
        let v = call.node.int(name).unwrap_or(default);
        let v = if v < 0 {
            v.saturating_add(signed(rank))
        } else {
            v
        };
        usize::try_from(v.max(0)).unwrap_or(0).min(rank)
    };
    let (start, end) = (bound("start", 0), bound("end", signed(rank)));
    (start, end.max(start))
}

/// Start, limit and step of a `Range`.
pub(super) fn range_bounds(call: &Call) -> Option<(f64, f64, f64)> {
    let one = |i| call.values(i).and_then(<[f64]>::first).copied();
    Some((one(0)?, one(1)?, one(2)?))
}

/// How many numbers a `Range` has.
pub(super) fn range_count(start: f64, limit: f64, step: f64) -> Option<u64> {
    let count = ((limit - start) / step).ceil();
    (count.is_finite() && count < 1e15).then_some(count.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_what_python_takes() {
        // (start, end, step, size) and list(range(size))[start:end:step].
        for ((start, end, step, dim), taken) in [
            ((0, i64::MAX, 1, 5), (0, 5)),
            ((1, -1, 1, 5), (1, 3)),
            ((-3, i64::MAX, 2, 5), (2, 2)),
            ((-1, i64::MIN, -1, 5), (4, 5)),
            ((3, 0, -2, 5), (3, 2)),
            ((4, 2, 1, 5), (4, 0)),
        ] {
            assert_eq!(slice_range(start, end, step, dim), Some(taken));
        }
        assert_eq!(slice_range(0, 1, 0, 5), None);
    }
}
