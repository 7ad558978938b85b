//! Arrays of an `.npz`: `x` for the one input, others for the inputs of their names.

use super::column::{Column, ONLY, Values};
use super::npz::Npz;
use super::preprocess::Preprocess;
use super::{DataError, Dataset, Examples, Split, open};
use crate::model::{DType, Tensor};
use std::path::Path;

/// Names that labels go by.
const LABELS: [&str; 2] = ["y", "labels"];

/// Before the names of recorded inputs and outputs.
const INPUTS: &str = "in/";
const OUTPUTS: &str = "out/";

/// Opens the arrays of an archive. Beside `x` those that do not have as many examples are left out, as they
/// may be anything; without it all of them must agree. Text and records are left out. In a record of inputs
/// and outputs `in/NAME` is NAME, and outputs are left out.
pub(super) fn open(path: &Path, (preprocess, toml): (Preprocess, &Path), split: Split) -> Result<Dataset, DataError> {
    let mut npz = Npz::open(path)?;
    let names = npz.names();
    let (mut x, mut labels, mut others) = (None, None, Vec::new());
    let recorded = names.iter().any(|name| name.starts_with(INPUTS));
    for stored in names.iter().filter(|name| !(recorded && name.starts_with(OUTPUTS))) {
        let name = stored.strip_prefix(INPUTS).unwrap_or(stored).to_owned();
        let array = if name == ONLY { Some(npz.read(stored)?) } else { npz.read_numbers(stored)? };
        let Some(array) = array else { continue };
        if name == ONLY {
            x = Some(array);
        } else if labels.is_none() && LABELS.contains(&name.as_str()) && is_list(&array) {
            labels = Some(array);
        } else if name == LABELS[0] {
            if labels.is_none()
                && let Some(classes) = hot_ones(&array)
            {
                labels = Some(classes);
                continue;
            }
            let problem = format!("`y` must have one axis or be one-hot, but its shape is {:?}", array.shape());
            return Err(DataError::malformed(path, problem));
        } else {
            others.push((name, array));
        }
    }
    let labels = labels.map(|y| integers(&y, path)).transpose()?.map(|labels| (labels, path));
    let mut columns = Vec::new();
    let scaled = x.as_ref().filter(|x| matches!(x.dtype(), DType::U8 | DType::F32 | DType::F16 | DType::F64));
    if let Some(x) = scaled {
        let examples = match x.dtype() {
            DType::U8 => Examples::U8(x.bytes().to_vec()),
            _ => Examples::F32(x.to_f32().into_owned()),
        };
        let count = x.shape().first().copied();
        others.retain(|(_, array)| array.shape().first().copied() == count);
        if others.is_empty() {
            return open::assemble(examples, x.shape(), labels, (preprocess, toml), split, path);
        }
        columns.push(open::scaled_column(examples, x.shape(), (&preprocess, toml), path)?);
    } else {
        if let Some(key) = preprocess.first_of_values() {
            let problem = format!("`{key}` is for `x`; the arrays of this file are fed as they are");
            return Err(DataError::Preprocess { problem, path: toml.to_owned() });
        }
        others.splice(0..0, x.map(|x| (ONLY.to_owned(), x)));
    }
    for (name, array) in others {
        columns.push(column(name, array, path)?);
    }
    let Some(first) = columns.first() else {
        return Err(npz.missing(ONLY));
    };
    if let Some(other) = columns.iter().find(|c| c.count() != first.count()) {
        let (a, b) = (first.count(), other.count());
        let problem = format!("`{}` has {a} examples but `{}` has {b}", first.name, other.name);
        return Err(DataError::malformed(path, problem));
    }
    open::of_columns(columns, labels, preprocess, split, path)
}

/// The class of each row of an array that is 1 there and 0 elsewhere.
fn hot_ones(array: &Tensor) -> Option<Tensor> {
    let &[rows, classes] = array.shape() else { return None };
    let values = array.to_f32();
    let class = |row: &[f32]| {
        let hot = row.iter().position(|&v| v == 1.0)?;
        row.iter().enumerate().all(|(i, &v)| i == hot || v == 0.0).then_some(hot as i64)
    };
    let found: Vec<i64> = values.chunks(classes.max(1)).map(class).collect::<Option<_>>()?;
    Tensor::from_i64(vec![rows], &found).ok()
}

fn is_list(array: &Tensor) -> bool {
    matches!(array.shape(), [_] | [_, 1])
}

fn column(name: String, array: Tensor, path: &Path) -> Result<Column, DataError> {
    let Some((&count, shape)) = array.shape().split_first().filter(|_| !array.is_empty()) else {
        let problem = format!("`{name}` of shape {:?} holds no examples", array.shape());
        return Err(DataError::malformed(path, problem));
    };
    if u32::try_from(count).is_err() {
        return Err(DataError::malformed(path, format!("`{name}` has {count} examples, which are too many")));
    }
    if array.dtype().is_float() {
        let values = array.to_f32();
        // Infinities may stand in a mask that is added to scores; what is no number is no input.
        if let Some(at) = values.iter().position(|v| v.is_nan()) {
            let count = values.iter().filter(|v| v.is_nan()).count();
            return Err(DataError::NotFinite {
                count,
                index: at / (values.len() / array.shape()[0]),
                path: path.into(),
            });
        }
    }
    let (shape, len) = (shape.to_vec(), shape.iter().product());
    Ok(Column { name, shape, len, values: Values::Array(array) })
}

