use super::data_type;
use super::external::Companions;
use super::proto::{SparseTensorProto, TensorProto};
use crate::model::{DType, Tensor};
use bytes::Bytes;

/// Elements that a sparse tensor may grow to when it is written out densely.
const MOST_DENSE_ELEMENTS: usize = 1 << 28;

/// A tensor of the file: one that the model can hold, or what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A tensor; it shares the bytes of the file where the file holds raw data.
    Tensor(Tensor),
    /// Elements that cannot be held; what it is, with its article.
    Opaque(String),
}

/// Reads a tensor.
pub fn decode(proto: &TensorProto, companions: &mut Companions) -> Result<Decoded, String> {
    decode_inner(proto, companions).map_err(|problem| format!("tensor `{}`: {problem}", proto.name()))
}

fn decode_inner(proto: &TensorProto, companions: &mut Companions) -> Result<Decoded, String> {
    let data_type = proto.data_type.unwrap_or(0);
    let Some(dtype) = DType::from_onnx(i64::from(data_type)) else {
        return Ok(Decoded::Opaque(format!("a tensor of {}", data_type::name_of(data_type))));
    };
    if proto.segment.is_some() {
        return Ok(Decoded::Opaque("a tensor that is stored in pieces".to_owned()));
    }
    let shape = extents(&proto.dims)?;
    let count = element_count(&shape)?;
    let bits = dtype.packed_bits();
    let expected = match bits {
        Some(bits) => count.div_ceil(8 / bits),
        None => count.checked_mul(dtype.size()).ok_or("it is too large to address")?,
    };
    let stored = if proto.is_external() {
        companions.read(proto, expected)?
    } else {
        match &proto.raw_data {
            Some(raw) if !raw.is_empty() || !has_typed_data(proto) => raw.clone(),
            _ => typed_data(proto, dtype, bits.is_some())?,
        }
    };
    if stored.len() != expected {
        return Err(format!("its shape {shape:?} needs {expected} bytes, it has {}", stored.len()));
    }
    let bytes = match bits {
        Some(bits) => unpack(&stored, bits, count, matches!(dtype, DType::I2 | DType::I4)),
        None => stored,
    };
    Tensor::new(dtype, shape, bytes).map(Decoded::Tensor).map_err(|e| e.to_string())
}

/// Extents as unsigned numbers.
pub fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    dims.iter().map(|&d| usize::try_from(d).ok().ok_or_else(|| format!("its extent {d} is negative"))).collect()
}

fn element_count(shape: &[usize]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    count.ok_or_else(|| format!("its shape {shape:?} is too large to address"))
}

fn has_typed_data(proto: &TensorProto) -> bool {
    !(proto.float_data.is_empty()
        && proto.int32_data.is_empty()
        && proto.int64_data.is_empty()
        && proto.double_data.is_empty()
        && proto.uint64_data.is_empty())
}

/// The elements of a typed field as little-endian bytes.
fn typed_data(proto: &TensorProto, dtype: DType, packed: bool) -> Result<Bytes, String> {
    fn bytes_of<T: Copy, const N: usize>(values: &[T], f: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&v| f(v)).collect()
    }
    let ints = &proto.int32_data;
    let narrow = |low: i32, high: i32| match ints.iter().find(|v| !(low..=high).contains(v)) {
        Some(value) => Err(format!("its element {value} does not fit {dtype}")),
        None => Ok(()),
    };
    Ok(Bytes::from(match dtype {
        // Kept as the unsigned byte that holds several elements.
        _ if packed => bytes_of(ints, |v| [v as u8]),
        DType::F32 => bytes_of(&proto.float_data, f32::to_le_bytes),
        DType::F64 => bytes_of(&proto.double_data, f64::to_le_bytes),
        DType::I64 => bytes_of(&proto.int64_data, i64::to_le_bytes),
        DType::U64 => bytes_of(&proto.uint64_data, u64::to_le_bytes),
        DType::U32 => bytes_of(&proto.uint64_data, |v| (v as u32).to_le_bytes()),
        DType::I32 => bytes_of(ints, i32::to_le_bytes),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => {
            narrow(i32::from(i16::MIN), i32::from(u16::MAX))?;
            bytes_of(ints, |v| (v as u16).to_le_bytes())
        }
        DType::Bool => bytes_of(ints, |v| [u8::from(v != 0)]),
        DType::U2 | DType::I2 | DType::U4 | DType::I4 | DType::I8 | DType::U8 | DType::F8E4M3 | DType::F8E5M2 => {
            narrow(i32::from(i8::MIN), i32::from(u8::MAX))?;
            bytes_of(ints, |v| [v as u8])
        }
    }))
}

