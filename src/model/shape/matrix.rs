//! Shapes of operators that multiply matrices, and of recurrent layers.

use super::rules::broadcast;
use super::{Call, TensorShape};
use crate::model::element::ElementType as E;

pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    let op = call.node.op();
    let one = |element, dims| Some(vec![TensorShape::new(element, dims)]);
    let like = |dims| one(call.element(0)?, dims);
    match op {
        "MatMul" | "FusedMatMul" | "TransposeMatMul" => {
            let flip = |name| call.node.int(name).unwrap_or(0) != 0;
            let a = flipped(call.dims(0)?, flip("transA"));
            let b = flipped(call.dims(1)?, flip("transB"));
            like(matmul(&a, &b)?)
        }
        "MatMulInteger" => one(E::Int32, matmul(call.dims(0)?, call.dims(1)?)?),
        "DynamicQuantizeMatMul" | "MatMulIntegerToFloat" => {
            one(E::Float32, matmul(call.dims(0)?, call.dims(1)?)?)
        }
        "QLinearMatMul" => one(call.element(7)?, matmul(call.dims(0)?, call.dims(3)?)?),
        "QGemm" => one(call.element(8).unwrap_or(E::Float32), gemm(call, 3)?),
        "MatMulNBits" => {
            let (_, outer) = call.dims(0)?.split_last()?;
            let n = u64::try_from(call.node.int("N")?).ok()?;
            like([outer, &[n]].concat())
        }
        "Gemm" | "FusedGemm" => like(gemm(call, 1)?),
        "LSTM" | "GRU" | "RNN" => recurrent(call),
        "Einsum" => like(einsum(call)?),
        _ => None,
    }
}

fn flipped(dims: &[u64], flip: bool) -> Vec<u64> {
    let mut dims = dims.to_vec();
    let n = dims.len();
    if flip && n >= 2 {
        dims.swap(n - 1, n - 2);
    }
    dims
}

/// The shape of a matrix product, with the batch dimensions stretched.
fn matmul(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let (shared, a_outer) = a.split_last()?;
    if let [inner] = b {
        return (inner == shared).then(|| a_outer.to_vec());
    }
    let (columns, rest) = b.split_last()?;
    let (inner, b_batch) = rest.split_last()?;
    if inner != shared {
        return None;
    }
    let Some((rows, a_batch)) = a_outer.split_last() else {
        return Some([b_batch, &[*columns]].concat());
    };
    Some([broadcast(a_batch, b_batch)?.as_slice(), &[*rows, *columns]].concat())
}

fn gemm(call: &Call, b: usize) -> Option<Vec<u64>> {
    let flip = |name| call.node.int(name).unwrap_or(0) != 0;
    let a = flipped(call.dims(0)?, flip("transA"));
    let b = flipped(call.dims(b)?, flip("transB"));
    match (a.as_slice(), b.as_slice()) {
        ([m, _], [_, n]) => Some(vec![*m, *n]),
        _ => None,
    }
}

fn recurrent(call: &Call) -> Option<Vec<TensorShape>> {
    let &[first, second, _] = call.dims(0)? else {
        return None;
    };
    let directions = *call.dims(1)?.first()?;
    let hidden = *call.dims(2)?.last()?;
    let element = call.element(0)?;
    // Layout 1 has the batch first.
    let (all, state) = if call.node.int("layout").unwrap_or(0) == 0 {
        (
            vec![first, directions, second, hidden],
            vec![directions, second, hidden],
        )
    } else {
        (
            vec![first, second, directions, hidden],
            vec![first, directions, hidden],
        )
    };
    let state = TensorShape::new(element, state);
    Some(vec![TensorShape::new(element, all), state.clone(), state])
}

/// An Einstein sum: its letters with their sizes, and those of its result.
pub(in crate::model) struct Letters {
    pub(in crate::model) sizes: Vec<(char, u64)>,
    result: Vec<char>,
}

/// Reads an Einstein sum over `inputs`; none if it does not fit them.
pub(in crate::model) fn einsum_letters(equation: &str, inputs: &[&[u64]]) -> Option<Letters> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    // An ellipsis stands for any number of dimensions: rare, and left unknown.
    if equation.contains('.') {
        return None;
    }
    let (left, right) = equation
        .split_once("->")
        .map_or((equation.as_str(), None), |(l, r)| (l, Some(r)));
    let mut sizes: Vec<(char, u64)> = Vec::new();
    let mut count: Vec<(char, u32)> = Vec::new();
    let terms: Vec<&str> = left.split(',').collect();
    (terms.len() == inputs.len()).then_some(())?;
    for (term, dims) in terms.iter().zip(inputs) {
        (term.chars().count() == dims.len()).then_some(())?;
        for (letter, size) in term.chars().zip(dims.iter()) {
            match sizes.iter_mut().find(|s| s.0 == letter) {
                Some(known) => known.1 = known.1.max(*size),
                None => sizes.push((letter, *size)),
            }
            match count.iter_mut().find(|c| c.0 == letter) {
                Some(c) => c.1 += 1,
                None => count.push((letter, 1)),
            }
        }
    }
    let result = if let Some(right) = right {
        right.chars().collect()
    } else {
        let mut once: Vec<char> = count.iter().filter(|c| c.1 == 1).map(|c| c.0).collect();
        once.sort_unstable();
        once
    };
    Some(Letters { sizes, result })
}

fn einsum(call: &Call) -> Option<Vec<u64>> {
    let inputs: Option<Vec<&[u64]>> = (0..call.node.input.len()).map(|i| call.dims(i)).collect();
    let letters = einsum_letters(call.node.text("equation")?, &inputs?)?;
    let size = |letter| letters.sizes.iter().find(|s| s.0 == letter).map(|s| s.1);
    letters.result.iter().map(|letter| size(*letter)).collect()
}
