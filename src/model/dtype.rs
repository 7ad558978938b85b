use serde::{Deserialize, Serialize};

/// Element type of a tensor. Tensors keep the dtype of their file; nothing is converted on open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// One byte per element, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 2-bit integer, held as a byte of its own.
    U2,
    /// Signed 2-bit integer, held as a byte of its own with its sign extended.
    I2,
    /// Unsigned 4-bit integer, held as a byte of its own.
    U4,
    /// Signed 4-bit integer, held as a byte of its own with its sign extended.
    I4,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities (OCP FP8 E4M3FN).
    F8E4M3,
    /// 8-bit float, 5 exponent and 2 mantissa bits (OCP FP8 E5M2).
    F8E5M2,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
}

impl DType {
    /// Bytes per element as held in memory.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool
            | Self::U2
            | Self::I2
            | Self::U4
            | Self::I4
            | Self::U8
            | Self::I8
            | Self::F8E4M3
            | Self::F8E5M2 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Bits of an element that shares its byte with others where it is stored.
    pub const fn packed_bits(self) -> Option<usize> {
        match self {
            Self::U2 | Self::I2 => Some(2),
            Self::U4 | Self::I4 => Some(4),
            _ => None,
        }
    }

    /// The type of whole bytes that holds the same numbers the same way, for files without narrower ones.
    #[must_use]
    pub const fn unpacked(self) -> Self {
        match self {
            Self::U2 | Self::U4 => Self::U8,
            Self::I2 | Self::I4 => Self::I8,
            other => other,
        }
    }

    /// Whether magnitudes of this type can be ranked and set to zero.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2 | Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The element type of an ONNX `TensorProto.DataType`, as `Cast` and others name it; none for strings,
    /// complex numbers and narrow types without a counterpart.
    pub const fn from_onnx(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::BF16,
            17 => Self::F8E4M3,
            19 => Self::F8E5M2,
            21 => Self::U4,
            22 => Self::I4,
            25 => Self::U2,
            26 => Self::I2,
            _ => return None,
        })
    }

    /// The ONNX `TensorProto.DataType` of this type.
    pub const fn to_onnx(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::U8 => 2,
            Self::I8 => 3,
            Self::U16 => 4,
            Self::I16 => 5,
            Self::I32 => 6,
            Self::I64 => 7,
            Self::Bool => 9,
            Self::F16 => 10,
            Self::F64 => 11,
            Self::U32 => 12,
            Self::U64 => 13,
            Self::BF16 => 16,
            Self::F8E4M3 => 17,
            Self::F8E5M2 => 19,
            Self::U4 => 21,
            Self::I4 => 22,
            Self::U2 => 25,
            Self::I2 => 26,
        }
    }

    /// Lower-case name as shown to people and printed in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U2 => "u2",
            Self::I2 => "i2",
            Self::U4 => "u4",
            Self::I4 => "i4",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F8E4M3 => "f8e4m3",
            Self::F8E5M2 => "f8e5m2",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
