//! The bundled sample: LeNet-5 trained on Fashion-MNIST, the 10,000 test images, and 4,096 to calibrate on.
//!
//! The files are looked for in the project that the program was built from, then in `sample_models` of
//! the current folder; an installed program that finds neither uses the copies that it carries.

use crate::data::{DataError, Dataset, Preprocess, Split};
use crate::formats::{self, FormatError};
use crate::model::Model;
use bytes::Bytes;
use std::path::{Path, PathBuf};

const MODEL: &str = "lenet-5.safetensors";
const DATA: &str = "fashion-mnist";

static EMBEDDED_MODEL: &[u8] = include_bytes!("../../sample_models/lenet-5.safetensors");
static EMBEDDED_IMAGES: &[u8] = include_bytes!("../../sample_models/fashion-mnist/t10k-images-idx3-ubyte.gz");
static EMBEDDED_LABELS: &[u8] = include_bytes!("../../sample_models/fashion-mnist/t10k-labels-idx1-ubyte.gz");
static EMBEDDED_CALIBRATION_IMAGES: &[u8] =
    include_bytes!("../../sample_models/fashion-mnist/calibration-images-idx3-ubyte.gz");
static EMBEDDED_CALIBRATION_LABELS: &[u8] =
    include_bytes!("../../sample_models/fashion-mnist/calibration-labels-idx1-ubyte.gz");
static EMBEDDED_TOML: &str = include_str!("../../sample_models/fashion-mnist/dataset.toml");

/// The folder with the sample files, if there is one on this machine.
pub fn folder() -> Option<PathBuf> {
    let places = [Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models"), PathBuf::from("sample_models")];
    places.into_iter().find(|place| place.join(MODEL).is_file() && place.join(DATA).is_dir())
}

/// Where the sample model lies; for the embedded one, its name.
pub fn model_path() -> PathBuf {
    folder().map_or_else(|| PathBuf::from(MODEL), |folder| folder.join(MODEL))
}

/// Where the sample data lies, unless it is the embedded copy.
pub fn data_path() -> Option<PathBuf> {
    folder().map(|folder| folder.join(DATA))
}

/// Opens the sample model.
///
/// # Errors
/// [`FormatError`] if a file was found but is damaged.
pub fn model() -> Result<Model, FormatError> {
    match folder() {
        Some(folder) => formats::open(&folder.join(MODEL)),
        None => embedded_model(),
    }
}

/// Opens the test images.
///
/// # Errors
/// [`DataError`] if files were found but are damaged.
pub fn dataset() -> Result<Dataset, DataError> {
    match folder() {
        Some(folder) => Dataset::open(&folder.join(DATA), Split::Test),
        None => embedded_dataset(Split::Test),
    }
}

/// Opens the calibration images.
///
/// # Errors
/// [`DataError`] if files were found but are damaged.
pub fn calibration() -> Result<Dataset, DataError> {
    match folder() {
        Some(folder) => Dataset::open_calibration(&folder.join(DATA)),
        None => embedded_dataset(Split::Calibration),
    }
}

fn embedded_model() -> Result<Model, FormatError> {
    formats::open_bytes(&Bytes::from_static(EMBEDDED_MODEL), Path::new(MODEL))
}

fn embedded_dataset(split: Split) -> Result<Dataset, DataError> {
    let path = Path::new(DATA);
    let preprocess = Preprocess::parse(EMBEDDED_TOML, &path.join("dataset.toml"))?;
    let (images, labels) = match split {
        Split::Calibration => (EMBEDDED_CALIBRATION_IMAGES, EMBEDDED_CALIBRATION_LABELS),
        _ => (EMBEDDED_IMAGES, EMBEDDED_LABELS),
    };
    Dataset::from_idx_bytes(images, labels, preprocess, split, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_sample_is_the_one_on_disk() {
        let folder = folder().expect("tests run inside the project");
        assert_eq!(folder, Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models"));
        assert_eq!(embedded_model().unwrap().tensors, model().unwrap().tensors);
        assert_eq!(embedded_dataset(Split::Test).unwrap().fingerprint(), dataset().unwrap().fingerprint());
        let embedded = embedded_dataset(Split::Calibration).unwrap();
        assert_eq!(embedded.fingerprint(), calibration().unwrap().fingerprint());
    }
}
