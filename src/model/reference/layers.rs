//! Layers that several architectures share, in each number format.

use super::draft::{Draft, WeightFill, int, ints};
use super::spec::Precision;
use crate::model::element::ElementType;
use crate::model::graph::signed;

/// Weights of variance 2 / inputs keep the size of activations through
/// rectified layers (He et al. 2015), 1 / inputs through linear ones.
pub(super) fn he(inputs: u64) -> WeightFill {
    spread(0.0, (2.0 / inputs.max(1) as f32).sqrt())
}

/// See [`he`].
pub(super) fn linear(inputs: u64) -> WeightFill {
    spread(0.0, (1.0 / inputs.max(1) as f32).sqrt())
}

pub(super) const fn spread(centre: f32, deviation: f32) -> WeightFill {
    WeightFill::Spread { centre, deviation }
}

/// A convolution's settings; padding keeps the size at stride 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) size: u64,
    pub(super) stride: u64,
    pub(super) groups: u64,
}

/// A plain convolution of `size` × `size`.
pub(super) const fn kernel(from: u64, to: u64, size: u64, stride: u64) -> Kernel {
    Kernel {
        from,
        to,
        size,
        stride,
        groups: 1,
    }
}

/// A convolution that keeps channels apart.
pub(super) const fn depthwise(channels: u64, size: u64, stride: u64) -> Kernel {
    Kernel {
        from: channels,
        to: channels,
        size,
        stride,
        groups: channels,
    }
}

impl Draft {
    /// A fully connected layer as `MatMul` and `Add`, as exporters write it for
    /// inputs of more than two dimensions.
    pub(super) fn dense(&mut self, x: &str, name: &str, from: u64, to: u64) -> String {
        let fill = linear(from);
        let product = if self.precision.is_int8() {
            self.int8_product(x, name, from, to)
        } else {
            let w = self.weight(&format!("{name}.weight"), &[from, to], fill);
            self.node("MatMul", &[x, &w], vec![])
        };
        let bias = self.weight(&format!("{name}.bias"), &[to], spread(0.0, 0.02));
        self.node("Add", &[&product, &bias], vec![])
    }

    /// A fully connected layer as `Gemm`, as exporters write it for inputs of two
    /// dimensions. Quantised it is a product and a sum.
    pub(super) fn gemm(&mut self, x: &str, name: &str, from: u64, to: u64) -> String {
        if self.precision.is_int8() {
            return self.dense(x, name, from, to);
        }
        let w = self.weight(&format!("{name}.weight"), &[to, from], he(from));
        let b = self.weight(&format!("{name}.bias"), &[to], spread(0.0, 0.02));
        self.node("Gemm", &[x, &w, &b], vec![int("transB", 1)])
    }

    /// The dynamically quantised product, as ONNX Runtime's `quantize_dynamic`
    /// writes it.
    fn int8_product(&mut self, x: &str, name: &str, from: u64, to: u64) -> String {
        let deviation = (1.0 / from.max(1) as f32).sqrt();
        let w = self.typed_weight(
            &format!("{name}.weight_quantized"),
            ElementType::Int8,
            &[from, to],
            WeightFill::Quantised,
        );
        let channels: &[u64] = match self.precision {
            Precision::Int8PerChannel => &[to],
            _ => &[],
        };
        let scale = self.int8_scale(name, channels, deviation);
        let zero = self.int8_zero(name, channels);
        let q = self.quantise(x);
        let product = self.node("MatMulInteger", &[&q.values, &w, &q.zero, &zero], vec![]);
        self.rescale(&product, &q.scale, &scale)
    }

    /// Quantises `x` by the range that it has.
    fn quantise(&mut self, x: &str) -> Quantised {
        let mut parts = self
            .node_with_results("DynamicQuantizeLinear", &[x], 3)
            .into_iter();
        let mut next = || parts.next().unwrap_or_default();
        Quantised {
            values: next(),
            scale: next(),
            zero: next(),
        }
    }

    /// From whole numbers back to floats.
    fn rescale(&mut self, product: &str, input_scale: &str, weight_scale: &str) -> String {
        let float = self.node("Cast", &[product], vec![int("to", 1)]);
        let scale = self.node("Mul", &[input_scale, weight_scale], vec![]);
        self.node("Mul", &[&float, &scale], vec![])
    }

    /// A scale that gives whole numbers of up to ±127 the deviation wanted. It
    /// differs a little from weight to weight, as real ones do: equal ones would
    /// be merged, and the merged form is not fused.
    fn int8_scale(&mut self, name: &str, dims: &[u64], deviation: f32) -> String {
        // A uniform number from -127 to 127 deviates by 127 / sqrt(3).
        let scale = deviation * 3.0_f32.sqrt() / 127.0;
        self.typed_weight(
            &format!("{name}.weight_scale"),
            ElementType::Float32,
            dims,
            spread(scale, 0.05 * scale),
        )
    }

