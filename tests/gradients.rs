//! Criteria on gradients beside PyTorch, on the network of `fixtures/gradient_criteria.py`, and what they promise of
//! threads, progress and cancelling.

use secateur::calibrate::{CalibrateError, score, score_plan};
use secateur::data::{Dataset, Examples, Preprocess, Split};
use secateur::model::{Attribute, Dim, GraphBuilder, Layer, Model, Tensor, layers_of};
use secateur::prune::{Calibration, Criterion, LayerPlan, Plan, Scores, Subject};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

const CRITERIA: [Criterion; 6] =
    [Criterion::Gradient, Criterion::Taylor, Criterion::Snip, Criterion::Grasp, Criterion::Obd, Criterion::Movement];

#[derive(serde::Deserialize)]
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// What PyTorch wrote; scores by criterion and layer.
#[derive(serde::Deserialize)]
struct Reference {
    layers: Vec<String>,
    tensors: BTreeMap<String, Stored>,
    x: Vec<f32>,
    y: Vec<u32>,
    weights: BTreeMap<String, Vec<Vec<f64>>>,
    channels: BTreeMap<String, Vec<Vec<f64>>>,
}

fn reference() -> Reference {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gradient_criteria.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Reference {
    fn model(&self, batch: Dim) -> Model {
        let mut b = GraphBuilder::new("reference");
        let x = b.input("x", vec![batch, 2.into(), 5.into(), 5.into()]);
        let t = |b: &mut GraphBuilder, name: &str| {
            let stored = &self.tensors[name];
            b.tensor(name, Tensor::from_f32(stored.shape.clone(), stored.values.clone()).unwrap())
        };
        let (w, bias) = (t(&mut b, "conv1.weight"), t(&mut b, "conv1.bias"));
        let h = b.conv("conv1", x, w, Some(bias), (1, 1, 1));
        let parts = ["norm.scale", "norm.shift", "norm.mean", "norm.var"].map(|name| t(&mut b, name));
        let h = b.node("norm", "BatchNormalization", &[&[h], &parts[..]].concat(), &[]);
        let h = b.node("tanh1", "Tanh", &[h], &[]);
        let w = t(&mut b, "conv2.weight");
        let side = b.conv("conv2", h, w, None, (1, 1, 2));
        let h = b.node("add", "Add", &[side, h], &[]);
        let h = b.node("tanh2", "Tanh", &[h], &[]);
        let h = b.node("pool", "GlobalAveragePool", &[h], &[]);
        let h = b.node("flatten", "Flatten", &[h], &[("axis", Attribute::Int(1))]);
        let w = t(&mut b, "mid.weight");
        let first = b.gemm("mid1", h, w, None);
        let h = b.node("add2", "Add", &[first, h], &[]);
        let h = b.node("tanh3", "Tanh", &[h], &[]);
        let h = b.gemm("mid2", h, w, None);
        let (w, bias) = (t(&mut b, "fc.weight"), t(&mut b, "fc.bias"));
        let y = b.gemm("fc", h, w, Some(bias));
        b.output(y);
        b.finish().unwrap()
    }

    fn data(&self) -> Dataset {
        let shape = [self.y.len(), 2, 5, 5];
        let (examples, path) = (Examples::F32(self.x.clone()), Path::new("memory"));
        Dataset::new(examples, &shape, Some(self.y.clone()), Preprocess::default(), Split::Train, path).unwrap()
    }
}

fn scored(model: &Model, criterion: Criterion, data: &Dataset) -> (Vec<Layer>, Scores) {
    let layers = layers_of(model);
    let asked: Vec<&Layer> = layers.iter().collect();
    let subject = Subject::new(model, &layers);
    let quiet = &mut |_, _| ControlFlow::Continue(());
    let scores = score(&subject, criterion, &asked, Some(data), Calibration::default(), quiet).unwrap();
    (layers, scores)
}

/// Scores of weights and of channels.
fn numbers(scores: &Scores, layer: &str, criterion: Criterion) -> (Vec<f64>, Vec<f64>) {
    let found = scores.get(layer, criterion).unwrap().unwrap();
    let weights = found.weights.as_ref().unwrap().to_f32().iter().map(|&s| f64::from(s)).collect();
    (weights, found.channels.as_ref().unwrap().to_vec())
}

/// Largest difference as a share of the largest expected.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().copied().fold(0.0, f64::max);
    got.iter().zip(expected).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn every_criterion_on_gradients_agrees_with_pytorch() {
    let reference = reference();
    let (model, data) = (reference.model(Dim::symbol("batch")), reference.data());
    for criterion in CRITERIA {
        let (_, scores) = scored(&model, criterion, &data);
        // GraSP is a difference of gradients in f32.
        let tolerance = if criterion == Criterion::Grasp { 1e-3 } else { 1e-5 };
        for (index, layer) in reference.layers.iter().enumerate() {
            let (weights, channels) = numbers(&scores, layer, criterion);
            let expected = &reference.weights[criterion.name()][index];
            let off = difference(&weights, expected);
            assert!(off < tolerance, "{criterion} of {layer} is {off} off");
            let sums = || expected.chunks(expected.len() / channels.len()).map(|c| c.iter().sum()).collect();
            let expected = reference.channels.get(criterion.name()).map_or_else(sums, |all| all[index].clone());
            let off = difference(&channels, &expected);
            assert!(off < tolerance, "{criterion} of channels of {layer} is {off} off");
        }
    }
}

#[test]
fn a_graph_that_takes_a_fixed_number_of_examples_gives_the_same_scores() {
    let reference = reference();
    let data = reference.data();
    // Of the 12 examples the last run of 5 holds 2 and repeats the last one.
    let (free, fixed) = (reference.model(Dim::symbol("batch")), reference.model(5.into()));
    for criterion in [Criterion::Gradient, Criterion::Obd] {
        let (_, expected) = scored(&free, criterion, &data);
        let (_, scores) = scored(&fixed, criterion, &data);
        for layer in &reference.layers {
            let off = difference(&numbers(&scores, layer, criterion).0, &numbers(&expected, layer, criterion).0);
            assert!(off < 1e-5, "{criterion} of {layer} is {off} off");
        }
    }
}

#[test]
fn scores_have_the_same_bytes_on_any_number_of_threads() {
    let reference = reference();
    let (model, data) = (reference.model(Dim::symbol("batch")), reference.data());
    let on = |threads: usize, criterion: Criterion| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| scored(&model, criterion, &data).1)
    };
    for criterion in CRITERIA.into_iter().chain([Criterion::Random, Criterion::GeometricMedian, Criterion::BnScale]) {
        let (one, three) = (on(1, criterion), on(3, criterion));
        for layer in &reference.layers {
            assert_eq!(one.get(layer, criterion), three.get(layer, criterion), "{criterion} of {layer}");
        }
    }
}

