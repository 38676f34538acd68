//! What to feed a model when nobody gives samples: seeded random values that fit
//! the declared types and what the graph does with them.
//!
//! Speed depends on values: zeros let a tree ensemble take the same branch each
//! time, and denormal numbers slow arithmetic down several times, so neither is
//! made; an identifier outside its table would be an error.

use super::cost::trace;
use super::dims::Sizes;
use super::element::ElementType;
use super::graph::{Port, ValueType, element_count, signed};
use super::random::{Stream, bf16_bits, f16_bits};
use super::read::Model;
use super::shape::TensorShape;
use crate::error::{Error, Result};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The largest input that is made up.
const MOST: Bytes = Bytes::from_mib(8192);

/// What values to give an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fill {
    /// Normal with mean 0 and variance 1: features, embeddings.
    Normal,
    /// Uniform from 0 to 1: pixels.
    Unit,
    /// Whole numbers from 0 up to, not including, this one.
    Below {
        /// The first number that is too large.
        limit: u64,
    },
    /// Ones: attention masks, flags.
    Ones,
    /// Zeros: token types.
    Zeros,
}

/// What to give one input of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The input's name.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Which of them is the batch; none if all items share the input.
    pub batch_axis: Option<usize>,
    /// What values it gets.
    pub fill: Fill,
}

/// Values of a tensor, outermost dimension first.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "each variant is the type that it is named after"
)]
pub enum TensorValues {
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    /// Bits of IEEE 754 binary16 numbers.
    Float16(Vec<u16>),
    /// Upper halves of 32-bit floats.
    Bfloat16(Vec<u16>),
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Int16(Vec<i16>),
    Int8(Vec<i8>),
    Uint64(Vec<u64>),
    Uint32(Vec<u32>),
    Uint16(Vec<u16>),
    Uint8(Vec<u8>),
    Bool(Vec<bool>),
}

/// What to give each input of `model` for a batch of `sizes`.
///
/// # Errors
/// The sizes do not fit the model, or an input is of a type that cannot be made
/// up: text, lists, maps.
pub fn input_specs(model: &Model, sizes: &Sizes) -> Result<Vec<InputSpec>> {
    let trace = trace(model, sizes)?;
    let limits = index_limits(model, &trace.tensors);
    model
        .graph
        .inputs
        .iter()
        .map(|port| {
            let element = fillable(model, port)?;
            let dims = model.port_shape(port, sizes).ok_or_else(|| {
                Error::bad_input(format!(
                    "input `{}` of model `{}` does not declare how many dimensions it has",
                    port.name, model.name
                ))
                .hint("export the model with the shapes of its inputs")
            })?;
            if element.bytes(element_count(&dims)) > MOST {
                return Err(Error::bad_input(format!(
                    "input `{}` of model `{}` would take more than {MOST}",
                    port.name, model.name
                ))
                .hint("use a smaller batch or smaller `--dim` sizes"));
            }
            Ok(InputSpec {
                fill: fill(&port.name, element, &dims, limits.get(&port.name).copied()),
                name: port.name.clone(),
                element,
                batch_axis: model.batch_axis(port),
                dims,
            })
        })
        .collect()
}

/// The element type of an input, if values of it can be made.
fn fillable(model: &Model, port: &Port) -> Result<ElementType> {
    use ElementType as E;
    let kind = match &port.kind {
        ValueType::Tensor { element, .. } => match element {
            E::String => "text",
            E::Complex64 | E::Complex128 => "complex numbers",
            E::Float8 | E::Float4 | E::Int4 | E::Uint4 | E::Int2 | E::Uint2 => "packed numbers",
            element => return Ok(*element),
        },
        ValueType::Sequence => "a list",
        ValueType::Map => "a map",
        ValueType::Optional => "a value that may be absent",
        ValueType::SparseTensor => "a sparse tensor",
        ValueType::Unknown => "something of unknown type",
    };
    Err(Error::bad_input(format!(
        "input `{}` of model `{}` is {kind}: random values of that kind mean nothing",
        port.name, model.name
    ))
    .hint("cut the preprocessing off and measure the model from its first numeric tensor on"))
}

fn fill(name: &str, element: ElementType, dims: &[u64], limit: Option<u64>) -> Fill {
    let name = name.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| name.contains(w));
    if says(&["mask"]) {
        return Fill::Ones;
    }
    if element.is_float() {
        // Four dimensions are a picture; five a film.
        return if dims.len() >= 4 && !says(&["past", "cache", "embed"]) {
            Fill::Unit
        } else {
            Fill::Normal
        };
    }
    if says(&["token_type", "segment"]) {
        return Fill::Zeros;
    }
    match (limit, element) {
        (Some(limit), _) => Fill::Below { limit },
        (None, ElementType::Uint8) => Fill::Below { limit: 256 },
        // Lengths, switches, numbers of steps: one is in range for all.
        _ => Fill::Ones,
    }
}

