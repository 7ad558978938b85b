use super::augment::Augmenter;
use super::loss::cross_entropy;
use super::parameters::Parameters;
use super::{EpochReport, TrainError, TrainOptions, TrainOutcome};
use crate::data::Dataset;
use crate::exec::{BatchNormMode, Bound, ExecError, TrainProgram};
use crate::model::{Architecture, Model};
use candle_core::{Device, Tensor as CandleTensor};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Instant;

/// Is called after every step and once more, with `finished` set, when an epoch has been measured; `Break`
/// stops the run.
pub type Observer<'a> = &'a mut dyn FnMut(&EpochReport) -> ControlFlow<()>;

/// Metadata key of the recipe of a trained model.
const METADATA_KEY: &str = "secateur.training";
/// Examples per evaluation step.
const MEASURE_BATCH: usize = 250;

/// Builds an architecture from `options.seed` and trains it.
///
/// # Errors
/// As [`train`].
pub fn train_architecture(
    architecture: Architecture,
    data: &Dataset,
    options: &TrainOptions,
    observe: Observer<'_>,
) -> Result<TrainOutcome, TrainError> {
    train(&architecture.build(options.seed)?, data, options, observe)
}

/// Trains all float parameters of `model` to classify `data`, which must be training examples: some of them
/// are kept apart as [`TrainOptions::validation`] says, and the weights of the epoch that did best on those
/// are returned. Running statistics of batch-norms follow the data.
///
/// A last batch that is not full is left out; the order changes with every epoch.
///
/// # Errors
/// [`TrainError`] if options, data and model do not fit together, the loss stops being a number, or the
/// observer stops the run before the first epoch is over. Stopped later, the best epoch so far is returned.
pub fn train(
    model: &Model,
    data: &Dataset,
    options: &TrainOptions,
    observe: Observer<'_>,
) -> Result<TrainOutcome, TrainError> {
    options.check()?;
    let classes = check_fit(model, data)?;
    if data.len() <= options.validation {
        return Err(TrainError::TooFew { examples: data.len(), validation: options.validation });
    }
    let (learning, validation) = data.split_off(options.validation, options.seed);
    let mut run = Run::new(model, &learning, classes, options)?;
    let mut epochs: Vec<EpochReport> = Vec::new();
    let mut best: Option<(EpochReport, Model)> = None;
    let mut cancelled = false;
    for epoch in 1..=options.epochs {
        let start = Instant::now();
        let Some(mut report) = run.epoch(epoch, start, observe)? else {
            cancelled = true;
            break;
        };
        let candidate = run.program.write_back(model)?;
        if !validation.is_empty() {
            let (loss, accuracy) = measure(&run.program.program().bind(&candidate)?, &validation, classes)?;
            (report.validation_loss, report.validation_accuracy) = (Some(loss), Some(accuracy));
        }
        report.finished = true;
        report.seconds = start.elapsed().as_secs_f64();
        if best.as_ref().is_none_or(|(old, _)| better(&report, old)) {
            best = Some((report.clone(), candidate));
        }
        let wish = observe(&report);
        epochs.push(report);
        if wish.is_break() && epoch < options.epochs {
            cancelled = true;
            break;
        }
    }
    let Some((best, mut model)) = best else { return Err(TrainError::Cancelled) };
    model.metadata.insert(METADATA_KEY.to_owned(), describe(&learning, options, &best)?);
    Ok(TrainOutcome { model, epochs, best_epoch: best.epoch, cancelled })
}

/// Whether an epoch beats the best before it: by validation accuracy, then loss; without validation the
/// later one does.
fn better(new: &EpochReport, old: &EpochReport) -> bool {
    match (new.validation_accuracy.zip(new.validation_loss), old.validation_accuracy.zip(old.validation_loss)) {
        (Some((accuracy, loss)), Some((old_accuracy, old_loss))) => {
            accuracy > old_accuracy || (accuracy == old_accuracy && loss < old_loss)
        }
        _ => true,
    }
}

/// What the metadata says: what was learnt from, how, and which epoch was kept. No clock, so that the same
/// run writes the same bytes.
#[derive(Serialize)]
struct Recipe<'a> {
    data_fingerprint: String,
    examples: usize,
    options: &'a TrainOptions,
    epoch: u32,
    validation_accuracy: Option<f64>,
}

