use super::least_squares::{Centred, Rows};
use super::moments::Moments;
use super::{Observe, RecoverError};
use crate::calibrate::{CalibrateError, Reading, Unfolded, Watch};
use crate::data::Dataset;
use crate::exec::{ExecError, Program};
use crate::model::{Graph, Layer, Model, Tensor, ValueId, layers_of};
use crate::prune::{Calibration, Matrix};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Numbers of the moments of one layer that are still worked with: 1.5 GiB.
const MOST_NUMBERS: usize = 3 << 26;

/// How layers are repaired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairOptions {
    /// Whether weights that are left are solved for, not only biases.
    pub weights: bool,
    /// Strength of the ridge that holds them to what they are, as a share of the mean square of what a layer reads.
    pub damping: f64,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self { weights: true, damping: 0.01 }
    }
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepairedLayer {
    /// Its name.
    pub name: String,
    /// Squared difference of its outputs from those before pruning, over their squares, on the examples. About the
    /// means where a bias, or the running mean of a batch-norm, takes up a constant difference.
    pub error_before: f64,
    /// The same after the repair.
    pub error_after: f64,
    /// Why it was left as it is.
    pub skipped: Option<String>,
}

/// Where a constant difference of a layer's outputs can go.
#[derive(Clone, Debug, PartialEq)]
enum Sink {
    /// Added to a bias.
    Bias(String),
    /// Taken from the running mean of the batch-norm that alone reads the outputs.
    RunningMean(String),
    Nowhere,
}

impl Sink {
    fn of(graph: &Graph, layer: &Layer, model: &Model) -> Self {
        if let Some(bias) = layer.bias.as_ref().filter(|bias| model.tensors.contains_key(*bias)) {
            return Self::Bias(bias.clone());
        }
        let &[node] = &layer.nodes[..] else { return Self::Nowhere };
        let Some(Some(output)) = graph.node(node).outputs.first() else { return Self::Nowhere };
        let readers: Vec<_> = graph.nodes.iter().filter(|node| node.inputs.contains(&Some(*output))).collect();
        let (&[norm], false) = (&readers[..], graph.outputs.contains(output)) else { return Self::Nowhere };
        let mean = norm.input(3).filter(|_| norm.op == "BatchNormalization" && norm.input(0) == Some(*output));
        let mean = mean.map(|id| graph.value(id).name.clone()).filter(|name| model.tensors.contains_key(name));
        mean.map_or(Self::Nowhere, Self::RunningMean)
    }
}

/// Solves layer by layer, in the order in which they compute, for the weights that make the outputs of `pruned` nearest
/// to those of `before` on calibration examples; each layer sees what those repaired before it send. Zeros stay zero.
///
/// The solution is the ridge regression `min |W z + b - W' x - b'|^2 + damping |W' - W_pruned|^2` of what the layer
/// reads before (z) and now (x), in closed form, for each output over the weights it has left (He et al. 2017 for
/// channels). Without [`RepairOptions::weights`] only the constant difference is made up for (bias correction, Nagel et al.
/// 2019).
///
/// # Errors
/// [`RecoverError::OtherShape`] if tensors differ in shape, [`RecoverError::Cancelled`] if `observe` broke, others if
/// the graph cannot be run on the data.
pub fn repair(
    before: &Model,
    pruned: &Model,
    data: &Dataset,
    (calibration, options): (Calibration, RepairOptions),
    observe: Observe<'_>,
) -> Result<(Model, Vec<RepairedLayer>), RecoverError> {
    let graph = before.graph.as_ref().ok_or(ExecError::NoGraph)?;
    for (name, tensor) in &before.tensors {
        if pruned.tensors.get(name).is_none_or(|other| other.shape() != tensor.shape()) {
            return Err(RecoverError::OtherShape(name.clone()));
        }
    }
    let mut layers = layers_of(before);
    layers.retain(|layer| layer.prunability.is_prunable() && !layer.nodes.is_empty());
    layers.sort_by_key(|layer| layer.nodes.first().map(|node| node.0));
    let watch = Watch::new(before, data, calibration);
    let each = watch.examples() as u64;
    let total = 2 * each * layers.len() as u64;
    let mut repaired = pruned.clone();
    let mut reports = Vec::new();
    let mut touched = false;
    for (index, layer) in layers.iter().enumerate() {
        let start = 2 * each * index as u64;
        if observe(start, total).is_break() {
            return Err(RecoverError::Cancelled);
        }
        touched |= before.tensors.get(&layer.weight) != repaired.tensors.get(&layer.weight);
        if !touched {
            continue;
        }
        let mut tell = |done: u64| observe(start + done, total);
        match repair_layer((before, &mut repaired), graph, layer, &watch, options, &mut tell)? {
            Ok((error_before, error_after)) => {
                reports.push(RepairedLayer { name: layer.name.clone(), error_before, error_after, skipped: None });
            }
            Err(reason) => {
                let name = layer.name.clone();
                reports.push(RepairedLayer { name, error_before: 0.0, error_after: 0.0, skipped: Some(reason) });
            }
        }
    }
    Ok((repaired, reports))
}

