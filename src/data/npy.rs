//! NumPy's `.npy` format: a short textual header, then the elements.

use crate::model::{DType, Tensor, TensorError};
use bytes::Bytes;

/// Why an array could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// The magic string is missing.
    #[error("is not in .npy format")]
    NotNpy,
    /// The array ends early or the header is cut off.
    #[error("is truncated: {expected} bytes expected, {actual} found")]
    Truncated {
        /// Bytes needed.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The header is not understood.
    #[error("has a header that cannot be read: {0}")]
    Header(String),
    /// The element type has no counterpart here.
    #[error("has the element type {0}, which is not supported")]
    DType(String),
    /// The element count overflows.
    #[error("announces the shape {0:?}, which is too large")]
    TooLarge(Vec<u64>),
}

/// What the header of an array says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Element type.
    pub dtype: DType,
    /// Whether elements are stored most significant byte first.
    pub big_endian: bool,
    /// Whether the first axis varies fastest.
    pub fortran_order: bool,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub data_offset: usize,
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const MAX_HEADER: usize = 1 << 16;

impl Header {
    /// Parses the header at the start of `bytes`; the data need not be there yet.
    ///
    /// # Errors
    /// [`NpyError`] if the header is cut off, not understood or announces too much.
    pub fn parse(bytes: &[u8]) -> Result<Self, NpyError> {
        if bytes.len() < MAGIC.len() || &bytes[..6] != MAGIC {
            return Err(NpyError::NotNpy);
        }
        let cut = |expected: usize| NpyError::Truncated { expected: expected as u64, actual: bytes.len() as u64 };
        let major = *bytes.get(6).ok_or_else(|| cut(10))?;
        let (length, start) = if major == 1 {
            let field = bytes.get(8..10).ok_or_else(|| cut(10))?;
            (usize::from(u16::from_le_bytes([field[0], field[1]])), 10)
        } else {
            let field = bytes.get(8..12).ok_or_else(|| cut(12))?;
            (u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize, 12)
        };
        if length > MAX_HEADER {
            return Err(NpyError::Header(format!("it is {length} bytes long")));
        }
        let text = bytes.get(start..start + length).ok_or_else(|| cut(start + length))?;
        let text = std::str::from_utf8(text).map_err(|_utf8| NpyError::Header("it is not text".to_owned()))?;
        let (dtype, big_endian) = parse_descr(field(text, "descr")?)?;
        let fortran_order = match field(text, "fortran_order")?.split([',', '}']).next().map(str::trim) {
            Some("True") => true,
            Some("False") => false,
            _ => return Err(NpyError::Header("fortran_order is neither True nor False".to_owned())),
        };
        let shape = parse_shape(field(text, "shape")?)?;
        Self { dtype, big_endian, fortran_order, shape: Vec::new(), data_offset: start + length }.with_shape(&shape)
    }

    /// The header of data that stands alone, as a pickled array has it; `descr` is an element type such
    /// as `<f4`, where the order may be absent.
    ///
    /// # Errors
    /// [`NpyError`] if the element type has no counterpart or the shape is too large.
    pub fn of_data(descr: &str, fortran_order: bool, shape: &[usize]) -> Result<Self, NpyError> {
        let (dtype, big_endian) = parse_code(descr)?;
        let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
        Self { dtype, big_endian, fortran_order, shape: Vec::new(), data_offset: 0 }.with_shape(&shape)
    }

    fn with_shape(self, shape: &[u64]) -> Result<Self, NpyError> {
        let announced = || NpyError::TooLarge(shape.to_vec());
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).ok_or_else(announced)?;
        let bytes = elements.checked_mul(self.dtype.size() as u64);
        bytes.filter(|&n| isize::try_from(n).is_ok()).ok_or_else(announced)?;
        Ok(Self { shape: shape.iter().map(|&d| d as usize).collect(), ..self })
    }

    /// Bytes of data that follow the header.
    pub fn data_bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.dtype.size() as u64
    }
}

/// The text after `'name':` in the header's dictionary literal.
fn field<'a>(text: &'a str, name: &str) -> Result<&'a str, NpyError> {
    [format!("'{name}':"), format!("\"{name}\":")]
        .iter()
        .find_map(|key| text.find(key.as_str()).map(|at| text[at + key.len()..].trim_start()))
        .ok_or_else(|| NpyError::Header(format!("there is no `{name}`")))
}

fn parse_descr(text: &str) -> Result<(DType, bool), NpyError> {
    let quoted = text.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next());
    let Some(descr) = quoted else { return Err(NpyError::DType("of a record".to_owned())) };
    parse_code(descr)
}

fn parse_code(descr: &str) -> Result<(DType, bool), NpyError> {
    let (order, code) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => descr.split_at(1),
        _ => ("=", descr),
    };
    let dtype = match code {
        "O" => {
            return Err(NpyError::DType(
                "of Python objects (save it as numbers, such as x.astype('float32'))".to_owned(),
            ));
        }
        "b1" | "?" => DType::Bool,
        "u1" => DType::U8,
        "i1" => DType::I8,
        "u2" => DType::U16,
        "i2" => DType::I16,
        "u4" => DType::U32,
        "i4" => DType::I32,
        "u8" => DType::U64,
        "i8" => DType::I64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return Err(NpyError::DType(format!("`{}`", descr.escape_default()))),
    };
    Ok((dtype, order == ">" && dtype.size() > 1))
}

fn parse_shape(text: &str) -> Result<Vec<u64>, NpyError> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inner, _)| inner);
    let broken = || NpyError::Header("the shape is not a tuple of integers".to_owned());
    let parts = inner.ok_or_else(broken)?.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_int| broken())).collect()
}

