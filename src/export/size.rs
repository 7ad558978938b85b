use super::{ExportError, zip_bytes};
use crate::formats;
use crate::model::{DType, Model, Tensor, layers_of};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A way to store a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Every value.
    Dense,
    /// One bit per weight, then the values that are not zero.
    Bitmask,
    /// Compressed sparse rows.
    Csr,
}

/// Bytes that one weight takes in each encoding, with everything needed to read it back but its name,
/// dtype and shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TensorSizes {
    /// `n * e` for `n` weights of `e` bytes.
    pub dense: u64,
    /// `ceil(n / 8) + k * e` for `k` weights that are not zero.
    pub bitmask: u64,
    /// `k * (e + c) + (r + 1) * p`, with the first axis as the `r` rows and all others as columns;
    /// a column index takes `c` = 2 bytes up to 65 536 columns, else 4, and a row pointer `p` = 4 bytes
    /// below 2^32 weights, else 8.
    pub csr: u64,
}

impl TensorSizes {
    /// Sizes of a weight of which `nonzeros` are not zero.
    pub fn of(shape: &[usize], dtype: DType, nonzeros: usize) -> Self {
        let (count, element, nonzeros) = (shape.iter().product::<usize>() as u64, dtype.size() as u64, nonzeros as u64);
        let rows = shape.first().copied().unwrap_or(1) as u64;
        let columns = count.checked_div(rows).unwrap_or(0);
        let index = if columns <= 1 << 16 { 2 } else { 4 };
        let pointer = if count < 1 << 32 { 4 } else { 8 };
        Self {
            dense: count * element,
            bitmask: count.div_ceil(8) + nonzeros * element,
            csr: nonzeros * (element + index) + (rows + 1) * pointer,
        }
    }

    /// The smallest encoding and its bytes; of equal ones the simplest.
    pub fn best(&self) -> (Encoding, u64) {
        let all = [(Encoding::Dense, self.dense), (Encoding::Bitmask, self.bitmask), (Encoding::Csr, self.csr)];
        all.into_iter().fold(all[0], |best, other| if other.1 < best.1 { other } else { best })
    }
}

/// Bytes of a model stored in several ways. Weights of layers are encoded, all other tensors are dense;
/// `file` and `zip` also hold the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// All tensors dense.
    pub dense: u64,
    /// The file in the format of its name, which is dense.
    pub file: u64,
    /// That file in a zip archive, see [`zip_bytes`].
    pub zip: u64,
    /// Weights as [`TensorSizes::bitmask`].
    pub bitmask: u64,
    /// Weights as [`TensorSizes::csr`].
    pub csr: u64,
    /// Each weight in the encoding that is smallest for it.
    pub best: u64,
}

impl Sizes {
    /// Name and bytes of the smallest way: `file`, `zip`, `bitmask`, `CSR`, or `best per layer`.
    pub fn smallest(&self) -> (&'static str, u64) {
        let ways = [
            ("file", self.file),
            ("zip", self.zip),
            ("bitmask", self.bitmask),
            ("CSR", self.csr),
            ("best per layer", self.best),
        ];
        ways.into_iter().fold(ways[0], |best, other| if other.1 < best.1 { other } else { best })
    }
}

/// Measures a model as it is, by counting its zeros and compressing its file in memory.
///
/// # Errors
/// [`ExportError::Cancelled`] once `cancelled` says so, [`ExportError::Format`] if the model cannot be
/// written at all.
pub fn measure_sizes(model: &Model, cancelled: &mut dyn FnMut() -> bool) -> Result<Sizes, ExportError> {
    measure_sizes_of(model, Path::new(&model.display_name()), cancelled)
}

/// As [`measure_sizes`], in the format of a file at `path`.
///
/// # Errors
/// As [`measure_sizes`].
pub fn measure_sizes_of(model: &Model, path: &Path, cancelled: &mut dyn FnMut() -> bool) -> Result<Sizes, ExportError> {
    // The opened file's name, so that the figures do not depend on what the new one is called.
    let name = model.display_name();
    let pieces = formats::pieces(model, path)?;
    let dense = model.tensor_bytes();
    let mut sizes = Sizes { dense, bitmask: dense, csr: dense, best: dense, ..Sizes::default() };
    for layer in layers_of(model) {
        let Some(weight) = model.tensors.get(&layer.weight) else { continue };
        let one = TensorSizes::of(weight.shape(), weight.dtype(), count_nonzeros(weight));
        sizes.bitmask = sizes.bitmask - one.dense + one.bitmask;
        sizes.csr = sizes.csr - one.dense + one.csr;
        sizes.best = sizes.best - one.dense + one.best().1;
    }
    sizes.file = pieces.iter().map(|p| p.len() as u64).sum();
    sizes.zip = zip_bytes(&pieces, &name, cancelled)?;
    Ok(sizes)
}

