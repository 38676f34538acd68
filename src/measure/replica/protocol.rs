//! Requests and answers of the Open Inference Protocol
//! (`kserve/open-inference-protocol`, `specification/protocol/inference_rest.md`)
//! and of the binary tensor data extension (`triton-inference-server/server`,
//! `docs/protocol/extension_binary_data.md`).

use crate::{
    error::{Error, Result},
    model::{ElementType, Fill, InputSpec, TensorValues},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The header that tells where the JSON ends and the tensors begin.
pub const HEADER_LENGTH: &str = "inference-header-content-length";

/// How tensors are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Numbers in JSON.
    Json,
    /// Little-endian bytes after the JSON.
    Binary,
}

/// What a server says of a model: `GET /v2/models/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// Its name there.
    pub name: String,
    /// `onnxruntime_onnx`, `mlserver_…`.
    #[serde(default)]
    pub platform: String,
    /// What it takes.
    #[serde(default)]
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    #[serde(default)]
    pub outputs: Vec<TensorMetadata>,
}

/// One tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// `FP32`, `INT64`.
    pub datatype: String,
    /// Its shape; −1 where it is free.
    pub shape: Vec<i64>,
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Bytes of JSON at the start, where tensors follow.
    pub json_length: Option<usize>,
}

/// The protocol's names of the element types that can be sent.
const DATATYPES: [(&str, ElementType); 13] = [
    ("BOOL", ElementType::Bool),
    ("UINT8", ElementType::Uint8),
    ("UINT16", ElementType::Uint16),
    ("UINT32", ElementType::Uint32),
    ("UINT64", ElementType::Uint64),
    ("INT8", ElementType::Int8),
    ("INT16", ElementType::Int16),
    ("INT32", ElementType::Int32),
    ("INT64", ElementType::Int64),
    ("FP16", ElementType::Float16),
    ("BF16", ElementType::Bfloat16),
    ("FP32", ElementType::Float32),
    ("FP64", ElementType::Float64),
];

/// The protocol's name of an element type; none for one it cannot carry.
#[must_use]
pub fn datatype(element: ElementType) -> Option<&'static str> {
    let known = DATATYPES.iter().find(|(_, e)| *e == element);
    known.map(|(name, _)| *name)
}

impl ModelMetadata {
    /// What to feed the model when only the server tells of it: random values,
    /// one item.
    ///
    /// # Errors
    /// A shape with a free dimension other than the first, or text.
    pub fn input_specs(&self) -> Result<Vec<InputSpec>> {
        self.inputs
            .iter()
            .map(|tensor| {
                let element = DATATYPES
                    .iter()
                    .find(|(name, _)| *name == tensor.datatype)
                    .map(|(_, element)| *element)
                    .ok_or_else(|| {
                        Error::bad_input(format!(
                            "input `{}` of the served model is of type {}, which cannot be made up",
                            tensor.name, tensor.datatype
                        ))
                    })?;
                let dims = tensor
                    .shape
                    .iter()
                    .enumerate()
                    .map(|(axis, size)| match (axis, *size) {
                        (0, size) if size < 1 => Ok(1),
                        (_, size) if size >= 1 => Ok(size as u64),
                        _ => Err(Error::bad_input(format!(
                            "input `{}` of the served model has a free dimension besides the batch",
                            tensor.name
                        ))
                        .hint("name the same model with `--model FILE`, and sizes with `--dim NAME=N`")),
                    })
                    .collect::<Result<_>>()?;
                let float = matches!(
                    element,
                    ElementType::Float16
                        | ElementType::Bfloat16
                        | ElementType::Float32
                        | ElementType::Float64
                );
                Ok(InputSpec {
                    name: tensor.name.clone(),
                    element,
                    dims,
                    batch_axis: Some(0),
                    fill: if float { Fill::Normal } else { Fill::Ones },
                })
            })
            .collect()
    }
}

impl Payload {
    /// A request with these inputs, their values from `seed`.
    ///
    /// # Errors
    /// An element type that the protocol cannot carry.
    pub fn new(specs: &[InputSpec], seed: u64, encoding: Encoding) -> Result<Self> {
        let mut inputs = Vec::new();
        let mut tensors = Vec::new();
        for spec in specs {
            let datatype = datatype(spec.element).ok_or_else(|| {
                Error::bad_input(format!(
                    "input `{}` is of a type that the Open Inference Protocol cannot carry",
                    spec.name
                ))
            })?;
            let values = spec.values(seed);
            let mut input = json!({
                "name": spec.name,
                "shape": spec.dims,
                "datatype": datatype,
            });
            match encoding {
                Encoding::Json => input["data"] = numbers(&values),
                Encoding::Binary => {
                    let bytes = little_endian(&values);
                    input["parameters"] = json!({"binary_data_size": bytes.len()});
                    tensors.extend(bytes);
                }
            }
            inputs.push(input);
        }
        let mut body = json!({"inputs": inputs});
        if encoding == Encoding::Binary {
            body["parameters"] = json!({"binary_data_output": true});
        }
        let mut bytes = body.to_string().into_bytes();
        let json_length = (encoding == Encoding::Binary).then_some(bytes.len());
        bytes.extend(tensors);
        Ok(Self { bytes, json_length })
    }
}