/// Relative errors of a layer before and after, or why it was left alone.
fn repair_layer(
    (before, repaired): (&Model, &mut Model),
    graph: &Graph,
    layer: &Layer,
    watch: &Watch<'_>,
    options: RepairOptions,
    observe: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Result<(f64, f64), String>, RecoverError> {
    let (Some(old), Some(new)) = (before.tensors.get(&layer.weight), repaired.tensors.get(&layer.weight)) else {
        return Ok(Err("its weight is missing".to_owned()));
    };
    let (old, new) = (old.resident().into_owned(), new.resident().into_owned());
    let matrix = Matrix::of(layer, old.shape());
    let (width, groups) = (matrix.columns.len(), matrix.groups);
    let readings = match Reading::all(before, graph, layer) {
        Ok(readings) => readings,
        Err(reason) => return Ok(Err(reason)),
    };
    if Moments::numbers(width, groups) > MOST_NUMBERS {
        return Ok(Err(format!("the moments of its {width} inputs need more memory than is set aside")));
    }
    let values: Vec<ValueId> = readings.iter().map(|reading| reading.value).collect();
    let program = Program::compile_values(before, &values)?;
    let (dense, now) = (program.bind(before)?, program.bind(repaired)?);
    let mut moments = Moments::new(width, groups);
    let mut problem = None;
    watch.run_bounds(&[&dense, &now], &values, &mut |seen, done| {
        for (place, reading) in readings.iter().enumerate() {
            let unfold = |model: usize| Unfolded::of(&reading.vectors, &seen[model][place]);
            match (unfold(1), unfold(0)) {
                (Ok(x), Ok(z)) if (x.groups, x.width, x.rows) == (groups, width, z.rows) => moments.add(&x, &z),
                (Ok(x), Ok(_)) => {
                    problem.get_or_insert_with(|| format!("it reads {} inputs and has weights for {width}", x.width));
                }
                (Err(reason), _) | (_, Err(reason)) => {
                    problem.get_or_insert(reason);
                }
            }
        }
        observe(done as u64)
    })?;
    if let Some(problem) = problem {
        return Ok(Err(problem));
    }
    let sink = Sink::of(graph, layer, before);
    let solve = Solve { matrix: &matrix, moments: &moments, centred: sink != Sink::Nowhere, options };
    let seen = watch.examples() as f64;
    let mut goes_on = |share: f64| observe((seen * (1.0 + share)) as u64).is_continue();
    let Some(solved) = solve.run(&old.to_f32(), &new.to_f32(), &mut goes_on) else {
        return Err(CalibrateError::Cancelled.into());
    };
    repaired.tensors.insert(layer.weight.clone(), in_dtype(&new, solved.weight)?);
    let (name, sign) = match sink {
        Sink::Bias(name) => (name, 1.0),
        Sink::RunningMean(name) => (name, -1.0),
        Sink::Nowhere => return Ok(Ok(solved.errors)),
    };
    let now = repaired.tensors.get(&name).filter(|tensor| tensor.len() == solved.missing.len());
    if let (Some(now), Some(before)) = (now, before.tensors.get(&name)) {
        // From the bias that the outputs to come near to have, not from what training may have made of it.
        let (values, before) = (now.to_f32(), before.to_f32());
        let each = values.iter().zip(before.iter()).zip(&solved.missing);
        let moved = each.map(|((now, before), m)| m.map_or(*now, |m| (f64::from(*before) + sign * m) as f32)).collect();
        let moved = in_dtype(now, moved)?;
        repaired.tensors.insert(name, moved);
    }
    Ok(Ok(solved.errors))
}

fn in_dtype(like: &Tensor, values: Vec<f32>) -> Result<Tensor, RecoverError> {
    Ok(Tensor::from_f32(like.shape().to_vec(), values)?.cast(like.dtype())?)
}

/// A layer with all that is known of what it reads.
struct Solve<'a> {
    matrix: &'a Matrix,
    moments: &'a Moments,
    centred: bool,
    options: RepairOptions,
}

