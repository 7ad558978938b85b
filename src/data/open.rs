//! From decoded files to a checked [`Dataset`].

use super::column::{Column, ONLY, Values};
use super::dataset::Shared;
use super::idx::IdxArray;
use super::preprocess::{Layout, Preprocess};
use super::{DataError, Dataset, Examples, Split};
use rayon::prelude::*;
use std::path::Path;

/// Class numbers of all examples are below this, named classes or not.
const MAX_CLASSES: usize = 1 << 20;

/// Opens IDX images and the labels that belong to them.
pub(super) fn idx(
    images: &Path,
    labels: Option<&Path>,
    preprocess: (Preprocess, &Path),
    split: Split,
) -> Result<Dataset, DataError> {
    let array = super::idx::read(images)?;
    let labels = labels.map(|path| super::idx::read(path).map(|array| (array, path))).transpose()?;
    from_idx(array, labels, preprocess, split, images)
}

/// Checks and joins decoded IDX arrays.
pub(super) fn from_idx(
    images: IdxArray,
    labels: Option<(IdxArray, &Path)>,
    (mut preprocess, toml): (Preprocess, &Path),
    split: Split,
    path: &Path,
) -> Result<Dataset, DataError> {
    match images.shape.len() {
        3 => preprocess.layout = Layout::Nhw,
        4 => {}
        axes => return Err(DataError::malformed(path, format!("images need three axes, but the file has {axes}"))),
    }
    let labels = match labels {
        Some((array, path)) if array.shape.len() == 1 => Some((array.data.into_iter().map(i64::from).collect(), path)),
        Some((_, path)) => return Err(DataError::malformed(path, "labels need one axis")),
        None => None,
    };
    assemble(Examples::U8(images.data), &images.shape, labels, (preprocess, toml), split, path)
}

/// Checks everything and puts axes into NCHW order.
pub(super) fn assemble(
    examples: Examples,
    shape: &[usize],
    labels: Option<(Vec<i64>, &Path)>,
    (preprocess, toml): (Preprocess, &Path),
    split: Split,
    path: &Path,
) -> Result<Dataset, DataError> {
    let column = scaled_column(examples, shape, (&preprocess, toml), path)?;
    of_columns(vec![column], labels, preprocess, split, path)
}

/// Examples that are preprocessed, for the one input.
pub(super) fn scaled_column(
    examples: Examples,
    shape: &[usize],
    (preprocess, toml): (&Preprocess, &Path),
    path: &Path,
) -> Result<Column, DataError> {
    let &[count, ref stored_shape @ ..] = shape else {
        return Err(DataError::malformed(path, "the examples have no axes"));
    };
    let total = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if total != Some(examples.len()) {
        return Err(DataError::malformed(path, format!("{} values do not fill the shape {shape:?}", examples.len())));
    }
    if examples.len() == 0 || u32::try_from(count).is_err() {
        return Err(DataError::malformed(path, format!("{count} examples of shape {stored_shape:?} cannot be used")));
    }
    let bad_toml = |problem: String| DataError::Preprocess { problem, path: toml.to_owned() };
    let (examples, shape) = to_nchw(examples, stored_shape, preprocess.layout).map_err(bad_toml)?;
    let len = shape.iter().product();
    if let Examples::F32(values) = &examples {
        check_finite(values, len, path)?;
    }
    let channels = if shape.len() == 3 { shape[0] } else { 1 };
    let default_scale = if matches!(examples, Examples::U8(_)) { 1.0 / 255.0 } else { 1.0 };
    let affine = preprocess.affine(channels, default_scale).map_err(bad_toml)?;
    let tables = affine.iter().map(|a| std::array::from_fn(|byte| a.apply(byte as f64))).collect();
    Ok(Column { name: ONLY.to_owned(), shape, len, values: Values::Scaled { examples, affine, tables } })
}

