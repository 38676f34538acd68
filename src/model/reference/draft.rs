//! A graph under construction: nodes, and weights that are only described until
//! the file is written, so that a model of gigabytes takes no memory.

use super::spec::Precision;
use crate::error::Result;
use crate::model::element::ElementType;
use crate::model::graph::{Dim, element_count, signed};
use crate::model::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto, attribute_kind,
};
use crate::model::read::Model;
use bytes::Bytes;

/// Raised whenever the same description gives another file.
pub(super) const WRITER_VERSION: u32 = 1;

/// The operator set that is written. ONNX Runtime fuses attention in the form
/// that exporters wrote for operator sets up to 12, and every release since 1.3
/// loads it.
const OPSET: i64 = 12;

/// The file format that goes with that operator set (ONNX 1.7).
const IR_VERSION: i64 = 7;

/// The version of `ai.onnx.ml` that is written (of ONNX 1.2).
const ML_OPSET: i64 = 1;

/// What random values a weight gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum WeightFill {
    /// Uniform with this standard deviation around `centre`.
    Spread { centre: f32, deviation: f32 },
    /// What stands for zero: 128 in unsigned bytes.
    Zero,
    /// Uniform whole numbers from -127 to 127, around what stands for zero.
    Quantised,
}

/// A weight that is not made yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DraftWeight {
    pub(super) name: String,
    pub(super) element: ElementType,
    pub(super) dims: Vec<u64>,
    pub(super) fill: WeightFill,
}

impl DraftWeight {
    pub(super) fn elements(&self) -> u64 {
        element_count(&self.dims)
    }

    /// The tensor without its contents.
    pub(super) fn header(&self) -> TensorProto {
        TensorProto {
            dims: self.dims.iter().map(|d| signed(*d)).collect(),
            data_type: Some(self.element.onnx_number()),
            name: Some(self.name.clone()),
            ..TensorProto::default()
        }
    }
}

/// A graph under construction.
#[derive(Debug)]
pub(super) struct Draft {
    name: String,
    pub(super) precision: Precision,
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    pub(super) weights: Vec<DraftWeight>,
    classic: bool,
}

impl Draft {
    pub(super) fn new(name: &str, precision: Precision) -> Self {
        Self {
            name: name.to_owned(),
            precision,
            nodes: vec![],
            inputs: vec![],
            outputs: vec![],
            weights: vec![],
            classic: false,
        }
    }

    /// The floating-point type of weights and results inside.
    pub(super) const fn float(&self) -> ElementType {
        match self.precision {
            Precision::Fp16 => ElementType::Float16,
            _ => ElementType::Float32,
        }
    }

    /// Declares an input; the first dimension is the batch.
    pub(super) fn input(&mut self, name: &str, element: ElementType, item: &[u64]) -> String {
        self.inputs.push(value_info(name, element, item));
        name.to_owned()
    }

    /// Declares a 32-bit floating-point input and hands it on in the type used inside.
    pub(super) fn float_input(&mut self, name: &str, item: &[u64]) -> String {
        let input = self.input(name, ElementType::Float32, item);
        if self.float() == ElementType::Float32 {
            return input;
        }
        let to = int("to", self.float().onnx_number().into());
        self.node("Cast", &[&input], vec![to])
    }

    /// Declares the value `from` as the output `name`, of type 32-bit float.
    pub(super) fn float_output(&mut self, name: &str, from: &str, item: &[u64]) {
        self.outputs
            .push(value_info(name, ElementType::Float32, item));
        let (op, attributes) = if self.float() == ElementType::Float32 {
            ("Identity", vec![])
        } else {
            ("Cast", vec![int("to", 1)])
        };
        // The last node may make the output itself.
        let maker = self.nodes.iter_mut().find(|n| n.output == [from]);
        if op == "Identity"
            && let Some(maker) = maker
        {
            maker.output = vec![name.to_owned()];
            for node in &mut self.nodes {
                for input in node.input.iter_mut().filter(|i| *i == from) {
                    name.clone_into(input);
                }
            }
            return;
        }
        self.push(op, &[from], vec![name.to_owned()], attributes);
    }

    /// Adds a weight in the floating-point type used inside; gives its name.
    pub(super) fn weight(&mut self, name: &str, dims: &[u64], fill: WeightFill) -> String {
        let element = self.float();
        self.typed_weight(name, element, dims, fill)
    }

    /// Adds a weight of any type; gives its name.
    pub(super) fn typed_weight(
        &mut self,
        name: &str,
        element: ElementType,
        dims: &[u64],
        fill: WeightFill,
    ) -> String {
        self.weights.push(DraftWeight {
            name: name.to_owned(),
            element,
            dims: dims.to_vec(),
            fill,
        });
        name.to_owned()
    }

