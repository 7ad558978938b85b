//! Quantised models beside NumPy and ONNX Runtime, through files, and on the bundled samples.

#![expect(clippy::print_stderr, reason = "what was measured or skipped is told")]

use super::support::spread;
use secateur::data::{Dataset, Examples, Preprocess, Split, npz};
use secateur::eval::{EvalOptions, evaluate};
use secateur::exec::Program;
use secateur::formats;
use secateur::model::{
    Architecture, Attribute, DType, Dim, GraphBuilder, Model, Sizes, Tensor, check_consistency, known_shape, layers_of,
};
use secateur::prune::{Cut, LayerPlan, Plan, Subject};
use secateur::quantise::{
    BiasType, Mode, QuantiseError, QuantiseOptions, Quantised, export, options_of, quantise, unobserved,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

fn sample_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models")
}

fn examples(split: Split) -> Dataset {
    Dataset::open(&sample_folder().join("fashion-mnist"), split).unwrap()
}

/// A sample without a share of the weights of each layer but the first.
fn pruned(architecture: Architecture, share: f64) -> Model {
    let model = formats::open(&sample_folder().join(format!("{architecture}.safetensors"))).unwrap();
    let layers = layers_of(&model);
    let subject = Subject::new(&model, &layers);
    let mut plan = Plan::dense();
    for layer in &layers[1..] {
        plan.set(&layer.name, LayerPlan { cut: Cut::Sparsity(share), ..LayerPlan::default() });
    }
    subject.masked(&subject.resolve(&plan).unwrap()).unwrap()
}

fn mode(mode: Mode) -> QuantiseOptions {
    QuantiseOptions { mode, ..QuantiseOptions::default() }
}

fn quantised(model: &Model, options: &QuantiseOptions, calibration: Option<&Dataset>) -> Quantised {
    let quantised = quantise(model, options, calibration, &mut unobserved).unwrap();
    assert_eq!(check_consistency(&quantised.model), Ok(()));
    quantised
}

fn outputs(model: &Model, inputs: &[Tensor]) -> Vec<f32> {
    Program::compile(model).unwrap().bind(model).unwrap().run(inputs).unwrap()[0].to_f32().into_owned()
}

fn vectors(values: Vec<f32>, width: usize) -> Dataset {
    let shape = [values.len() / width, width];
    Dataset::new(Examples::F32(values), &shape, None, Preprocess::default(), Split::Test, Path::new("memory")).unwrap()
}

/// x [n, inputs] times a weight [outputs, inputs].
fn product(inputs: usize, outputs: usize, weight: Vec<f32>) -> Model {
    let mut b = GraphBuilder::new("product");
    let x = b.input("x", vec![Dim::symbol("n"), inputs.into()]);
    let w = b.tensor("w", Tensor::from_f32(vec![outputs, inputs], weight).unwrap());
    let y = b.gemm("fc", x, w, None);
    b.output(y);
    b.finish().unwrap()
}

#[derive(serde::Deserialize)]
struct WeightReference {
    scales: Vec<f32>,
    codes: Vec<i64>,
}

#[derive(serde::Deserialize)]
struct RangeReference {
    scale: f32,
    zero_point: i64,
}

#[derive(serde::Deserialize)]
struct DynamicReference {
    x: Vec<f32>,
    scale: f32,
    stands_for: Vec<f32>,
}

/// What NumPy wrote: `fixtures/quantisation.py`.
#[derive(serde::Deserialize)]
struct Reference {
    weight: Vec<f32>,
    weights: BTreeMap<String, WeightReference>,
    activations: Vec<f32>,
    ranges: BTreeMap<String, RangeReference>,
    dynamic: DynamicReference,
}

#[test]
fn scales_and_codes_are_those_of_the_port_to_numpy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quantisation.json");
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = reference.weight.len() / 3000;
    let model = product(3000, rows, reference.weight.clone());
    for (rule, expected) in &reference.weights {
        let options = QuantiseOptions { weights: rule.parse().unwrap(), ..QuantiseOptions::default() };
        let found = quantised(&model, &options, None).model;
        assert_eq!(found.tensors["w.scale"].to_f32().as_ref(), expected.scales, "{rule}");
        assert_eq!(found.tensors["w"].to_i64(), expected.codes, "{rule}");
    }
    let data = vectors(reference.activations, 3000);
    for (rule, expected) in &reference.ranges {
        let options = QuantiseOptions { activations: rule.parse().unwrap(), ..mode(Mode::Static) };
        let found = quantised(&model, &options, Some(&data)).model;
        let (scale, zero) = (found.tensors["x.scale"].f32_at(0).unwrap(), found.tensors["x.zero_point"].to_i64()[0]);
        // NumPy looked at the values themselves, so that a search may end a hundredth beside.
        let near = if rule == "min-max" { 1e-6 } else { 0.02 };
        assert!((scale / expected.scale - 1.0).abs() <= near, "{rule}: {scale} {}", expected.scale);
        assert!((zero - expected.zero_point).abs() <= i64::from(rule != "min-max"), "{rule}: {zero}");
    }
    let DynamicReference { x, scale, stands_for } = reference.dynamic;
    let size = x.len();
    let identity = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let dynamic = quantised(&product(size, size, identity), &mode(Mode::Dynamic), None).model;
    let found = outputs(&dynamic, &[Tensor::from_f32(vec![1, size], x).unwrap()]);
    for (found, expected) in found.iter().zip(stands_for) {
        assert!((found - expected).abs() < 1e-3 * scale, "{found} {expected}");
    }
}

