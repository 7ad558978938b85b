//! The kernels held against PyTorch's figures, forward and backward.

use candle_core::{DType, Tensor as CandleTensor};
use indexmap::IndexMap;
use secateur::exec::{BatchNormMode, Program, TrainProgram};
use secateur::model::{Attribute, GraphBuilder, Model, Tensor, known_shape};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

#[derive(Deserialize)]
struct Case {
    id: usize,
    kind: String,
    #[serde(flatten)]
    settings: HashMap<String, serde_json::Value>,
}

impl Case {
    fn int(&self, name: &str) -> i64 {
        self.settings[name].as_i64().unwrap()
    }

    fn float(&self, name: &str) -> f32 {
        self.settings[name].as_f64().unwrap() as f32
    }
}

/// Named arrays of one case.
type Arrays = IndexMap<String, CandleTensor>;

fn fixtures() -> (Vec<Case>, HashMap<String, CandleTensor>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let cases = serde_json::from_slice(&std::fs::read(folder.join("torch_kernels.json")).unwrap()).unwrap();
    let arrays = CandleTensor::read_npz(folder.join("torch_kernels.npz")).unwrap();
    (cases, arrays.into_iter().collect())
}

fn arrays_of(case: &Case, all: &HashMap<String, CandleTensor>) -> Arrays {
    let names = case.settings["tensors"].as_array().unwrap();
    let find = |name: &str| all[&format!("{}/{name}", case.id)].to_dtype(DType::F32).unwrap();
    names.iter().map(|n| (n.as_str().unwrap().to_owned(), find(n.as_str().unwrap()))).collect()
}

fn model_tensor(tensor: &CandleTensor) -> Tensor {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    Tensor::from_f32(tensor.dims().to_vec(), values).unwrap()
}

/// One node applied to the graph input `x`; `parameters` become initializers of these names.
fn single_node(op: &str, arrays: &Arrays, parameters: &[&str], attributes: &[(&str, Attribute)]) -> Model {
    let mut b = GraphBuilder::new(op);
    let mut inputs = vec![b.input("x", known_shape(arrays["x"].dims()))];
    for name in parameters.iter().filter(|name| arrays.contains_key(**name)) {
        inputs.push(b.tensor(name, model_tensor(&arrays[*name])));
    }
    let y = b.node("node", op, &inputs, attributes);
    b.output(y);
    b.finish().unwrap()
}

#[track_caller]
fn assert_close(case: &Case, what: &str, got: &CandleTensor, expected: &CandleTensor) {
    assert_eq!(got.dims(), expected.dims(), "case {} ({}) {what}", case.id, case.kind);
    let values = |t: &CandleTensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let scale = values(expected).iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (g, e) in values(got).iter().zip(values(expected)) {
        assert!((g - e).abs() <= 2e-5 * scale, "case {} ({}) {what}: {g} against {e}", case.id, case.kind);
    }
}

/// Runs evaluation and training of a one-node model against the case's y, gx and parameter gradients.
fn check(case: &Case, arrays: &Arrays, model: &Model, gradients: &[(&str, &str)]) {
    let evaluated = Program::compile(model).unwrap().bind(model).unwrap().run_candle(&[arrays["x"].clone()]).unwrap();
    if case.kind != "batch_norm_train" {
        assert_close(case, "y in evaluation", &evaluated[0], &arrays["y"]);
    }
    let mut training = TrainProgram::new(model).unwrap();
    let x = candle_core::Var::from_tensor(&arrays["x"]).unwrap();
    let y = training.forward(&[x.as_tensor().clone()], BatchNormMode::Batch).unwrap();
    assert_close(case, "y", &y[0], &arrays["y"]);
    let loss = y[0].mul(&arrays["gy"]).unwrap().sum_all().unwrap();
    let found = training.backward(&loss).unwrap();
    assert_close(case, "gx", found.input(0).unwrap(), &arrays["gx"]);
    for (parameter, expected) in gradients.iter().filter(|(_, expected)| arrays.contains_key(*expected)) {
        let gradient = found.get(training.parameter(parameter).unwrap()).unwrap();
        assert_close(case, expected, gradient, &arrays[*expected]);
    }
    if case.kind == "batch_norm_train" {
        let moved = training.write_back(model).unwrap();
        for (name, after) in [("mean_before", "mean_after"), ("var_before", "var_after")] {
            let values = moved.tensors[name].to_f32().into_owned();
            let moved = CandleTensor::from_vec(values, arrays[after].dims(), &candle_core::Device::Cpu).unwrap();
            assert_close(case, after, &moved, &arrays[after]);
        }
    }
}