/// Joins arrays of the same number of examples with their labels.
pub(super) fn of_columns(
    columns: Vec<Column>,
    labels: Option<(Vec<i64>, &Path)>,
    preprocess: Preprocess,
    split: Split,
    path: &Path,
) -> Result<Dataset, DataError> {
    let count = columns.first().map_or(0, Column::count);
    let labels = match labels {
        Some((labels, file)) => Some(check_labels(&labels, count, preprocess.labels.len(), file)?),
        None => None,
    };
    let highest = labels.iter().flatten().max().map_or(0, |&l| l as usize + 1);
    let stem = || path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let shared = Shared {
        columns,
        class_count: if preprocess.labels.is_empty() { highest } else { preprocess.labels.len() },
        class_names: preprocess.labels,
        name: preprocess.name.unwrap_or_else(stem),
        path: path.to_owned(),
    };
    Ok(Dataset::from_shared(shared, split, labels))
}

fn to_nchw(examples: Examples, shape: &[usize], layout: Layout) -> Result<(Examples, Vec<usize>), String> {
    match (layout, shape) {
        (Layout::Nchw, _) => Ok((examples, shape.to_vec())),
        (Layout::Nhw, &[height, width]) => Ok((examples, vec![1, height, width])),
        (Layout::Nhwc, &[height, width, channels]) => {
            let examples = match examples {
                Examples::U8(values) => Examples::U8(channels_first(&values, height * width, channels)),
                Examples::F32(values) => Examples::F32(channels_first(&values, height * width, channels)),
            };
            Ok((examples, vec![channels, height, width]))
        }
        (layout, _) => Err(format!("the layout {layout:?} does not fit examples of shape {shape:?}")),
    }
}

fn channels_first<T: Copy + Default + Send + Sync>(values: &[T], plane: usize, channels: usize) -> Vec<T> {
    let size = plane * channels;
    let mut result = vec![T::default(); values.len()];
    result.par_chunks_mut(size).zip(values.par_chunks(size)).for_each(|(to, from)| {
        for (c, to) in to.chunks_mut(plane).enumerate() {
            to.iter_mut().enumerate().for_each(|(i, v)| *v = from[i * channels + c]);
        }
    });
    result
}

fn check_finite(values: &[f32], example_len: usize, path: &Path) -> Result<(), DataError> {
    let (count, first) = values
        .par_chunks(example_len)
        .enumerate()
        .map(|(i, row)| match row.iter().filter(|v| !v.is_finite()).count() {
            0 => (0, usize::MAX),
            bad => (bad, i),
        })
        .reduce(|| (0, usize::MAX), |a, b| (a.0 + b.0, a.1.min(b.1)));
    if count == 0 { Ok(()) } else { Err(DataError::NotFinite { count, index: first, path: path.to_owned() }) }
}

