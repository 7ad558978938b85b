//! Softmax regression, whose gradients and Hessian are known in closed form.

use super::super::{CalibrateError, score};
use crate::data::{Dataset, Examples, Preprocess, Split};
use crate::exec::ExecError;
use crate::model::{Dim, GraphBuilder, Layer, Model, Tensor, ValueId, layers_of};
use crate::prune::{Calibration, Criterion, Scores, Subject};
use std::ops::ControlFlow;
use std::path::Path;

const INPUTS: usize = 3;
const CLASSES: usize = 4;
const EXAMPLES: usize = 40;

/// Numbers without structure, between -1 and 1.
fn spread(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| (((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32) / 8_388_608.0 - 1.0)
        .collect()
}

/// The network `fc`, with what `head` makes of its scores.
fn model(head: impl Fn(&mut GraphBuilder, ValueId, ValueId)) -> Model {
    let mut b = GraphBuilder::new("regression");
    let x = b.input("x", vec![Dim::symbol("batch"), INPUTS.into()]);
    let mut weight = spread(CLASSES * INPUTS, 1);
    weight[5] = 0.0;
    let w = b.tensor("fc.weight", Tensor::from_f32(vec![CLASSES, INPUTS], weight).unwrap());
    let bias = b.tensor("fc.bias", Tensor::from_f32(vec![CLASSES], spread(CLASSES, 2)).unwrap());
    let y = b.gemm("fc", x, w, Some(bias));
    head(&mut b, x, y);
    b.finish().unwrap()
}

fn regression() -> Model {
    model(|b, _, y| b.output(y))
}

fn data(labels: Option<Vec<u32>>) -> Dataset {
    let examples = Examples::F32(spread(EXAMPLES * INPUTS, 3));
    let path = Path::new("memory");
    Dataset::new(examples, &[EXAMPLES, INPUTS], labels, Preprocess::default(), Split::Train, path).unwrap()
}

fn labelled() -> Dataset {
    data(Some((0..EXAMPLES as u32).map(|i| i * i % 7 % 4).collect()))
}

fn try_score(model: &Model, criterion: Criterion, data: Option<&Dataset>) -> Result<Scores, CalibrateError> {
    let layers = layers_of(model);
    let asked: Vec<&Layer> = layers.iter().collect();
    let quiet = &mut |_, _| ControlFlow::Continue(());
    score(&Subject::new(model, &layers), criterion, &asked, data, Calibration::default(), quiet)
}

/// Scores of weights and of channels of `fc`.
fn scored(model: &Model, criterion: Criterion) -> (Vec<f64>, Vec<f64>) {
    let scores = try_score(model, criterion, Some(&labelled())).unwrap();
    let found = scores.get("fc", criterion).unwrap().unwrap();
    let weights = found.weights.as_ref().unwrap().to_f32().iter().map(|&s| f64::from(s)).collect();
    (weights, found.channels.as_ref().unwrap().to_vec())
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * largest, "{i}: {g} and {e}");
    }
}

/// The same in double precision.
struct Regression {
    weight: Vec<f64>,
    bias: Vec<f64>,
    x: Vec<Vec<f64>>,
    y: Vec<u32>,
    batches: Vec<Vec<usize>>,
}

impl Regression {
    fn new() -> Self {
        let (model, data) = (regression(), labelled());
        let values = |t: &Tensor| t.to_f32().iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let order = data.stratified_order(Calibration::default().seed);
        Self {
            weight: values(&model.tensors["fc.weight"]),
            bias: values(&model.tensors["fc.bias"]),
            x: (0..EXAMPLES).map(|i| values(&data.batch(&[i]))).collect(),
            y: data.labels().unwrap().to_vec(),
            // Forty examples do not go into one batch of 32, so that there are two of the same size.
            batches: order.chunks(EXAMPLES / 2).map(<[usize]>::to_vec).collect(),
        }
    }

    fn probabilities(&self, example: usize) -> Vec<f64> {
        let score = |c: usize| {
            self.bias[c] + (0..INPUTS).map(|k| self.weight[c * INPUTS + k] * self.x[example][k]).sum::<f64>()
        };
        let exponentials: Vec<f64> = (0..CLASSES).map(|c| score(c).exp()).collect();
        let total: f64 = exponentials.iter().sum();
        exponentials.iter().map(|e| e / total).collect()
    }

