use super::DType;
use super::deferred::Deferred;
use bytes::Bytes;
use float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Why a tensor could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The byte count does not follow from shape and dtype.
    #[error("shape {shape:?} of {dtype} needs {expected} bytes, got {actual}")]
    ByteCount {
        /// Shape as declared.
        shape: Vec<usize>,
        /// Element type as declared.
        dtype: DType,
        /// Product of shape and element size.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The element count overflows `usize`.
    #[error("shape {0:?} is too large to address")]
    TooLarge(Vec<usize>),
    /// The operation needs another element type.
    #[error("expected {expected}, got {actual}")]
    WrongDType {
        /// Element type needed.
        expected: &'static str,
        /// Element type found.
        actual: DType,
    },
}

/// A dense row-major tensor in its own dtype, little-endian.
///
/// Cloning shares the bytes, which may be a view into a memory-mapped file. Elements that a file holds in a form of its
/// own may be decoded only when they are asked for ([`Tensor::deferred`]); whoever reads them once and goes on does so
/// through [`Tensor::resident`], so that they need not stay in memory.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Held(Bytes),
    Deferred(Arc<Deferred>),
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        let alike = (self.dtype, &self.shape) == (other.dtype, &other.shape);
        alike && (self.data_address() == other.data_address() || self.resident().bytes() == other.resident().bytes())
    }
}

impl Eq for Tensor {}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

fn element_count(shape: &[usize]) -> Result<usize, TensorError> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(|| TensorError::TooLarge(shape.to_vec()))
}

