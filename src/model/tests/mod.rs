//! Models as people bring them: read or refused with a reason, followed, fed.

mod feeding;
mod reading;
mod work;

use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto,
};
use super::{ElementType, Model, read};
use bytes::Bytes;
use prost::Message as _;

/// A model under construction, for tests.
#[derive(Default)]
struct Sketch {
    graph: GraphProto,
}

impl Sketch {
    /// Declares an input; dimensions as text: a number, a name, or `?`.
    fn input(mut self, name: &str, element: ElementType, dims: &str) -> Self {
        self.graph.input.push(value(name, element, dims));
        self
    }

    fn output(mut self, name: &str, element: ElementType, dims: &str) -> Self {
        self.graph.output.push(value(name, element, dims));
        self
    }

    /// Adds `op(inputs) -> outputs`, names divided by blanks.
    fn node(self, op: &str, inputs: &str, outputs: &str) -> Self {
        self.node_with(op, inputs, outputs, vec![])
    }

    fn node_with(
        mut self,
        op: &str,
        inputs: &str,
        outputs: &str,
        attribute: Vec<AttributeProto>,
    ) -> Self {
        let (domain, op) = op.split_once(':').unwrap_or(("", op));
        let names = |text: &str| {
            text.split(' ')
                .map(|s| s.trim_matches('-').to_owned())
                .collect()
        };
        self.graph.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            domain: Some(domain.to_owned()),
            input: names(inputs),
            output: names(outputs),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    fn floats(mut self, name: &str, dims: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(1),
            dims: dims.to_vec(),
            raw_data: Some(Bytes::from(vec![
                0;
                4 * dims.iter().product::<i64>() as usize
            ])),
            ..TensorProto::default()
        });
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(7),
            dims: vec![i64::try_from(values.len()).unwrap()],
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    fn bytes(&self) -> Vec<u8> {
        ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
            producer_name: Some("test".to_owned()),
            graph: Some(self.graph.clone()),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }

    /// Writes the model to disk and reads it back.
    fn read(&self) -> Model {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sketch.onnx");
        std::fs::write(&path, self.bytes()).unwrap();
        read(&path).unwrap()
    }
}

fn value(name: &str, element: ElementType, dims: &str) -> ValueInfoProto {
    let dim = dims
        .split_whitespace()
        .map(|d| DimensionProto {
            value: match d.parse() {
                Ok(size) => Some(DimensionValue::Value(size)),
                Err(_) if d == "?" => None,
                Err(_) => Some(DimensionValue::Param(d.to_owned())),
            },
        })
        .collect();
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            value: Some(TypeValue::Tensor(TensorTypeProto {
                elem_type: Some(element.onnx_number()),
                shape: Some(TensorShapeProto { dim }),
            })),
        }),
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(i),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: ints.to_vec(),
        ..AttributeProto::default()
    }
}