/// One byte per element from elements of `bits` bits, lowest first.
fn unpack(stored: &[u8], bits: usize, count: usize, signed: bool) -> Bytes {
    let per_byte = 8 / bits;
    let unused = 8 - bits;
    let element = |i: usize| {
        let raised = stored[i / per_byte] >> (i % per_byte * bits) << unused;
        if signed { (raised.cast_signed() >> unused).cast_unsigned() } else { raised >> unused }
    };
    (0..count).map(element).collect()
}

/// The bytes that a file holds for a tensor: its own, unless several elements share one.
pub fn raw_data(tensor: &Tensor) -> Bytes {
    let Some(bits) = tensor.dtype().packed_bits() else { return tensor.bytes().clone() };
    let mask = (1u8 << bits) - 1;
    let packed = |elements: &[u8]| elements.iter().rev().fold(0u8, |byte, element| byte << bits | element & mask);
    tensor.bytes().chunks(8 / bits).map(packed).collect()
}

/// Writes a sparse tensor out densely.
pub fn densify(proto: &SparseTensorProto, companions: &mut Companions) -> Result<Decoded, String> {
    let empty = TensorProto::default();
    let values = proto.values.as_ref().unwrap_or(&empty);
    let problem = |what: &str| format!("sparse tensor `{}`: {what}", values.name());
    let decoded = decode(values, companions)?;
    let Decoded::Tensor(elements) = decoded else { return Ok(decoded) };
    let Decoded::Tensor(indices) = decode(proto.indices.as_ref().unwrap_or(&empty), companions)? else {
        return Err(problem("its indices are not integers"));
    };
    let shape = extents(&proto.dims).map_err(|e| problem(&e))?;
    let count = element_count(&shape).map_err(|e| problem(&e))?;
    if count > MOST_DENSE_ELEMENTS {
        return Ok(Decoded::Opaque(format!("a sparse tensor of {count} elements")));
    }
    let flat = flat_indices(&indices, &shape, elements.len()).ok_or_else(|| problem("its indices do not fit"))?;
    let size = elements.dtype().size();
    let mut dense = vec![0; count * size];
    for (element, at) in elements.bytes().chunks_exact(size).zip(flat) {
        dense[at * size..][..size].copy_from_slice(element);
    }
    Tensor::new(elements.dtype(), shape, Bytes::from(dense)).map(Decoded::Tensor).map_err(|e| problem(&e.to_string()))
}