fn check_all(
    kinds: &[&str],
    expected_count: usize,
    model: impl Fn(&Case, &Arrays) -> Model,
    gradients: &[(&str, &str)],
) {
    let (cases, all) = fixtures();
    let cases: Vec<_> = cases.iter().filter(|case| kinds.contains(&case.kind.as_str())).collect();
    assert_eq!(cases.len(), expected_count);
    for case in cases {
        let arrays = arrays_of(case, &all);
        check(case, &arrays, &model(case, &arrays), gradients);
    }
}

fn repeated(value: i64, count: usize) -> Attribute {
    Attribute::Ints(vec![value; count])
}

#[test]
fn convolutions_and_their_gradients_equal_pytorch() {
    let model = |case: &Case, arrays: &Arrays| {
        let axes = arrays["x"].rank() - 2;
        let attributes = [
            ("strides", repeated(case.int("stride"), axes)),
            ("pads", repeated(case.int("padding"), 2 * axes)),
            ("dilations", repeated(case.int("dilation"), axes)),
            ("group", Attribute::Int(case.int("groups"))),
        ];
        single_node("Conv", arrays, &["w", "b"], &attributes)
    };
    check_all(&["conv1d", "conv2d"], 12, model, &[("w", "gw"), ("b", "gb")]);
}

#[test]
fn pools_and_their_gradients_equal_pytorch() {
    let model = |case: &Case, arrays: &Arrays| {
        let op = if case.kind == "max_pool2d" { "MaxPool" } else { "AveragePool" };
        let attributes = [
            ("kernel_shape", repeated(case.int("kernel"), 2)),
            ("strides", repeated(case.int("stride"), 2)),
            ("pads", repeated(case.int("padding"), 4)),
            ("ceil_mode", Attribute::Int(i64::from(case.settings["ceil_mode"].as_bool().unwrap()))),
            ("count_include_pad", Attribute::Int(i64::from(case.kind == "avg_pool2d_include_pad"))),
        ];
        single_node(op, arrays, &[], &attributes)
    };
    check_all(&["max_pool2d", "avg_pool2d_include_pad", "avg_pool2d_exclude_pad"], 12, model, &[]);
}

#[test]
fn batch_norm_in_training_equals_pytorch_running_statistics_included() {
    let model = |case: &Case, arrays: &Arrays| {
        let attributes = [
            ("epsilon", Attribute::Float(case.float("eps"))),
            ("momentum", Attribute::Float(1.0 - case.float("momentum"))),
        ];
        single_node("BatchNormalization", arrays, &["gamma", "beta", "mean_before", "var_before"], &attributes)
    };
    check_all(&["batch_norm_train"], 2, model, &[("gamma", "ggamma"), ("beta", "gbeta")]);
}

#[test]
fn transposed_convolutions_and_their_gradients_equal_pytorch() {
    let model = |case: &Case, arrays: &Arrays| {
        let attributes = [
            ("strides", repeated(case.int("stride"), 2)),
            ("pads", repeated(case.int("padding"), 4)),
            ("output_padding", repeated(case.int("output_padding"), 2)),
            ("group", Attribute::Int(case.int("groups"))),
        ];
        single_node("ConvTranspose", arrays, &["w", "b"], &attributes)
    };
    check_all(&["conv_transpose2d"], 3, model, &[("w", "gw"), ("b", "gb")]);
}

#[test]
fn layer_normalisation_and_its_gradients_equal_pytorch() {
    let model = |case: &Case, arrays: &Arrays| {
        let axis = -(arrays["gamma"].rank() as i64);
        let attributes = [("epsilon", Attribute::Float(case.float("eps"))), ("axis", Attribute::Int(axis))];
        single_node("LayerNormalization", arrays, &["gamma", "beta"], &attributes)
    };
    check_all(&["layer_norm"], 1, model, &[("gamma", "ggamma"), ("beta", "gbeta")]);
}