impl Tensor {
    /// Wraps little-endian `bytes`.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if the length does not match shape and dtype.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Result<Self, TensorError> {
        let expected =
            element_count(&shape)?.checked_mul(dtype.size()).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if bytes.len() != expected {
            return Err(TensorError::ByteCount { shape, dtype, expected, actual: bytes.len() });
        }
        Ok(Self { dtype, shape, data: Data::Held(bytes) })
    }

    /// An f32 tensor whose elements are decoded when they are asked for. `decode` gets the number of a block and fills
    /// a slice of whole blocks of `block` elements from there on; it must give the same every time.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if the elements do not make up whole blocks.
    pub fn deferred(
        shape: Vec<usize>,
        block: usize,
        decode: impl Fn(usize, &mut [f32]) + Send + Sync + 'static,
    ) -> Result<Self, TensorError> {
        let dtype = DType::F32;
        let len = element_count(&shape)?;
        let expected = len.checked_mul(dtype.size()).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if block == 0 || !len.is_multiple_of(block) {
            let actual = len.checked_div(block).unwrap_or(0) * block * dtype.size();
            return Err(TensorError::ByteCount { shape, dtype, expected, actual });
        }
        let deferred = Deferred { len, block, decode: Box::new(decode), kept: OnceLock::new() };
        Ok(Self { dtype, shape, data: Data::Deferred(Arc::new(deferred)) })
    }

    /// An f32 tensor that owns `values`.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if `values` does not fill `shape`.
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(DType::F32, shape, Bytes::from_owner(F32Owner(values)))
    }

    /// An i64 tensor that owns `values`.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if `values` does not fill `shape`.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Result<Self, TensorError> {
        Self::new(DType::I64, shape, Bytes::copy_from_slice(bytemuck::cast_slice(values)))
    }

    /// Element type.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Held(bytes) => bytes.len() / self.dtype.size(),
            Data::Deferred(deferred) => deferred.len,
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Raw little-endian data. What is decoded for it stays in memory as long as the tensor does.
    pub fn bytes(&self) -> &Bytes {
        match &self.data {
            Data::Held(bytes) => bytes,
            Data::Deferred(deferred) => deferred.kept(),
        }
    }

    /// Length of [`Tensor::bytes`], without decoding anything.
    pub fn byte_len(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// The tensor with its elements decoded; they go when it does.
    pub fn resident(&self) -> Cow<'_, Self> {
        match &self.data {
            Data::Deferred(deferred) if deferred.kept.get().is_none() => {
                Cow::Owned(Self { dtype: self.dtype, shape: self.shape.clone(), data: Data::Held(deferred.decoded()) })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Where the data lies, decoded or not: tensors with the same address and shape are the same.
    pub fn data_address(&self) -> usize {
        match &self.data {
            Data::Held(bytes) => bytes.as_ptr() as usize,
            Data::Deferred(deferred) => Arc::as_ptr(deferred).addr(),
        }
    }

    /// Borrowed f32 elements when the tensor is f32 and its bytes are aligned, else a converted copy.
    /// f64 is rounded, narrower floats are exact, integers convert by value.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        let bytes = &self.bytes()[..];
        match self.dtype {
            DType::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(values) => Cow::Borrowed(values),
                Err(_) => Cow::Owned(convert(bytes, f32::from_le_bytes)),
            },
            DType::F64 => Cow::Owned(convert(bytes, |b| f64::from_le_bytes(b) as f32)),
            DType::F16 => Cow::Owned(convert(bytes, |b| f16::from_le_bytes(b).to_f32())),
            DType::BF16 => Cow::Owned(convert(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            DType::F8E4M3 => Cow::Owned(convert(bytes, |[b]| F8E4M3::from_bits(b).to_f32())),
            DType::F8E5M2 => Cow::Owned(convert(bytes, |[b]| F8E5M2::from_bits(b).to_f32())),
            _ => Cow::Owned(self.to_i64().into_iter().map(|v| v as f32).collect()),
        }
    }

    /// One element as f32, without converting the rest; none past the end.
    pub fn f32_at(&self, index: usize) -> Option<f32> {
        let bytes = match &self.data {
            Data::Held(bytes) => bytes,
            Data::Deferred(deferred) => return deferred.element(index),
        };
        let size = self.dtype.size();
        let at = index.checked_mul(size)?;
        let bytes = bytes.slice(at..at.checked_add(size).filter(|&end| end <= bytes.len())?);
        Self { dtype: self.dtype, shape: vec![1], data: Data::Held(bytes) }.to_f32().first().copied()
    }

    /// Elements as i64; floats are truncated, u64 beyond `i64::MAX` wraps.
    pub fn to_i64(&self) -> Vec<i64> {
        let bytes = &self.bytes()[..];
        match self.dtype {
            DType::Bool | DType::U8 | DType::U2 | DType::U4 => convert(bytes, |[b]| i64::from(b)),
            DType::I8 | DType::I2 | DType::I4 => convert(bytes, |b| i64::from(i8::from_le_bytes(b))),
            DType::U16 => convert(bytes, |b| i64::from(u16::from_le_bytes(b))),
            DType::I16 => convert(bytes, |b| i64::from(i16::from_le_bytes(b))),
            DType::U32 => convert(bytes, |b| i64::from(u32::from_le_bytes(b))),
            DType::I32 => convert(bytes, |b| i64::from(i32::from_le_bytes(b))),
            DType::U64 => convert(bytes, |b| u64::from_le_bytes(b) as i64),
            DType::I64 => convert(bytes, i64::from_le_bytes),
            _ => self.to_f32().iter().map(|&v| v as i64).collect(),
        }
    }

    /// The same data under another shape.
    ///
    /// # Errors
    /// [`TensorError::ByteCount`] if the element count differs.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self, TensorError> {
        match &self.data {
            Data::Held(bytes) => Self::new(self.dtype, shape, bytes.clone()),
            Data::Deferred(_) if element_count(&shape)? == self.len() => Ok(Self { shape, ..self.clone() }),
            Data::Deferred(_) => {
                let expected = element_count(&shape)?.saturating_mul(self.dtype.size());
                Err(TensorError::ByteCount { shape, dtype: self.dtype, expected, actual: self.byte_len() })
            }
        }
    }
}

fn convert<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| f(chunk)).collect()
}

pub(super) struct F32Owner(pub(super) Vec<f32>);

impl AsRef<[u8]> for F32Owner {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_tensors_are_read_without_a_copy() {
        let tensor = Tensor::from_f32(vec![2, 2], vec![1.0, -2.0, 0.0, 4.5]).unwrap();
        assert!(matches!(tensor.to_f32(), Cow::Borrowed(&[1.0, -2.0, 0.0, 4.5])));
    }

