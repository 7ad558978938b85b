//! The bundled Fashion-MNIST files.

use secateur::data::{Dataset, Split};
use std::path::{Path, PathBuf};

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/fashion-mnist")
}

#[test]
fn the_test_images_are_all_there_and_balanced() {
    let data = Dataset::open(&bundled(), Split::Test).unwrap();
    assert_eq!((data.len(), data.example_shape(), data.class_count()), (10_000, &[1, 28, 28][..], 10));
    for class in 0..10 {
        assert_eq!(data.labels().unwrap().iter().filter(|&&l| l == class).count(), 1000);
    }
    assert_eq!(data.class_names()[9], "Ankle boot");
}

#[test]
fn the_calibration_images_are_balanced_and_are_not_test_images() {
    let calibration = Dataset::open(&bundled(), Split::Calibration).unwrap();
    assert_eq!(calibration.len(), 4096);
    for class in 0..10 {
        let count = calibration.labels().unwrap().iter().filter(|&&l| l == class).count();
        assert!((409..=410).contains(&count), "{count} of class {class}");
    }
    let test = Dataset::open(&bundled(), Split::Test).unwrap();
    let images: std::collections::HashSet<&[u8]> = (0..test.len()).filter_map(|i| test.stored_bytes(i)).collect();
    let shared = (0..calibration.len()).filter(|&i| images.contains(calibration.stored_bytes(i).unwrap())).count();
    assert_eq!(shared, 0);
}

/// Writes the calibration files anew. `SECATEUR_FASHION_MNIST` is the folder with the training images,
/// by default where Debian's `dataset-fashion-mnist` puts them.
#[test]
#[ignore = "needs the 60,000 training images, and rewrites the bundled files"]
fn make_the_calibration_files() {
    let source = std::env::var_os("SECATEUR_FASHION_MNIST")
        .map_or_else(|| PathBuf::from("/usr/share/datasets/fashion-mnist"), PathBuf::from);
    let train = Dataset::open(&source, Split::Train).unwrap();
    let (_, calibration) = train.split_off(4096, 1);
    calibration.write_idx(&bundled(), "calibration").unwrap();
}
