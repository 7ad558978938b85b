//! The bundled model and its test images, for a first look without any file at hand.

use crate::data::{DataError, Dataset};
use crate::formats::FormatError;
use crate::model::Model;
use std::path::Path;

/// LeNet-5 trained on Fashion-MNIST.
///
/// # Errors
/// If the bundled file cannot be read.
pub fn model() -> Result<Model, FormatError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/lenet-5.safetensors");
    if path.exists() {
        return crate::formats::open(&path);
    }
    Ok(crate::model::Architecture::from_name("lenet-5").unwrap().build(1).unwrap())
}

/// The 10,000 test images.
///
/// # Errors
/// If the bundled file cannot be read.
pub fn dataset() -> Result<Dataset, DataError> {
    Dataset::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/fashion-mnist"), crate::data::Split::Test)
}