    fn int8_zero(&mut self, name: &str, dims: &[u64]) -> String {
        self.typed_weight(
            &format!("{name}.weight_zero_point"),
            ElementType::Int8,
            dims,
            WeightFill::Zero,
        )
    }

    /// Rows of a table, looked up by number.
    pub(super) fn embedding(&mut self, ids: &str, name: &str, rows: u64, width: u64) -> String {
        let deviation = 0.5;
        if !self.precision.is_int8() {
            let table = self.weight(
                &format!("{name}.weight"),
                &[rows, width],
                spread(0.0, deviation),
            );
            return self.node("Gather", &[&table, ids], vec![]);
        }
        let table = self.typed_weight(
            &format!("{name}.weight_quantized"),
            ElementType::Int8,
            &[rows, width],
            WeightFill::Quantised,
        );
        let scale = self.int8_scale(name, &[], deviation);
        let zero = self.int8_zero(name, &[]);
        let row = self.node("Gather", &[&table, ids], vec![]);
        self.node("DequantizeLinear", &[&row, &scale, &zero], vec![])
    }

    /// A convolution with bias.
    pub(super) fn conv(&mut self, x: &str, name: &str, k: Kernel) -> String {
        if self.precision.is_int8() {
            return self.int8_conv(x, name, k, 1.0);
        }
        let (dims, fan) = (k.weight_dims(), k.fan());
        let w = self.weight(&format!("{name}.weight"), &dims, he(fan));
        let b = self.weight(&format!("{name}.bias"), &[k.to], spread(0.0, 0.02));
        self.node("Conv", &[x, &w, &b], k.attributes())
    }

    /// A convolution followed by batch normalisation, which ONNX Runtime folds
    /// into it. `gain` is the size of the result. Quantised, it is folded already.
    pub(super) fn conv_norm(&mut self, x: &str, name: &str, k: Kernel, gain: f32) -> String {
        if self.precision.is_int8() {
            return self.int8_conv(x, name, k, gain);
        }
        let (dims, fan) = (k.weight_dims(), k.fan());
        let w = self.weight(&format!("{name}.weight"), &dims, he(fan));
        let y = self.node("Conv", &[x, &w], k.attributes());
        let mut part =
            |what: &str, fill| self.weight(&format!("{name}.norm.{what}"), &[k.to], fill);
        let scale = part("weight", spread(gain, 0.1 * gain));
        let bias = part("bias", spread(0.0, 0.1));
        let mean = part("running_mean", spread(0.0, 0.1));
        let variance = part("running_var", spread(1.0, 0.1));
        let epsilon = super::draft::float("epsilon", 1e-5);
        self.node(
            "BatchNormalization",
            &[&y, &scale, &bias, &mean, &variance],
            vec![epsilon],
        )
    }

    fn int8_conv(&mut self, x: &str, name: &str, k: Kernel, gain: f32) -> String {
        let w = self.typed_weight(
            &format!("{name}.weight_quantized"),
            // Older releases have `ConvInteger` for unsigned weights only.
            ElementType::Uint8,
            &k.weight_dims(),
            WeightFill::Quantised,
        );
        let channels: &[u64] = match self.precision {
            Precision::Int8PerChannel => &[k.to, 1, 1],
            _ => &[],
        };
        let deviation = gain * (2.0 / k.fan().max(1) as f32).sqrt();
        let scale = self.int8_scale(name, channels, deviation);
        let zero = self.typed_weight(
            &format!("{name}.weight_zero_point"),
            ElementType::Uint8,
            &[],
            WeightFill::Zero,
        );
        let input = self.quantise(x);
        let inputs = [input.values.as_str(), &w, &input.zero, &zero];
        let product = self.node("ConvInteger", &inputs, k.attributes());
        let y = self.rescale(&product, &input.scale, &scale);
        let bias = self.weight(&format!("{name}.bias"), &[k.to, 1, 1], spread(0.0, 0.02));
        self.node("Add", &[&y, &bias], vec![])
    }
}

/// Results of `DynamicQuantizeLinear`.
struct Quantised {
    values: String,
    scale: String,
    zero: String,
}

impl Kernel {
    /// Output channels, input channels of a group, and the two sides.
    fn weight_dims(self) -> [u64; 4] {
        [
            self.to,
            self.from / self.groups.max(1),
            self.size,
            self.size,
        ]
    }

    /// Weights that meet in one result.
    fn fan(self) -> u64 {
        self.from / self.groups.max(1) * self.size * self.size
    }

    fn attributes(self) -> Vec<crate::model::proto::AttributeProto> {
        let twice = |v: u64| [signed(v); 2];
        let pad = signed(self.size / 2);
        vec![
            ints("dilations", &[1, 1]),
            int("group", signed(self.groups)),
            ints("kernel_shape", &twice(self.size)),
            ints("pads", &[pad; 4]),
            ints("strides", &twice(self.stride)),
        ]
    }
}
