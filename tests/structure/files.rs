//! Whole models from files.

use super::{distance, inputs, parameters, prove, run, share};
use secateur::eval::first_divergence;
use secateur::formats;
use secateur::model::Tensor;
use secateur::structure::{CHANNELS_KEY, ShrinkOptions, Structure, shrink};
use std::path::{Path, PathBuf};

#[test]
fn the_sample_models_shrink_at_every_ratio() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    for name in ["mlp-300-100", "lenet-5", "resnet-8"] {
        let model = formats::open(&folder.join(format!("{name}.safetensors"))).unwrap();
        let structure = Structure::of(&model).unwrap();
        let inputs = inputs(&model, 3);
        let mut last = parameters(&model);
        for tenth in 1..=9 {
            let removal = share(&structure, f64::from(tenth) / 10.0, 5);
            let shrunk = prove(&model, &structure, &removal, &inputs);
            let left = parameters(&shrunk.model);
            assert!(left < last, "{name} at {tenth}: {left} of {last}");
            last = left;
        }
    }
}

#[test]
fn a_layer_gone_wrong_is_named_also_behind_one_whose_border_is_made_up_for_later() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/resnet-8.safetensors");
    let model = formats::open(&path).unwrap();
    let structure = Structure::of(&model).unwrap();
    let inputs = inputs(&model, 1);
    let removal = share(&structure, 0.5, 5);
    let masked = structure.masked(&model, &removal).unwrap();
    let shrunk = prove(&model, &structure, &removal, &inputs).model;
    assert!(shrunk.tensors.keys().any(|name| name.ends_with(".border")), "there is something to make up for");
    for (tensor, node) in [
        ("stage1.depthwise.weight", "stage1.depthwise"),
        ("stage2.conv2.weight", "stage2.conv2"),
        ("stage2.shortcut.norm.running_mean", "stage2.shortcut"),
        ("fc.bias", "fc"),
    ] {
        let mut wrong = shrunk.clone();
        let tensor = wrong.tensors.get_mut(tensor).unwrap();
        let values = tensor.to_f32().iter().map(|v| v + 0.3).collect();
        *tensor = Tensor::from_f32(tensor.shape().to_vec(), values).unwrap();
        let found = first_divergence(&masked, &wrong, &structure, &removal, &inputs, 1e-4).unwrap().unwrap();
        // The layer, or the normalisation that belongs to it.
        assert!(found.node == node || found.node == format!("{node}.norm"), "{found:?}");
    }
}

/// ONNX models in the folder that `SECATEUR_MODELS` names.
fn onnx_models() -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("SECATEUR_MODELS") else { return Vec::new() };
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        found.extend(files.filter(|p| p.extension().is_some_and(|e| e == "onnx")));
    }
    found.sort();
    found
}

#[test]
fn onnx_models_shrink_at_every_ratio() {
    for path in onnx_models() {
        let model = formats::open(&path).unwrap();
        let structure = Structure::of(&model).unwrap();
        let inputs = inputs(&model, 64);
        let inputs: Vec<_> = inputs.into_iter().map(|x| first_example(&x)).collect();
        for tenth in [1, 3, 5, 7, 9] {
            let removal = share(&structure, f64::from(tenth) / 10.0, 7);
            assert!(!removal.is_empty());
            prove(&model, &structure, &removal, &inputs);
        }
    }
}

#[test]
fn a_shrunk_model_saves_in_kind_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/architectures");
    let mut paths = vec![samples.join("resnet-8.safetensors"), fixtures.join("mobilenet_v2.pth")];
    paths.extend(onnx_models());
    for path in paths {
        let model = formats::open(&path).unwrap();
        let structure = Structure::of(&model).unwrap();
        let shrunk = shrink(&model, &structure, &share(&structure, 0.5, 1), ShrinkOptions::default()).unwrap().model;
        let written = folder.path().join(path.file_name().unwrap());
        formats::save(&shrunk, &written).unwrap();
        let back = formats::open(&written).unwrap();
        assert_eq!(back.metadata.get(CHANNELS_KEY), shrunk.metadata.get(CHANNELS_KEY), "{}", path.display());
        let inputs: Vec<_> = inputs(&model, 64).iter().map(first_example).collect();
        for (a, b) in run(&shrunk, &inputs).iter().zip(&run(&back, &inputs)) {
            assert!(distance(a, b) < 1e-6, "{}", path.display());
        }
        assert_eq!(parameters(&back), parameters(&shrunk));
    }
}

/// One example is enough for large images.
fn first_example(x: &Tensor) -> Tensor {
    let mut shape = x.shape().to_vec();
    shape[0] = 1;
    let count = shape.iter().product();
    Tensor::from_f32(shape, x.to_f32()[..count].to_vec()).unwrap()
}