/// Values as a flat list, as the protocol allows.
#[must_use]
pub fn numbers(values: &TensorValues) -> Value {
    match values {
        TensorValues::Float32(v) => json!(v),
        TensorValues::Float64(v) => json!(v),
        TensorValues::Float16(v) => {
            json!(
                v.iter()
                    .map(|bits| half::f16::from_bits(*bits).to_f32())
                    .collect::<Vec<_>>()
            )
        }
        TensorValues::Bfloat16(v) => {
            json!(
                v.iter()
                    .map(|bits| half::bf16::from_bits(*bits).to_f32())
                    .collect::<Vec<_>>()
            )
        }
        TensorValues::Int64(v) => json!(v),
        TensorValues::Int32(v) => json!(v),
        TensorValues::Int16(v) => json!(v),
        TensorValues::Int8(v) => json!(v),
        TensorValues::Uint64(v) => json!(v),
        TensorValues::Uint32(v) => json!(v),
        TensorValues::Uint16(v) => json!(v),
        TensorValues::Uint8(v) => json!(v),
        TensorValues::Bool(v) => json!(v),
    }
}

/// Values as little-endian bytes.
#[must_use]
pub fn little_endian(values: &TensorValues) -> Vec<u8> {
    macro_rules! bytes {
        ($v:expr) => {
            $v.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    match values {
        TensorValues::Float32(v) => bytes!(v),
        TensorValues::Float64(v) => bytes!(v),
        TensorValues::Float16(v) | TensorValues::Bfloat16(v) | TensorValues::Uint16(v) => {
            bytes!(v)
        }
        TensorValues::Int64(v) => bytes!(v),
        TensorValues::Int32(v) => bytes!(v),
        TensorValues::Int16(v) => bytes!(v),
        TensorValues::Int8(v) => bytes!(v),
        TensorValues::Uint64(v) => bytes!(v),
        TensorValues::Uint32(v) => bytes!(v),
        TensorValues::Uint8(v) => v.clone(),
        TensorValues::Bool(v) => v.iter().map(|b| u8::from(*b)).collect(),
    }
}

/// The values of an input, from its bytes or from JSON (flat or nested); none
/// where they do not fit the type.
#[must_use]
pub fn decoded(datatype: &str, bytes: Option<&[u8]>, data: Option<&Value>) -> Option<TensorValues> {
    fn flat(value: &Value, into: &mut Vec<Value>) {
        match value {
            Value::Array(list) => list.iter().for_each(|v| flat(v, into)),
            other => into.push(other.clone()),
        }
    }
    let flattened = data.filter(|_| bytes.is_none()).map(|data| {
        let mut list = Vec::new();
        flat(data, &mut list);
        list
    });
    macro_rules! values {
        ($kind:ident, $t:ty) => {
            TensorValues::$kind(match bytes {
                Some(bytes) => bytes
                    .chunks_exact(size_of::<$t>())
                    .map(|c| c.try_into().map(<$t>::from_le_bytes))
                    .collect::<std::result::Result<_, _>>()
                    .ok()?,
                None => serde_json::from_value::<Vec<$t>>(Value::Array(flattened?)).ok()?,
            })
        };
    }
    let element = DATATYPES.iter().find(|(name, _)| *name == datatype)?.1;
    Some(match element {
        ElementType::Float32 => values!(Float32, f32),
        ElementType::Float64 => values!(Float64, f64),
        ElementType::Int64 => values!(Int64, i64),
        ElementType::Int32 => values!(Int32, i32),
        ElementType::Int16 => values!(Int16, i16),
        ElementType::Int8 => values!(Int8, i8),
        ElementType::Uint64 => values!(Uint64, u64),
        ElementType::Uint32 => values!(Uint32, u32),
        ElementType::Uint16 => values!(Uint16, u16),
        ElementType::Uint8 => values!(Uint8, u8),
        ElementType::Bool => TensorValues::Bool(match bytes {
            Some(bytes) => bytes.iter().map(|b| *b != 0).collect(),
            None => serde_json::from_value(Value::Array(flattened?)).ok()?,
        }),
        ElementType::Float16 => match bytes {
            Some(_) => values!(Float16, u16),
            None => TensorValues::Float16(
                serde_json::from_value::<Vec<f32>>(Value::Array(flattened?))
                    .ok()?
                    .into_iter()
                    .map(|x| half::f16::from_f32(x).to_bits())
                    .collect(),
            ),
        },
        ElementType::Bfloat16 => match bytes {
            Some(_) => values!(Bfloat16, u16),
            None => TensorValues::Bfloat16(
                serde_json::from_value::<Vec<f32>>(Value::Array(flattened?))
                    .ok()?
                    .into_iter()
                    .map(|x| half::bf16::from_f32(x).to_bits())
                    .collect(),
            ),
        },
        _ => return None,
    })
}

/// Whether an answer's body is one: JSON with outputs, tensors after it or not.
#[must_use]
pub fn is_answer(body: &[u8], json_length: Option<usize>) -> bool {
    let json = json_length.map_or(Some(body), |length| body.get(..length));
    json.and_then(|json| serde_json::from_slice::<Value>(json).ok())
        .is_some_and(|value| {
            value
                .get("outputs")
                .and_then(Value::as_array)
                .is_some_and(|outputs| !outputs.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(element: ElementType, fill: Fill) -> InputSpec {
        InputSpec {
            name: "x".into(),
            element,
            dims: vec![1, 3],
            batch_axis: Some(0),
            fill,
        }
    }

    #[test]
    fn a_json_request_is_as_the_protocol_has_it() {
        let payload = Payload::new(&[spec(ElementType::Int64, Fill::Ones)], 1, Encoding::Json);
        let value: Value = serde_json::from_slice(&payload.unwrap().bytes).unwrap();
        assert_eq!(
            value,
            json!({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "INT64", "data": [1, 1, 1]}]})
        );
    }

    #[test]
    fn a_binary_request_has_its_tensors_after_the_json() {
        let specs = [
            spec(ElementType::Float32, Fill::Normal),
            spec(ElementType::Bool, Fill::Ones),
        ];
        let payload = Payload::new(&specs, 7, Encoding::Binary).unwrap();
        let length = payload.json_length.unwrap();
        let value: Value = serde_json::from_slice(&payload.bytes[..length]).unwrap();
        assert_eq!(value["inputs"][0]["parameters"]["binary_data_size"], 12);
        assert_eq!(value["parameters"]["binary_data_output"], true);
        let tensors = &payload.bytes[length..];
        assert_eq!(tensors.len(), 15);
        let TensorValues::Float32(values) = specs[0].values(7) else {
            panic!("floats")
        };
        assert_eq!(tensors[..4], values[0].to_le_bytes());
        assert_eq!(tensors[12..], [1, 1, 1]);
    }

    #[test]
    fn values_come_back_from_json_and_from_bytes() {
        for element in DATATYPES.map(|(_, element)| element) {
            let fill = match element {
                ElementType::Bool => Fill::Ones,
                _ => Fill::Below { limit: 100 },
            };
            let values = spec(element, fill).values(3);
            let name = datatype(element).unwrap();
            let bytes = little_endian(&values);
            assert_eq!(
                decoded(name, Some(&bytes), None).as_ref(),
                Some(&values),
                "{name}"
            );
            let data = numbers(&values);
            assert_eq!(
                decoded(name, None, Some(&data)).as_ref(),
                Some(&values),
                "{name}"
            );
        }
        assert_eq!(
            decoded("INT64", None, Some(&json!([[1, 2], [3, 4]]))),
            Some(TensorValues::Int64(vec![1, 2, 3, 4]))
        );
        assert_eq!(decoded("BYTES", None, Some(&json!(["a"]))), None);
        assert_eq!(decoded("INT64", None, Some(&json!(["a"]))), None);
    }

    #[test]
    fn metadata_becomes_inputs_of_one_item() {
        let metadata: ModelMetadata = serde_json::from_value(json!({
            "name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 100]}]
        }))
        .unwrap();
        let specs = metadata.input_specs().unwrap();
        assert_eq!(specs[0].dims, [1, 100]);
        let mut open = metadata.clone();
        open.inputs[0].shape = vec![-1, -1];
        assert!(open.input_specs().is_err());
        let mut text = metadata;
        text.inputs[0].datatype = "BYTES".into();
        assert!(text.input_specs().unwrap_err().message().contains("BYTES"));
    }

    #[test]
    fn an_answer_without_outputs_is_none() {
        assert!(is_answer(br#"{"outputs":[{"name":"y"}]}"#, None));
        assert!(is_answer(br#"{"outputs":[{"name":"y"}]}....."#, Some(26)));
        for bad in [&br#"{"outputs":[]}"#[..], b"{}", b"", b"<html>"] {
            assert!(!is_answer(bad, None));
        }
        assert!(!is_answer(b"{}", Some(99)));
    }
}
