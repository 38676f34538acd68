//! Element types of tensors.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of a tensor's elements, as ONNX knows them.
///
/// Written as exporters and ONNX Runtime write it: `float32`, `int64`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "each variant is the type that it is named after"
)]
pub enum ElementType {
    Float32,
    Float16,
    Bfloat16,
    Float64,
    Float8,
    Float4,
    Int64,
    Int32,
    Int16,
    Int8,
    Int4,
    Int2,
    Uint64,
    Uint32,
    Uint16,
    Uint8,
    Uint4,
    Uint2,
    Bool,
    String,
    Complex64,
    Complex128,
}

/// Numbers as `TensorProto.DataType` has them, names and bits of an element.
/// A string's size is that of its characters, which are elsewhere: 0 bits here.
const TYPES: [(i32, ElementType, &str, u64); 26] = {
    use ElementType as E;
    [
        (1, E::Float32, "float32", 32),
        (2, E::Uint8, "uint8", 8),
        (3, E::Int8, "int8", 8),
        (4, E::Uint16, "uint16", 16),
        (5, E::Int16, "int16", 16),
        (6, E::Int32, "int32", 32),
        (7, E::Int64, "int64", 64),
        (8, E::String, "string", 0),
        (9, E::Bool, "bool", 8),
        (10, E::Float16, "float16", 16),
        (11, E::Float64, "float64", 64),
        (12, E::Uint32, "uint32", 32),
        (13, E::Uint64, "uint64", 64),
        (14, E::Complex64, "complex64", 64),
        (15, E::Complex128, "complex128", 128),
        (16, E::Bfloat16, "bfloat16", 16),
        (17, E::Float8, "float8", 8),
        (18, E::Float8, "float8", 8),
        (19, E::Float8, "float8", 8),
        (20, E::Float8, "float8", 8),
        (21, E::Uint4, "uint4", 4),
        (22, E::Int4, "int4", 4),
        (23, E::Float4, "float4", 4),
        (24, E::Float8, "float8", 8),
        (25, E::Uint2, "uint2", 2),
        (26, E::Int2, "int2", 2),
    ]
};

impl ElementType {
    /// The type that ONNX gives this number; none for one not known here.
    pub fn from_onnx(number: i32) -> Option<Self> {
        TYPES.iter().find(|t| t.0 == number).map(|t| t.1)
    }

    /// The number that ONNX gives this type (of the 8-bit floats the first).
    pub fn onnx_number(self) -> i32 {
        self.row().map_or(0, |t| t.0)
    }

    /// Bytes that `elements` of this type take, packed as ONNX packs types of less than a byte.
    pub fn bytes(self, elements: u64) -> Bytes {
        let bits = self.row().map_or(0, |t| t.3);
        Bytes::new(elements.saturating_mul(bits).div_ceil(8))
    }

    /// Whether it is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float32
                | Self::Float16
                | Self::Bfloat16
                | Self::Float64
                | Self::Float8
                | Self::Float4
        )
    }

    /// Whether weights are kept in it after quantisation: integers of at most a byte.
    pub const fn is_quantised(self) -> bool {
        matches!(
            self,
            Self::Int8 | Self::Uint8 | Self::Int4 | Self::Uint4 | Self::Int2 | Self::Uint2
        )
    }

    fn row(self) -> Option<&'static (i32, Self, &'static str, u64)> {
        TYPES.iter().find(|t| t.1 == self)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().map_or("unknown", |t| t.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_to_their_onnx_number_and_back() {
        for (number, element, name, bits) in TYPES {
            assert_eq!(ElementType::from_onnx(number), Some(element));
            assert_eq!(element.to_string(), name);
            assert_eq!(element.bytes(8).get(), bits);
            assert_eq!(
                serde_json::to_string(&element).unwrap(),
                format!("\"{name}\"")
            );
        }
        assert_eq!(ElementType::from_onnx(0), None);
        assert_eq!(ElementType::Float16.onnx_number(), 10);
        assert_eq!(ElementType::Int4.bytes(3).get(), 2);
    }
}
