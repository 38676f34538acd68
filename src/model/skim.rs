//! Reads an ONNX file without its weights: a message walker that seeks past
//! large tensor contents, so that a file of gigabytes is read in milliseconds,
//! and that knows a file cut short from one that is something else.

use super::proto::{GraphProto, ModelProto, TensorProto};
use bytes::Bytes;
use prost::Message as _;
use std::io::{self, BufReader, Read, Seek};

/// Contents of a tensor beyond this many bytes are skipped: what shapes are
/// computed from is far smaller.
const KEEP: u64 = 1 << 16;

/// A file without the contents of its large weights.
pub(super) struct Skimmed {
    /// All but the initializers.
    pub(super) model: ModelProto,
    /// The initializers, in the order of the file; large ones without contents.
    pub(super) initializers: Vec<TensorProto>,
}

/// Why a file could not be read as ONNX.
#[derive(Debug)]
pub(super) enum SkimError {
    /// The disk failed.
    Io(io::Error),
    /// Sound up to its end, which comes too early: `needed` bytes, `present` there.
    CutShort { needed: u64, present: u64 },
    /// Not the encoding of a model.
    NotOnnx,
}

impl From<io::Error> for SkimError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<prost::DecodeError> for SkimError {
    fn from(_: prost::DecodeError) -> Self {
        Self::NotOnnx
    }
}

/// The field numbers that are looked into, and those of a tensor's contents.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_CONTENTS: [u64; 5] = [4, 5, 7, 9, 10];
const TENSOR_UINT64: u64 = 11;

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// Reads a model of `length` bytes.
pub(super) fn skim<R: Read + Seek>(source: R, length: u64) -> Result<Skimmed, SkimError> {
    let mut wire = Wire {
        source: BufReader::with_capacity(1 << 16, source),
        position: 0,
        length,
    };
    let mut rest = Vec::new();
    let mut graph = Vec::new();
    let mut has_graph = false;
    let mut initializers = Vec::new();
    while wire.position < length {
        let field = wire.field(length)?;
        if !known_model_field(field.number, field.wire_type) {
            return Err(SkimError::NotOnnx);
        }
        if field.number == MODEL_GRAPH {
            has_graph = true;
            let end = wire.end_of(&field, length)?;
            skim_graph(&mut wire, end, &mut graph, &mut initializers)?;
        } else {
            wire.copy(&field, length, &mut rest)?;
        }
    }
    let mut model = ModelProto::decode(rest.as_slice())?;
    if has_graph {
        model.graph = Some(GraphProto::decode(Bytes::from(graph))?);
    }
    Ok(Skimmed {
        model,
        initializers,
    })
}

/// The fields of `ModelProto` with their wire types: anything else at the top
/// of a file means that it is not a model.
fn known_model_field(number: u64, wire_type: u64) -> bool {
    match number {
        1 | 5 => wire_type == VARINT,
        2 | 3 | 4 | 6 | 7 | 8 | 14 | 20 | 25 | 26 => wire_type == LENGTH,
        _ => false,
    }
}

fn skim_graph<R: Read + Seek>(
    wire: &mut Wire<R>,
    end: u64,
    graph: &mut Vec<u8>,
    initializers: &mut Vec<TensorProto>,
) -> Result<(), SkimError> {
    while wire.position < end {
        let field = wire.field(end)?;
        if field.number == GRAPH_INITIALIZER && field.wire_type == LENGTH {
            let tensor_end = wire.end_of(&field, end)?;
            initializers.push(skim_tensor(wire, tensor_end)?);
        } else {
            wire.copy(&field, end, graph)?;
        }
    }
    Ok(())
}

fn skim_tensor<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<TensorProto, SkimError> {
    let mut kept = Vec::new();
    while wire.position < end {
        let field = wire.field(end)?;
        let contents = TENSOR_CONTENTS.contains(&field.number) || field.number == TENSOR_UINT64;
        if contents && field.wire_type == LENGTH && field.value > KEEP {
            wire.skip(field.value, end)?;
        } else {
            wire.copy(&field, end, &mut kept)?;
        }
    }
    Ok(TensorProto::decode(Bytes::from(kept))?)
}

/// A field's header: for a varint `value` is the value, for `LENGTH` the length.
struct Field {
    number: u64,
    wire_type: u64,
    value: u64,
}