    /// Of the mean loss, by weights and biases.
    fn gradient(&self, examples: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let (mut weight, mut bias) = (vec![0.0; CLASSES * INPUTS], vec![0.0; CLASSES]);
        for &example in examples {
            for (c, p) in self.probabilities(example).into_iter().enumerate() {
                let delta = (p - f64::from(u8::from(self.y[example] == c as u32))) / examples.len() as f64;
                bias[c] += delta;
                (0..INPUTS).for_each(|k| weight[c * INPUTS + k] += delta * self.x[example][k]);
            }
        }
        (weight, bias)
    }

    /// The Hessian of the mean loss by the weights times `v`: the mean of (diag(p) - p p^T) V x x^T.
    fn hessian_times(&self, v: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; CLASSES * INPUTS];
        for example in 0..EXAMPLES {
            let (p, x) = (self.probabilities(example), &self.x[example]);
            let along: Vec<f64> = v.chunks(INPUTS).map(|row| row.iter().zip(x).map(|(v, x)| v * x).sum()).collect();
            let mean: f64 = p.iter().zip(&along).map(|(p, a)| p * a).sum();
            for c in 0..CLASSES {
                let change = p[c] * (along[c] - mean) / EXAMPLES as f64;
                (0..INPUTS).for_each(|k| product[c * INPUTS + k] += change * x[k]);
            }
        }
        product
    }
}

fn all() -> Vec<usize> {
    (0..EXAMPLES).collect()
}