struct Solved {
    weight: Vec<f32>,
    /// By output, what its mean lacks of that before pruning, biases aside; none for outputs without weights.
    missing: Vec<Option<f64>>,
    errors: (f64, f64),
}

impl Solve<'_> {
    fn run(&self, old: &[f32], new: &[f32], goes_on: &mut dyn FnMut(f64) -> bool) -> Option<Solved> {
        let Self { matrix, moments, .. } = self;
        let width = moments.width;
        let groups = moments.groups.len();
        let per_group = (matrix.rows.len() / groups).max(1);
        let mut weight = new.to_vec();
        let mut missing = vec![None; matrix.rows.len()];
        let (mut whole, mut before, mut after) = (0.0, 0.0, 0.0);
        for (index, group) in moments.groups.iter().enumerate() {
            let outputs = index * per_group..((index + 1) * per_group).min(matrix.rows.len());
            let gather = |values: &[f32]| -> Vec<f64> {
                let rows = matrix.rows[outputs.clone()].par_iter();
                rows.flat_map_iter(|row| matrix.columns.iter().map(move |column| f64::from(values[row + column])))
                    .collect()
            };
            let (old, pruned) = (gather(old), gather(new));
            let rows = Rows { before: &old, pruned: &pruned, width };
            let centred = Centred::of(group, moments.count, self.centred);
            let errors = centred.error(&rows);
            let solved = if self.options.weights {
                let mut part = |share: f64| goes_on((index as f64 + share) / groups as f64);
                centred.solve(&rows, self.options.damping, &mut part)?
            } else {
                pruned.clone()
            };
            (whole, before) = (whole + errors.0, before + errors.1);
            after += centred.error(&Rows { pruned: &solved, ..rows }).1;
            for (place, output) in outputs.enumerate() {
                let (old, row) = (&old[place * width..][..width], &solved[place * width..][..width]);
                let start = matrix.rows[output];
                matrix.columns.iter().zip(row).for_each(|(column, value)| weight[start + column] = *value as f32);
                if row.iter().any(|value| *value != 0.0) {
                    let mean = |sums: &[f64], row: &[f64]| {
                        row.iter().zip(sums).map(|(w, s)| w * s).sum::<f64>() / moments.count.max(1.0)
                    };
                    missing[output] = Some(mean(&group.z, old) - mean(&group.x, row));
                }
            }
        }
        let share = |error: f64| if whole > 0.0 { error / whole } else { 0.0 };
        Some(Solved { weight, missing, errors: (share(before), share(after)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use crate::model::Architecture;
    use crate::prune::{Cut, Granularity, LayerPlan, Plan, Subject};
    use std::path::Path;

    fn images(count: usize) -> Dataset {
        let bytes = (0..count * 784).map(|i| (i * 7919 % 251 * (i / 784 % 5 + 1) / 5) as u8).collect();
        let preprocess = Preprocess { scale: Some(1.0 / 255.0), ..Preprocess::default() };
        let shape = [count, 1, 28, 28];
        Dataset::new(Examples::U8(bytes), &shape, None, preprocess, Split::Train, Path::new("m")).unwrap()
    }

    fn cut(model: &Model, granularity: Granularity, sparsity: f64) -> Model {
        let layers = layers_of(model);
        let mut plan = Plan::dense();
        for layer in &layers {
            let decision = LayerPlan { granularity, cut: Cut::Sparsity(sparsity), ..LayerPlan::default() };
            if layer.prunability.is_prunable() && layer.name != "fc2" && layer.name != "fc" {
                plan.set(&layer.name, decision);
            }
        }
        let subject = Subject::new(model, &layers);
        subject.masked(&subject.resolve(&plan).unwrap()).unwrap()
    }

    fn distance(a: &Model, b: &Model) -> f64 {
        let inputs = [images(96).batch(&(0..96).collect::<Vec<_>>())];
        let run = |model: &Model| Program::compile(model).unwrap().bind(model).unwrap().run(&inputs).unwrap();
        let (a, b) = (run(a), run(b));
        a[0].to_f32().iter().zip(b[0].to_f32().iter()).map(|(a, b)| f64::from((a - b) * (a - b))).sum()
    }

    fn go_on(_: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn outputs_come_nearer_layer_by_layer_and_zeros_stay_zero() {
        let asked =
            |weights| (Calibration { examples: 96, seed: 0 }, RepairOptions { weights, ..RepairOptions::default() });
        for (architecture, granularity) in [
            (Architecture::LeNet5, Granularity::Element),
            (Architecture::ResNet8, Granularity::Element),
            (Architecture::LeNet5, Granularity::Channel),
            (Architecture::Mlp300100, Granularity::Pattern { kept: 2, of: 4 }),
        ] {
            let model = architecture.build(5).unwrap();
            let pruned = cut(&model, granularity, 0.6);
            let data = images(96);
            let (repaired, layers) = repair(&model, &pruned, &data, asked(true), &mut go_on).unwrap();
            assert!(layers.len() >= 3 && layers.iter().all(|layer| layer.skipped.is_none()), "{layers:?}");
            for layer in &layers {
                assert!(layer.error_after <= layer.error_before + 1e-9, "{architecture:?} {layer:?}");
            }
            // Of whole channels that go, only the layers after them can make up.
            let helped = layers.iter().any(|layer| layer.error_after < 0.9 * layer.error_before);
            assert!(helped, "{architecture:?} {granularity:?} {layers:?}");
            for (name, tensor) in &pruned.tensors {
                let pairs = tensor.shape().len() >= 2;
                let kept = tensor
                    .to_f32()
                    .iter()
                    .zip(repaired.tensors[name].to_f32().iter())
                    .all(|(a, b)| *a != 0.0 || *b == 0.0);
                assert!(!pairs || kept, "zeros of {name} stay");
            }
            let (bias_only, _) = repair(&model, &pruned, &data, asked(false), &mut go_on).unwrap();
            for layer in layers_of(&model) {
                assert_eq!(bias_only.tensors[&layer.weight], pruned.tensors[&layer.weight]);
            }
            let far = distance(&model, &pruned);
            assert!(distance(&model, &repaired) < far, "{architecture:?} {granularity:?}");
        }
    }

    #[test]
    fn biases_that_were_trained_away_come_back_to_those_of_the_dense_model() {
        let model = Architecture::Mlp300100.build(5).unwrap();
        let mut tuned = cut(&model, Granularity::Element, 0.3);
        let shape = model.tensors["fc1.bias"].shape().to_vec();
        tuned.tensors.insert("fc1.bias".to_owned(), Tensor::from_f32(shape, vec![5.0; 300]).unwrap());
        let options = RepairOptions { weights: false, ..RepairOptions::default() };
        let asked = (Calibration { examples: 64, seed: 0 }, options);
        let (repaired, _) = repair(&model, &tuned, &images(64), asked, &mut go_on).unwrap();
        assert!(repaired.tensors["fc1.bias"].to_f32().iter().all(|bias| bias.abs() < 2.0), "not 5 and more");
        assert!(distance(&model, &repaired) < distance(&model, &tuned));
    }

    #[test]
    fn a_model_that_was_not_pruned_is_left_alone_and_other_shapes_are_refused() {
        let model = Architecture::LeNet5.build(5).unwrap();
        let asked = (Calibration { examples: 8, seed: 0 }, RepairOptions::default());
        let (same, layers) = repair(&model, &model, &images(8), asked, &mut go_on).unwrap();
        assert_eq!((same.tensors, layers.len()), (model.tensors.clone(), 0));
        let mut other = model.clone();
        other.tensors.insert("fc1.bias".to_owned(), Tensor::from_f32(vec![3], vec![0.0; 3]).unwrap());
        let error = repair(&model, &other, &images(8), asked, &mut go_on).unwrap_err();
        assert!(matches!(error, RecoverError::OtherShape(name) if name == "fc1.bias"));
        let cancelled = repair(&model, &cut(&model, Granularity::Element, 0.5), &images(8), asked, &mut |_, _| {
            ControlFlow::Break(())
        });
        assert!(matches!(cancelled, Err(RecoverError::Cancelled)));
    }
}