struct Wire<R> {
    source: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> Wire<R> {
    /// Reads the header of the next field of a message that ends at `end`.
    fn field(&mut self, end: u64) -> Result<Field, SkimError> {
        let tag = self.varint(end)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        let value = match wire_type {
            VARINT | LENGTH => self.varint(end)?,
            FIXED64 => 8,
            FIXED32 => 4,
            _ => return Err(SkimError::NotOnnx),
        };
        if number == 0 {
            return Err(SkimError::NotOnnx);
        }
        Ok(Field {
            number,
            wire_type,
            value,
        })
    }

    /// Where the contents of a field end, inside a message that ends at `end`.
    fn end_of(&self, field: &Field, end: u64) -> Result<u64, SkimError> {
        let field_end = self.position.saturating_add(field.value);
        if field_end <= end {
            return Ok(field_end);
        }
        // A message can only claim more than its parent if the file is damaged;
        // the file itself is the parent of the top-level fields.
        Err(if end == self.length {
            SkimError::CutShort {
                needed: field_end,
                present: self.length,
            }
        } else {
            SkimError::NotOnnx
        })
    }

    fn skip(&mut self, bytes: u64, end: u64) -> Result<(), SkimError> {
        if self.position.saturating_add(bytes) > end {
            return Err(SkimError::NotOnnx);
        }
        let step = i64::try_from(bytes).map_err(|_| SkimError::NotOnnx)?;
        self.source.seek_relative(step)?;
        self.position += bytes;
        Ok(())
    }

    /// Appends a whole field to `to`, header and contents.
    fn copy(&mut self, field: &Field, end: u64, to: &mut Vec<u8>) -> Result<(), SkimError> {
        put_varint(to, field.number << 3 | field.wire_type);
        if field.wire_type == VARINT {
            put_varint(to, field.value);
            return Ok(());
        }
        let field_end = self.end_of(field, end)?;
        if field.wire_type == LENGTH {
            put_varint(to, field.value);
        }
        let wanted = field_end - self.position;
        let got = (&mut self.source).take(wanted).read_to_end(to)? as u64;
        self.position += got;
        if got < wanted {
            return Err(SkimError::CutShort {
                needed: field_end,
                present: self.position,
            });
        }
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, SkimError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            if self.position >= end {
                return Err(if end == self.length {
                    SkimError::CutShort {
                        needed: end + 1,
                        present: end,
                    }
                } else {
                    SkimError::NotOnnx
                });
            }
            let mut byte = [0_u8];
            self.source.read_exact(&mut byte)?;
            self.position += 1;
            let [byte] = byte;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SkimError::NotOnnx)
    }
}

/// Appends a number in protobuf's variable-length form.
pub(super) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::{NodeProto, OperatorSetIdProto};
    use std::io::Cursor;

    fn model(weight_bytes: usize) -> Vec<u8> {
        ModelProto {
            ir_version: Some(7),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(12),
            }],
            graph: Some(GraphProto {
                node: vec![NodeProto {
                    op_type: Some("Relu".to_owned()),
                    ..NodeProto::default()
                }],
                initializer: vec![TensorProto {
                    dims: vec![i64::try_from(weight_bytes).unwrap()],
                    data_type: Some(2),
                    name: Some("w".to_owned()),
                    raw_data: Some(Bytes::from(vec![7; weight_bytes])),
                    ..TensorProto::default()
                }],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn large_contents_are_skipped_and_small_ones_kept() {
        for (size, skipped) in [(10, false), (1 << 20, true)] {
            let bytes = model(size);
            let skimmed = skim(Cursor::new(&bytes), bytes.len() as u64).unwrap();
            let [weight] = skimmed.initializers.as_slice() else {
                panic!("one initializer");
            };
            assert_eq!(weight.raw_data.is_none(), skipped);
            assert_eq!(weight.dims, [i64::try_from(size).unwrap()]);
            assert_eq!(weight.name.as_deref(), Some("w"));
            assert_eq!(skimmed.model.ir_version, Some(7));
            assert_eq!(skimmed.model.graph.unwrap().node.len(), 1);
        }
    }

    #[test]
    fn every_cut_inside_the_graph_is_told_as_cut_short() {
        let bytes = model(100_000);
        let whole = bytes.len();
        for keep in [5, 20, 40, 1000, 99_000, whole - 20] {
            let part = &bytes[..keep];
            match skim(Cursor::new(part), keep as u64) {
                Err(SkimError::CutShort { needed, present }) => {
                    assert_eq!(present, keep as u64);
                    assert!(needed > present);
                }
                Err(other) => panic!("{keep}: {other:?}"),
                Ok(_) => panic!("{keep}: read"),
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = skim(Cursor::new(&bytes), bytes.len() as u64);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0_usize..200, value in 0_u8..=255) {
            let mut bytes = model(64);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = skim(Cursor::new(&bytes), bytes.len() as u64);
        }
    }
}
