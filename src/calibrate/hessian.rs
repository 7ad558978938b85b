//! Inverse Hessians of the outputs of layers, for SparseGPT (Frantar and Alistarh 2023).

use super::cholesky::{NoFactor, inverse_factor};
use super::reading::{Reading, Vectors};
use super::unfold::Unfolded;
use super::watch::{Seen, Values, Watch};
use super::{CalibrateError, Observe};
use crate::data::Dataset;
use crate::exec::ExecError;
use crate::exec::kernels::matrix::{Matrix as Product, multiply};
use crate::model::{Layer, Tensor};
use crate::prune::{Calibration, Criterion, InverseHessian, LayerScores, Matrix, Scores, Subject};
use rayon::prelude::*;
use std::sync::Arc;

/// Numbers of all Hessians that are added up in one run of the examples, unless a single layer has more: 512 MiB.
const MOST_TOGETHER: usize = 1 << 26;
/// Numbers of the Hessians of one layer that are still worked with: 1.5 GiB, and as much again while it is inverted.
const MOST_OF_LAYER: usize = 3 << 26;
/// Numbers of unfolded inputs that are multiplied at once: 16 MiB.
const CHUNK: usize = 1 << 22;
/// Rows of a Hessian that one task adds to.
const BAND: usize = 128;
/// What is added to the diagonal, as a share of its mean.
const DAMPING: f64 = 0.01;
/// How often ten times as much is tried where that was not enough.
const RETRIES: usize = 5;

/// Works out for each layer the factors of H^-1 with H = 2 X X^T / n, of the inputs X on `n` examples, and of each
/// weight its saliency w^2 / [H^-1]_jj, the error of the layer's outputs that removing it alone leaves.
///
/// As published, one per cent of the mean of the diagonal is added to it, and ten times as much where the Cholesky
/// factorisation fails. The mean is over inputs that are not always zero; weights that read one that is have the
/// saliency 0.
///
/// # Errors
/// [`CalibrateError::Cancelled`] if `observe` broke, others if the graph cannot be run on the data.
pub(super) fn score(
    subject: &Subject<'_>,
    layers: &[&Layer],
    data: &Dataset,
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let watch = Watch::new(subject.model, data, calibration);
    let graph = subject.model.graph.as_ref().ok_or(ExecError::NoGraph)?;
    let (mut scores, mut passes) = (Scores::default(), Vec::<Vec<Sums<'_>>>::new());
    let mut together = usize::MAX;
    for &layer in layers {
        let read = Reading::all(subject.model, graph, layer);
        match read.and_then(|readings| Sums::new(subject.model.tensors.get(&layer.weight), layer, readings)) {
            Ok(sums) => {
                let numbers = sums.numbers();
                if together.saturating_add(numbers) > MOST_TOGETHER {
                    passes.push(Vec::new());
                    together = 0;
                }
                together += numbers;
                if let Some(pass) = passes.last_mut() {
                    pass.push(sums);
                }
            }
            Err(reason) => scores.insert(&layer.name, Criterion::SparseGpt, Err(reason)),
        }
    }
    // Adding up and inverting a layer's Hessians count as much as running the examples once.
    let each = watch.examples() as u64;
    let total = each * (passes.len() + passes.iter().map(Vec::len).sum::<usize>()) as u64;
    let mut before = 0;
    for mut pass in passes {
        let mut values = Values::default();
        for sums in &mut pass {
            sums.allocate();
            sums.places = sums.readings.iter().map(|reading| values.place(reading.value)).collect();
        }
        watch.run(values.ids(), &mut |seen, done| {
            for sums in &mut pass {
                sums.add(seen);
            }
            observe(before + done as u64, total)
        })?;
        before += each;
        for sums in pass {
            let mut part = |share: f64| observe(before + (share * each as f64) as u64, total);
            let name = &sums.layer.name;
            scores.insert(name, Criterion::SparseGpt, sums.scores(watch.examples(), &mut part)?);
            before += each;
        }
    }
    Ok(scores)
}

/// The Hessians of one layer while they are added up.
struct Sums<'a> {
    layer: &'a Layer,
    weight: &'a Tensor,
    matrix: Matrix,
    readings: Vec<Reading>,
    /// Where the readings are among the watched values.
    places: Vec<usize>,
    /// Sums of x x^T, upper triangles: [groups, columns, columns].
    products: Vec<f64>,
    problem: Option<String>,
}