/// Row-major positions from indices of shape [n] or [n, rank].
fn flat_indices(indices: &Tensor, shape: &[usize], count: usize) -> Option<Vec<usize>> {
    let total: usize = shape.iter().product();
    let values = indices.to_i64();
    let flat: Vec<usize> = match *indices.shape() {
        [n] if n == count => values.iter().map(|&v| usize::try_from(v).ok()).collect::<Option<_>>()?,
        [n, rank] if n == count && rank == shape.len() && rank > 0 => values
            .chunks_exact(rank)
            .map(|row| {
                row.iter().zip(shape).try_fold(0usize, |at, (&i, &extent)| {
                    let i = usize::try_from(i).ok().filter(|&i| i < extent)?;
                    at.checked_mul(extent)?.checked_add(i)
                })
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    flat.iter().all(|&at| at < total).then_some(flat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;
    use std::path::Path;

    fn read(proto: &TensorProto) -> Result<Decoded, String> {
        decode(proto, &mut Companions::new(Path::new("m.onnx"), IndexMap::new()))
    }

    fn tensor(proto: &TensorProto) -> Tensor {
        match read(proto).unwrap() {
            Decoded::Tensor(tensor) => tensor,
            Decoded::Opaque(kind) => panic!("{kind}"),
        }
    }

    #[test]
    fn typed_fields_hold_every_element_type() {
        let of =
            |data_type, proto: TensorProto| tensor(&TensorProto { data_type: Some(data_type), dims: vec![2], ..proto });
        let ints = |v: [i32; 2]| TensorProto { int32_data: v.to_vec(), ..TensorProto::default() };
        assert_eq!(of(3, ints([-1, 2])).to_i64(), [-1, 2]);
        assert_eq!(of(4, ints([65_535, 2])).to_i64(), [65_535, 2]);
        assert_eq!(of(10, ints([0x3c00, 0xc000])).to_f32().as_ref(), [1.0, -2.0]);
        assert_eq!(of(16, ints([0x3f80, 0x4000])).to_f32().as_ref(), [1.0, 2.0]);
        assert_eq!(of(9, ints([0, 7])).to_i64(), [0, 1]);
        let wide = TensorProto { uint64_data: vec![1, u64::from(u32::MAX)], ..TensorProto::default() };
        assert_eq!(of(12, wide).to_i64(), [1, i64::from(u32::MAX)]);
        let double = TensorProto { double_data: vec![0.5, -3.0], ..TensorProto::default() };
        assert_eq!(of(11, double).to_f32().as_ref(), [0.5, -3.0]);
    }

    #[test]
    fn elements_of_four_and_two_bits_become_bytes() {
        let raw = |data_type, dims, bytes: &'static [u8]| {
            let raw_data = Some(Bytes::from_static(bytes));
            tensor(&TensorProto { data_type: Some(data_type), dims, raw_data, ..TensorProto::default() })
        };
        let (uint4, int4, int2) = (21, 22, 26);
        assert_eq!(raw(int4, vec![3], &[0xf8, 0x07]).to_i64(), [-8, -1, 7]);
        assert_eq!(raw(uint4, vec![3], &[0xf8, 0x07]).to_i64(), [8, 15, 7]);
        assert_eq!(raw(int2, vec![4], &[0b11_10_01_00]).to_i64(), [0, 1, -2, -1]);
    }

    #[test]
    fn elements_of_four_and_two_bits_are_packed_again_when_written() {
        for (data_type, count, stored) in [(22, 3, &[0xf8u8, 0x07][..]), (21, 3, &[0xf8, 0x07]), (26, 5, &[0xe4, 0x01])]
        {
            let raw_data = Some(Bytes::copy_from_slice(stored));
            let proto =
                TensorProto { data_type: Some(data_type), dims: vec![count], raw_data, ..TensorProto::default() };
            let held = tensor(&proto);
            assert_eq!(held.dtype().to_onnx(), data_type);
            assert_eq!(super::raw_data(&held), stored);
        }
    }

    #[test]
    fn shapes_that_lie_are_refused_without_an_allocation() {
        let with = |dims: Vec<i64>| {
            read(&TensorProto { data_type: Some(1), dims, raw_data: Some(Bytes::new()), ..TensorProto::default() })
        };
        assert!(with(vec![i64::MAX, i64::MAX]).unwrap_err().contains("too large"));
        assert!(with(vec![1 << 40]).unwrap_err().contains("bytes, it has 0"));
        assert!(with(vec![-1]).unwrap_err().contains("negative"));
        assert_eq!(with(vec![0, 3]).map(|d| matches!(d, Decoded::Tensor(_))), Ok(true));
    }

    #[test]
    fn sparse_tensors_are_written_out_with_flat_and_with_full_indices() {
        let values =
            TensorProto { data_type: Some(1), dims: vec![2], float_data: vec![5.0, 7.0], ..TensorProto::default() };
        let dense = |dims: Vec<i64>, int64_data: Vec<i64>, extents: Vec<i64>| {
            let indices = TensorProto { data_type: Some(7), dims, int64_data, ..TensorProto::default() };
            let sparse = SparseTensorProto { values: Some(values.clone()), indices: Some(indices), dims: extents };
            densify(&sparse, &mut Companions::new(Path::new("m.onnx"), IndexMap::new()))
        };
        let Ok(Decoded::Tensor(flat)) = dense(vec![2], vec![1, 5], vec![2, 3]) else { panic!() };
        assert_eq!(flat.to_f32().as_ref(), [0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
        assert_eq!(dense(vec![2, 2], vec![0, 1, 1, 2], vec![2, 3]), Ok(Decoded::Tensor(flat)));
        assert!(dense(vec![2], vec![1, 6], vec![2, 3]).is_err());
        assert!(matches!(dense(vec![2], vec![1, 6], vec![1 << 40]), Ok(Decoded::Opaque(_))));
    }
}
