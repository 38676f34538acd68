//! Shapes of operators that slide a window: convolution and pooling.

use super::{Call, TensorShape};
use crate::model::element::ElementType as E;

pub(super) fn results(call: &Call) -> Option<Vec<TensorShape>> {
    let one = |element, dims| Some(vec![TensorShape::new(element, dims)]);
    let like = |dims| one(call.element(0)?, dims);
    match call.node.op() {
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
        _ => None,
    }
}

/// Settings of a window over the dimensions behind batch and channels.
struct Window {
    kernel: Vec<u64>,
    stride: Vec<u64>,
    dilation: Vec<u64>,
    /// Padding before and after.
    pads: Vec<(i64, i64)>,
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
            before.iter().copied().zip(after.iter().copied()).collect()
        }
        Some(_) => return None,
        None => vec![(0, 0); spatial],
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
        let size = i64::try_from(size).ok()?;
        let (before, after) = match self.auto.as_str() {
            "SAME_UPPER" | "SAME_LOWER" => return Some((size as u64).div_ceil(stride)),
            "VALID" => (0, 0),
            _ => *self.pads.get(i)?,
        };
        let padded = size.checked_add(before)?.checked_add(after)?;
        let room = u64::try_from(padded).ok()?.checked_sub(self.reach(i)?)?;
        if !round_up {
            return Some(room / stride + 1);
        }
        let steps = room.div_ceil(stride);
        // The last window must not begin in the padding behind.
        let inside = u64::try_from(size.checked_add(before)?).ok()?;
        let beyond = steps.checked_mul(stride)? >= inside;
        Some(if beyond { steps } else { steps + 1 })
    }

    /// How many elements the window spans along dimension `i`.
    fn reach(&self, i: usize) -> Option<u64> {
        let gaps = self.kernel.get(i)?.checked_sub(1)?;
        self.dilation.get(i)?.checked_mul(gaps)?.checked_add(1)
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
    let mut dims = vec![*n, m.checked_mul(groups)?];
    if let Some(shape) = call.node.ints("output_shape") {
        let given: Option<Vec<u64>> = shape.iter().map(|v| u64::try_from(*v).ok()).collect();
        let given = given?;
        dims.extend(given.get(given.len().checked_sub(spatial.len())?..)?);
        return Some(dims);
    }
    let window = window(call, spatial.len(), Some(kernel.to_vec()))?;
    let extra = call.node.ints("output_padding");
    for (i, size) in spatial.iter().enumerate() {
        let stride = *window.stride.get(i)?;
        if window.auto.starts_with("SAME") {
            dims.push(size.checked_mul(stride)?);
            continue;
        }
        let steps = stride.checked_mul(size.checked_sub(1)?)?;
        let full = i64::try_from(steps.checked_add(window.reach(i)?)?).ok()?;
        let pads = match *window.pads.get(i)? {
            _ if window.auto == "VALID" => 0,
            (before, after) => before.checked_add(after)?,
        };
        let extra = extra.and_then(|e| e.get(i)).copied().unwrap_or(0);
        let size = full.checked_sub(pads)?.checked_add(extra)?;
        dims.push(u64::try_from(size).ok()?);
    }
    Some(dims)
}
