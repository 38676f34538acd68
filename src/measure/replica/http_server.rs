//! A minimal server of our own that speaks the Open Inference Protocol over
//! loopback: it shows what HTTP and (de)serialisation add to an inference, for
//! the tensor sizes of the model at hand.

use super::protocol::{HEADER_LENGTH, ModelMetadata, datatype, decoded, little_endian, numbers};
use crate::{
    error::{Error, Result},
    model::TensorValues,
};
use serde_json::{Value, json};
use std::{io::Read, time::Instant};
use tiny_http::{Header, Method, Request, Response, Server};

/// The header that tells how long the inference itself took, in nanoseconds.
pub const INFERENCE_HEADER: &str = "x-inference-nanoseconds";

/// The largest request that is read.
const LARGEST: u64 = 1 << 30;

/// A tensor with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Its values.
    pub values: TensorValues,
}

/// A model that can be asked.
pub trait Infer: Send + 'static {
    /// Runs one request.
    ///
    /// # Errors
    /// What the runtime says.
    fn infer(&mut self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>>;
}

/// Serves a model on a free port of the loopback interface, one request at a
/// time, for as long as the process lives; returns the port.
///
/// # Errors
/// No port can be had.
pub fn listen(mut model: impl Infer, metadata: ModelMetadata) -> Result<u16> {
    let cannot = |why: String| Error::machine(format!("cannot listen on loopback: {why}"));
    let server = Server::http("127.0.0.1:0").map_err(|error| cannot(error.to_string()))?;
    let port = server
        .server_addr()
        .to_ip()
        .map(|address| address.port())
        .ok_or_else(|| cannot("no port".to_owned()))?;
    std::thread::spawn(move || {
        for mut request in server.incoming_requests() {
            let response = respond(&mut request, &mut model, &metadata);
            // A client that went away is no failure of the server.
            let _ = request.respond(response);
        }
    });
    Ok(port)
}

type Answer = Response<std::io::Cursor<Vec<u8>>>;

fn respond(request: &mut Request, model: &mut impl Infer, metadata: &ModelMetadata) -> Answer {
    let of_model = format!("/v2/models/{}", metadata.name);
    let url = request.url().to_owned();
    if *request.method() == Method::Get && url == of_model {
        return Response::from_data(serde_json::to_vec(metadata).unwrap_or_default());
    }
    if *request.method() != Method::Post || url != format!("{of_model}/infer") {
        return failure(404, &format!("there is only {of_model}"));
    }
    let json_length = request
        .headers()
        .iter()
        .find(|header| {
            header
                .field
                .as_str()
                .as_str()
                .eq_ignore_ascii_case(HEADER_LENGTH)
        })
        .and_then(|header| header.value.as_str().parse().ok());
    let mut body = Vec::with_capacity(request.body_length().unwrap_or(0).min(LARGEST as usize));
    if let Err(error) = request.as_reader().take(LARGEST).read_to_end(&mut body) {
        return failure(400, &error.to_string());
    }
    match answer(&body, json_length, model) {
        Ok(response) => response,
        Err(error) => failure(400, error.message()),
    }
}

fn answer(body: &[u8], json_length: Option<usize>, model: &mut impl Infer) -> Result<Answer> {
    let (inputs, binary) = inputs(body, json_length)?;
    let begin = Instant::now();
    let outputs = model.infer(inputs)?;
    let took = begin.elapsed().as_nanos();
    let mut described = Vec::new();
    let mut tensors = Vec::new();
    for output in outputs {
        let mut entry = json!({
            "name": output.name,
            "shape": output.dims,
            "datatype": datatype_of(&output.values),
        });
        if binary {
            let bytes = little_endian(&output.values);
            entry["parameters"] = json!({"binary_data_size": bytes.len()});
            tensors.extend(bytes);
        } else {
            entry["data"] = numbers(&output.values);
        }
        described.push(entry);
    }
    let mut bytes = json!({"model_name": "advisor", "outputs": described})
        .to_string()
        .into_bytes();
    let length = bytes.len();
    bytes.extend(tensors);
    let mut response = Response::from_data(bytes);
    let mut headers = vec![(INFERENCE_HEADER, took.to_string())];
    if binary {
        headers.push((HEADER_LENGTH, length.to_string()));
    }
    for (name, value) in headers {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    Ok(response)
}

/// The tensors of a request, and whether the answer is wanted in binary.
fn inputs(body: &[u8], json_length: Option<usize>) -> Result<(Vec<NamedTensor>, bool)> {
    let bad = |what: &str| Error::bad_input(format!("not a request: {what}"));
    let (head, mut tensors) = body
        .split_at_checked(json_length.unwrap_or(body.len()))
        .ok_or_else(|| bad("shorter than its JSON"))?;
    let request: Value = serde_json::from_slice(head).map_err(|error| bad(&error.to_string()))?;
    let binary = request.pointer("/parameters/binary_data_output") == Some(&Value::Bool(true));
    let list = request
        .get("inputs")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("no inputs"))?;
    let mut inputs = Vec::new();
    for input in list {
        let text = |key: &str| input.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| bad("an input without a name"))?;
        let dims: Vec<u64> = input
            .get("shape")
            .and_then(Value::as_array)
            .map(|shape| shape.iter().filter_map(Value::as_u64).collect())
            .ok_or_else(|| bad("an input without a shape"))?;
        let size = input
            .pointer("/parameters/binary_data_size")
            .and_then(Value::as_u64);
        let bytes = match size {
            Some(size) => {
                let (own, rest) = tensors
                    .split_at_checked(size as usize)
                    .ok_or_else(|| bad("fewer bytes than announced"))?;
                tensors = rest;
                Some(own)
            }
            None => None,
        };
        let values = decoded(
            text("datatype").unwrap_or_default(),
            bytes,
            input.get("data"),
        )
        .ok_or_else(|| bad(&format!("the data of `{name}`")))?;
        inputs.push(NamedTensor {
            name: name.to_owned(),
            dims,
            values,
        });
    }
    Ok((inputs, binary))
}

fn datatype_of(values: &TensorValues) -> &'static str {
    use crate::model::ElementType as E;
    datatype(match values {
        TensorValues::Float32(_) => E::Float32,
        TensorValues::Float64(_) => E::Float64,
        TensorValues::Float16(_) => E::Float16,
        TensorValues::Bfloat16(_) => E::Bfloat16,
        TensorValues::Int64(_) => E::Int64,
        TensorValues::Int32(_) => E::Int32,
        TensorValues::Int16(_) => E::Int16,
        TensorValues::Int8(_) => E::Int8,
        TensorValues::Uint64(_) => E::Uint64,
        TensorValues::Uint32(_) => E::Uint32,
        TensorValues::Uint16(_) => E::Uint16,
        TensorValues::Uint8(_) => E::Uint8,
        TensorValues::Bool(_) => E::Bool,
    })
    .unwrap_or("FP32")
}

fn failure(status: u16, why: &str) -> Answer {
    let body = json!({"error": why}).to_string().into_bytes();
    Response::from_data(body).with_status_code(status)
}