/// Elements of a tensor that are not zero; a negative zero counts as zero, NaN does not.
pub fn count_nonzeros(tensor: &Tensor) -> usize {
    fn count<const N: usize>(bytes: &[u8], is_zero: impl Fn([u8; N]) -> bool + Sync) -> usize {
        let elements = bytes.as_chunks::<N>().0;
        elements.par_chunks(1 << 16).map(|part| part.iter().filter(|&&e| !is_zero(e)).count()).sum()
    }
    let tensor = tensor.resident();
    let bytes = &tensor.bytes()[..];
    let float = tensor.dtype().is_float();
    match tensor.dtype().size() {
        1 => count::<1>(bytes, |[b]| b & if float { 0x7f } else { u8::MAX } == 0),
        2 => count(bytes, |b| u16::from_le_bytes(b) & if float { 0x7fff } else { u16::MAX } == 0),
        4 => count(bytes, |b| u32::from_le_bytes(b) & if float { 0x7fff_ffff } else { u32::MAX } == 0),
        _ => count(bytes, |b| u64::from_le_bytes(b) & if float { u64::MAX >> 1 } else { u64::MAX } == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn sizes_follow_the_stated_formulas() {
        let sizes = TensorSizes::of(&[50, 20, 5, 5], DType::F32, 1000);
        assert_eq!(sizes, TensorSizes { dense: 100_000, bitmask: 3125 + 4000, csr: 1000 * 6 + 51 * 4 });
        assert_eq!(sizes.best(), (Encoding::Csr, 6204));
        let wide = TensorSizes::of(&[2, 70_000], DType::F16, 10);
        assert_eq!(wide.csr, 10 * (2 + 4) + 3 * 4);
    }

    #[test]
    fn measured_sizes_are_those_of_the_file() {
        let mut model = Model::default();
        let weight = (0..2000).map(|i| if i % 10 == 0 { i as f32 } else { 0.0 }).collect();
        model.tensors.insert("w.weight".into(), Tensor::from_f32(vec![40, 50], weight).unwrap());
        model.tensors.insert("w.bias".into(), Tensor::from_f32(vec![40], vec![1.0; 40]).unwrap());
        let sizes = measure_sizes(&model, &mut || false).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let saved = formats::save(&model, &folder.path().join("m")).unwrap();
        assert_eq!((sizes.dense, sizes.file), (8160, saved.bytes));
        assert_eq!(sizes.bitmask, 160 + 250 + 199 * 4);
        assert_eq!(sizes.csr, 160 + 199 * 6 + 41 * 4);
        assert_eq!(sizes.smallest().1, sizes.zip.min(sizes.best));
    }

    #[test]
    fn a_dense_weight_is_best_stored_densely() {
        assert_eq!(TensorSizes::of(&[8, 8], DType::F32, 64).best(), (Encoding::Dense, 256));
        assert_eq!(TensorSizes::of(&[0, 8], DType::F32, 0).dense, 0);
        assert_eq!(TensorSizes::of(&[], DType::F32, 1).dense, 4);
    }

    #[test]
    fn zeros_of_either_sign_are_zeros_and_integers_have_no_sign_bit() {
        let floats = Tensor::from_f32(vec![5], vec![0.0, -0.0, 1.0, f32::NAN, f32::MIN_POSITIVE / 2.0]).unwrap();
        assert_eq!(count_nonzeros(&floats), 3);
        let of = |dtype, bytes: &'static [u8]| {
            count_nonzeros(&Tensor::new(dtype, vec![2], Bytes::from_static(bytes)).unwrap())
        };
        assert_eq!(of(DType::I8, &[0x80, 0]), 1);
        assert_eq!(of(DType::F8E5M2, &[0x80, 1]), 1);
        assert_eq!(of(DType::F16, &[0, 0x80, 1, 0]), 1);
        assert_eq!(of(DType::F64, &[0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 1]), 1);
    }
}