fn describe(data: &Dataset, options: &TrainOptions, best: &EpochReport) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Recipe {
        data_fingerprint: format!("{:016x}", data.fingerprint()),
        examples: data.len(),
        options,
        epoch: best.epoch,
        validation_accuracy: best.validation_accuracy,
    })
}

/// Checks the shapes of input and output; returns the number of logits.
fn check_fit(model: &Model, data: &Dataset) -> Result<usize, TrainError> {
    data.require_labels()?;
    let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
    let (&[input], &[output]) = (&graph.inputs[..], &graph.outputs[..]) else {
        let found = format!("{} inputs and {} outputs", graph.inputs.len(), graph.outputs.len());
        return Err(TrainError::Signature(found));
    };
    if let Some([_, dims @ ..]) = graph.value(input).fact.shape.as_deref() {
        let expected: Option<Vec<usize>> = dims.iter().map(crate::model::Dim::known).collect();
        if let Some(expected) = expected.filter(|expected| expected != data.example_shape()) {
            return Err(TrainError::ExampleShape { expected, actual: data.example_shape().to_vec() });
        }
    }
    match graph.value(output).fact.shape.as_deref() {
        Some([_, classes]) if classes.known().is_some() => {
            let model = classes.known().unwrap_or_default();
            if data.class_count() > model {
                return Err(TrainError::Classes { data: data.class_count(), model });
            }
            Ok(model)
        }
        Some(shape) => {
            let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
            Err(TrainError::Signature(format!("an output of shape [{}]", dims.join(", "))))
        }
        None => Err(TrainError::Signature("an output of unknown shape".to_owned())),
    }
}

/// What lives through all epochs.
struct Run<'a> {
    program: TrainProgram,
    parameters: Parameters,
    augmenter: Augmenter,
    data: &'a Dataset,
    labels: &'a [u32],
    classes: usize,
    options: &'a TrainOptions,
    batch: usize,
    steps_per_epoch: usize,
}

impl<'a> Run<'a> {
    fn new(model: &Model, data: &'a Dataset, classes: usize, options: &'a TrainOptions) -> Result<Self, TrainError> {
        let program = TrainProgram::new(model)?;
        let batch = options.batch.min(data.len());
        let shape = match *data.example_shape() {
            [channels, rows, columns] => [channels, rows, columns],
            _ if options.augment == super::Augment::default() => [1, 1, data.example_len()],
            _ => return Err(TrainError::Option("only images can be shifted and flipped")),
        };
        Ok(Self {
            parameters: Parameters::new(program.parameters(), options)?,
            program,
            augmenter: Augmenter { augment: options.augment, shape, blank: data.blank(), seed: options.seed },
            labels: data.require_labels()?,
            data,
            classes,
            options,
            batch,
            steps_per_epoch: data.len() / batch,
        })
    }

    /// One pass over the examples; `None` if the observer stopped it.
    fn epoch(&mut self, epoch: u32, start: Instant, observe: Observer<'_>) -> Result<Option<EpochReport>, TrainError> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(self.options.seed ^ (u64::from(epoch) << 32)));
        let steps = self.steps_per_epoch as u64 * u64::from(self.options.epochs);
        let (mut loss, mut correct) = (0.0, 0);
        let mut report = EpochReport {
            epoch,
            epochs: self.options.epochs,
            total: self.steps_per_epoch * self.batch,
            ..EpochReport::default()
        };
        let mut gradient = Vec::new();
        for (index, indices) in order.chunks_exact(self.batch).enumerate() {
            let step = u64::from(epoch - 1) * self.steps_per_epoch as u64 + index as u64;
            let rate = self.options.learning_rate * self.options.schedule.factor(step, steps);
            let mut values = Vec::new();
            self.data.batch_into(indices, &mut values);
            self.augmenter.apply(u64::from(epoch), indices, &mut values);
            let labels: Vec<u32> = indices.iter().map(|&i| self.labels[i]).collect();
            let mut shape = vec![indices.len()];
            shape.extend(self.data.example_shape());
            let x = CandleTensor::from_vec(values, shape, &Device::Cpu)?;
            let logits = &self.program.forward(&[x], BatchNormMode::Batch)?[0];
            let flat = logits.flatten_all()?.to_vec1::<f32>()?;
            let sums = cross_entropy(&flat, &labels, self.classes, self.options.label_smoothing, &mut gradient);
            if !sums.loss.is_finite() {
                return Err(TrainError::Diverged { epoch, loss: sums.loss });
            }
            let seed = CandleTensor::from_slice(&gradient, logits.shape(), &Device::Cpu)?;
            let gradients = self.program.backward_from(&[seed])?;
            self.parameters.step(&gradients, rate)?;
            loss += sums.loss;
            correct += sums.correct;
            report.done += indices.len();
            report.learning_rate = rate;
            report.train_loss = loss / report.done as f64;
            report.train_accuracy = correct as f64 / report.done as f64;
            report.seconds = start.elapsed().as_secs_f64();
            if observe(&report).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(report))
    }
}

