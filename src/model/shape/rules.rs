//! Which rule gives the shapes of an operator's results.
//!
//! Source: the operators' definitions, <https://onnx.ai/onnx/operators/>, and for
//! the domain `com.microsoft` ONNX Runtime's `docs/ContribOperators.md`.

use super::{Call, TensorShape, blocks, convolution, layout, matrix, reduction};
use crate::model::element::ElementType as E;

/// Operators whose first result has the type and shape of their first input.
const SAME: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BatchNormalization",
    "BiasGelu",
    "BitwiseNot",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "CumSum",
    "CumProd",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "FastGelu",
    "Floor",
    "Gelu",
    "GroupNorm",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Mish",
    "Neg",
    "Not",
    "Normalizer",
    "PRelu",
    "QuickGelu",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "ReverseSequence",
    "RotaryEmbedding",
    "Round",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "SimplifiedLayerNormalization",
    "Sin",
    "Sinh",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "TensorScatter",
    "ThresholdedRelu",
    "Trilu",
    "Binarizer",
    "ImageScaler",
    "Bernoulli",
    "RandomNormalLike",
    "RandomUniformLike",
    "CastLike",
];

/// Operators that stretch their inputs to a common shape and keep the type.
const BROADCAST: &[&str] = &[
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Sum",
    "Xor",
];

/// Operators that stretch their inputs to a common shape and answer yes or no.
const COMPARE: &[&str] = &["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];

/// Shapes of the results, as many as can be told; none if not even the first.
pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    let op = call.node.op();
    if SAME.contains(&op) {
        return same(call);
    }
    let one = |element, dims| Some(vec![TensorShape::new(element, dims)]);
    if BROADCAST.contains(&op) {
        return one(call.element(0)?, broadcast_all(call)?);
    }
    if COMPARE.contains(&op) {
        return one(E::Bool, broadcast_all(call)?);
    }
    match op {
        "Cast" => {
            let to = i32::try_from(call.node.int("to")?).ok()?;
            one(E::from_onnx(to)?, call.dims(0)?.to_vec())
        }
        "IsNaN" | "IsInf" => one(E::Bool, call.dims(0)?.to_vec()),
        "Scaler" | "Imputer" => one(E::Float32, call.dims(0)?.to_vec()),
        "Where" => one(call.element(1)?, broadcast_all(call)?),
        "QuantizeLinear" => {
            let to = call.element(2).unwrap_or(E::Uint8);
            one(to, call.dims(0)?.to_vec())
        }
        "DequantizeLinear" => one(call.element(1)?, call.dims(0)?.to_vec()),
        "DynamicQuantizeLinear" => Some(vec![
            TensorShape::new(E::Uint8, call.dims(0)?.to_vec()),
            TensorShape::new(E::Float32, vec![]),
            TensorShape::new(E::Uint8, vec![]),
        ]),
        _ => layout::results(call)
            .or_else(|| reduction::results(call))
            .or_else(|| matrix::results(call))
            .or_else(|| convolution::results(call))
            .or_else(|| blocks::results(call)),
    }
}

/// The first result as the first input; a second one where its meaning is fixed.
fn same(call: &Call) -> Option<Vec<TensorShape>> {
    let mut first = call.input(0)?.clone();
    if call.node.op() == "CastLike" {
        first.element = call.element(1)?;
    }
    if call.node.op() == "Bernoulli"
        && let Some(to) = call.node.int("dtype")
    {
        first.element = E::from_onnx(i32::try_from(to).ok()?)?;
    }
    let mut results = vec![first];
    match call.node.op() {
        "Dropout" => {
            let element = if call.opset >= 10 {
                E::Bool
            } else {
                call.element(0)?
            };
            results.push(TensorShape::new(element, call.dims(0)?.to_vec()));
        }
        "LayerNormalization" | "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            let dims = call.dims(0)?;
            let axis = call.axis("axis", -1, dims.len())?;
            let mut rows = dims.to_vec();
            rows.get_mut(axis..)?.fill(1);
            let rows = TensorShape::new(E::Float32, rows);
            // Mean, deviation, and for the skipping forms the sum.
            results.extend([rows.clone(), rows, call.input(0)?.clone()]);
        }
        _ => {}
    }
    Some(results)
}

/// The common shape of all inputs that are given.
fn broadcast_all(call: &Call) -> Option<Vec<u64>> {
    // Before operator set 7 the second input was stretched to the first.
    if call.opset < 7 && call.node.domain_name().is_empty() && call.node.op() != "Sum" {
        return Some(call.dims(0)?.to_vec());
    }
    let mut shape = call.dims(0)?.to_vec();
    for index in 1..call.node.input.len() {
        if call.node.input_name(index).is_some() {
            shape = broadcast(&shape, call.dims(index)?)?;
        }
    }
    Some(shape)
}

/// The common shape of two, aligned at the end, where a 1 stretches; none if
/// they do not fit.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[u64], i: usize| {
        (i + dims.len())
            .checked_sub(rank)
            .and_then(|j| dims.get(j).copied())
            .unwrap_or(1)
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_stretch_as_in_numpy() {
        assert_eq!(broadcast(&[2, 3], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[4, 1, 3], &[5, 1]), Some(vec![4, 5, 3]));
        assert_eq!(broadcast(&[], &[7]), Some(vec![7]));
        assert_eq!(broadcast(&[1], &[0]), Some(vec![0]));
        assert_eq!(broadcast(&[2], &[3]), None);
    }
}