    #[test]
    fn unaligned_f32_bytes_are_still_read_correctly() {
        let mut raw = vec![0u8];
        raw.extend_from_slice(bytemuck::cast_slice(&[1.5f32, -3.0]));
        let tensor = Tensor::new(DType::F32, vec![2], Bytes::from(raw).slice(1..)).unwrap();
        assert_eq!(tensor.to_f32().as_ref(), &[1.5, -3.0]);
    }

    #[test]
    fn narrow_floats_convert_exactly() {
        let half: Vec<u8> = [0.5f32, -1.25].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let tensor = Tensor::new(DType::F16, vec![2], Bytes::from(half)).unwrap();
        assert_eq!(tensor.to_f32().as_ref(), &[0.5, -1.25]);
    }

    #[test]
    fn single_elements_are_read_without_converting_the_rest() {
        let half: Vec<u8> = [0.5f32, -1.25].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let tensor = Tensor::new(DType::F16, vec![2], Bytes::from(half)).unwrap();
        assert_eq!([0, 1, 2].map(|i| tensor.f32_at(i)), [Some(0.5), Some(-1.25), None]);
        assert_eq!(tensor.f32_at(usize::MAX), None);
    }

    /// Numbers 0, 1, 2 ... in blocks of four, and how many blocks were decoded.
    fn counting(shape: Vec<usize>) -> (Tensor, Arc<std::sync::atomic::AtomicUsize>) {
        let blocks = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let decoded = Arc::clone(&blocks);
        let decode = move |first: usize, values: &mut [f32]| {
            decoded.fetch_add(values.len() / 4, std::sync::atomic::Ordering::Relaxed);
            values.iter_mut().enumerate().for_each(|(i, v)| *v = (first * 4 + i) as f32);
        };
        (Tensor::deferred(shape, 4, decode).unwrap(), blocks)
    }

    #[test]
    fn deferred_elements_are_those_of_a_tensor_that_holds_them() {
        let (tensor, _) = counting(vec![3, 4096]);
        let held = Tensor::from_f32(vec![3, 4096], (0..12_288u16).map(f32::from).collect()).unwrap();
        assert_eq!(tensor, held);
        assert_eq!((tensor.len(), tensor.byte_len(), tensor.f32_at(4099)), (12_288, 49_152, Some(4099.0)));
        assert_eq!(tensor.f32_at(12_288), None);
        assert_eq!(tensor.reshaped(vec![12_288]).unwrap().to_f32(), held.to_f32());
        assert!(tensor.reshaped(vec![5]).is_err());
        assert!(Tensor::deferred(vec![6], 4, |_, _| {}).is_err());
    }

    #[test]
    fn deferred_elements_are_decoded_when_asked_for_and_kept_only_when_borrowed() {
        let (tensor, blocks) = counting(vec![2, 8]);
        let decoded = || blocks.load(std::sync::atomic::Ordering::Relaxed);
        let copy = tensor.clone();
        assert_eq!((tensor.shape(), tensor.byte_len(), decoded()), (&[2, 8][..], 64, 0));
        assert_eq!((tensor.f32_at(9), decoded()), (Some(9.0), 1));
        for times in 1..=2 {
            assert_eq!((tensor.resident().to_f32()[15], decoded()), (15.0, 1 + 4 * times));
        }
        assert_eq!((tensor.bytes().len(), decoded()), (64, 13));
        assert_eq!((copy.bytes().len(), copy.resident().len(), decoded()), (64, 16, 13));
        assert_eq!(tensor.data_address(), copy.data_address());
    }

    #[test]
    fn wrong_byte_counts_and_overflowing_shapes_are_refused() {
        assert!(matches!(
            Tensor::new(DType::F32, vec![3], Bytes::from_static(&[0; 8])),
            Err(TensorError::ByteCount { expected: 12, actual: 8, .. })
        ));
        assert!(matches!(Tensor::new(DType::F32, vec![usize::MAX, 2], Bytes::new()), Err(TensorError::TooLarge(_))));
    }
}
