//! How much work a model is: arithmetic and bytes moved, node by node.
//!
//! A multiply-add counts as two operations, an elementary function as one. The
//! arithmetic of matrix operators is exact; that of the others is a rounded
//! count, and small beside it in every model for which arithmetic decides.

use super::dims::Sizes;
use super::graph::element_count;
use super::proto::NodeProto;
use super::read::Model;
use super::shape::{self, TensorShape};
use super::trees;
use crate::error::Result;
use crate::units::{Bytes, Count, Flops};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An amount of work for one batch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// All arithmetic.
    pub flops: Flops,
    /// Multiply-adds of matrix operators, what papers call MACs; two of `flops` each.
    pub multiply_adds: Count,
    /// Splits of trees visited.
    pub tree_nodes: Count,
    /// Weights read: the same for every batch size, but for rows looked up.
    pub weight_bytes: Bytes,
    /// Inputs and results read and written by each node on its own. A runtime
    /// that fuses nodes moves less.
    pub activation_bytes: Bytes,
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let count = |a: Count, b: Count| Count::new(a.get().saturating_add(b.get()));
        Self {
            flops: Flops::saturating(self.flops.get() + other.flops.get()),
            multiply_adds: count(self.multiply_adds, other.multiply_adds),
            tree_nodes: count(self.tree_nodes, other.tree_nodes),
            weight_bytes: self.weight_bytes + other.weight_bytes,
            activation_bytes: self.activation_bytes + other.activation_bytes,
        }
    }
}

/// What sort of work a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkKind {
    /// Multiplies matrices, or slides a kernel.
    Matrix,
    /// Computes element by element, or sums up.
    Arithmetic,
    /// Copies elements to other places.
    Movement,
    /// Gives the same bytes another shape: nothing is copied.
    View,
    /// Walks trees.
    Tree,
    /// Not known, or its shapes are not.
    Unknown,
}

/// The work of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeWork {
    /// What sort of work it is.
    pub kind: WorkKind,
    /// How much.
    pub cost: Cost,
}

/// A model followed from inputs to outputs at given sizes.
#[derive(Debug, Clone)]
pub struct Trace {
    /// The sizes it was followed at.
    pub sizes: Sizes,
    /// Type and size of every value that could be told: inputs, weights, results.
    pub tensors: BTreeMap<String, TensorShape>,
    /// The work of each node of `graph.nodes`, in the same order.
    pub nodes: Vec<NodeWork>,
    /// The work of one batch.
    pub total: Cost,
    /// Why the figures are less than the whole; empty when nothing was left out.
    pub reasons: Vec<String>,
}

/// Follows `model` at `sizes`: the shape of every value and the work of every node.
///
/// # Errors
/// The sizes do not fit the model (see [`Model::check_sizes`]).
pub fn trace(model: &Model, sizes: &Sizes) -> Result<Trace> {
    model.check_sizes(sizes)?;
    let shapes = shape::follow(model, sizes);
    let mut nodes = Vec::with_capacity(model.graph.nodes.len());
    let mut strange: BTreeMap<String, u64> = BTreeMap::new();
    let mut shapeless = 0_u64;
    for node in &model.graph.nodes {
        let view = View {
            node,
            tensors: &shapes.tensors,
            model,
        };
        let kind = kind_of(node);
        let cost = view.cost(kind);
        if kind == WorkKind::Unknown {
            *strange.entry(node.qualified_op()).or_default() += 1;
        } else if cost.is_none() {
            shapeless += 1;
        }
        nodes.push(NodeWork {
            kind: if cost.is_some() {
                kind
            } else {
                WorkKind::Unknown
            },
            cost: cost.unwrap_or_default(),
        });
    }
    let mut reasons = Vec::new();
    for (op, count) in &strange {
        reasons.push(format!("the work of `{op}` is not known ({count} nodes)"));
    }
    for (op, count) in &shapes.unknown {
        if !strange.contains_key(op) {
            reasons.push(format!(
                "the size of what `{op}` makes depends on values ({count} nodes)"
            ));
        }
    }
    if shapeless > 0 {
        reasons.push(format!(
            "{shapeless} of {} nodes work on tensors of unknown size",
            nodes.len()
        ));
    }
    Ok(Trace {
        sizes: sizes.clone(),
        tensors: shapes.tensors,
        total: nodes.iter().fold(Cost::default(), |sum, n| sum + n.cost),
        nodes,
        reasons,
    })
}