/// Products of every kind one after another, and the number of scales that each has.
fn every_kind() -> (Model, [(&'static str, usize); 7]) {
    let mut b = GraphBuilder::new("kinds");
    let tensor = |shape: &[usize], seed| {
        let mut values = spread(shape.iter().product(), seed);
        values.iter_mut().step_by(4).for_each(|v| *v = 0.0);
        Tensor::from_f32(shape.to_vec(), values).unwrap()
    };
    let x = b.input("x", vec![Dim::symbol("n"), 4.into(), 6.into(), 6.into()]);
    let w = b.tensor("plain", tensor(&[8, 4, 3, 3], 1));
    let h = b.conv("conv", x, w, None, (1, 1, 1));
    let w = b.tensor("depthwise", tensor(&[8, 1, 3, 3], 2));
    let h = b.conv("dw", h, w, None, (1, 1, 8));
    let w = b.tensor("transposed", tensor(&[8, 3, 2, 2], 3));
    let h = b.node("up", "ConvTranspose", &[h, w], &[("group", Attribute::Int(2))]);
    let w = b.tensor("single", tensor(&[6, 1, 2, 2], 4));
    let h = b.node("up2", "ConvTranspose", &[h, w], &[("group", Attribute::Int(6))]);
    let h = b.node("pool", "GlobalAveragePool", &[h], &[]);
    let h = b.node("flat", "Flatten", &[h], &[]);
    let w = b.tensor("turned", tensor(&[5, 6], 5));
    let bias = b.tensor("turned.bias", tensor(&[5], 8));
    let h = b.gemm("fc", h, w, Some(bias));
    let w = b.tensor("straight", tensor(&[5, 7], 6));
    let h = b.node("fc2", "Gemm", &[h, w], &[]);
    let w = b.tensor("right", tensor(&[7, 3], 7));
    let y = b.node("m", "MatMul", &[h, w], &[]);
    b.output(y);
    let counts = [
        ("plain", 8),
        ("depthwise", 8),
        ("transposed", 3),
        ("single", 6),
        ("turned", 5),
        ("straight", 7),
        ("right", 3),
    ];
    (b.finish().unwrap(), counts)
}

#[test]
fn every_kind_of_product_has_a_scale_for_each_output_and_computes_nearly_the_same() {
    let (model, counts) = every_kind();
    let x = Tensor::from_f32(vec![3, 4, 6, 6], spread(432, 9)).unwrap();
    let shape = [3, 4, 6, 6];
    let data =
        Dataset::new(Examples::F32(spread(432, 9)), &shape, None, Preprocess::default(), Split::Test, Path::new("m"));
    let data = data.unwrap();
    let expected = outputs(&model, std::slice::from_ref(&x));
    let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    for chosen in Mode::ALL {
        let found = quantised(&model, &mode(chosen), Some(&data));
        for (name, count) in counts {
            let (codes, scales) = (&found.model.tensors[name], &found.model.tensors[&format!("{name}.scale")]);
            assert_eq!((codes.dtype(), codes.shape()), (DType::I8, model.tensors[name].shape()), "{name}");
            assert_eq!(scales.shape(), [count], "{name}");
            let kept = model.tensors[name].to_f32().iter().zip(codes.to_i64()).all(|(w, code)| *w != 0.0 || code == 0);
            assert!(kept, "{name} lost zeros");
        }
        assert!(found.layers.iter().all(|l| l.skipped.is_none() && l.activation_skipped.is_none()));
        assert!(found.layers.iter().all(|l| l.zeros_after >= l.zeros_before && l.sqnr_db.unwrap() > 30.0));
        let actual = outputs(&found.model, std::slice::from_ref(&x));
        let apart = expected.iter().zip(&actual).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 0.05 * largest, "{chosen:?}: {apart} of {largest}");
        assert!(apart > 0.0);
        // An integer bias has the scale of what it is added to.
        let fc = found.layers.iter().find(|l| l.name == "turned").unwrap();
        assert_eq!(fc.bias, if chosen == Mode::Static { BiasType::Int32 } else { BiasType::Float });
    }
}

#[test]
fn a_bias_of_a_channel_without_weights_stays_a_float() {
    let mut b = GraphBuilder::new("g");
    let x = b.input("x", vec![Dim::symbol("n"), 2.into()]);
    let w = b.tensor("w", Tensor::from_f32(vec![2, 2], vec![0.0, 0.0, 1.0, 0.5]).unwrap());
    let bias = b.tensor("bias", Tensor::from_f32(vec![2], vec![0.123, 0.456]).unwrap());
    let y = b.gemm("fc", x, w, Some(bias));
    b.output(y);
    let found = quantised(&b.finish().unwrap(), &mode(Mode::Static), Some(&vectors(spread(40, 1), 2)));
    assert_eq!((found.layers[0].bias, found.model.tensors["bias"].dtype()), (BiasType::Float, DType::F32));
    assert_eq!(found.model.tensors["w.scale"].to_f32()[0], 1.0);
}

#[test]
fn the_engine_dequantises_weights_once() {
    let (model, _) = every_kind();
    let found = quantised(&model, &mode(Mode::Weights), None).model;
    let bound = Program::compile(&found).unwrap().bind(&found).unwrap();
    let steps = bound.profile(&[Tensor::from_f32(vec![1, 4, 6, 6], spread(144, 9)).unwrap()], 1).unwrap();
    let before = Program::compile(&model).unwrap().bind(&model).unwrap();
    let before = before.profile(&[Tensor::from_f32(vec![1, 4, 6, 6], spread(144, 9)).unwrap()], 1).unwrap();
    assert_eq!(steps.iter().map(|s| &s.op).collect::<Vec<_>>(), before.iter().map(|s| &s.op).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_done_is_told_and_cancelling_stops() {
    let model = product(4, 2, spread(8, 1));
    let run = |model: &Model, options: &QuantiseOptions| quantise(model, options, None, &mut unobserved);
    assert!(matches!(run(&model, &mode(Mode::Static)), Err(QuantiseError::NeedsExamples)));
    let weights = Model { graph: None, ..model.clone() };
    assert!(matches!(run(&weights, &mode(Mode::Weights)), Err(QuantiseError::NoGraph)));
    let none = QuantiseOptions { spare_first: true, ..QuantiseOptions::default() };
    let told = run(&model, &none).unwrap_err().to_string();
    assert_eq!(told, "there is no layer to quantise: `w`: spared as the first layer");
    let twice = quantised(&model, &mode(Mode::Weights), None).model;
    let told = run(&twice, &mode(Mode::Weights)).unwrap_err().to_string();
    assert!(told.contains("`w`: stored as i8"), "{told}");
    let data = vectors(spread(400, 2), 4);
    for stop in 0..2 {
        let mut calls = 0;
        let outcome = quantise(&model, &mode(Mode::Static), Some(&data), &mut |_, _| {
            calls += 1;
            if calls > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(outcome, Err(QuantiseError::Cancelled)), "{stop}");
    }
}

#[test]
fn both_formats_hold_the_quantised_network() {
    let (model, _) = every_kind();
    let shape = [3, 4, 6, 6];
    let data =
        Dataset::new(Examples::F32(spread(432, 9)), &shape, None, Preprocess::default(), Split::Test, Path::new("m"));
    let data = data.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for chosen in Mode::ALL {
        let found = quantised(&model, &mode(chosen), Some(&data));
        for name in ["q.onnx", "q.safetensors"] {
            let path = folder.path().join(name);
            let file = export(&model, &found, Some(&data), &Sizes::default(), &path, &mut unobserved).unwrap();
            let equal = file.equal.unwrap().agreement;
            assert_eq!((equal.max_abs_diff, equal.argmax_agreement), (0.0, 1.0), "{chosen:?} {name}");
            let opened = formats::open(&path).unwrap();
            assert_eq!(opened.tensors, found.model.tensors);
            assert_eq!(options_of(&opened), Some(mode(chosen)));
            assert_eq!(file.bytes.file, opened.origin.file_bytes);
            // Each weight takes a byte in place of four, and each channel four for its scale.
            assert!(file.bytes.int8 < file.bytes.dense_f32 / 2 && file.bytes.int8_bitmask < file.bytes.int8);
            if name == "q.onnx" {
                assert_eq!(opened.origin.opsets[0].1, 17, "what runtimes know is enough");
            }
        }
        let other = export(&model, &found, None, &Sizes::default(), &folder.path().join("q.npz"), &mut unobserved);
        assert!(other.unwrap_err().to_string().contains("needs its graph: use .onnx or .safetensors"));
    }
}

/// Correct answers in percent on some test images, the classes in equal shares.
fn accuracy(model: &Model, data: &Dataset, limit: usize) -> f64 {
    let bound = Program::compile(model).unwrap().bind(model).unwrap();
    let options = EvalOptions { limit: Some(limit), ..EvalOptions::for_data(model, data) };
    100.0 * evaluate(&bound, data, &options, &mut |_| ControlFlow::Continue(())).unwrap().top1()
}

#[test]
fn pruned_samples_keep_their_accuracy() {
    let (test, calibration) = (examples(Split::Test), examples(Split::Calibration));
    // Without training, the residual network guesses once nine tenths are gone; it is measured with fewer as well.
    for (architecture, share) in
        [(Architecture::LeNet5, 0.9), (Architecture::ResNet8, 0.5), (Architecture::ResNet8, 0.9)]
    {
        let model = pruned(architecture, share);
        let before = accuracy(&model, &test, 2000);
        for chosen in [Mode::Weights, Mode::Static] {
            let found = quantised(&model, &mode(chosen), Some(&calibration));
            assert!(found.zeros_after() >= found.zeros_before());
            let after = accuracy(&found.model, &test, 2000);
            eprintln!("{architecture} at {share} {chosen:?}: {before:.2} % to {after:.2} %");
            assert!((before - after).abs() <= 0.5, "{architecture} {chosen:?}: {before} % to {after} %");
        }
    }
}

/// What is saved here loads in ONNX Runtime and gives the same answers there, fused or not.
#[test]
fn quantised_files_load_in_onnx_runtime_and_agree() {
    let python = std::env::var("SECATEUR_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import onnxruntime, onnx"]).output();
    if !found.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: {python} has no onnxruntime (pip install onnx onnxruntime; SECATEUR_PYTHON names another)");
        return;
    }
    let (test, calibration) = (examples(Split::Test), examples(Split::Calibration));
    let indices: Vec<usize> = test.stratified_order(0)[..1000].to_vec();
    let images = test.batch(&indices);
    let extents = [&[1000], Architecture::LeNet5.example_shape().as_slice()].concat();
    assert_eq!(images.shape(), known_shape(&extents).iter().filter_map(Dim::known).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let mut script = Command::new(&python);
    script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_runtime_quantised.py"));
    for (architecture, share) in [(Architecture::LeNet5, 0.9), (Architecture::ResNet8, 0.5)] {
        for chosen in Mode::ALL {
            let found = quantised(&pruned(architecture, share), &mode(chosen), Some(&calibration)).model;
            let path = folder.path().join(format!("{architecture}-{}.onnx", chosen.name()));
            formats::save(&found, &path).unwrap();
            let bound = Program::compile(&found).unwrap().bind(&found).unwrap();
            let logits = bound.run(std::slice::from_ref(&images)).unwrap().remove(0);
            let arrays = path.with_extension("npz");
            npz::write(&arrays, &[("in/x".to_owned(), images.clone()), ("out/logits".to_owned(), logits)]).unwrap();
            script.arg(path).arg(arrays);
        }
    }
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn secateur(line: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(line.split_whitespace()).output().unwrap()
}

#[test]
fn the_command_reports_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("m.safetensors"), folder.path().join("q.onnx"));
    formats::save(&every_kind().0, &model).unwrap();
    let (model, out) = (model.display(), out.display());
    let output = secateur(&format!("quantize {model} -o {out} --mode dynamic --exclude turned --keep-first --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["before", "after", "zeros_before", "zeros_after", "bytes", "layers", "equal", "fidelity", "options"] {
        assert!(report.get(key).is_some(), "no key `{key}`");
    }
    assert_eq!((&report["equal"]["max_abs_diff"], &report["equal"]["argmax_agreement"]), (&0.0.into(), &1.0.into()));
    assert_eq!(report["layers"][0]["skipped"], "spared as the first layer");
    assert_eq!(report["layers"][4]["skipped"], "left out by choice");
    for key in ["scale_min", "scale_max", "sqnr_db", "mse"] {
        assert!(report["layers"][1][key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(report["fidelity"]["cosine"].as_f64().unwrap() > 0.999);
    let refusals = [
        ("--mode static", "static quantisation finds the ranges of activations on examples: give --calibration DATA"),
        ("--exclude nothing", "`nothing`"),
    ];
    for (flags, expected) in refusals {
        let output = secateur(&format!("quantise {model} -o {out} {flags}"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.lines().count() == 1 && told.contains(expected), "{told}");
    }
}
