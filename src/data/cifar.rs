//! CIFAR-10 and CIFAR-100 in their binary version.
//!
//! Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and the
//! description of the binary version beside the data.

use super::preprocess::Preprocess;
use super::{DataError, Dataset, Examples, Split, open};
use std::path::{Path, PathBuf};

/// Bytes of one 3x32x32 image, red plane first.
const IMAGE: usize = 3 * 32 * 32;

/// The files of one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// Label bytes before each image: 1, or 2 (coarse, then fine) for CIFAR-100.
    labels: usize,
    /// Text files with one class name per line.
    names: Option<PathBuf>,
}

/// Finds the files of a split by the names they are distributed under, by `names` of what the folder holds.
pub(super) fn in_folder(folder: &Path, split: Split, names: &[String]) -> Option<Files> {
    let has = |name: &str| names.iter().any(|n| n == name);
    let file = |name: &str| Some(folder.join(name)).filter(|_| has(name));
    let ten: Vec<PathBuf> = match split {
        Split::Train => (1..=5).filter_map(|i| file(&format!("data_batch_{i}.bin"))).collect(),
        Split::Test => file("test_batch.bin").into_iter().collect(),
        Split::Calibration => Vec::new(),
    };
    if !ten.is_empty() {
        return Some(Files { paths: ten, labels: 1, names: file("batches.meta.txt") });
    }
    let hundred = match split {
        Split::Train => file("train.bin"),
        Split::Test => file("test.bin"),
        Split::Calibration => None,
    }?;
    has("fine_label_names.txt").then(|| Files { paths: vec![hundred], labels: 2, names: file("fine_label_names.txt") })
}

/// Reads the records of all files.
pub(super) fn open(
    files: &Files,
    (mut preprocess, toml): (Preprocess, &Path),
    split: Split,
) -> Result<Dataset, DataError> {
    let record = files.labels + IMAGE;
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for path in &files.paths {
        let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let problem = format!("{} bytes are no whole number of records of {record} bytes", bytes.len());
            return Err(DataError::malformed(path, problem));
        }
        for row in bytes.chunks_exact(record) {
            labels.push(i64::from(row[files.labels - 1]));
            values.extend_from_slice(&row[files.labels..]);
        }
    }
    if let (true, Some(names)) = (preprocess.labels.is_empty(), &files.names) {
        let text = std::fs::read_to_string(names).map_err(DataError::io("read", names))?;
        preprocess.labels = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    }
    let shape = [labels.len(), 3, 32, 32];
    let path = files.paths[0].as_path();
    open::assemble(Examples::U8(values), &shape, Some((labels, path)), (preprocess, toml), split, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], value: u8) -> Vec<u8> {
        [labels, &[value; IMAGE]].concat()
    }

    #[test]
    fn both_splits_of_cifar_10_are_found_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("data_batch_1.bin", &record(&[1], 10));
        write("data_batch_2.bin", &[record(&[0], 20), record(&[1], 30)].concat());
        write("test_batch.bin", &record(&[0], 40));
        write("batches.meta.txt", b"airplane\nautomobile\n\n");
        let train = Dataset::open(folder.path(), Split::Train).unwrap();
        assert_eq!((train.example_shape(), train.labels()), (&[3, 32, 32][..], Some(&[1, 0, 1][..])));
        assert_eq!((train.class_names()[1].as_str(), train.stored_bytes(2).unwrap()[0]), ("automobile", 30));
        let test = Dataset::open(folder.path(), Split::Test).unwrap();
        assert_eq!((test.len(), test.labels()), (1, Some(&[0][..])));
    }

    #[test]
    fn the_fine_label_of_cifar_100_is_the_second_byte() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.bin"), record(&[1, 2], 0)).unwrap();
        std::fs::write(folder.path().join("fine_label_names.txt"), "apple\nbear\nbee\n").unwrap();
        assert_eq!(Dataset::open(folder.path(), Split::Test).unwrap().labels(), Some(&[2][..]));
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test_batch.bin"), [0; 100]).unwrap();
        let error = Dataset::open(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(error.starts_with("100 bytes are no whole number of records of 3073 bytes"), "{error}");
    }
}