fn integers(y: &Tensor, path: &Path) -> Result<Vec<i64>, DataError> {
    if y.dtype().is_float() {
        let values = y.to_f32();
        if let Some(v) = values.iter().find(|v| v.fract() != 0.0 || !v.is_finite()) {
            return Err(DataError::malformed(path, format!("`y` holds {v}, which is not a class number")));
        }
    }
    Ok(y.to_i64())
}

#[cfg(test)]
mod tests {
    use super::super::npz;
    use super::*;

    fn ints(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::from_i64(shape.to_vec(), values).unwrap()
    }

    fn opened(arrays: &[(&str, Tensor)], toml: Option<&str>) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.npz");
        npz::write(&path, arrays).unwrap();
        if let Some(text) = toml {
            std::fs::write(folder.path().join("dataset.toml"), text).unwrap();
        }
        Dataset::open(&path, Split::Test)
    }

    #[test]
    fn arrays_keep_their_names_types_and_labels() {
        let mask = Tensor::new(DType::Bool, vec![2, 3], bytes::Bytes::from_static(&[1, 1, 0, 1, 0, 0])).unwrap();
        let ids = ints(&[2, 3], &[5, 6, 0, 7, 0, 0]);
        let data = opened(&[("input_ids", ids), ("mask", mask), ("labels", ints(&[2], &[1, 0]))], None).unwrap();
        let arrays: Vec<_> = data.arrays().map(|(name, dtype, shape)| (name, dtype, shape.to_vec())).collect();
        assert_eq!(arrays, [("input_ids", DType::I64, vec![3]), ("mask", DType::Bool, vec![3])]);
        assert_eq!((data.len(), data.labels()), (2, Some(&[1, 0][..])));
        assert_eq!(data.subset(&[1]).stored("input_ids", 0).unwrap().to_i64(), [7, 0, 0]);
    }

    #[test]
    fn token_labels_are_no_class_labels() {
        let data = opened(&[("ids", ints(&[1, 2], &[1, 2])), ("labels", ints(&[1, 2], &[0, -100]))], None).unwrap();
        assert_eq!((data.labels(), data.arrays().count()), (None, 2));
    }

    #[test]
    fn beside_x_only_arrays_of_as_many_examples_count() {
        let x = Tensor::from_f32(vec![2, 1], vec![0.5, 0.25]).unwrap();
        let arrays = [("x", x.clone()), ("names", ints(&[5], &[0; 5])), ("lengths", ints(&[2], &[1, 1]))];
        let data = opened(&arrays, Some("scale = 2.0")).unwrap();
        assert_eq!(data.arrays().map(|a| a.0).collect::<Vec<_>>(), ["x", "lengths"]);
        assert_eq!(data.batch(&[0]).to_f32()[0], 1.0, "x is preprocessed");
        assert_eq!(opened(&[("x", x), ("scalar", ints(&[], &[3]))], None).unwrap().arrays().count(), 1);
    }

    #[test]
    fn recorded_inputs_go_by_their_own_names() {
        let data = opened(&[("in/ids", ints(&[2, 1], &[3, 4])), ("out/logits", ints(&[3], &[0; 3]))], None).unwrap();
        assert_eq!(data.arrays().map(|a| a.0).collect::<Vec<_>>(), ["ids"]);
    }

    #[test]
    fn one_hot_labels_are_classes_and_other_tables_are_refused() {
        let x = Tensor::from_f32(vec![2, 1], vec![0.5, 0.25]).unwrap();
        let hot = Tensor::from_f32(vec![2, 3], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0]).unwrap();
        assert_eq!(opened(&[("x", x.clone()), ("y", hot)], None).unwrap().labels(), Some(&[2, 0][..]));
        let soft = Tensor::from_f32(vec![2, 2], vec![0.5, 0.5, 1.0, 0.0]).unwrap();
        let text = opened(&[("x", x), ("y", soft)], None).unwrap_err().to_string();
        assert!(text.starts_with("`y` must have one axis or be one-hot"), "{text}");
    }

    #[test]
    fn contradictions_are_named() {
        let refused = |arrays: &[(&str, Tensor)], toml| opened(arrays, toml).unwrap_err().to_string();
        let text = refused(&[("a", ints(&[2], &[0; 2])), ("b", ints(&[3], &[0; 3]))], None);
        assert!(text.starts_with("`a` has 2 examples but `b` has 3: "), "{text}");
        let text = refused(&[("a", ints(&[], &[1]))], None);
        assert!(text.starts_with("`a` of shape [] holds no examples: "), "{text}");
        let text = refused(&[("a", ints(&[1], &[1]))], Some("mean = [0.5]"));
        assert!(text.starts_with("`mean` is for `x`; ") && text.ends_with("dataset.toml"), "{text}");
        let nan = Tensor::from_f32(vec![2, 2], vec![0.0, f32::INFINITY, f32::NAN, 1.0]).unwrap();
        assert!(matches!(opened(&[("a", nan)], None), Err(DataError::NotFinite { count: 1, index: 1, .. })));
    }
}
