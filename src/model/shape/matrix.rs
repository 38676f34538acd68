//! Shapes of operators that multiply: matrices, convolutions, attention,
//! recurrent layers; pooling, which slides like a convolution; tree ensembles
//! and the other classic models of `ai.onnx.ml`.

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
        "Conv" | "FusedConv" => like(conv(call, 1)?),
        "ConvInteger" => one(E::Int32, conv(call, 1)?),
        "QLinearConv" => one(call.element(7)?, conv(call, 3)?),
        "ConvTranspose" => like(conv_transpose(call)?),
        "MaxPool" | "AveragePool" | "LpPool" => {
            let dims = pool(call)?;
            let index = TensorShape::new(E::Int64, dims.clone());
            Some(vec![TensorShape::new(call.element(0)?, dims), index])
        }
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let dims = call.dims(0)?;
            like(
                (0..)
                    .zip(dims)
                    .map(|(i, d)| if i < 2 { *d } else { 1 })
                    .collect(),
            )
        }
        "LSTM" | "GRU" | "RNN" => recurrent(call),
        "Einsum" => like(einsum(call)?),
        _ => attention(call).or_else(|| classic(call)),
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
    let (k, a_outer) = a.split_last()?;
    if let [inner] = b {
        return (inner == k).then(|| a_outer.to_vec());
    }
    let (n, rest) = b.split_last()?;
    let (inner, b_batch) = rest.split_last()?;
    if inner != k {
        return None;
    }
    let Some((m, a_batch)) = a_outer.split_last() else {
        return Some([b_batch, &[*n]].concat());
    };
    Some([broadcast(a_batch, b_batch)?.as_slice(), &[*m, *n]].concat())
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

/// Sliding-window settings of a convolution or pooling over `input` spatial dimensions.
struct Window {
    kernel: Vec<u64>,
    stride: Vec<u64>,
    dilation: Vec<u64>,
    /// Padding before and after, together.
    pads: Vec<i64>,
    auto: String,
}

fn window(call: &Call, spatial: usize, kernel: Option<Vec<u64>>) -> Option<Window> {
    let list = |name: &str| -> Option<Vec<u64>> {
        match call.node.ints(name) {
            Some(v) if v.len() == spatial => v.iter().map(|v| u64::try_from(*v).ok()).collect(),
            Some(_) => None,
            None => Some(vec![1; spatial]),
        }
    };
    let pads = match call.node.ints("pads") {
        Some(p) if p.len() == 2 * spatial => {
            let (before, after) = p.split_at(spatial);
            before
                .iter()
                .zip(after)
                .map(|(a, b)| a.saturating_add(*b))
                .collect()
        }
        Some(_) => return None,
        None => vec![0; spatial],
    };
    Some(Window {
        kernel: match call.node.ints("kernel_shape") {
            Some(_) => list("kernel_shape")?,
            None => kernel?,
        },
        stride: list("strides")?,
        dilation: list("dilations")?,
        pads,
        auto: call.node.text("auto_pad").unwrap_or("NOTSET").to_owned(),
    })
}

impl Window {
    /// How many positions the window takes along dimension `i` of size `size`.
    fn positions(&self, i: usize, size: u64, round_up: bool) -> Option<u64> {
        let stride = *self.stride.get(i).filter(|s| **s > 0)?;
        let reach = self
            .dilation
            .get(i)?
            .checked_mul(self.kernel.get(i)?.checked_sub(1)?)?
            .checked_add(1)?;
        let room = match self.auto.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => return Some(size.div_ceil(stride)),
            "VALID" => size.checked_sub(reach)?,
            _ => {
                let padded = i64::try_from(size).ok()?.checked_add(*self.pads.get(i)?)?;
                u64::try_from(padded).ok()?.checked_sub(reach)?
            }
        };
        let steps = if round_up {
            room.div_ceil(stride)
        } else {
            room / stride
        };
        Some(steps + 1)
    }

    fn slide(&self, spatial: &[u64], round_up: bool) -> Option<Vec<u64>> {
        spatial
            .iter()
            .enumerate()
            .map(|(i, size)| self.positions(i, *size, round_up))
            .collect()
    }
}

fn conv(call: &Call, weight: usize) -> Option<Vec<u64>> {
    let [n, _, spatial @ ..] = call.dims(0)? else {
        return None;
    };
    let [m, _, kernel @ ..] = call.dims(weight)? else {
        return None;
    };
    let window = window(call, spatial.len(), Some(kernel.to_vec()))?;
    Some([&[*n, *m], window.slide(spatial, false)?.as_slice()].concat())
}

fn pool(call: &Call) -> Option<Vec<u64>> {
    let [n, c, spatial @ ..] = call.dims(0)? else {
        return None;
    };
    let window = window(call, spatial.len(), None)?;
    let round_up = call.node.int("ceil_mode").unwrap_or(0) != 0;
    Some([&[*n, *c], window.slide(spatial, round_up)?.as_slice()].concat())
}

