//! An ONNX model in memory: nodes, declared inputs and outputs, and the weights
//! by size; contents only where they are small enough to compute shapes from.

use super::element::ElementType;
use super::proto::{
    DimensionValue, FunctionProto, NodeProto, TensorProto, TypeProto, TypeValue, ValueInfoProto,
};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Tensors of at most this many elements keep their values: shapes, axes,
/// scales and scalars, not weights.
const KNOWN_ELEMENTS: u64 = 4096;

/// A dimension as a model declares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this size.
    Fixed(u64),
    /// A name that stands for the same size wherever it occurs.
    Named(String),
    /// Any size, without a name.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Named(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// The declared type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ValueType {
    /// A tensor.
    Tensor {
        /// Its element type.
        element: ElementType,
        /// Its dimensions, outermost first; none if not even their number is declared.
        dims: Option<Vec<Dim>>,
    },
    /// A list of values.
    Sequence,
    /// A map from keys to values.
    Map,
    /// A value that may be absent.
    Optional,
    /// A tensor kept as coordinates and values.
    SparseTensor,
    /// Not declared, or a type not known here.
    Unknown,
}

/// A named input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its declared type.
    #[serde(rename = "type")]
    pub kind: ValueType,
}

impl Port {
    /// The declared dimensions, if it is a tensor of declared rank.
    pub fn dims(&self) -> Option<&[Dim]> {
        match &self.kind {
            ValueType::Tensor { dims, .. } => dims.as_deref(),
            _ => None,
        }
    }
}

/// A tensor that the file carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions, outermost first; none for a single value.
    pub dims: Vec<u64>,
    /// The other file that holds it, relative to the model's folder.
    pub external: Option<String>,
    /// Its values, when it is small; exact for integers up to 2^53.
    pub values: Option<Vec<f64>>,
}

impl Weight {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        element_count(&self.dims)
    }

    /// Size of the contents in memory.
    pub fn bytes(&self) -> Bytes {
        self.element.bytes(self.elements())
    }
}

/// The product of `dims`, stopping at the largest number.
pub fn element_count(dims: &[u64]) -> u64 {
    dims.iter().fold(1_u64, |n, d| n.saturating_mul(*d))
}

/// A size as ONNX writes it; one that no file can have becomes the largest.
pub(super) fn signed(size: impl TryInto<i64>) -> i64 {
    size.try_into().unwrap_or(i64::MAX)
}

/// Nodes in execution order with what they read and make.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The nodes, each after those whose results it reads.
    pub nodes: Vec<NodeProto>,
    /// What must be given; weights that older files also list here are left out.
    pub inputs: Vec<Port>,
    /// What is computed.
    pub outputs: Vec<Port>,
    /// Declared types of values in between.
    pub declared: BTreeMap<String, ValueType>,
    /// The tensors that the file carries, `Constant` nodes included, by name.
    pub weights: BTreeMap<String, Weight>,
    /// Operators defined in the file, by domain and name.
    pub functions: BTreeMap<(String, String), FunctionProto>,
}

/// The type that a file declares, as far as it is known here.
pub(super) fn value_type(declared: Option<&TypeProto>) -> ValueType {
    match declared.and_then(|t| t.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => {
            let Some(element) = tensor.elem_type.and_then(ElementType::from_onnx) else {
                return ValueType::Unknown;
            };
            let dims = tensor.shape.as_ref().map(|shape| {
                shape
                    .dim
                    .iter()
                    .map(|d| match &d.value {
                        Some(DimensionValue::Value(v)) => {
                            u64::try_from(*v).map_or(Dim::Unknown, Dim::Fixed)
                        }
                        Some(DimensionValue::Param(p)) if !p.is_empty() => Dim::Named(p.clone()),
                        _ => Dim::Unknown,
                    })
                    .collect()
            });
            ValueType::Tensor { element, dims }
        }
        Some(TypeValue::Sequence(_)) => ValueType::Sequence,
        Some(TypeValue::Map(_)) => ValueType::Map,
        Some(TypeValue::Optional(_)) => ValueType::Optional,
        Some(TypeValue::SparseTensor(_)) => ValueType::SparseTensor,
        Some(TypeValue::Opaque(_)) | None => ValueType::Unknown,
    }
}