#[test]
fn the_observer_sees_all_of_the_work_and_can_stop_it() {
    let reference = reference();
    let (model, data) = (reference.model(4.into()), reference.data());
    let layers = layers_of(&model);
    let asked: Vec<&Layer> = layers.iter().collect();
    let subject = Subject::new(&model, &layers);
    for criterion in CRITERIA.into_iter().chain([Criterion::Random, Criterion::GeometricMedian, Criterion::BnScale]) {
        let mut seen = Vec::new();
        let watch = &mut |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        };
        score(&subject, criterion, &asked, Some(&data), Calibration::default(), watch).unwrap();
        assert!(seen.is_sorted_by_key(|(done, _)| *done), "{criterion}: {seen:?}");
        assert!(seen.last().is_some_and(|(done, total)| done == total), "{criterion}: {seen:?}");
        let mut calls = 0;
        let stop = &mut |_, _| {
            calls += 1;
            ControlFlow::Break(())
        };
        let stopped = score(&subject, criterion, &asked, Some(&data), Calibration::default(), stop);
        assert!(matches!(stopped, Err(CalibrateError::Cancelled)), "{criterion}");
        assert_eq!(calls, 1, "{criterion}");
    }
}

#[test]
fn a_plan_is_scored_by_all_its_criteria_at_once_with_one_progress() {
    let reference = reference();
    let (model, data) = (reference.model(Dim::symbol("batch")), reference.data());
    let layers = layers_of(&model);
    let mut plan = Plan::dense();
    let by = |criterion| LayerPlan { criterion, ..LayerPlan::default() };
    plan.set("conv1", by(Criterion::Taylor));
    plan.set("conv2", by(Criterion::Random));
    plan.set("fc", by(Criterion::Taylor));
    let subject = Subject::new(&model, &layers);
    let mut last = (0, 1);
    let watch = &mut |done, total| {
        assert!(done >= last.0);
        last = (done, total);
        ControlFlow::Continue(())
    };
    let scores = score_plan(&subject, &plan, Some(&data), watch).unwrap();
    assert_eq!(last.0, last.1);
    assert!(Subject { scores: &scores, ..subject }.unscored(&plan).is_empty());
    assert!(scores.get("fc", Criterion::Random).is_none());
    let missing = score_plan(&subject, &plan, None, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(missing, Err(CalibrateError::NeedsExamples(Criterion::Taylor))));
}
