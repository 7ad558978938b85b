use crate::model::DType;

pub const FLOAT16: i32 = 10;
pub const BFLOAT16: i32 = 16;
pub const UINT4: i32 = 21;
pub const INT4: i32 = 22;
pub const UINT2: i32 = 25;
pub const INT2: i32 = 26;

/// The model's element type for an ONNX data type, if tensors of it can be held.
///
/// Integers of 4 and 2 bits are held as bytes, one per element.
pub const fn dtype_of(data_type: i32) -> Option<DType> {
    Some(match data_type {
        1 => DType::F32,
        2 | UINT4 | UINT2 => DType::U8,
        3 | INT4 | INT2 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        FLOAT16 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        BFLOAT16 => DType::BF16,
        17 => DType::F8E4M3,
        19 => DType::F8E5M2,
        _ => return None,
    })
}

/// The ONNX data type of an element type.
#[expect(dead_code, reason = "for the writer")]
pub const fn of_dtype(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::F16 => FLOAT16,
        DType::F64 => 11,
        DType::U32 => 12,
        DType::U64 => 13,
        DType::BF16 => BFLOAT16,
        DType::F8E4M3 => 17,
        DType::F8E5M2 => 19,
    }
}

/// Name of a data type as the schema writes it.
pub const fn name_of(data_type: i32) -> &'static str {
    const NAMES: [&str; 29] = [
        "an undefined type",
        "FLOAT",
        "UINT8",
        "INT8",
        "UINT16",
        "INT16",
        "INT32",
        "INT64",
        "STRING",
        "BOOL",
        "FLOAT16",
        "DOUBLE",
        "UINT32",
        "UINT64",
        "COMPLEX64",
        "COMPLEX128",
        "BFLOAT16",
        "FLOAT8E4M3FN",
        "FLOAT8E4M3FNUZ",
        "FLOAT8E5M2",
        "FLOAT8E5M2FNUZ",
        "UINT4",
        "INT4",
        "FLOAT4E2M1",
        "FLOAT8E8M0",
        "UINT2",
        "INT2",
        "FLOAT6E2M3",
        "FLOAT6E3M2",
    ];
    if data_type >= 0 && (data_type as usize) < NAMES.len() { NAMES[data_type as usize] } else { "an unknown type" }
}