/// A declared input or output.
pub(super) fn port(info: &ValueInfoProto) -> Port {
    Port {
        name: info.name.clone().unwrap_or_default(),
        kind: value_type(info.r#type.as_ref()),
    }
}

/// A tensor of the file under `name`; none if its type is not known here.
pub(super) fn weight(name: &str, tensor: &TensorProto) -> Option<Weight> {
    let element = ElementType::from_onnx(tensor.data_type.unwrap_or(0))?;
    let dims: Vec<u64> = tensor
        .dims
        .iter()
        .map(|d| u64::try_from(*d).unwrap_or(0))
        .collect();
    let external = (tensor.data_location == Some(1)).then(|| {
        tensor
            .external_data
            .iter()
            .find(|e| e.key.as_deref() == Some("location"))
            .and_then(|e| e.value.clone())
            .unwrap_or_default()
    });
    let count = element_count(&dims);
    let values = (external.is_none() && count <= KNOWN_ELEMENTS)
        .then(|| values(tensor, element))
        .flatten()
        .filter(|v| v.len() as u64 == count);
    Some(Weight {
        name: name.to_owned(),
        element,
        dims,
        external,
        values,
    })
}

/// The tensor that a `Constant` node makes; none if it is of another kind.
pub(super) fn constant(node: &NodeProto) -> Option<Weight> {
    if node.op() != "Constant" || !node.domain_name().is_empty() {
        return None;
    }
    let name = node.output.first()?;
    if let Some(tensor) = node.attr("value").and_then(|a| a.t.as_ref()) {
        return weight(name, tensor);
    }
    let made = |element, dims: Vec<u64>, values: Vec<f64>| Weight {
        name: name.clone(),
        element,
        dims,
        external: None,
        values: Some(values),
    };
    node.attribute.iter().find_map(|a| {
        let list = |n: usize| vec![n as u64];
        match a.name.as_deref()? {
            "value_int" => Some(made(ElementType::Int64, vec![], vec![a.i? as f64])),
            "value_float" => Some(made(ElementType::Float32, vec![], vec![f64::from(a.f?)])),
            "value_ints" => Some(made(
                ElementType::Int64,
                list(a.ints.len()),
                a.ints.iter().map(|v| *v as f64).collect(),
            )),
            "value_floats" => Some(made(
                ElementType::Float32,
                list(a.floats.len()),
                a.floats.iter().map(|v| f64::from(*v)).collect(),
            )),
            _ => None,
        }
    })
}

/// The values of a small tensor, whichever field they are in.
pub(super) fn values(tensor: &TensorProto, element: ElementType) -> Option<Vec<f64>> {
    use ElementType as E;
    if let Some(raw) = tensor.raw_data.as_deref() {
        return Some(match element {
            E::Int64 => raw
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b) as f64)
                .collect(),
            E::Float64 => raw
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect(),
            E::Int32 => raw
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f64::from(i32::from_le_bytes(*b)))
                .collect(),
            E::Float32 => raw
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
            E::Bool | E::Uint8 => raw.iter().map(|b| f64::from(*b)).collect(),
            E::Int8 => raw.iter().map(|b| f64::from(b.cast_signed())).collect(),
            _ => return None,
        });
    }
    Some(match element {
        E::Int64 => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        E::Int32 | E::Int16 | E::Int8 | E::Uint16 | E::Uint8 | E::Bool => {
            tensor.int32_data.iter().map(|v| f64::from(*v)).collect()
        }
        E::Float32 => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        E::Float64 => tensor.double_data.clone(),
        E::Uint32 | E::Uint64 => tensor.uint64_data.iter().map(|v| *v as f64).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::AttributeProto;
    use bytes::Bytes as RawBytes;

    #[test]
    fn values_are_found_in_whichever_field_they_are() {
        let raw = TensorProto {
            dims: vec![2],
            data_type: Some(7),
            raw_data: Some(RawBytes::from(
                [3_i64, -1]
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect::<Vec<_>>(),
            )),
            ..TensorProto::default()
        };
        let listed = TensorProto {
            dims: vec![2],
            data_type: Some(7),
            int64_data: vec![3, -1],
            ..TensorProto::default()
        };
        for tensor in [raw, listed] {
            let weight = weight("shape", &tensor).unwrap();
            assert_eq!(weight.values.as_deref(), Some(&[3.0, -1.0][..]));
            assert_eq!((weight.elements(), weight.bytes().get()), (2, 16));
        }
    }

    #[test]
    fn a_constant_node_is_a_weight() {
        let node = NodeProto {
            output: vec!["axes".to_owned()],
            op_type: Some("Constant".to_owned()),
            attribute: vec![AttributeProto {
                name: Some("value_ints".to_owned()),
                ints: vec![1, 2],
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        };
        let weight = constant(&node).unwrap();
        assert_eq!(weight.dims, [2]);
        assert_eq!(weight.values.as_deref(), Some(&[1.0, 2.0][..]));
    }

    #[test]
    fn dimensions_show_as_size_name_or_question_mark() {
        let dims = [Dim::Fixed(3), Dim::Named("batch".to_owned()), Dim::Unknown];
        assert_eq!(
            dims.map(|d| d.to_string()),
            ["3", "batch", "?"].map(str::to_owned)
        );
        assert_eq!(
            serde_json::to_string(&[Dim::Fixed(3), Dim::Unknown]).unwrap(),
            "[3,null]"
        );
    }
}