const MATRIX: &[&str] = &[
    "Attention",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DynamicQuantizeMatMul",
    "Einsum",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GRU",
    "Gemm",
    "GroupQueryAttention",
    "LSTM",
    "LinearClassifier",
    "LinearRegressor",
    "MatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
    "TransposeMatMul",
];

const MOVEMENT: &[&str] = &[
    "ArrayFeatureExtractor",
    "Cast",
    "CastLike",
    "Concat",
    "ConstantOfShape",
    "DepthToSpace",
    "Expand",
    "EyeLike",
    "Gather",
    "GatherElements",
    "GatherND",
    "NonZero",
    "OneHot",
    "Pad",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Range",
    "ReverseSequence",
    "Scatter",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "TensorScatter",
    "Tile",
    "Transpose",
    "Trilu",
    "Upsample",
    "Where",
    "Compress",
    "LabelEncoder",
    "ZipMap",
    "Unique",
];

const VIEW: &[&str] = &[
    "Dropout",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
];

/// Operations for each element of the first result.
fn per_element(op: &str) -> Option<f64> {
    Some(match op {
        "Abs" | "Acos" | "Acosh" | "Add" | "And" | "Asin" | "Asinh" | "Atan" | "Atanh"
        | "Binarizer" | "BitShift" | "BitwiseAnd" | "BitwiseNot" | "BitwiseOr" | "BitwiseXor"
        | "Ceil" | "Cos" | "Cosh" | "CumSum" | "CumProd" | "Div" | "Equal" | "Erf" | "Exp"
        | "Floor" | "Greater" | "GreaterOrEqual" | "IsInf" | "IsNaN" | "Less" | "LessOrEqual"
        | "Log" | "Mod" | "Mul" | "Neg" | "Not" | "Or" | "Pow" | "Reciprocal" | "Relu"
        | "Round" | "Sigmoid" | "Sign" | "Sin" | "Sinh" | "Softplus" | "Sqrt" | "Sub" | "Tan"
        | "Tanh" | "Xor" | "Imputer" | "Bernoulli" => 1.0,
        "BatchNormalization" | "Celu" | "Clip" | "Elu" | "HardSigmoid" | "ImageScaler"
        | "LeakyRelu" | "Normalizer" | "PRelu" | "QuickGelu" | "Scaler" | "Selu" | "Shrink"
        | "Softsign" | "Swish" | "ThresholdedRelu" | "QuantizeLinear" | "DequantizeLinear" => 2.0,
        "HardSwish" | "Mish" => 3.0,
        "DynamicQuantizeLinear"
        | "LpNormalization"
        | "RMSNormalization"
        | "RotaryEmbedding"
        | "SimplifiedLayerNormalization" => 4.0,
        "BiasGelu"
        | "Gelu"
        | "Hardmax"
        | "LRN"
        | "LogSoftmax"
        | "Softmax"
        | "SkipSimplifiedLayerNormalization" => 5.0,
        "FastGelu"
        | "GroupNorm"
        | "GroupNormalization"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "MeanVarianceNormalization"
        | "Resize" => 8.0,
        "EmbedLayerNormalization" | "SkipLayerNormalization" => 10.0,
        _ => return None,
    })
}

/// Operators that take every element of their first input into account once.
fn sums_up(op: &str) -> bool {
    op.starts_with("Reduce")
        || op.starts_with("Global")
        || matches!(
            op,
            "ArgMax" | "ArgMin" | "TopK" | "SVMRegressor" | "SVMClassifier"
        )
}