/// Decodes one whole `.npy` file.
///
/// # Errors
/// [`NpyError`] if the header cannot be used or the data is cut off.
pub fn decode(bytes: &Bytes) -> Result<Tensor, NpyError> {
    decode_with(Header::parse(bytes)?, bytes)
}

/// Decodes the data that `header` describes; row-major little-endian data is shared, not copied.
///
/// # Errors
/// [`NpyError::Truncated`] if the data is cut off.
pub fn decode_with(header: Header, bytes: &Bytes) -> Result<Tensor, NpyError> {
    let actual = bytes.len().saturating_sub(header.data_offset) as u64;
    let expected = header.data_bytes();
    if actual < expected {
        return Err(NpyError::Truncated { expected, actual });
    }
    let mut data = bytes.slice(header.data_offset..header.data_offset + expected as usize);
    let size = header.dtype.size();
    if header.big_endian {
        let mut swapped = data.to_vec();
        swapped.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        data = swapped.into();
    }
    if header.fortran_order && header.shape.len() > 1 {
        data = row_major(&data, &header.shape, size).into();
    }
    Tensor::new(header.dtype, header.shape, data).map_err(|e| match e {
        TensorError::TooLarge(shape) => NpyError::TooLarge(shape.iter().map(|&d| d as u64).collect()),
        other => NpyError::Header(other.to_string()),
    })
}

/// Reorders column-major elements of `size` bytes.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut strides = vec![1usize; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let mut result = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..data.len() / size {
        let source: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        result.extend_from_slice(&data[source * size..(source + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    result
}

/// The header that NumPy would write for `tensor`, and the data.
///
/// Types that NumPy lacks (bf16 and 8-bit floats) are widened to f32, which is exact.
pub fn encode(tensor: &Tensor) -> (Vec<u8>, Bytes) {
    let tensor = tensor.resident();
    let (descr, data) = match tensor.dtype() {
        DType::Bool => ("|b1", tensor.bytes().clone()),
        DType::U8 | DType::U2 | DType::U4 => ("|u1", tensor.bytes().clone()),
        DType::I8 | DType::I2 | DType::I4 => ("|i1", tensor.bytes().clone()),
        DType::U16 => ("<u2", tensor.bytes().clone()),
        DType::I16 => ("<i2", tensor.bytes().clone()),
        DType::U32 => ("<u4", tensor.bytes().clone()),
        DType::I32 => ("<i4", tensor.bytes().clone()),
        DType::U64 => ("<u8", tensor.bytes().clone()),
        DType::I64 => ("<i8", tensor.bytes().clone()),
        DType::F16 => ("<f2", tensor.bytes().clone()),
        DType::F32 => ("<f4", tensor.bytes().clone()),
        DType::F64 => ("<f8", tensor.bytes().clone()),
        DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
            ("<f4", tensor.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into())
        }
    };
    let extents: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    // NumPy aligns the data to 64 bytes: 10 bytes of preamble, the text and a line feed.
    let padding = (64 - (10 + text.len() + 1) % 64) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.as_bytes());
    (header, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(header: &str, data: &[u8]) -> Bytes {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes.into()
    }

    #[test]
    fn python_objects_are_called_that() {
        let error = parse_code("|O").unwrap_err().to_string();
        assert!(error.contains("Python objects") && error.contains("astype"), "{error}");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_tensor() {
        for shape in [vec![], vec![3], vec![2, 3], vec![0, 4]] {
            let n = shape.iter().product::<usize>();
            let tensor = Tensor::from_f32(shape, (0..n).map(|i| i as f32 - 1.5).collect()).unwrap();
            let (header, data) = encode(&tensor);
            assert_eq!(header.len() % 64, 0);
            let file: Bytes = [&header[..], &data[..]].concat().into();
            assert_eq!(decode(&file).unwrap(), tensor);
        }
    }

    #[test]
    fn big_endian_and_fortran_order_are_understood() {
        let data: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|v| v.to_be_bytes()).collect();
        let file = whole("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", &data);
        assert_eq!(decode(&file).unwrap().to_i64(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn bf16_is_widened_on_the_way_out() {
        let tensor = Tensor::new(DType::BF16, vec![1], Bytes::from_static(&[0x80, 0x3f])).unwrap();
        let (header, data) = encode(&tensor);
        let file: Bytes = [&header[..], &data[..]].concat().into();
        assert_eq!(decode(&file).unwrap().to_f32().as_ref(), &[1.0]);
    }

    #[test]
    fn truncated_data_is_refused() {
        let file = whole("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n", &[0; 8]);
        assert_eq!(decode(&file), Err(NpyError::Truncated { expected: 12, actual: 8 }));
    }

    #[test]
    fn overflowing_shapes_records_and_strange_types_are_refused() {
        let big = "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 16), }";
        assert!(matches!(decode(&whole(big, &[])), Err(NpyError::TooLarge(_))));
        let record = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
        assert!(matches!(decode(&whole(record, &[0; 4])), Err(NpyError::DType(_))));
        let object = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
        assert!(matches!(decode(&whole(object, &[0; 8])), Err(NpyError::DType(_))));
        let negative = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }";
        assert!(matches!(decode(&whole(negative, &[])), Err(NpyError::Header(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), keep in 0usize..12) {
            let mut bytes = whole("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &[]).to_vec();
            bytes.truncate(keep * 6);
            bytes.extend(tail);
            drop(decode(&bytes.into()));
        }
    }
}
