use super::column::{Column, Values};
use super::feed::mask_of;
use super::idx::{self, IdxArray};
use super::locate::{self, Source};
use super::preprocess::{Affine, Preprocess};
use super::{DataError, Observe, cifar, images, named, open, order, table, tokens};
use crate::model::{DType, Tensor, mix};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which part of a collection of examples is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Split {
    /// Examples to learn from.
    Train,
    /// Examples that only measure; nothing is ever tuned on them.
    #[default]
    Test,
    /// A part of the training examples, for calibration and fine-tuning.
    Calibration,
}

impl Split {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::Calibration => "calibration",
        }
    }
}

/// Stored example values in NCHW order, as in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Examples {
    /// Bytes, such as pixels.
    U8(Vec<u8>),
    /// Floats, all finite.
    F32(Vec<f32>),
}

impl Examples {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }
}

/// Batches with more values than this are filled in parallel.
const PARALLEL_FROM: usize = 1 << 16;

/// What all views of one set of examples share.
#[derive(Debug)]
pub(super) struct Shared {
    /// At least one, all of the same number of examples.
    pub columns: Vec<Column>,
    pub class_names: Vec<String>,
    pub class_count: usize,
    pub name: String,
    pub path: PathBuf,
}

/// Labelled examples, checked when opened. Cloning and taking subsets shares the examples.
#[derive(Clone, Debug)]
pub struct Dataset {
    shared: Arc<Shared>,
    split: Split,
    /// Example numbers in `shared` of this view; `None` is all of them in order.
    rows: Option<Arc<[u32]>>,
    labels: Option<Arc<[u32]>>,
    /// Whether a `dataset.toml` or the caller said how values become inputs.
    described: bool,
}

impl Dataset {
    pub(super) fn from_shared(shared: Shared, split: Split, labels: Option<Vec<u32>>) -> Self {
        Self { shared: Arc::new(shared), split, rows: None, labels: labels.map(Into::into), described: true }
    }

    /// Opens a file or a folder; see the [module](super) for kinds and names.
    ///
    /// `split` chooses among the files of a folder.
    ///
    /// # Errors
    /// [`DataError`] if nothing fits, or anything in it is damaged, contradictory or not finite.
    pub fn open(path: &Path, split: Split) -> Result<Self, DataError> {
        Self::open_with(path, split, None)
    }

