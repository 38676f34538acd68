//! What sort of work each operator is, and how much for an element.

use super::WorkKind;
use crate::model::proto::NodeProto;

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
pub(super) fn per_element(op: &str) -> Option<f64> {
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
pub(super) fn sums_up(op: &str) -> bool {
    op.starts_with("Reduce")
        || op.starts_with("Global")
        || matches!(
            op,
            "ArgMax" | "ArgMin" | "TopK" | "SVMRegressor" | "SVMClassifier"
        )
}

pub(super) fn kind_of(node: &NodeProto) -> WorkKind {
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
