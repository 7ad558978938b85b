use super::pickle::{Element, Heap, Object, ObjectId, Storage, TensorView};
use crate::formats::FormatError;
use crate::formats::archive::Archive;
use crate::model::{DType, Tensor};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;

/// Where the elements of storages lie.
#[derive(Debug)]
pub(super) enum Storages {
    /// Entries `PREFIXdata/KEY` of an archive.
    Archive(Archive, String),
    /// Ranges of a file, by key.
    Ranges(Bytes, HashMap<String, Range<usize>>),
}

/// A gathered tensor may hold this many elements whatever its storage holds: an expanded view repeats
/// elements, and a hostile one repeats them without end.
const MAX_REPEATED: usize = 1 << 24;

impl Storages {
    fn bytes(&mut self, storage: &Storage) -> Result<Option<Bytes>, FormatError> {
        match self {
            Self::Archive(archive, prefix) => archive.read(&format!("{prefix}data/{}", storage.key)),
            Self::Ranges(file, ranges) => Ok(ranges.get(&storage.key).map(|range| file.slice(range.clone()))),
        }
    }

    /// The tensor behind an object, without a copy where it is contiguous.
    ///
    /// # Errors
    /// One clause on what does not fit, to follow the tensor's name.
    pub fn tensor(&mut self, heap: &Heap, id: ObjectId) -> Result<Tensor, String> {
        let view = match heap.get(id) {
            Object::Array(array) => return Ok(array.clone()),
            Object::Tensor(view) => view,
            _ => return Err("is no tensor".to_owned()),
        };
        let Object::Storage(storage) = heap.get(view.storage) else { return Err("has no storage".to_owned()) };
        let dtype = dtype_of(view, storage).ok_or("has an element type that cannot be shown")?;
        let data = self.bytes(storage).map_err(|e| e.to_string())?;
        let data = data.ok_or_else(|| format!("lies in the storage `{}`, which is missing", storage.key))?;
        let places = Places::of(view, storage, dtype, data.len())?;
        let bytes = match places.contiguous() {
            Some(range) => data.slice(range),
            None => places.gather(&data).into(),
        };
        Tensor::new(dtype, view.shape.clone(), bytes).map_err(|e| e.to_string())
    }
}

/// Element type of a view.
pub(super) fn dtype_of(view: &TensorView, storage: &Storage) -> Option<DType> {
    match view.element.as_ref().unwrap_or(&storage.element) {
        Element::Known(dtype) => Some(*dtype),
        Element::Other(_) => None,
    }
}

/// Where in its storage each element of a view lies, checked to be inside.
#[derive(Debug)]
pub(super) struct Places<'a> {
    view: &'a TensorView,
    start: usize,
    size: usize,
    count: usize,
}

impl<'a> Places<'a> {
    /// Checks a view against the `available` bytes of its storage.
    ///
    /// # Errors
    /// One clause on what lies outside.
    pub fn of(view: &'a TensorView, storage: &Storage, dtype: DType, available: usize) -> Result<Self, String> {
        let outside = || format!("reaches beyond the {available} bytes of its storage `{}`", storage.key);
        let count = view.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(outside)?;
        let start = storage.start.checked_add(view.offset).ok_or_else(outside)?;
        if count > 0 {
            let last = view
                .shape
                .iter()
                .zip(&view.strides)
                .try_fold(start, |at, (&extent, &stride)| at.checked_add((extent - 1).checked_mul(stride)?));
            let end = last.and_then(|last| last.checked_add(1)?.checked_mul(dtype.size())).ok_or_else(outside)?;
            if end > available {
                return Err(outside());
            }
            if count > MAX_REPEATED.max(available / dtype.size()) {
                return Err(format!("repeats the elements of its storage to {count}"));
            }
        }
        Ok(Self { view, start, size: dtype.size(), count })
    }

    /// Extents of the view.
    pub fn shape(&self) -> &[usize] {
        &self.view.shape
    }

    /// The bytes of a view whose elements follow each other.
    pub fn contiguous(&self) -> Option<Range<usize>> {
        if self.count == 0 {
            return Some(0..0);
        }
        let mut expected = 1;
        for (&extent, &stride) in self.view.shape.iter().zip(&self.view.strides).rev() {
            if extent != 1 && stride != expected {
                return None;
            }
            expected *= extent;
        }
        Some(self.start * self.size..(self.start + self.count) * self.size)
    }

    /// The elements in row-major order.
    pub fn gather(&self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.count * self.size);
        self.each(|at| out.extend_from_slice(&data[at..at + self.size]));
        out
    }

    /// Puts elements in row-major order back into the storage.
    pub fn scatter(&self, elements: &[u8], data: &mut [u8]) {
        if let Some(range) = self.contiguous() {
            data[range].copy_from_slice(elements);
            return;
        }
        let mut elements = elements.chunks_exact(self.size);
        self.each(|at| {
            if let Some(element) = elements.next() {
                data[at..at + self.size].copy_from_slice(element);
            }
        });
    }

    /// Visits the byte offset of every element in row-major order.
    fn each(&self, mut visit: impl FnMut(usize)) {
        let (shape, strides) = (&self.view.shape, &self.view.strides);
        let mut index = vec![0usize; shape.len()];
        let mut at = self.start;
        for _ in 0..self.count {
            visit(at * self.size);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[usize], offset: usize) -> TensorView {
        TensorView { storage: ObjectId(0), offset, shape: shape.to_vec(), strides: strides.to_vec(), element: None }
    }

    fn storage() -> Storage {
        Storage { key: "0".into(), element: Element::Known(DType::U8), len: 6, start: 0, device: "cpu".into() }
    }

    #[test]
    fn a_transposed_view_is_gathered_and_scattered_back() {
        let view = view(&[3, 2], &[1, 3], 0);
        let places = Places::of(&view, &storage(), DType::U8, 6).unwrap();
        assert_eq!(places.contiguous(), None);
        assert_eq!(places.gather(&[0, 1, 2, 3, 4, 5]), [0, 3, 1, 4, 2, 5]);
        let mut data = [0; 6];
        places.scatter(&[0, 3, 1, 4, 2, 5], &mut data);
        assert_eq!(data, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn views_that_leave_their_storage_are_refused() {
        let refused = |view: &TensorView| Places::of(view, &storage(), DType::U8, 6).unwrap_err();
        assert!(refused(&view(&[7], &[1], 0)).contains("reaches beyond"));
        assert!(refused(&view(&[2], &[1], 5)).contains("reaches beyond"));
        assert!(refused(&view(&[2, 2], &[usize::MAX, 1], 0)).contains("reaches beyond"));
        assert!(refused(&view(&[usize::MAX, 2], &[0, 0], 0)).contains("reaches beyond"));
        assert!(refused(&view(&[1 << 30], &[0], 0)).contains("repeats"));
        assert_eq!(Places::of(&view(&[0, 9], &[9, 1], 0), &storage(), DType::U8, 6).unwrap().contiguous(), Some(0..0));
    }
}