fn conv_transpose(call: &Call) -> Option<Vec<u64>> {
    let [n, _, spatial @ ..] = call.dims(0)? else {
        return None;
    };
    let [_, m, kernel @ ..] = call.dims(1)? else {
        return None;
    };
    let groups = u64::try_from(call.node.int("group").unwrap_or(1)).ok()?;
    let head = [*n, m.checked_mul(groups)?];
    if let Some(shape) = call.node.ints("output_shape") {
        let own: Option<Vec<u64>> = shape.iter().map(|v| u64::try_from(*v).ok()).collect();
        let own = own?;
        let tail = own.get(own.len().checked_sub(spatial.len())?..)?;
        return Some([&head, tail].concat());
    }
    let w = window(call, spatial.len(), Some(kernel.to_vec()))?;
    let extra = call.node.ints("output_padding");
    let mut dims = head.to_vec();
    for (i, size) in spatial.iter().enumerate() {
        let stride = *w.stride.get(i)?;
        if w.auto.starts_with("SAME") {
            dims.push(size.checked_mul(stride)?);
            continue;
        }
        let reach = w
            .dilation
            .get(i)?
            .checked_mul(w.kernel.get(i)?.checked_sub(1)?)?
            .checked_add(1)?;
        let full = stride
            .checked_mul(size.checked_sub(1)?)?
            .checked_add(reach)?;
        let pads = if w.auto == "VALID" {
            0
        } else {
            *w.pads.get(i)?
        };
        let extra = extra.and_then(|e| e.get(i)).copied().unwrap_or(0);
        let size = i64::try_from(full)
            .ok()?
            .checked_sub(pads)?
            .checked_add(extra)?;
        dims.push(u64::try_from(size).ok()?);
    }
    Some(dims)
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

/// The sizes of the letters of an Einstein sum, and the letters of its result.
pub(in crate::model) fn einsum_sizes(
    equation: &str,
    inputs: &[&[u64]],
) -> Option<(Vec<(char, u64)>, Vec<char>)> {
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
    Some((sizes, result))
}

fn einsum(call: &Call) -> Option<Vec<u64>> {
    let inputs: Option<Vec<&[u64]>> = (0..call.node.input.len()).map(|i| call.dims(i)).collect();
    let (sizes, result) = einsum_sizes(call.node.text("equation")?, &inputs?)?;
    result
        .iter()
        .map(|letter| sizes.iter().find(|s| s.0 == *letter).map(|s| s.1))
        .collect()
}

/// Attention as one node, and the embedding in front of it.
fn attention(call: &Call) -> Option<Vec<TensorShape>> {
    let like = |dims| Some(vec![TensorShape::new(call.element(0)?, dims)]);
    match (call.node.domain_name(), call.node.op()) {
        ("com.microsoft", "Attention" | "QAttention") => {
            let (_, outer) = call.dims(0)?.split_last()?;
            let projected = *call.dims(1)?.last()?;
            let sizes = call.node.ints("qkv_hidden_sizes").and_then(|s| s.get(2));
            let hidden = sizes.map_or(projected / 3, |h| h.unsigned_abs());
            let element = if call.node.op() == "QAttention" {
                call.element(3)?
            } else {
                call.element(0)?
            };
            Some(vec![TensorShape::new(element, [outer, &[hidden]].concat())])
        }
        ("com.microsoft", "MultiHeadAttention") => {
            let query = call.dims(0)?;
            match (query, call.dims(2)) {
                (&[b, s, _], Some(&[_, _, hidden])) => like(vec![b, s, hidden]),
                (&[b, s, h], _) => like(vec![b, s, h]),
                _ => None,
            }
        }
        ("com.microsoft", "GroupQueryAttention") => {
            (call.node.input_name(1)).and(Some(()))?;
            like(call.dims(0)?.to_vec())
        }
        ("com.microsoft", "EmbedLayerNormalization") => {
            let &[b, s] = call.dims(0)? else { return None };
            let element = call.element(2)?;
            let hidden = *call.dims(2)?.last()?;
            Some(vec![
                TensorShape::new(element, vec![b, s, hidden]),
                TensorShape::new(E::Int32, vec![b]),
                TensorShape::new(element, vec![b, s, hidden]),
            ])
        }
        ("", "Attention") => match (call.dims(0)?, call.dims(2)?) {
            (&[b, h, s, _], &[_, _, _, v]) => like(vec![b, h, s, v]),
            (&[b, s, _], &[_, _, v]) => {
                let heads = |name| call.node.int(name).and_then(|h| u64::try_from(h).ok());
                let per_head = v.checked_div(heads("kv_num_heads")?)?;
                like(vec![b, s, per_head.checked_mul(heads("q_num_heads")?)?])
            }
            _ => None,
        },
        _ => None,
    }
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
        "TreeEnsembleRegressor" | "TreeEnsemble" => {
            let targets = u64::try_from(call.node.int("n_targets").unwrap_or(1)).ok()?;
            Some(vec![TensorShape::new(E::Float32, vec![rows, targets])])
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