/// For each input that is used to look rows up: how many rows there are.
fn index_limits(model: &Model, tensors: &BTreeMap<String, TensorShape>) -> BTreeMap<String, u64> {
    let mut limits = BTreeMap::new();
    for port in &model.graph.inputs {
        // The input under all names that it gets on the way.
        let mut names: BTreeSet<&str> = BTreeSet::from([port.name.as_str()]);
        let mut least: Option<u64> = None;
        for node in &model.graph.nodes {
            let place = node.input.iter().position(|i| names.contains(i.as_str()));
            let Some(place) = place else { continue };
            let rows = |input: usize, axis: i64| {
                let dims = &tensors.get(node.input_name(input)?)?.dims;
                let axis = if axis < 0 {
                    axis + signed(dims.len())
                } else {
                    axis
                };
                dims.get(usize::try_from(axis).ok()?).copied()
            };
            let found = match (node.op(), place) {
                ("Gather" | "GatherElements", 1) => rows(0, node.int("axis").unwrap_or(0)),
                ("OneHot", 0) => {
                    let depth = node.input_name(1).and_then(|n| model.graph.weights.get(n));
                    depth.and_then(|d| d.values.as_ref()?.first().map(|v| *v as u64))
                }
                ("EmbedLayerNormalization", 0) => rows(2, 0),
                (
                    "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten"
                    | "Transpose" | "Slice" | "Expand" | "Tile" | "Concat" | "Split",
                    _,
                ) => {
                    names.extend(node.output.iter().map(String::as_str));
                    None
                }
                _ => None,
            };
            if let Some(found) = found {
                least = Some(least.map_or(found, |l| l.min(found)));
            }
        }
        if let Some(least) = least {
            limits.insert(port.name.clone(), least);
        }
    }
    limits
}

impl InputSpec {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        element_count(&self.dims)
    }

    /// Makes the values; the same for the same seed and input name.
    pub fn values(&self, seed: u64) -> TensorValues {
        let mut stream = Stream::new(seed, &self.name);
        let stream = &mut stream;
        let n = usize::try_from(self.elements()).unwrap_or(0);
        let fill = self.fill;
        match self.element {
            ElementType::Float64 => TensorValues::Float64(make(n, || draw(stream, fill))),
            ElementType::Float16 => {
                TensorValues::Float16(make(n, || f16_bits(draw(stream, fill) as f32)))
            }
            ElementType::Bfloat16 => {
                TensorValues::Bfloat16(make(n, || bf16_bits(draw(stream, fill) as f32)))
            }
            ElementType::Int64 => TensorValues::Int64(make(n, || {
                whole(stream, fill, i64::MAX as u64).cast_signed()
            })),
            ElementType::Int32 => TensorValues::Int32(make(n, || {
                (whole(stream, fill, i32::MAX as u64) as u32).cast_signed()
            })),
            ElementType::Int16 => {
                TensorValues::Int16(make(n, || whole(stream, fill, i16::MAX as u64) as i16))
            }
            ElementType::Int8 => {
                TensorValues::Int8(make(n, || whole(stream, fill, i8::MAX as u64) as i8))
            }
            ElementType::Uint64 => TensorValues::Uint64(make(n, || whole(stream, fill, u64::MAX))),
            ElementType::Uint32 => {
                TensorValues::Uint32(make(n, || whole(stream, fill, u64::from(u32::MAX)) as u32))
            }
            ElementType::Uint16 => {
                TensorValues::Uint16(make(n, || whole(stream, fill, u64::from(u16::MAX)) as u16))
            }
            ElementType::Uint8 => {
                TensorValues::Uint8(make(n, || whole(stream, fill, u64::from(u8::MAX)) as u8))
            }
            ElementType::Bool => TensorValues::Bool(make(n, || whole(stream, fill, 1) != 0)),
            // `input_specs` refuses what is left.
            _ => TensorValues::Float32(make(n, || draw(stream, fill) as f32)),
        }
    }
}

fn make<T>(n: usize, mut one: impl FnMut() -> T) -> Vec<T> {
    (0..n).map(|_| one()).collect()
}

fn draw(stream: &mut Stream, fill: Fill) -> f64 {
    match fill {
        Fill::Normal => stream.normal(),
        Fill::Unit => stream.unit(),
        Fill::Below { limit } => stream.below(limit) as f64,
        Fill::Ones => 1.0,
        Fill::Zeros => 0.0,
    }
}

/// A whole number of at most `most`, the largest that the type holds.
fn whole(stream: &mut Stream, fill: Fill, most: u64) -> u64 {
    match fill {
        Fill::Below { limit } => stream.below(limit.min(most.saturating_add(1))),
        Fill::Zeros => 0,
        _ => 1,
    }
}

impl TensorValues {
    /// The type of the values.
    pub const fn element(&self) -> ElementType {
        match self {
            Self::Float32(_) => ElementType::Float32,
            Self::Float64(_) => ElementType::Float64,
            Self::Float16(_) => ElementType::Float16,
            Self::Bfloat16(_) => ElementType::Bfloat16,
            Self::Int64(_) => ElementType::Int64,
            Self::Int32(_) => ElementType::Int32,
            Self::Int16(_) => ElementType::Int16,
            Self::Int8(_) => ElementType::Int8,
            Self::Uint64(_) => ElementType::Uint64,
            Self::Uint32(_) => ElementType::Uint32,
            Self::Uint16(_) => ElementType::Uint16,
            Self::Uint8(_) => ElementType::Uint8,
            Self::Bool(_) => ElementType::Bool,
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::Float32(v) => v.len(),
            Self::Float64(v) => v.len(),
            Self::Float16(v) | Self::Bfloat16(v) | Self::Uint16(v) => v.len(),
            Self::Int64(v) => v.len(),
            Self::Int32(v) => v.len(),
            Self::Int16(v) => v.len(),
            Self::Int8(v) => v.len(),
            Self::Uint64(v) => v.len(),
            Self::Uint32(v) => v.len(),
            Self::Uint8(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