impl<'a> Sums<'a> {
    fn new(weight: Option<&'a Tensor>, layer: &'a Layer, readings: Vec<Reading>) -> Result<Self, String> {
        let weight = weight.ok_or("it has no weight")?;
        let matrix = Matrix::of(layer, weight.shape());
        let along = readings.iter().any(|reading| matches!(reading.vectors, Vectors::Along(_)));
        if along && matrix.places > 1 {
            return Err("it runs in two directions".to_owned());
        }
        let sums = Self { layer, weight, matrix, readings, places: Vec::new(), products: Vec::new(), problem: None };
        if sums.numbers() > MOST_OF_LAYER {
            let columns = sums.matrix.columns.len();
            return Err(format!("the Hessian of its {columns} inputs needs more memory than is set aside"));
        }
        Ok(sums)
    }

    fn numbers(&self) -> usize {
        self.matrix.columns.len().saturating_pow(2).saturating_mul(self.matrix.groups)
    }

    fn allocate(&mut self) {
        self.products = vec![0.0; self.numbers()];
    }

    fn add(&mut self, seen: &[Seen<'_>]) {
        for (reading, &place) in self.readings.iter().zip(&self.places) {
            let columns = self.matrix.columns.len();
            match Unfolded::of(&reading.vectors, &seen[place]) {
                Ok(x) if (x.groups, x.width) == (self.matrix.groups, columns) => add_products(&mut self.products, &x),
                Ok(x) => {
                    let problem = format!("it reads {} inputs and has weights for {columns}", x.width);
                    self.problem.get_or_insert(problem);
                }
                Err(problem) => {
                    self.problem.get_or_insert(problem);
                }
            }
        }
    }

    /// What is said of the layer; `observe` hears which share of the work is done.
    fn scores(
        mut self,
        examples: usize,
        observe: &mut dyn FnMut(f64) -> std::ops::ControlFlow<()>,
    ) -> Result<Result<LayerScores, String>, CalibrateError> {
        if let Some(problem) = self.problem {
            return Ok(Err(problem));
        }
        let (columns, groups) = (self.matrix.columns.len(), self.matrix.groups);
        let scale = 2.0 / examples.max(1) as f64;
        self.products.iter_mut().for_each(|v| *v *= scale);
        let (mut factors, mut diagonals) = (Vec::with_capacity(groups), Vec::with_capacity(groups));
        for (group, hessian) in self.products.chunks_exact_mut((columns * columns).max(1)).enumerate() {
            let mut part = |share: f64| observe((group as f64 + share) / groups as f64);
            let (factor, diagonal) = match invert(hessian, columns, &mut part) {
                Ok(found) => found,
                Err(Stop::Cancelled) => return Err(CalibrateError::Cancelled),
                Err(Stop::Because(reason)) => return Ok(Err(reason)),
            };
            factors.push(Arc::from(factor));
            diagonals.push(diagonal);
        }
        let weight = self.weight.resident();
        let values = weight.to_f32();
        if !values.iter().all(|v| v.is_finite()) {
            return Ok(Err("some of its weights are infinite".to_owned()));
        }
        let per_group = (self.matrix.rows.len() / groups).max(1);
        let mut saliency = vec![0.0; values.len()];
        for (row, start) in self.matrix.rows.iter().enumerate() {
            for (offset, diagonal) in self.matrix.columns.iter().zip(&diagonals[row / per_group]) {
                saliency[start + offset] = (f64::from(values[start + offset]).powi(2) / diagonal) as f32;
            }
        }
        let inverse = InverseHessian { columns, factors };
        Ok(Ok(LayerScores {
            channels: None,
            inverse_hessian: Some(Arc::new(inverse)),
            ..LayerScores::of_weights(self.layer, saliency, None)
        }))
    }
}

/// Adds x x^T of all vectors to the upper triangles.
fn add_products(products: &mut [f64], x: &Unfolded<'_>) {
    let width = x.width;
    let most = (CHUNK / (x.groups * width).max(1)).max(1);
    let mut chunk = Vec::new();
    for start in (0..x.rows).step_by(most) {
        let rows = start..x.rows.min(start + most);
        let count = rows.len();
        chunk.resize(x.groups * width * count, 0.0);
        x.fill(rows, &mut chunk);
        let groups = products.par_chunks_mut((width * width).max(1)).zip(chunk.par_chunks((width * count).max(1)));
        groups.for_each(|(products, chunk)| {
            let vectors = Product::new(chunk, count, width);
            products.par_chunks_mut(BAND * width).enumerate().for_each(|(band, products)| {
                let first = band * BAND;
                let (height, right) = (products.len() / width, width - first);
                let mut added = vec![0.0f32; height * right];
                let left = vectors.part(0..count, first..first + height);
                multiply(&mut added, false, left.t(), vectors.part(0..count, first..width));
                for (row, added) in products.chunks_exact_mut(width).zip(added.chunks_exact(right)) {
                    row[first..].iter_mut().zip(added).for_each(|(sum, &v)| *sum += f64::from(v));
                }
            });
        });
    }
}

/// Why a Hessian was not inverted.
enum Stop {
    Cancelled,
    Because(String),
}

/// The factor of the inverse of a damped Hessian and the diagonal of the inverse, which is infinite where an input is
/// always zero.
fn invert(
    hessian: &mut [f64],
    n: usize,
    observe: &mut dyn FnMut(f64) -> std::ops::ControlFlow<()>,
) -> Result<(Vec<f32>, Vec<f64>), Stop> {
    let diagonal: Vec<f64> = (0..n).map(|i| hessian[i * n + i]).collect();
    if !diagonal.iter().all(|v| v.is_finite()) {
        return Err(Stop::Because("what it reads on these examples is not finite".to_owned()));
    }
    let live = diagonal.iter().filter(|&&v| v > 0.0).count().max(1);
    let mut damping = DAMPING * diagonal.iter().sum::<f64>() / live as f64;
    for _ in 0..=RETRIES {
        for (i, &v) in diagonal.iter().enumerate() {
            hessian[i * n + i] = if v > 0.0 { v + damping } else { 1.0 };
        }
        let mut steps = |done: usize| observe(done as f64 / (2 * n) as f64);
        match inverse_factor(hessian, n, &mut steps) {
            Ok(factor) => return Ok(finished(&factor, &diagonal)),
            Err(NoFactor::Cancelled) => return Err(Stop::Cancelled),
            Err(NoFactor::NotPositiveDefinite) => damping *= 10.0,
        }
    }
    Err(Stop::Because("its Hessian cannot be inverted, even damped; give it more or other examples".to_owned()))
}

fn finished(factor: &[f64], diagonal: &[f64]) -> (Vec<f32>, Vec<f64>) {
    let n = diagonal.len();
    let mut inverse = vec![0.0; n];
    for row in factor.chunks_exact(n.max(1)) {
        inverse.iter_mut().zip(row).for_each(|(sum, v)| *sum += v * v);
    }
    let mut rounded: Vec<f32> = factor.iter().map(|&v| v as f32).collect();
    for i in (0..n).filter(|&i| diagonal[i] <= 0.0) {
        rounded[i * n + i] = f32::INFINITY;
        inverse[i] = f64::INFINITY;
    }
    (rounded, inverse)
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{dataset, net_of};
    use super::*;
    use crate::model::{Attribute, Model, layers_of};
    use crate::prune::{BitMask, Cut, Granularity, LayerPlan, Plan, apply, holds, resolve_with};
    use std::ops::ControlFlow;

    fn gemm(rows: usize, columns: usize, weight: Vec<f32>) -> Model {
        net_of(&[columns], |b, x| {
            let w = b.tensor("w", Tensor::from_f32(vec![rows, columns], weight).unwrap());
            b.gemm("fc", x, w, None)
        })
    }

    fn scores_of(model: &Model, data: &Dataset) -> Scores {
        let layers = layers_of(model);
        let subject = Subject::new(model, &layers);
        score(&subject, &[&layers[0]], data, Calibration::default(), &mut |_, _| ControlFlow::Continue(())).unwrap()
    }

    fn found(scores: &Scores) -> Arc<LayerScores> {
        Arc::clone(scores.get("w", Criterion::SparseGpt).unwrap().unwrap())
    }

    /// The weight of the first layer after a plan, and which stay.
    fn pruned(model: &Model, data: &Dataset, granularity: Granularity, cut: Cut) -> (Vec<f32>, BitMask) {
        let layers = layers_of(model);
        let scores = scores_of(model, data);
        let subject = Subject { scores: &scores, ..Subject::new(model, &layers) };
        let mut plan = Plan::dense();
        plan.set("w", LayerPlan { granularity, criterion: Criterion::SparseGpt, cut, locked: false });
        let mask = resolve_with(&subject, &plan).unwrap();
        let after = apply(model, &layers, &mask).tensors["w"].clone();
        let of_layer = mask.layer("w").unwrap();
        assert_eq!(of_layer.zeros, after.to_f32().iter().filter(|&&v| v == 0.0).count());
        if let Granularity::Pattern { kept, of } = granularity {
            assert!(holds(&layers[0], &after, kept, of));
        }
        (after.to_f32().into_owned(), of_layer.bits(&layers[0], &model.tensors["w"]))
    }

    fn close(got: &[f32], expected: &[f32]) {
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() < 2e-4 * (1.0 + expected.abs()), "{i}: {got} instead of {expected}");
        }
    }

    /// A weight of `rows` x `columns` and `n` examples from whole numbers, which a reference can rebuild.
    fn reference_net(rows: usize, columns: usize, n: usize, modulus: usize, scale: f32) -> (Model, Dataset) {
        let weight = (0..rows * columns).map(|i| ((i * 37 + 11) % 23) as f32 / 8.0 - 1.375);
        let weight = weight.map(|w| if w == 0.0 { 0.0625 } else { w }).collect();
        let half = (modulus / 2) as f32;
        let x: Vec<f32> =
            (0..n * columns).map(|i| (((i * i * 7 + i * 13 + 5) % modulus) as f32 - half) / scale).collect();
        (gemm(rows, columns, weight), dataset(&[n, columns], &x))
    }

    #[test]
    fn a_small_layer_is_pruned_as_by_the_published_code() {
        // From a NumPy port in f64 of IST-DASLab/sparsegpt at 147d215 (`fasterprune`), with exact counts.
        let (model, data) = reference_net(4, 8, 12, 17, 4.0);
        #[rustfmt::skip]
        let half = [
            0.0, 0.0, 0.0, -0.9144922, 1.0289064, 0.0, -2.1761784, 1.2192993,
            0.0, 0.0, 0.0, -0.3158012, 1.1775151, 0.0, -0.2885721, 0.0,
            -0.75, 0.0, 0.0, -0.7696473, 0.7194526, -0.6798045, 2.0342753, 0.0,
            -1.125, 0.0, 0.0, 1.4673011, 0.0, -0.9338387, 1.4679085, 0.0,
        ];
        #[rustfmt::skip]
        let two_of_four = [
            0.0, 0.0, -0.6208843, -0.7924576, 0.0, 0.0, -2.3373317, 1.5855166,
            0.0, 0.9746932, 0.0, -0.8079447, 0.9579232, 0.0, -1.1281734, 0.0,
            -0.75, 0.0, 0.0, -0.7696473, 0.7194526, 0.0, 1.9765492, 0.0,
            -1.125, 0.0, 0.0, 1.4673011, 0.0, -0.9338387, 1.4679085, 0.0,
        ];
        close(&pruned(&model, &data, Granularity::Element, Cut::Sparsity(0.5)).0, &half);
        close(&pruned(&model, &data, Granularity::Pattern { kept: 2, of: 4 }, Cut::None).0, &two_of_four);
    }

    #[test]
    fn a_layer_of_several_blocks_is_pruned_as_by_the_published_code() {
        let (model, data) = reference_net(3, 300, 40, 101, 16.0);
        let (after, kept) = pruned(&model, &data, Granularity::Element, Cut::Keep(270));
        assert_eq!(kept.kept(), 270);
        let kept: usize = (0..900).filter(|&i| after[i] != 0.0).sum();
        let weighted: f64 = after.iter().enumerate().map(|(i, &v)| i as f64 * f64::from(v)).sum();
        let magnitudes: f64 = after.iter().map(|&v| f64::from(v.abs())).sum();
        assert_eq!(kept, 124_686);
        assert!(
            (weighted - 2601.8036).abs() < 0.1 && (magnitudes - 318.925_37).abs() < 1e-3,
            "{weighted} {magnitudes}"
        );
    }

    /// U^T U (H + damping) of one group, which should be the identity.
    fn product_with_inverse(factor: &[f32], hessian: &[f64], n: usize) -> f64 {
        let damping = DAMPING * (0..n).map(|i| hessian[i * n + i]).sum::<f64>() / n as f64;
        let inverse = |i: usize, j: usize| {
            (0..n).map(|k| f64::from(factor[k * n + i]) * f64::from(factor[k * n + j])).sum::<f64>()
        };
        let mut worst: f64 = 0.0;
        for i in 0..n {
            for j in 0..n {
                let damped = |k: usize| hessian[k * n + j] + if k == j { damping } else { 0.0 };
                let sum: f64 = (0..n).map(|k| inverse(i, k) * damped(k)).sum();
                worst = worst.max((sum - f64::from(u8::from(i == j))).abs());
            }
        }
        worst
    }

    #[test]
    fn the_hessian_of_a_convolution_is_that_of_its_windows() {
        let model = net_of(&[4, 3, 5], |b, x| {
            use Attribute::{Int, Ints};
            let w = (0..24u8).map(|i| f32::from(i % 7) - 3.0).collect();
            let w = b.tensor("w", Tensor::from_f32(vec![2, 2, 2, 3], w).unwrap());
            let attributes = [
                ("group", Int(2)),
                ("strides", Ints(vec![1, 2])),
                ("pads", Ints(vec![1, 1, 0, 2])),
                ("dilations", Ints(vec![2, 1])),
            ];
            b.node("conv", "Conv", &[x, w], &attributes)
        });
        let x: Vec<f32> = (0..3 * 60).map(|i| ((i * i * 3 + i * 5) % 31) as f32 / 8.0 - 2.0).collect();
        let scores = scores_of(&model, &dataset(&[3, 4, 3, 5], &x));
        let scored = found(&scores);
        let inverse = scored.inverse_hessian.as_ref().unwrap();
        assert_eq!((inverse.columns, inverse.factors.len()), (12, 2));
        let read = |image: usize, channel: usize, row: isize, column: isize| -> f64 {
            let inside = (0..3).contains(&row) && (0..5).contains(&column);
            if inside { x[((image * 4 + channel) * 3 + row as usize) * 5 + column as usize].into() } else { 0.0 }
        };
        for group in 0..2 {
            let mut hessian = vec![0.0; 144];
            for (image, top, left) in (0..3).flat_map(|i| (-1..1).flat_map(move |t| [-1, 1, 3].map(|l| (i, t, l)))) {
                let window: Vec<f64> = (0..12)
                    .map(|k| (k / 6, k / 3 % 2, k % 3))
                    .map(|(c, r, s)| read(image, group * 2 + c, top + 2 * r as isize, left + s as isize))
                    .collect();
                (0..144).for_each(|i| hessian[i] += window[i / 12] * window[i % 12] * 2.0 / 3.0);
            }
            let factor = &inverse.factors[group];
            let worst = product_with_inverse(factor, &hessian, 12);
            assert!(worst < 1e-3, "{worst}");
            // The saliency of the one output of the group.
            let weight = model.tensors["w"].to_f32();
            let saliency = scored.weights.as_ref().unwrap().to_f32();
            for column in 0..12 {
                let diagonal: f32 = (0..12).map(|k| factor[k * 12 + column].powi(2)).sum();
                let at = group * 12 + column;
                assert!((saliency[at] - weight[at].powi(2) / diagonal).abs() <= 1e-4 * saliency[at]);
            }
        }
        assert_eq!(scored.channels, None);
    }

    #[test]
    fn inputs_that_are_always_zero_go_first_and_do_not_spoil_the_rest() {
        let n = 6;
        let x: Vec<f32> = (0..20 * n).map(|i| if i % n == 2 { 0.0 } else { ((i * 29) % 13) as f32 - 6.0 }).collect();
        let model = gemm(2, n, (0..2 * n as u8).map(|i| 1.0 + f32::from(i)).collect());
        let data = dataset(&[20, n], &x);
        let scores = scores_of(&model, &data);
        let scored = found(&scores);
        let saliency = scored.weights.as_ref().unwrap().to_f32().into_owned();
        assert!(saliency.iter().enumerate().all(|(i, &s)| (s == 0.0) == (i % n == 2)), "{saliency:?}");
        let (after, kept) = pruned(&model, &data, Granularity::Element, Cut::Keep(10));
        assert_eq!((0..12).filter(|&i| !kept.keeps(i)).collect::<Vec<_>>(), [2, 8]);
        assert!(after.iter().enumerate().all(|(i, &v)| v == if i % n == 2 { 0.0 } else { 1.0 + i as f32 }));
        // No example at all says anything: nothing is updated, nothing fails.
        let silent = dataset(&[4, n], &[0.0; 24]);
        let (after, _) = pruned(&model, &silent, Granularity::Element, Cut::Keep(6));
        assert_eq!(after.iter().filter(|&&v| v != 0.0).count(), 6);
    }

    #[test]
    fn what_is_not_finite_has_a_reason_and_spoils_no_other_layer() {
        let model = gemm(1, 2, vec![1.0, f32::INFINITY]);
        let scores = scores_of(&model, &dataset(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(scores.get("w", Criterion::SparseGpt).unwrap().unwrap_err(), "some of its weights are infinite");
        let model = gemm(1, 2, vec![1.0, 2.0]);
        let scores = scores_of(&model, &dataset(&[1, 2], &[f32::MAX, 1.0]));
        let reason = scores.get("w", Criterion::SparseGpt).unwrap().unwrap_err();
        assert_eq!(reason, "what it reads on these examples is not finite");
    }

    /// Correlated inputs: sums of a few common signals and noise.
    fn correlated(n: usize, columns: usize, seed: u64) -> Vec<f32> {
        use rand::{Rng as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mixing: Vec<f32> = (0..4 * columns).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut x = Vec::with_capacity(n * columns);
        for _ in 0..n {
            let signals: Vec<f32> = (0..4).map(|_| random.random_range(-1.0..1.0)).collect();
            for column in 0..columns {
                let common: f32 = signals.iter().enumerate().map(|(s, v)| v * mixing[s * columns + column]).sum();
                x.push(common + random.random_range(-0.3..0.3));
            }
        }
        x
    }

    #[test]
    fn what_a_layer_computes_changes_less_than_by_magnitude() {
        let (rows, columns, n) = (8, 40, 200);
        for seed in 0..4 {
            let x = correlated(n, columns, seed);
            let weight = correlated(rows, columns, seed + 100);
            let model = gemm(rows, columns, weight.clone());
            let data = dataset(&[n, columns], &x);
            let error = |after: &[f32]| -> f64 {
                let of = |row: usize, x: &[f32]| -> f64 {
                    let difference =
                        (0..columns).map(|c| f64::from(after[row * columns + c] - weight[row * columns + c]));
                    difference.zip(x).map(|(d, &x)| d * f64::from(x)).sum()
                };
                x.chunks_exact(columns).map(|x| (0..rows).map(|row| of(row, x).powi(2)).sum::<f64>()).sum()
            };
            let layers = layers_of(&model);
            for (granularity, cut) in [
                (Granularity::Element, Cut::Sparsity(0.5)),
                (Granularity::Element, Cut::Sparsity(0.8)),
                (Granularity::Pattern { kept: 2, of: 4 }, Cut::None),
            ] {
                let mut plan = Plan::dense();
                plan.set("w", LayerPlan { granularity, cut, ..LayerPlan::default() });
                let magnitude = resolve_with(&Subject::new(&model, &layers), &plan).unwrap();
                let magnitude = error(&apply(&model, &layers, &magnitude).tensors["w"].to_f32());
                let ours = error(&pruned(&model, &data, granularity, cut).0);
                assert!(ours < 0.7 * magnitude, "{seed} {granularity}: {ours} against {magnitude}");
            }
        }
    }

    #[test]
    fn a_threshold_removes_as_many_as_it_would_without_updates_and_zero_removes_nothing() {
        let (model, data) = reference_net(4, 8, 12, 17, 4.0);
        let scored = found(&scores_of(&model, &data));
        let mut saliency = scored.weights.as_ref().unwrap().to_f32().into_owned();
        saliency.sort_by(f32::total_cmp);
        let (_, kept) = pruned(&model, &data, Granularity::Element, Cut::Threshold(f64::from(saliency[11])));
        assert_eq!(kept.kept(), 32 - 11);
        let (after, kept) = pruned(&model, &data, Granularity::Element, Cut::Sparsity(0.0));
        assert_eq!((after.as_slice(), kept.kept()), (&*model.tensors["w"].to_f32(), 32));
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (columns, n) = (150, 70);
        let model = gemm(4, columns, correlated(4, columns, 1));
        let data = dataset(&[n, columns], &correlated(n, columns, 2));
        let scores = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| found(&scores_of(&model, &data)))
        });
        assert_eq!(scores[0], scores[1]);
    }
}