fn check_labels(labels: &[i64], examples: usize, named: usize, path: &Path) -> Result<Vec<u32>, DataError> {
    if labels.len() != examples {
        return Err(DataError::CountMismatch { examples, labels: labels.len(), path: path.to_owned() });
    }
    let classes = if named == 0 { MAX_CLASSES } else { named };
    labels
        .iter()
        .enumerate()
        .map(|(index, &label)| match usize::try_from(label) {
            Ok(l) if l < classes => Ok(l as u32),
            _ => Err(DataError::LabelOutOfRange { label, index, classes, path: path.to_owned() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::npz;
    use super::*;
    use crate::model::Tensor;
    use std::path::PathBuf;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write_npz(folder: &tempfile::TempDir, arrays: &[(&str, Tensor)]) -> PathBuf {
        let path = folder.path().join("d.npz");
        npz::write(&path, arrays).unwrap();
        path
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn float_labels_are_accepted_only_if_whole() {
        let folder = folder();
        let x = floats(&[2, 1, 1, 1], &[0.5, -0.5]);
        let path = write_npz(&folder, &[("x", x.clone()), ("y", floats(&[2, 1], &[1.0, 0.0]))]);
        assert_eq!(Dataset::open(&path, Split::Test).unwrap().labels(), Some(&[1, 0][..]));
        let path = write_npz(&folder, &[("x", x), ("y", floats(&[2], &[1.5, 0.0]))]);
        assert!(Dataset::open(&path, Split::Test).unwrap_err().to_string().contains("1.5"));
    }

    #[test]
    fn labels_outside_the_classes_are_refused() {
        let folder = folder();
        let x = floats(&[2, 1, 1, 1], &[0.5, -0.5]);
        let path = write_npz(&folder, &[("x", x.clone()), ("y", Tensor::from_i64(vec![2], &[0, -1]).unwrap())]);
        let error = Dataset::open(&path, Split::Test).unwrap_err();
        assert!(matches!(error, DataError::LabelOutOfRange { label: -1, index: 1, .. }));
        std::fs::write(folder.path().join("dataset.toml"), "labels = ['a', 'b']").unwrap();
        let path = write_npz(&folder, &[("x", x), ("y", Tensor::from_i64(vec![2], &[2, 0]).unwrap())]);
        let error = Dataset::open(&path, Split::Test).unwrap_err();
        assert!(error.to_string().starts_with("label 2 of example 0 is outside the 2 classes: "), "{error}");
    }

    #[test]
    fn counts_that_disagree_are_refused() {
        let folder = folder();
        let y = Tensor::from_i64(vec![3], &[0, 1, 2]).unwrap();
        let path = write_npz(&folder, &[("x", floats(&[2, 1, 1, 1], &[0.5, -0.5])), ("y", y)]);
        let error = Dataset::open(&path, Split::Test).unwrap_err();
        assert!(matches!(error, DataError::CountMismatch { examples: 2, labels: 3, .. }));
    }

    #[test]
    fn inputs_that_are_not_finite_are_refused() {
        let folder = folder();
        let x = floats(&[3, 1, 1, 2], &[0.0, 1.0, f32::NAN, f32::INFINITY, 2.0, f32::NAN]);
        let path = write_npz(&folder, &[("x", x)]);
        let error = Dataset::open(&path, Split::Test).unwrap_err();
        assert!(matches!(error, DataError::NotFinite { count: 3, index: 1, .. }), "{error}");
    }

    #[test]
    fn missing_labels_are_an_answer_until_they_are_needed() {
        let folder = folder();
        let path = write_npz(&folder, &[("x", floats(&[1, 1, 1, 1], &[0.0]))]);
        let data = Dataset::open(&path, Split::Test).unwrap();
        assert_eq!(data.labels(), None);
        assert!(data.require_labels().unwrap_err().to_string().starts_with("the data has no labels: "));
    }

    #[test]
    fn empty_wrong_and_absent_input_gets_a_sentence() {
        let folder = folder();
        let path = write_npz(&folder, &[("x", floats(&[0, 1, 1, 1], &[]))]);
        assert!(Dataset::open(&path, Split::Test).unwrap_err().to_string().starts_with("0 examples of shape"));
        let path = write_npz(&folder, &[("y", Tensor::from_i64(vec![1], &[0]).unwrap())]);
        assert!(matches!(Dataset::open(&path, Split::Test), Err(DataError::MissingEntry { .. })));
        std::fs::write(&path, "hello").unwrap();
        assert!(matches!(Dataset::open(&path, Split::Test), Err(DataError::UnknownFormat { .. })));
        assert!(matches!(Dataset::open(&folder.path().join("no"), Split::Test), Err(DataError::Io { .. })));
    }

    #[test]
    fn a_layout_that_does_not_fit_names_the_toml() {
        let folder = folder();
        let path = write_npz(&folder, &[("x", floats(&[2, 3], &[0.0; 6]))]);
        std::fs::write(folder.path().join("dataset.toml"), "layout = 'NHWC'").unwrap();
        let error = Dataset::open(&path, Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("dataset.toml"), "{error}");
    }
}
