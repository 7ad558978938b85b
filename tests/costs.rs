//! What models cost: against published figures, and as the program reports it.

use indexmap::IndexMap;
use secateur::formats;
use secateur::model::{Architecture, Model, Tensor, activation_memory, model_energy, model_macs, recognize};
use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A recognised network with weights of zero, which nothing here looks at.
fn recognised(shapes: &[(String, Vec<usize>)]) -> Model {
    let zeros = |shape: &Vec<usize>| Tensor::deferred(shape.clone(), 1, |_, values| values.fill(0.0)).unwrap();
    let tensors: IndexMap<String, Tensor> = shapes.iter().map(|(name, shape)| (name.clone(), zeros(shape))).collect();
    let graph = recognize(&tensors, None).unwrap().graph;
    Model { tensors, graph: Some(graph), ..Model::default() }
}

fn with_bias(name: &str, shape: &[usize]) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), shape.to_vec()), (format!("{name}.bias"), shape[..1].to_vec())]
}

/// VGG-16 (Simonyan and Zisserman 2015) as torchvision names it.
fn vgg16() -> Model {
    let mut shapes = Vec::new();
    let (mut place, mut inputs) = (0, 3);
    for (width, count) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..count {
            shapes.extend(with_bias(&format!("features.{place}"), &[width, inputs, 3, 3]));
            (place, inputs) = (place + 2, width);
        }
        place += 1;
    }
    for (name, shape) in [("0", [4096, 25_088]), ("3", [4096, 4096]), ("6", [1000, 4096])] {
        shapes.extend(with_bias(&format!("classifier.{name}"), &shape));
    }
    recognised(&shapes)
}

/// ViT-B/16 (Dosovitskiy et al. 2021) as timm names it.
fn vit_base() -> Model {
    let mut shapes = vec![("cls_token".to_owned(), vec![1, 1, 768]), ("pos_embed".to_owned(), vec![1, 197, 768])];
    shapes.extend(with_bias("patch_embed.proj", &[768, 3, 16, 16]));
    for layer in 0..12 {
        let at = |part: &str| format!("blocks.{layer}.{part}");
        let parts: [(&str, &[usize]); 6] = [
            ("norm1", &[768]),
            ("attn.qkv", &[2304, 768]),
            ("attn.proj", &[768, 768]),
            ("norm2", &[768]),
            ("mlp.fc1", &[3072, 768]),
            ("mlp.fc2", &[768, 3072]),
        ];
        shapes.extend(parts.iter().flat_map(|(part, shape)| with_bias(&at(part), shape)));
    }
    shapes.extend(with_bias("norm", &[768]));
    shapes.extend(with_bias("head", &[1000, 768]));
    recognised(&shapes)
}

#[test]
fn multiply_accumulates_are_those_that_torchvision_lists() {
    // In billions, to the digits given there; attention's products of two activations are part of the last.
    for (model, parameters, macs) in [(vgg16(), 138_357_544, 15.47), (vit_base(), 86_567_656, 17.56)] {
        assert_eq!(model.parameter_count(), parameters);
        let got = model_macs(&model).unwrap() as f64 / 1e9;
        assert!((got - macs).abs() < 0.005, "{got} and {macs}");
    }
}

#[test]
fn the_largest_activations_of_vgg_are_its_first_ones() {
    let model = vgg16();
    let memory = activation_memory(&model).unwrap();
    // 64 maps of 224 x 224 in f32, before and after a ReLU.
    assert_eq!(memory.peak_bytes, 2 * 64 * 224 * 224 * 4);
    let energy = model_energy(&model).unwrap();
    assert!((energy.weights_pj / (138_357_544.0 * 640.0) - 1.0).abs() < 1e-9);
    assert!((energy.activations_pj / (memory.sum_bytes as f64 / 2.0 * 640.0) - 1.0).abs() < 1e-9);
}

fn json(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_secateur")).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_self_check_holds() {
    let report = json(&["verify"]);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    for check in checks {
        assert_eq!(check["ok"], true, "{check}");
        let number = |key: &str| check[key].as_f64().unwrap();
        let apart = number("got") - number("expected");
        let a_minimum = check["name"].as_str().unwrap().ends_with("at least");
        assert!(if a_minimum { apart >= 0.0 } else { apart.abs() <= number("tolerance") }, "{check}");
        assert!(!check["source"].as_str().unwrap().is_empty(), "{check}");
    }
    assert_eq!(report["failed"], 0);
    for name in ["weights of lenet-5", "parameters of ResNet-18", "masked = shrunk: GRU"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let lenet = checks.iter().find(|check| check["name"] == "weights of lenet-5").unwrap();
    assert_eq!((&lenet["expected"], &lenet["got"]), (&Value::from(430_500), &Value::from(430_500)));
}

fn save(model: &Model, path: &Path) -> String {
    formats::save(model, path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn bench_puts_the_steps_of_both_models_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let model = Architecture::ResNet8.build(2).unwrap();
    let structure = Structure::of(&model).unwrap();
    let removal = Removal::of(structure.lowest(0, &[0.0; 16], 8));
    let shrunk = shrink(&model, &structure, &removal, ShrinkOptions::default()).unwrap().model;
    let masked = structure.masked(&model, &removal).unwrap();
    let paths = [("whole", &model), ("shrunk", &shrunk), ("masked", &masked)]
        .map(|(name, model)| save(model, &folder.path().join(format!("{name}.safetensors"))));
    let [whole, shrunk, masked] = paths.each_ref().map(String::as_str);

    let report = json(&["bench", whole, shrunk, "--steps", "--runs", "5"]);
    assert!(report["slower"].is_boolean() && report["note"].is_null(), "{report}");
    let steps = report["steps"].as_array().unwrap();
    let stem = &steps[0];
    assert_eq!((&stem["nodes"][0], &stem["op"]), (&Value::from("stem"), &Value::from("Conv")));
    let number = |key: &str| stem[key].as_f64().unwrap();
    assert!((number("ratio") / (number("pruned_median_ms") / number("median_ms")) - 1.0).abs() < 1e-9);
    assert!(stem["slower"].is_boolean() && number("pruned_iqr_ms") >= 0.0 && number("iqr_ms") >= 0.0);
    // Every node of the first model has its place, and what the second added is beside what it belongs to.
    assert!(steps.iter().all(|step| step["median_ms"].is_number()), "{steps:?}");

    let report = json(&["bench", whole, masked, "--runs", "5"]);
    assert_eq!(report["note"], "zeros only: same speed on a dense runtime");
    let report = json(&["bench", whole, whole, "--runs", "5"]);
    assert_eq!(report["note"], "same shapes: same speed on a dense runtime");
    let alone = json(&["bench", whole, "--runs", "5"]);
    assert!(alone["slower"].is_null() && alone["note"].is_null());
}
