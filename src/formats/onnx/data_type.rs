use crate::model::DType;

pub const UINT4: i32 = 21;
pub const INT4: i32 = 22;
pub const UINT2: i32 = 25;
pub const INT2: i32 = 26;

/// The model's element type for an ONNX data type, if tensors of it can be held.
///
/// Integers of 4 and 2 bits are held as bytes, one per element.
pub const fn dtype_of(data_type: i32) -> Option<DType> {
    match data_type {
        UINT4 | UINT2 => Some(DType::U8),
        INT4 | INT2 => Some(DType::I8),
        other => DType::from_onnx(other as i64),
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