/// Mean cross-entropy and accuracy.
fn measure(bound: &Bound, data: &Dataset, classes: usize) -> Result<(f64, f64), TrainError> {
    let labels = data.require_labels()?;
    let indices: Vec<usize> = (0..data.len()).collect();
    let (mut loss, mut correct) = (0.0, 0);
    let mut gradient = Vec::new();
    for (indices, labels) in indices.chunks(MEASURE_BATCH).zip(labels.chunks(MEASURE_BATCH)) {
        let outputs = bound.run(&[data.batch(indices)])?;
        let sums = cross_entropy(&outputs[0].to_f32(), labels, classes, 0.0, &mut gradient);
        loss += sums.loss;
        correct += sums.correct;
    }
    Ok((loss / data.len() as f64, correct as f64 / data.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use crate::model::{Attribute, Dim, GraphBuilder, check_consistency};
    use crate::train::{Augment, Masks, Optimizer};
    use rand::Rng as _;
    use std::path::Path;

    /// Noisy 8 x 8 images of three classes, told apart by which third is bright.
    fn stripes(count: usize) -> Dataset {
        let mut rng = StdRng::seed_from_u64(9);
        let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
        let pixel = |label: u32, i: usize, rng: &mut StdRng| {
            let bright = if (i / 8) as u32 / 3 == label { 120 } else { 0 };
            bright + rng.random_range(0..120u8)
        };
        let bytes = labels.iter().flat_map(|&l| (0..64).map(|i| pixel(l, i, &mut rng)).collect::<Vec<_>>()).collect();
        let examples = Examples::U8(bytes);
        Dataset::new(examples, &[count, 1, 8, 8], Some(labels), Preprocess::default(), Split::Train, Path::new("mem"))
            .unwrap()
    }

    /// Convolution, batch-norm, ReLU, pool, fully connected.
    fn tiny() -> Model {
        let mut rng = StdRng::seed_from_u64(4);
        let mut b = GraphBuilder::new("tiny");
        let mut tensor = |b: &mut GraphBuilder, name: &str, shape: &[usize], constant: Option<f32>| {
            let n = shape.iter().product::<usize>();
            let values = (0..n).map(|_| constant.unwrap_or_else(|| rng.random_range(-0.5..0.5))).collect();
            b.tensor(name, crate::model::Tensor::from_f32(shape.to_vec(), values).unwrap())
        };
        let x = b.input("x", vec![Dim::symbol("batch"), 1.into(), 8.into(), 8.into()]);
        let w = tensor(&mut b, "conv.weight", &[4, 1, 3, 3], None);
        let h = b.conv("conv", x, w, None, (1, 1, 1));
        let parts = [("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("var", 1.0)]
            .map(|(name, value)| tensor(&mut b, name, &[4], Some(value)));
        let h = b.node("norm", "BatchNormalization", &[&[h], &parts[..]].concat(), &[]);
        let h = b.node("relu", "Relu", &[h], &[]);
        let two = || Attribute::Ints(vec![2, 2]);
        let h = b.node("pool", "MaxPool", &[h], &[("kernel_shape", two()), ("strides", two())]);
        let h = b.node("flatten", "Flatten", &[h], &[]);
        let w = tensor(&mut b, "fc.weight", &[3, 64], None);
        let bias = tensor(&mut b, "fc.bias", &[3], Some(0.0));
        let y = b.gemm("fc", h, w, Some(bias));
        b.output(y);
        b.finish().unwrap()
    }

    fn options() -> TrainOptions {
        TrainOptions { epochs: 3, batch: 20, learning_rate: 0.05, validation: 60, ..TrainOptions::default() }
    }

    fn quiet(_: &EpochReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_threads(threads: usize, options: &TrainOptions) -> Model {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&tiny(), &stripes(300), options, &mut quiet).unwrap().model)
    }

    #[test]
    fn it_learns_and_returns_a_consistent_model() {
        let outcome = train(&tiny(), &stripes(300), &options(), &mut quiet).unwrap();
        assert_eq!((outcome.epochs.len(), outcome.cancelled), (3, false));
        let best = outcome.best().unwrap();
        assert!(best.validation_accuracy.unwrap() > 0.9, "{best:?}");
        assert!(outcome.epochs[2].train_loss < outcome.epochs[0].train_loss);
        assert_eq!(check_consistency(&outcome.model), Ok(()));
        assert_ne!(outcome.model.tensors["mean"], tiny().tensors["mean"], "running statistics follow the data");
        assert!(outcome.model.metadata[METADATA_KEY].contains("\"seed\":1"));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
        let options = TrainOptions { augment: Augment { shift: 1, flip: true }, ..options() };
        let one = on_threads(1, &options);
        let three = on_threads(3, &options);
        assert_eq!(one.tensors, three.tensors);
        assert_eq!(one.metadata, three.metadata);
        assert_ne!(one.tensors, on_threads(1, &TrainOptions { seed: 2, ..options }).tensors);
    }

    #[test]
    fn masked_weights_stay_exactly_zero() {
        let mut masks = Masks::default();
        masks.insert("fc.weight", (0..192).map(|i| i % 4 == 0).collect::<Vec<_>>());
        let options = TrainOptions { masks, optimizer: Optimizer::ADAM_W, learning_rate: 0.01, ..options() };
        let model = train(&tiny(), &stripes(300), &options, &mut quiet).unwrap().model;
        for (i, w) in model.tensors["fc.weight"].to_f32().iter().enumerate() {
            assert_eq!(*w != 0.0, i % 4 == 0, "weight {i} is {w}");
        }
    }

    #[test]
    fn the_observer_can_stop_within_an_epoch_and_keeps_the_best_before() {
        let mut steps = 0;
        let mut stop_early = |_: &EpochReport| {
            steps += 1;
            if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let early = train(&tiny(), &stripes(300), &options(), &mut stop_early);
        assert!(matches!(early, Err(TrainError::Cancelled)));
        let mut stop_late = |r: &EpochReport| if r.epoch == 2 { ControlFlow::Break(()) } else { quiet(r) };
        let late = train(&tiny(), &stripes(300), &options(), &mut stop_late).unwrap();
        assert_eq!((late.cancelled, late.best_epoch, late.epochs.len()), (true, 1, 1));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_a_sentence() {
        let data = stripes(30);
        let try_with =
            |model: &Model, options: &TrainOptions| train(model, &data, options, &mut quiet).unwrap_err().to_string();
        assert!(try_with(&tiny(), &options()).contains("too few"));
        let lenet = Architecture::LeNet5.build(1).unwrap();
        let few = TrainOptions { validation: 3, ..options() };
        assert!(try_with(&lenet, &few).contains("[1, 28, 28]"));
        let mut masks = Masks::default();
        masks.insert("fc.weight", vec![true; 5]);
        assert!(try_with(&tiny(), &TrainOptions { masks, ..few.clone() }).contains("`fc.weight`"));
        let mut weights_only = tiny();
        weights_only.graph = None;
        assert!(try_with(&weights_only, &few).contains("no graph"));
    }

    #[test]
    fn a_diverging_run_says_so() {
        let wild = TrainOptions { learning_rate: 1e30, validation: 0, ..options() };
        let error = train(&tiny(), &stripes(60), &wild, &mut quiet).unwrap_err();
        assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    }
}