fn times(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

fn by_channel(values: &[f64]) -> Vec<f64> {
    values.chunks(INPUTS).map(|row| row.iter().sum()).collect()
}

/// Above the lowest; a weight that is zero counts as the lowest.
fn lifted(raw: &[f64], weight: Option<&[f64]>) -> Vec<f64> {
    let lowest = raw.iter().copied().fold(f64::INFINITY, f64::min);
    let zero = |i: usize| weight.is_some_and(|weight| weight[i] == 0.0);
    raw.iter().enumerate().map(|(i, r)| if zero(i) { 0.0 } else { r - lowest }).collect()
}

#[test]
fn gradient_and_snip_follow_the_mean_loss_of_all_examples() {
    let exact = Regression::new();
    let (g, _) = exact.gradient(&all());
    let mut magnitudes: Vec<f64> = g.iter().map(|g| g.abs()).collect();
    magnitudes[5] = 0.0;
    let (weights, channels) = scored(&regression(), Criterion::Gradient);
    close(&weights, &magnitudes, 1e-6);
    close(&channels, &by_channel(&magnitudes), 1e-6);
    let effects: Vec<f64> = times(&g, &exact.weight).iter().map(|e| e.abs()).collect();
    let total: f64 = effects.iter().sum();
    let (weights, _) = scored(&regression(), Criterion::Snip);
    close(&weights, &effects.iter().map(|e| e / total).collect::<Vec<_>>(), 1e-6);
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
}

#[test]
fn taylor_is_the_mean_over_batches_of_squared_effects() {
    let exact = Regression::new();
    let (mut weights, mut channels) = (vec![0.0; CLASSES * INPUTS], vec![0.0; CLASSES]);
    for batch in &exact.batches {
        let effects = times(&exact.gradient(batch).0, &exact.weight);
        weights.iter_mut().zip(&effects).for_each(|(sum, e)| *sum += e * e / 2.0);
        channels.iter_mut().zip(by_channel(&effects)).for_each(|(sum, e)| *sum += e * e / 2.0);
    }
    let found = scored(&regression(), Criterion::Taylor);
    close(&found.0, &weights, 1e-5);
    close(&found.1, &channels, 1e-5);
}

#[test]
fn obd_squares_the_gradients_of_single_examples() {
    let exact = Regression::new();
    let mut expected = vec![0.0; CLASSES * INPUTS];
    for example in all() {
        let (g, _) = exact.gradient(&[example]);
        expected.iter_mut().zip(times(&g, &exact.weight)).for_each(|(sum, e)| *sum += e * e / 2.0 / EXAMPLES as f64);
    }
    let (weights, channels) = scored(&regression(), Criterion::Obd);
    close(&weights, &expected, 1e-5);
    close(&channels, &by_channel(&expected), 1e-5);
}

#[test]
fn grasp_multiplies_with_the_exact_hessian() {
    let exact = Regression::new();
    let (g, _) = exact.gradient(&all());
    let raw = times(&exact.hessian_times(&g), &exact.weight);
    let (weights, channels) = scored(&regression(), Criterion::Grasp);
    close(&weights, &lifted(&raw, Some(&exact.weight)), 5e-4);
    close(&channels, &lifted(&by_channel(&raw), None), 5e-4);
}

/// What is removed first must be what raises the squared norm of the gradient most when it goes, to first order.
#[test]
fn grasp_removes_first_what_raises_the_gradient_flow() {
    let exact = Regression::new();
    let flow = |exact: &Regression| exact.gradient(&all()).0.iter().map(|g| g * g).sum::<f64>();
    let before = flow(&exact);
    let rise = |i: usize| {
        let mut smaller = Regression::new();
        smaller.weight[i] *= 1.0 - 1e-4;
        flow(&smaller) - before
    };
    let (weights, _) = scored(&regression(), Criterion::Grasp);
    let present = (0..weights.len()).filter(|&i| exact.weight[i] != 0.0);
    let first = present.min_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap();
    assert!((0..weights.len()).all(|i| rise(i) <= rise(first)));
    assert!(rise(first) > 0.0);
}

#[test]
fn movement_sums_over_the_steps_of_a_fine_tuning() {
    let mut exact = Regression::new();
    let original = exact.weight.clone();
    let mut raw = vec![0.0; CLASSES * INPUTS];
    for batch in [exact.batches.clone(), exact.batches.clone()].concat() {
        let (weight, bias) = exact.gradient(&batch);
        raw.iter_mut().zip(times(&weight, &exact.weight)).for_each(|(sum, e)| *sum -= e);
        exact.weight.iter_mut().zip(weight).for_each(|(w, g)| *w -= 0.01 * g);
        exact.bias.iter_mut().zip(bias).for_each(|(b, g)| *b -= 0.01 * g);
    }
    let (weights, channels) = scored(&regression(), Criterion::Movement);
    close(&weights, &lifted(&raw, Some(&original)), 1e-5);
    close(&channels, &lifted(&by_channel(&raw), None), 1e-5);
}

#[test]
fn outputs_after_a_softmax_give_the_gradients_of_the_same_loss() {
    let expected = scored(&regression(), Criterion::Gradient).0;
    for head in ["Softmax", "LogSoftmax"] {
        let normalized = model(|b, _, y| {
            let y = b.node("head", head, &[y], &[]);
            b.output(y);
        });
        close(&scored(&normalized, Criterion::Gradient).0, &expected, 1e-5);
    }
}

#[test]
fn a_layer_that_the_loss_does_not_depend_on_says_so() {
    let aside = model(|b, x, y| {
        let w = b.tensor("aside.weight", Tensor::from_f32(vec![2, INPUTS], vec![1.0; 2 * INPUTS]).unwrap());
        b.gemm("aside", x, w, None);
        b.output(y);
    });
    for criterion in [Criterion::Gradient, Criterion::Taylor, Criterion::Grasp] {
        let scores = try_score(&aside, criterion, Some(&labelled())).unwrap();
        assert_eq!(scores.get("aside", criterion).unwrap().unwrap_err(), "no gradient reaches it");
        assert!(scores.get("fc", criterion).unwrap().is_ok());
    }
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let refused = |model: &Model, data: Option<&Dataset>| try_score(model, Criterion::Taylor, data).unwrap_err();
    let (net, good) = (regression(), labelled());
    assert!(matches!(refused(&net, None), CalibrateError::NeedsExamples(Criterion::Taylor)));
    assert!(matches!(refused(&net, Some(&good.subset(&[]))), CalibrateError::NeedsExamples(_)));
    assert!(matches!(refused(&net, Some(&data(None))), CalibrateError::NeedsLabels(Criterion::Taylor)));
    let high = data(Some(vec![4; EXAMPLES]));
    assert!(matches!(refused(&net, Some(&high)), CalibrateError::LabelOutOfRange { label: 4, classes: 4, .. }));
    let two = model(|b, x, y| {
        b.output(y);
        b.output(x);
    });
    let text = refused(&two, Some(&good)).to_string();
    assert_eq!(text, "Taylor needs a model with one output of class scores, but this one has 2 outputs");
    let weights_only = Model { graph: None, ..net };
    let error = refused(&weights_only, Some(&good));
    assert!(matches!(error, CalibrateError::Exec(error) if matches!(*error, ExecError::NoGraph)));
}