    /// Adds a node with one result; gives the result's name.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let result = format!("{op}_{}", self.nodes.len());
        self.push(op, inputs, vec![result.clone()], attributes);
        result
    }

    /// Adds a node with `count` results; gives their names.
    pub(super) fn node_with_results(
        &mut self,
        op: &str,
        inputs: &[&str],
        count: usize,
    ) -> Vec<String> {
        let results: Vec<String> = (0..count)
            .map(|i| format!("{op}_{}_{i}", self.nodes.len()))
            .collect();
        self.push(op, inputs, results.clone(), vec![]);
        results
    }

    /// Adds a node of `ai.onnx.ml`; gives its result's name.
    pub(super) fn classic_node(
        &mut self,
        op: &str,
        input: &str,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let result = self.node(op, &[input], attributes);
        if let Some(node) = self.nodes.last_mut() {
            node.domain = Some("ai.onnx.ml".to_owned());
        }
        self.classic = true;
        result
    }

    fn push(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output,
            name: Some(format!("{op}_{}", self.nodes.len())),
            op_type: Some(op.to_owned()),
            attribute,
            domain: None,
        });
    }

    /// A single number in the floating-point type used inside, as a `Constant`
    /// node, as exporters write it.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        let element = self.float();
        let raw = match element {
            ElementType::Float16 => crate::model::random::f16_bits(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        self.constant(element, &[], raw)
    }

    /// Whole numbers as a `Constant` node of the given dimensions.
    pub(super) fn int_constant(&mut self, values: &[i64], dims: &[u64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(ElementType::Int64, dims, raw)
    }

    /// A list of whole numbers as a `Constant` node.
    pub(super) fn int_list(&mut self, values: &[i64]) -> String {
        self.int_constant(values, &[values.len() as u64])
    }

    fn constant(&mut self, element: ElementType, dims: &[u64], raw: Vec<u8>) -> String {
        let tensor = TensorProto {
            dims: dims.iter().map(|d| signed(*d)).collect(),
            data_type: Some(element.onnx_number()),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        };
        let value = AttributeProto {
            t: Some(tensor),
            ..attribute("value", attribute_kind::TENSOR)
        };
        self.node("Constant", &[], vec![value])
    }

    /// The file without its graph.
    pub(super) fn envelope(&self) -> ModelProto {
        let set = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version),
        };
        let mut opset_import = vec![set("", OPSET)];
        if self.classic {
            opset_import.push(set("ai.onnx.ml", ML_OPSET));
        }
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("advisor".to_owned()),
            producer_version: Some(format!("reference writer {WRITER_VERSION}")),
            doc_string: Some(
                "Reference model with seeded random weights: for measuring speed only".to_owned(),
            ),
            opset_import,
            ..ModelProto::default()
        }
    }

    /// The graph without its weights.
    pub(super) fn graph(&self) -> GraphProto {
        GraphProto {
            node: self.nodes.clone(),
            name: Some(self.name.clone()),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            ..GraphProto::default()
        }
    }

    /// The model as reading its file back would give it.
    pub(super) fn to_model(&self, what: &str) -> Result<Model> {
        let mut proto = self.envelope();
        proto.graph = Some(self.graph());
        let initializers: Vec<_> = self.weights.iter().map(DraftWeight::header).collect();
        Model::from_parts(what, proto, &initializers)
    }
}

/// A tensor whose first dimension is the batch.
fn value_info(name: &str, element: ElementType, item: &[u64]) -> ValueInfoProto {
    let dims = std::iter::once(Dim::Named("batch".to_owned()))
        .chain(item.iter().map(|d| Dim::Fixed(*d)))
        .map(|dim| DimensionProto {
            value: match dim {
                Dim::Fixed(size) => Some(DimensionValue::Value(signed(size))),
                Dim::Named(name) => Some(DimensionValue::Param(name)),
                Dim::Unknown => None,
            },
        })
        .collect();
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorTypeProto {
                elem_type: Some(element.onnx_number()),
                shape: Some(TensorShapeProto { dim: dims }),
            })),
        }),
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        kind: Some(kind),
        ..AttributeProto::default()
    }
}

/// A setting that is a whole number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, attribute_kind::INT)
    }
}

/// A setting that is a list of whole numbers.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        ..attribute(name, attribute_kind::INTS)
    }
}

/// A setting that is a number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, attribute_kind::FLOAT)
    }
}

/// A setting that is a list of numbers.
pub(super) fn floats(name: &str, values: Vec<f32>) -> AttributeProto {
    AttributeProto {
        floats: values,
        ..attribute(name, attribute_kind::FLOATS)
    }
}

/// A setting that is a text.
pub(super) fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto {
        s: Some(Bytes::from_static(value.as_bytes())),
        ..attribute(name, attribute_kind::STRING)
    }
}

/// A setting that is a list of texts.
pub(super) fn texts(name: &str, values: impl IntoIterator<Item = &'static str>) -> AttributeProto {
    AttributeProto {
        strings: values
            .into_iter()
            .map(|v| Bytes::from_static(v.as_bytes()))
            .collect(),
        ..attribute(name, attribute_kind::STRINGS)
    }
}
