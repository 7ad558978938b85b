use super::dataset::Examples;
use super::preprocess::Affine;
use crate::model::{DType, Tensor, hash, mix};

/// One array of a data set: a row for each example.
#[derive(Debug)]
pub(super) struct Column {
    /// Name of the graph input that it is for; `x` stands for the one input, whatever that is called.
    pub name: String,
    /// Shape of one example; of token lists, that of the longest.
    pub shape: Vec<usize>,
    /// Elements of one example.
    pub len: usize,
    pub values: Values,
}

/// How a column holds its examples.
#[derive(Debug)]
pub(super) enum Values {
    /// Pixels and the like, turned into network inputs by an affine map for each channel.
    Scaled {
        examples: Examples,
        affine: Vec<Affine>,
        /// For bytes: the value of each byte in each channel.
        tables: Vec<[f32; 256]>,
    },
    /// Fed as it is.
    Array(Tensor),
    /// Lists of their own lengths, filled up with `padding` to the longest of a batch.
    Lists { values: Vec<i64>, ends: Vec<usize>, padding: i64 },
}

/// The name that means the one input.
pub(super) const ONLY: &str = "x";

impl Column {
    /// Element type as stored.
    pub fn dtype(&self) -> DType {
        match &self.values {
            Values::Scaled { examples: Examples::U8(_), .. } => DType::U8,
            Values::Scaled { examples: Examples::F32(_), .. } => DType::F32,
            Values::Array(tensor) => tensor.dtype(),
            Values::Lists { .. } => DType::I64,
        }
    }

    /// Number of examples.
    pub fn count(&self) -> usize {
        match &self.values {
            Values::Scaled { examples, .. } => examples.len() / self.len,
            Values::Array(tensor) => tensor.shape().first().copied().unwrap_or(0),
            Values::Lists { ends, .. } => ends.len(),
        }
    }

    /// One example as the network gets it, as f32.
    pub fn fill(&self, row: usize, out: &mut [f32]) {
        let range = row * self.len..(row + 1) * self.len;
        match &self.values {
            Values::Scaled { examples: Examples::U8(values), tables, .. } => {
                let plane = self.len / tables.len();
                let planes = values[range].chunks(plane).zip(out.chunks_mut(plane));
                for ((stored, out), table) in planes.zip(tables) {
                    out.iter_mut().zip(stored).for_each(|(v, &byte)| *v = table[byte as usize]);
                }
            }
            Values::Scaled { examples: Examples::F32(values), affine, .. } => {
                let plane = self.len / affine.len();
                let planes = values[range].chunks(plane).zip(out.chunks_mut(plane));
                for ((stored, out), &affine) in planes.zip(affine) {
                    if affine == Affine::IDENTITY {
                        out.copy_from_slice(stored);
                    } else {
                        out.iter_mut().zip(stored).for_each(|(v, &s)| *v = affine.apply(f64::from(s)));
                    }
                }
            }
            Values::Array(tensor) => {
                let size = tensor.dtype().size();
                let bytes = tensor.bytes().slice(range.start * size..range.end * size);
                if let Ok(row) = Tensor::new(tensor.dtype(), vec![self.len], bytes) {
                    out.copy_from_slice(&row.to_f32());
                }
            }
            Values::Lists { values, ends, padding } => {
                let list = list(values, ends, row).iter().chain(std::iter::repeat(padding));
                out.iter_mut().zip(list).for_each(|(v, &id)| *v = id as f32);
            }
        }
    }

    /// The examples at `rows` as they are stored: arrays in their own type, lists filled up to `length` or,
    /// without one, to the longest.
    pub fn stored(&self, rows: &[usize], length: Option<usize>) -> Option<Tensor> {
        let mut shape = vec![rows.len()];
        match &self.values {
            Values::Scaled { examples: Examples::U8(values), .. } => {
                shape.extend(&self.shape);
                let bytes = rows.iter().flat_map(|r| &values[r * self.len..(r + 1) * self.len]).copied();
                Tensor::new(DType::U8, shape, bytes.collect::<Vec<u8>>().into()).ok()
            }
            Values::Scaled { examples: Examples::F32(values), .. } => {
                shape.extend(&self.shape);
                let values = rows.iter().flat_map(|r| &values[r * self.len..(r + 1) * self.len]).copied();
                Tensor::from_f32(shape, values.collect()).ok()
            }
            Values::Array(tensor) => {
                shape.extend(&self.shape);
                let size = self.len * tensor.dtype().size();
                let bytes = rows.iter().flat_map(|r| &tensor.bytes()[r * size..(r + 1) * size]).copied();
                Tensor::new(tensor.dtype(), shape, bytes.collect::<Vec<u8>>().into()).ok()
            }
            Values::Lists { values, ends, padding } => {
                let list = |&row: &usize| list(values, ends, row);
                let longest = rows.iter().map(|row| list(row).len()).max().unwrap_or(0);
                let length = length.unwrap_or(longest);
                shape.push(length);
                let padded = |row| list(row).iter().chain(std::iter::repeat(padding)).take(length).copied();
                Tensor::from_i64(shape, &rows.iter().flat_map(padded).collect::<Vec<i64>>()).ok()
            }
        }
    }

    /// A number that is equal for equal rows.
    pub fn hash(&self, row: usize) -> u64 {
        let range = row * self.len..(row + 1) * self.len;
        match &self.values {
            Values::Scaled { examples: Examples::U8(values), .. } => hash(&values[range]),
            Values::Scaled { examples: Examples::F32(values), .. } => hash(bytemuck::cast_slice(&values[range])),
            Values::Array(tensor) => {
                let size = tensor.dtype().size();
                hash(&tensor.bytes()[range.start * size..range.end * size])
            }
            Values::Lists { values, ends, .. } => hash(bytemuck::cast_slice(list(values, ends, row))),
        }
    }

    /// What a fingerprint takes in beside the rows: shape and preprocessing, and for arrays the name.
    pub fn hash_of_kind(&self, state: u64) -> u64 {
        let shape = self.shape.iter().map(|&d| d as u64);
        match &self.values {
            Values::Scaled { affine, .. } => {
                let affine = affine.iter().flat_map(|a| [a.factor.to_bits(), a.offset.to_bits()]);
                shape.chain(affine).fold(state, mix)
            }
            _ => shape.chain([hash(self.name.as_bytes()), self.dtype().size() as u64]).fold(state, mix),
        }
    }
}

/// The list at `row` of those that lie one behind the other.
fn list<'a>(values: &'a [i64], ends: &[usize], row: usize) -> &'a [i64] {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    &values[start..ends[row]]
}