    /// Opens the calibration part of a folder, or its training part if it has none; a file as it is.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_calibration(path: &Path) -> Result<Self, DataError> {
        let found = Self::open(path, Split::Calibration);
        if found.is_err() && path.is_dir() {
            return Self::open(path, Split::Train).or(found);
        }
        found
    }

    /// As [`Dataset::open`], with the `dataset.toml` at `toml` in place of the one beside the data.
    ///
    /// # Errors
    /// As [`Dataset::open`]; also if `toml` is not there.
    pub fn open_with(path: &Path, split: Split, toml: Option<&Path>) -> Result<Self, DataError> {
        Self::open_observed(path, split, toml, &|_, _| ControlFlow::Continue(()))
    }

    /// As [`Dataset::open_with`], with an observer, since image files take long to decode.
    ///
    /// # Errors
    /// As [`Dataset::open_with`]; [`DataError::Cancelled`] if `observe` broke.
    pub fn open_observed(
        path: &Path,
        split: Split,
        toml: Option<&Path>,
        observe: Observe<'_>,
    ) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(DataError::io("open", path))?;
        let source = if metadata.is_dir() { locate::in_folder(path, split)? } else { locate::file(path)? };
        let folder = std::path::absolute(path).ok().filter(|_| metadata.is_dir());
        let folder_name = folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let beside = match &source {
            Source::Npz(file) | Source::Csv(file) | Source::Tokens(file) | Source::Idx { images: file, .. } => {
                file.with_file_name("dataset.toml")
            }
            Source::Cifar(_) | Source::Images(_) => path.join("dataset.toml"),
        };
        let (mut preprocess, toml) = match toml {
            Some(toml) => (Preprocess::read(toml)?, toml),
            None if beside.exists() => (Preprocess::read(&beside)?, &*beside),
            None => (Preprocess::default(), &*beside),
        };
        let described = toml.exists();
        preprocess.name = preprocess.name.or(folder_name);
        let preprocess = (preprocess, toml);
        let opened = match source {
            Source::Npz(file) => named::open(&file, preprocess, split),
            Source::Tokens(file) => tokens::open(&file, preprocess, split),
            Source::Idx { images, labels } => open::idx(&images, labels.as_deref(), preprocess, split),
            Source::Csv(file) => table::open(&file, preprocess, split),
            Source::Cifar(files) => cifar::open(&files, preprocess, split),
            Source::Images(listing) => images::open(listing, preprocess, split, path, observe),
        }?;
        Ok(Self { described, ..opened })
    }

    /// Opens IDX images and labels that are in memory, such as files embedded in the program.
    ///
    /// # Errors
    /// [`DataError`] as [`Dataset::open`], with `path` as the place to name.
    pub fn from_idx_bytes(
        images: &[u8],
        labels: &[u8],
        preprocess: Preprocess,
        split: Split,
        path: &Path,
    ) -> Result<Self, DataError> {
        let (images, labels) = (idx::from_bytes(images, path)?, idx::from_bytes(labels, path)?);
        open::from_idx(images, Some((labels, path)), (preprocess, path), split, path)
    }

    /// Wraps examples that are in memory; `shape` is [examples, ...] in the layout of `preprocess`.
    ///
    /// # Errors
    /// [`DataError`] as [`Dataset::open`], with `path` as the place to name.
    pub fn new(
        examples: Examples,
        shape: &[usize],
        labels: Option<Vec<u32>>,
        preprocess: Preprocess,
        split: Split,
        path: &Path,
    ) -> Result<Self, DataError> {
        let labels = labels.map(|l| (l.into_iter().map(i64::from).collect(), path));
        open::assemble(examples, shape, labels, (preprocess, path), split, path)
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        match &self.rows {
            Some(rows) => rows.len(),
            None => self.shared.columns[0].count(),
        }
    }

    /// Whether there are no examples; only a subset can be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one example of the first array, such as [1, 28, 28].
    pub fn example_shape(&self) -> &[usize] {
        &self.first().shape
    }

    /// Number of values in one example of the first array.
    pub fn example_len(&self) -> usize {
        self.first().len
    }

    /// The arrays by name, with the type as stored and the shape of one example; of token lists, that of the
    /// longest.
    pub fn arrays(&self) -> impl Iterator<Item = (&str, DType, &[usize])> {
        self.shared.columns.iter().map(|c| (c.name.as_str(), c.dtype(), c.shape.as_slice()))
    }

    /// One example of the array called `name` as it is stored, without the axis of examples: token lists in
    /// their own length, images before preprocessing.
    pub fn stored(&self, name: &str, index: usize) -> Option<Tensor> {
        let column = self.shared.columns.iter().find(|c| c.name == name)?;
        let rows = column.stored(&[self.row(index)], None)?;
        rows.reshaped(rows.shape()[1..].to_vec()).ok()
    }

    /// Class numbers, all below [`Dataset::class_count`].
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Class numbers, where nothing can be done without.
    ///
    /// # Errors
    /// [`DataError::NoLabels`] if there are none.
    pub fn require_labels(&self) -> Result<&[u32], DataError> {
        self.labels().ok_or_else(|| DataError::NoLabels { path: self.shared.path.clone() })
    }

    /// Class names in label order; empty if the data names none.
    pub fn class_names(&self) -> &[String] {
        &self.shared.class_names
    }

    /// Number of classes: of the names, or one more than the highest label of the file.
    pub fn class_count(&self) -> usize {
        self.shared.class_count
    }

    /// Name for titles and reports: from `dataset.toml`, or of the folder or file that was opened.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The split that was opened.
    pub const fn split(&self) -> Split {
        self.split
    }

    /// The file with the examples.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What is assumed of the values for want of a `dataset.toml`, as a clause; none where nothing is.
    pub fn assumed(&self) -> Option<&'static str> {
        match &self.first().values {
            Values::Scaled { examples, .. } if !self.described => Some(match examples {
                Examples::U8(_) => "bytes are divided by 255, with no mean and std",
                Examples::F32(_) => "values are taken as they are, with no mean and std",
            }),
            _ => None,
        }
    }

    /// Which tokens of an example count, where the data says so.
    pub fn counted(&self, index: usize) -> Option<Vec<bool>> {
        let mask = &self.columns()[mask_of(self.columns())?];
        Some(mask.stored(&[self.row(index)], None)?.to_i64().into_iter().map(|v| v != 0).collect())
    }

    /// Share of tokens that do not count once every example is filled up to the longest, where the data says.
    pub fn padded_share(&self) -> Option<f64> {
        let all = self.len() * self.columns()[mask_of(self.columns())?].len;
        let counted = |index| self.counted(index).map_or(0, |counts| counts.into_iter().filter(|&c| c).count());
        Some(1.0 - (0..self.len()).map(counted).sum::<usize>() as f64 / all.max(1) as f64)
    }

    /// The stored values of one example, before preprocessing, for thumbnails: bytes if it is stored so.
    pub fn stored_bytes(&self, index: usize) -> Option<&[u8]> {
        match &self.first().values {
            Values::Scaled { examples: Examples::U8(values), .. } => Some(&values[self.range(index)]),
            _ => None,
        }
    }

    /// The network input that a stored 0 becomes, per channel: what lies beyond the edge of an image.
    pub fn blank(&self) -> Vec<f32> {
        self.affine().iter().map(|a| a.apply(0.0)).collect()
    }

    /// The examples of the first array at `indices` as one f32 tensor [indices, ...example shape], preprocessed.
    /// A [`Feed`](super::Feed) gives all arrays in the types that a graph takes.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn batch(&self, indices: &[usize]) -> Tensor {
        let mut values = Vec::new();
        self.batch_into(indices, &mut values);
        let mut shape = vec![indices.len()];
        shape.extend(self.example_shape());
        Tensor::from_f32(shape, values).unwrap_or_else(|_| unreachable!("one example per index"))
    }

    /// As [`Dataset::batch`], replacing the contents of `out` and keeping its allocation.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    pub fn batch_into(&self, indices: &[usize], out: &mut Vec<f32>) {
        let size = self.example_len();
        out.resize(indices.len() * size, 0.0);
        if out.len() >= PARALLEL_FROM {
            let fill = |(out, &i): (&mut [f32], &usize)| self.first().fill(self.row(i), out);
            out.par_chunks_mut(size).zip(indices).with_min_len(16).for_each(fill);
        } else {
            out.chunks_mut(size).zip(indices).for_each(|(out, &i)| self.first().fill(self.row(i), out));
        }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.shared.columns
    }

    fn first(&self) -> &Column {
        &self.shared.columns[0]
    }

    pub(super) fn affine(&self) -> &[Affine] {
        match &self.first().values {
            Values::Scaled { affine, .. } => affine,
            _ => &[Affine::IDENTITY],
        }
    }

    /// Place of an example in the arrays.
    pub(super) fn row(&self, index: usize) -> usize {
        self.rows.as_ref().map_or(index, |rows| rows[index] as usize)
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let (row, size) = (self.row(index), self.example_len());
        row * size..(row + 1) * size
    }

    /// A permutation of all examples whose every prefix holds each class in its overall share, to within
    /// about one example, so that an estimate on a prefix is as good as it can be. The same seed gives the
    /// same order. Without labels it is a plain shuffle.
    pub fn stratified_order(&self, seed: u64) -> Vec<usize> {
        order::stratified(self.len(), self.labels(), seed)
    }

    /// A view of the examples at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let row = |&i: &usize| self.rows.as_ref().map_or(i as u32, |rows| rows[i]);
        Self {
            shared: Arc::clone(&self.shared),
            split: self.split,
            rows: Some(indices.iter().map(row).collect()),
            labels: self.labels.as_ref().map(|labels| indices.iter().map(|&i| labels[i]).collect()),
            described: self.described,
        }
    }

    /// Two disjoint stratified views: all but `count` examples, in file order, and those `count`.
    #[must_use]
    pub fn split_off(&self, count: usize, seed: u64) -> (Self, Self) {
        let mut order = self.stratified_order(seed);
        let mut rest = order.split_off(count.min(order.len()));
        order.sort_unstable();
        rest.sort_unstable();
        (self.subset(&rest), self.subset(&order))
    }

    /// Writes this view as gzipped IDX files `STEM-images-idx3-ubyte.gz` and `STEM-labels-idx1-ubyte.gz`.
    ///
    /// # Errors
    /// [`DataError`] unless these are labelled one-channel bytes with at most 256 classes and the folder
    /// can be written.
    pub fn write_idx(&self, folder: &Path, stem: &str) -> Result<(), DataError> {
        let Column { shape, values: Values::Scaled { examples: Examples::U8(values), .. }, .. } = self.first() else {
            return Err(DataError::malformed(folder, "only bytes can be written as IDX"));
        };
        let &[1, height, width] = shape.as_slice() else {
            return Err(DataError::malformed(folder, "only one-channel images of bytes can be written as IDX"));
        };
        let byte = |&l: &u32| u8::try_from(l).map_err(|_large| DataError::malformed(folder, "a label exceeds 255"));
        let labels = self.require_labels()?.iter().map(byte).collect::<Result<Vec<_>, _>>()?;
        let data = (0..self.len()).flat_map(|i| values[self.range(i)].iter().copied()).collect();
        let images = IdxArray { shape: vec![self.len(), height, width], data };
        idx::write_gz(&folder.join(format!("{stem}-images-idx3-ubyte.gz")), &images)?;
        let labels = IdxArray { shape: vec![labels.len()], data: labels };
        idx::write_gz(&folder.join(format!("{stem}-labels-idx1-ubyte.gz")), &labels)
    }

    /// A hash of stored values, shape, preprocessing and labels: equal for equal data on every machine.
    pub fn fingerprint(&self) -> u64 {
        let columns = &self.shared.columns;
        let hash_row = |index: usize| {
            let row = self.row(index);
            columns[1..].iter().fold(columns[0].hash(row), |state, column| mix(state, column.hash(row)))
        };
        let rows: Vec<u64> = (0..self.len()).into_par_iter().map(hash_row).collect();
        let state = rows.into_iter().fold(self.len() as u64, mix);
        let state = columns.iter().fold(state, |state, column| column.hash_of_kind(state));
        self.labels().unwrap_or_default().iter().map(|&l| u64::from(l)).fold(state, mix)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, npz};
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// `count` 2 x 3 images whose bytes count up, labelled 0, 1, 2, 0, ...
    fn counting(count: usize) -> Dataset {
        let bytes = (0..count * 6).map(|i| i as u8).collect();
        let labels = (0..count as u32).map(|i| i % 3).collect();
        let preprocess = Preprocess { layout: Layout::Nhw, scale: Some(1.0), ..Preprocess::default() };
        Dataset::new(Examples::U8(bytes), &[count, 2, 3], Some(labels), preprocess, Split::Train, Path::new("mem"))
            .unwrap()
    }

    fn write_npz(folder: &tempfile::TempDir, arrays: &[(&str, Tensor)]) -> PathBuf {
        let path = folder.path().join("d.npz");
        npz::write(&path, arrays).unwrap();
        path
    }

    #[test]
    fn idx_files_written_are_opened_again_with_their_labels() {
        let folder = folder();
        let data = counting(7);
        data.write_idx(folder.path(), "t10k").unwrap();
        std::fs::write(folder.path().join("dataset.toml"), "scale = 1.0\nlabels = ['a', 'b', 'c', 'd']\n").unwrap();
        let back = Dataset::open(folder.path(), Split::Test).unwrap();
        assert_eq!((back.len(), back.example_shape(), back.class_count()), (7, &[1, 2, 3][..], 4));
        assert_eq!(back.labels(), data.labels());
        assert_eq!(back.batch(&[6, 0]), data.batch(&[6, 0]));
        assert_eq!(back.fingerprint(), data.fingerprint());
        assert_eq!(back.name(), folder.path().file_name().unwrap().to_str().unwrap());
        let direct = Dataset::open(&folder.path().join("t10k-images-idx3-ubyte.gz"), Split::Train).unwrap();
        assert_eq!(direct.labels(), data.labels());
    }

    #[test]
    fn values_are_scaled_shifted_and_divided_per_channel() {
        let folder = folder();
        let x = Tensor::new(DType::U8, vec![1, 1, 2, 2], bytes::Bytes::from_static(&[10, 20, 30, 40])).unwrap();
        let path = write_npz(&folder, &[("x", x), ("y", Tensor::from_i64(vec![1], &[1]).unwrap())]);
        let toml = "layout = 'NHWC'\nscale = 0.1\nmean = [1.0, 2.0]\nstd = [0.5, 4.0]\n";
        std::fs::write(folder.path().join("dataset.toml"), toml).unwrap();
        let data = Dataset::open(&path, Split::Test).unwrap();
        assert_eq!(data.example_shape(), &[2, 1, 2]);
        assert_eq!(data.batch(&[0]).to_f32().as_ref(), &[0.0, 4.0, 0.0, 0.5]);
        assert_eq!(data.blank(), [-2.0, -0.5]);
    }

    #[test]
    fn large_batches_are_the_same_as_single_examples() {
        let data = counting(20_000);
        let all: Vec<usize> = (0..data.len()).rev().collect();
        let batch = data.batch(&all);
        for i in [0, 77, 19_999] {
            assert_eq!(batch.to_f32()[i * 6..(i + 1) * 6], data.batch(&[all[i]]).to_f32()[..]);
        }
    }

    #[test]
    fn split_off_views_are_disjoint_stratified_and_complete() {
        let data = counting(300);
        let (train, held) = data.split_off(60, 1);
        assert_eq!((train.len(), held.len()), (240, 60));
        for class in 0..3 {
            assert_eq!(held.labels().unwrap().iter().filter(|&&l| l == class).count(), 20);
        }
        let rows = |d: &Dataset| d.rows.as_ref().unwrap().to_vec();
        let mut all = [rows(&train), rows(&held)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<_>>());
        assert_ne!(train.fingerprint(), held.fingerprint());
        let again = train.subset(&[5]);
        assert_eq!(again.batch(&[0]), train.batch(&[5]));
    }
}