fn kind_of(node: &NodeProto) -> WorkKind {
    let op = node.op();
    let known = matches!(node.domain_name(), "" | "ai.onnx.ml" | "com.microsoft");
    if !known {
        WorkKind::Unknown
    } else if op.starts_with("TreeEnsemble") {
        WorkKind::Tree
    } else if MATRIX.contains(&op) {
        WorkKind::Matrix
    } else if VIEW.contains(&op) {
        WorkKind::View
    } else if MOVEMENT.contains(&op) {
        WorkKind::Movement
    } else if per_element(op).is_some()
        || sums_up(op)
        || matches!(
            op,
            "Sum" | "Max" | "Min" | "Mean" | "MaxPool" | "AveragePool" | "LpPool"
        )
    {
        WorkKind::Arithmetic
    } else {
        WorkKind::Unknown
    }
}

/// A node with the shapes around it.
struct View<'a> {
    node: &'a NodeProto,
    tensors: &'a BTreeMap<String, TensorShape>,
    model: &'a Model,
}

impl View<'_> {
    fn input(&self, index: usize) -> Option<&TensorShape> {
        self.tensors.get(self.node.input_name(index)?)
    }

    fn dims(&self, index: usize) -> Option<&[u64]> {
        Some(&self.input(index)?.dims)
    }

    fn output(&self, index: usize) -> Option<&TensorShape> {
        self.tensors.get(self.node.output.get(index)?)
    }

    fn cost(&self, kind: WorkKind) -> Option<Cost> {
        let mut cost = Cost::default();
        match kind {
            WorkKind::Unknown => return None,
            WorkKind::View => return Some(cost),
            WorkKind::Movement => {}
            WorkKind::Matrix => {
                let macs = self.multiply_adds()?;
                cost.multiply_adds = Count::new(macs);
                cost.flops = Flops::saturating(2.0 * macs as f64);
            }
            WorkKind::Arithmetic => cost.flops = Flops::saturating(self.operations()?),
            WorkKind::Tree => {
                let rows = *self.dims(0)?.first()?;
                let visited = trees::tree_work(self.node)?.visited * rows as f64;
                cost.tree_nodes = Count::new(visited.round() as u64);
                cost.flops = Flops::saturating(visited);
            }
        }
        (cost.weight_bytes, cost.activation_bytes) = self.traffic()?;
        Some(cost)
    }

    /// Bytes of weights read, and of other values read and written.
    fn traffic(&self) -> Option<(Bytes, Bytes)> {
        let written: Bytes = (0..self.node.output.len())
            .filter_map(|i| self.output(i))
            .map(TensorShape::bytes)
            .sum();
        // A look-up reads the rows it returns, not the table.
        let looks_up = matches!(
            self.node.op(),
            "Gather" | "GatherElements" | "GatherND" | "Slice"
        );
        let (mut weights, mut others) = (Bytes::ZERO, written);
        for (index, name) in self
            .node
            .input
            .iter()
            .enumerate()
            .filter(|(_, n)| !n.is_empty())
        {
            let shape = self.tensors.get(name)?;
            let bytes = if looks_up && index == 0 {
                shape.bytes().min(self.output(0)?.bytes())
            } else {
                shape.bytes()
            };
            if self.model.graph.weights.contains_key(name) {
                weights = weights + bytes;
            } else {
                others = others + bytes;
            }
        }
        Some((weights, others))
    }

    fn operations(&self) -> Option<f64> {
        let op = self.node.op();
        let made = self.output(0)?.elements() as f64;
        if let Some(each) = per_element(op) {
            return Some(each * made);
        }
        if sums_up(op) {
            return Some(self.input(0)?.elements() as f64);
        }
        match op {
            "Sum" | "Max" | "Min" | "Mean" => {
                Some(made * self.node.input.len().saturating_sub(1).max(1) as f64)
            }
            _ => {
                let kernel = self.node.ints("kernel_shape")?;
                Some(
                    made * kernel
                        .iter()
                        .map(|k| k.unsigned_abs() as f64)
                        .product::<f64>(),
                )
            }
        }
    }

    /// Multiply-adds of a matrix operator, from the definitions of the operators.
    fn multiply_adds(&self) -> Option<u64> {
        let mul = |parts: &[u64]| element_count(parts);
        let made = || Some(self.output(0)?.elements());
        match self.node.op() {
            "MatMul"
            | "MatMulInteger"
            | "DynamicQuantizeMatMul"
            | "MatMulIntegerToFloat"
            | "QLinearMatMul" => Some(mul(&[made()?, *self.dims(0)?.last()?])),
            "FusedMatMul" | "TransposeMatMul" => Some(mul(&[made()?, self.inner("transA")?])),
            "Gemm" | "FusedGemm" | "QGemm" => Some(mul(&[made()?, self.inner("transA")?])),
            "MatMulNBits" => Some(mul(&[made()?, self.node.int("K")?.unsigned_abs()])),
            "Conv" | "FusedConv" | "ConvInteger" => self.convolution(1, made()?),
            "QLinearConv" => self.convolution(3, made()?),
            // Every input element meets every kernel position of its group.
            "ConvTranspose" => {
                let (_, rest) = self.dims(1)?.split_first()?;
                Some(mul(&[self.input(0)?.elements(), mul(rest)]))
            }
            "LSTM" | "GRU" | "RNN" => {
                let &[steps, batch, _] = self.dims(0)? else {
                    return None;
                };
                let each = mul(self.dims(1)?).saturating_add(mul(self.dims(2)?));
                Some(mul(&[steps, batch, each]))
            }
            "Einsum" => {
                let inputs: Option<Vec<&[u64]>> =
                    (0..self.node.input.len()).map(|i| self.dims(i)).collect();
                let (sizes, _) = shape::einsum_sizes(self.node.text("equation")?, &inputs?)?;
                Some(
                    sizes
                        .iter()
                        .fold(1_u64, |n, (_, size)| n.saturating_mul(*size)),
                )
            }
            "LinearClassifier" | "LinearRegressor" => {
                let coefficients = self.node.attr("coefficients")?.floats.len() as u64;
                Some(mul(&[*self.dims(0)?.first()?, coefficients]))
            }
            _ => self.attention(),
        }
    }

    /// The dimension that a product runs over.
    fn inner(&self, flip: &str) -> Option<u64> {
        let dims = self.dims(0)?;
        let from_end = if self.node.int(flip).unwrap_or(0) == 0 {
            1
        } else {
            2
        };
        dims.get(dims.len().checked_sub(from_end)?).copied()
    }

    fn convolution(&self, weight: usize, made: u64) -> Option<u64> {
        let (_, per_result) = self.dims(weight)?.split_first()?;
        Some(element_count(&[made, element_count(per_result)]))
    }

    /// Scores and weighted sums over all positions, and for the fused form of
    /// `com.microsoft` the projections in front.
    fn attention(&self) -> Option<u64> {
        let op = self.node.op();
        if self.node.domain_name().is_empty() {
            let (q, k, v) = (self.dims(0)?, self.dims(1)?, self.dims(2)?);
            return match (q, k, v) {
                (&[b, h, s, d], &[_, _, t, _], &[_, _, _, e]) => {
                    Some(element_count(&[b, h, s, t, d.saturating_add(e)]))
                }
                (&[b, s, q], &[_, t, _], &[_, _, _]) => Some(element_count(&[b, s, t, q, 2])),
                _ => None,
            };
        }
        let &[batch, steps, hidden] = self.dims(0)? else {
            return None;
        };
        let core = |keys: u64, width: u64| element_count(&[batch, steps, keys, width, 2]);
        match op {
            "Attention" | "QAttention" => {
                let projected = *self.dims(1)?.last()?;
                let width = *self.output(0)?.dims.last()?;
                let front = element_count(&[batch, steps, hidden, projected]);
                Some(front.saturating_add(core(steps, width)))
            }
            _ => {
                let keys = match self.dims(1) {
                    Some(&[_, keys, _]) => keys,
                    _ => steps,
                };
                Some(core(keys, *self.output(0)?.dims.last()?))
            }
        }
    }
}
