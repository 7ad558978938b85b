use super::augment::Augmenter;
use super::checkpoint::{self, State};
use super::loss::{cross_entropy, distil, match_features};
use super::network::{Network, Teacher};
use super::parameters::Parameters;
use super::{Ended, EpochReport, Task, TrainError, TrainOptions, TrainOutcome};
use crate::data::{Dataset, Feed};
use crate::eval::{EvalOptions, evaluate};
use crate::exec::{BatchNormMode, Bound, Program};
use crate::model::{Architecture, Model};
use candle_core::{Device, Tensor as CandleTensor};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Is called after every step and once more, with `finished` set, when an epoch has been measured; `Break`
/// stops the run. It may take its time to pause the run: that time is not counted.
pub type Observer<'a> = &'a mut dyn FnMut(&EpochReport) -> ControlFlow<()>;

/// Metadata key of the recipe of a trained model.
const METADATA_KEY: &str = "secateur.training";
/// Checkpoints of short epochs are not written more often than this.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(2);

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
    train(&Task::new(&architecture.build(options.seed)?, data, options), observe)
}

/// Trains all float parameters of a model to classify, and returns the weights of the epoch that did best on the
/// examples kept apart, those it began with included. Running statistics of batch-norms follow the data.
///
/// A last batch that is not full is left out; the order changes with every epoch. With a
/// [checkpoint](Task::checkpoint), a run that was stopped or killed goes on at the beginning of the epoch that it was
/// in, and ends with the same bytes as if it had not been.
///
/// # Errors
/// [`TrainError`] if options, data and model do not fit together, the loss stops being a number, or the
/// observer stops the run before the first epoch is over. Stopped later, the best epoch so far is returned.
pub fn train(task: &Task<'_>, observe: Observer<'_>) -> Result<TrainOutcome, TrainError> {
    let options = task.options;
    options.check()?;
    task.data.require_labels()?;
    if task.data.len() <= options.validation {
        return Err(TrainError::TooFew { examples: task.data.len(), validation: options.validation });
    }
    let (learning, validation) = task.data.split_off(options.validation, options.seed);
    let mut run = Run::new(task, &learning)?;
    let measure = Measure::new(task.model, &validation)?;
    let (saved, fingerprint) = match task.checkpoint {
        Some(path) => {
            let fingerprint = checkpoint::fingerprint(task)?;
            (State::load(path, fingerprint)?, fingerprint)
        }
        None => (None, 0),
    };
    let mut state = saved.unwrap_or_default();
    let start = measure.of(&run.network.program.write_back(task.model)?)?;
    if state.epochs.is_empty() {
        state.best = run.network.program.state()?;
    } else {
        run.resume(&state)?;
    }
    let start = EpochReport { epochs: options.epochs, ..start };
    let mut written = Instant::now();
    let ended = loop {
        if let Some(ended) = is_over(options, &state, run.is_spent()) {
            break ended;
        }
        let epoch = state.epochs.len() as u32 + 1;
        let Some(mut report) = run.epoch(epoch, observe)? else { break Ended::Cancelled };
        let candidate = run.network.program.write_back(task.model)?;
        let measured = measure.of(&candidate)?;
        (report.validation_loss, report.validation_accuracy) = (measured.validation_loss, measured.validation_accuracy);
        report.zeros = run.parameters.zeros()?;
        report.finished = true;
        let best = state.epochs.iter().find(|old| old.epoch == state.best_epoch).unwrap_or(&start);
        if better(&report, best) {
            (state.best_epoch, state.best) = (epoch, run.network.program.state()?);
        }
        let wish = run.tell(&report, observe);
        state.epochs.push(report);
        let stopping = wish.is_break() && epoch < options.epochs;
        let over = stopping || is_over(options, &state, run.is_spent()).is_some();
        if let Some(path) = task.checkpoint
            && (over || written.elapsed() >= BETWEEN_CHECKPOINTS || epoch == 1)
        {
            state.now = run.network.program.state()?;
            state.memory = run.parameters.memory();
            state.save(path, fingerprint)?;
            written = Instant::now();
        }
        if stopping {
            break Ended::Cancelled;
        }
    };
    if state.epochs.is_empty() {
        return Err(TrainError::Cancelled);
    }
    run.network.program.set_state(&state.best)?;
    let mut model = run.network.program.write_back(task.model)?;
    let best = state.epochs.iter().find(|report| report.epoch == state.best_epoch).unwrap_or(&start);
    model.metadata.insert(METADATA_KEY.to_owned(), describe(&learning, options, best)?);
    Ok(TrainOutcome { model, start, epochs: state.epochs, best_epoch: state.best_epoch, ended })
}

/// Whether a run is over, and why.
fn is_over(options: &TrainOptions, state: &State, late: bool) -> Option<Ended> {
    let done = state.epochs.len() as u32;
    if done >= options.epochs {
        return Some(Ended::Completed);
    }
    if options.patience.is_some_and(|patience| done - state.best_epoch >= patience) {
        return Some(Ended::NoBetter);
    }
    (late && done > 0).then_some(Ended::OutOfTime)
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

/// How well a candidate does on the examples kept apart.
struct Measure<'a> {
    /// None without such examples.
    on: Option<(Bound, &'a Dataset, EvalOptions)>,
}

impl<'a> Measure<'a> {
    fn new(model: &Model, data: &'a Dataset) -> Result<Self, TrainError> {
        if data.is_empty() {
            return Ok(Self { on: None });
        }
        let bound = Program::compile(model)?.bind(model)?;
        Ok(Self { on: Some((bound, data, EvalOptions::for_data(model, data))) })
    }

    /// A report with nothing but validation figures.
    fn of(&self, candidate: &Model) -> Result<EpochReport, TrainError> {
        let Some((bound, data, options)) = &self.on else { return Ok(EpochReport::default()) };
        let evaluation = evaluate(&bound.rebind(candidate)?, data, options, &mut |_| ControlFlow::Continue(()))?;
        Ok(EpochReport {
            validation_loss: evaluation.loss(),
            validation_accuracy: Some(evaluation.top1()),
            ..EpochReport::default()
        })
    }
}

/// What lives through all epochs.
struct Run<'a> {
    network: Network,
    teacher: Option<Teacher>,
    parameters: Parameters,
    augmenter: Augmenter,
    feed: Feed<'a>,
    labels: &'a [u32],
    options: &'a TrainOptions,
    batch: usize,
    steps_per_epoch: usize,
    /// Seconds of the epochs before.
    before: f64,
    began: Instant,
    /// How long the observer has kept this epoch waiting.
    paused: Duration,
}

impl<'a> Run<'a> {
    fn new(task: &Task<'a>, data: &'a Dataset) -> Result<Self, TrainError> {
        let options = task.options;
        let network = Network::new(task.model, data, options)?;
        let teacher = match (task.teacher, options.distillation) {
            (Some(teacher), Some(_)) => Teacher::new(teacher, &network, options)?,
            (None, Some(_)) => return Err(TrainError::NoTeacher),
            _ => None,
        };
        let feed = network.feed(data)?;
        let batch = feed.rows(options.batch.min(data.len()));
        let shape = match *data.example_shape() {
            [channels, rows, columns] => [channels, rows, columns],
            _ if options.augment == super::Augment::default() => [1, 1, data.example_len()],
            _ => return Err(TrainError::Option("only images can be shifted, flipped and cropped")),
        };
        Ok(Self {
            parameters: Parameters::new(network.program.parameters(), options)?,
            network,
            teacher,
            augmenter: Augmenter { augment: options.augment, shape, blank: data.blank(), seed: options.seed },
            labels: data.require_labels()?,
            feed,
            options,
            batch,
            steps_per_epoch: data.len() / batch,
            before: 0.0,
            began: Instant::now(),
            paused: Duration::ZERO,
        })
    }

    fn resume(&mut self, state: &State) -> Result<(), TrainError> {
        self.network.program.set_state(&state.now)?;
        self.parameters.remember(&state.memory);
        self.before = state.epochs.iter().map(|report| report.seconds).sum();
        Ok(())
    }

    /// Seconds of this epoch without pauses.
    fn seconds(&self) -> f64 {
        self.began.elapsed().saturating_sub(self.paused).as_secs_f64()
    }

    fn is_late(&self) -> bool {
        self.options.seconds.is_some_and(|most| self.before + self.seconds() >= most)
    }

    /// Whether the epochs that are over have used up the time. Between epochs, when none runs.
    fn is_spent(&self) -> bool {
        self.options.seconds.is_some_and(|most| self.before >= most)
    }

    fn tell(&mut self, report: &EpochReport, observe: Observer<'_>) -> ControlFlow<()> {
        let start = Instant::now();
        let wish = observe(report);
        self.paused += start.elapsed();
        wish
    }

    /// How far the run has come, for the learning rate: by steps, or by time where that is nearer to its end.
    fn position(&self, epoch: u32, index: usize) -> (u64, u64) {
        let all = self.steps_per_epoch as u64 * u64::from(self.options.epochs);
        let step = u64::from(epoch - 1) * self.steps_per_epoch as u64 + index as u64;
        let by_time = self.options.seconds.map_or(0.0, |most| (self.before + self.seconds()) / most * all as f64);
        (step.max(by_time as u64).min(all.saturating_sub(1)), all)
    }

    /// One pass over the examples, ended early when time is up; `None` if the observer stopped it.
    fn epoch(&mut self, epoch: u32, observe: Observer<'_>) -> Result<Option<EpochReport>, TrainError> {
        (self.began, self.paused) = (Instant::now(), Duration::ZERO);
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(self.options.seed ^ (u64::from(epoch) << 32)));
        let (mut loss, mut correct) = (0.0, 0);
        let mut report = EpochReport {
            epoch,
            epochs: self.options.epochs,
            total: self.steps_per_epoch * self.batch,
            ..EpochReport::default()
        };
        let mut gradient = Vec::new();
        for (index, indices) in order.chunks_exact(self.batch).enumerate() {
            let (step, steps) = self.position(epoch, index);
            let rate = self.options.learning_rate * self.options.schedule.factor(step, steps);
            let regrown = self.options.regrow.filter(|_| index == 0 && epoch > 1);
            let regrown = regrown.and_then(|regrow| regrow.share(step as f64 / steps.max(1) as f64));
            let (batch_loss, hits) = self.step(epoch, indices, (rate, regrown), &mut gradient)?;
            if !batch_loss.is_finite() {
                return Err(TrainError::Diverged { epoch, loss: batch_loss });
            }
            loss += batch_loss;
            correct += hits;
            report.done += indices.len();
            report.learning_rate = rate;
            report.train_loss = loss / report.done as f64;
            report.train_accuracy = correct as f64 / report.done as f64;
            report.seconds = self.seconds();
            if self.tell(&report, observe).is_break() {
                return Ok(None);
            }
            if self.is_late() {
                break;
            }
        }
        report.seconds = self.seconds();
        self.before += report.seconds;
        Ok(Some(report))
    }

    /// One step; returns the loss summed over the batch, and how many scores were right before it.
    fn step(
        &mut self,
        epoch: u32,
        indices: &[usize],
        (rate, regrown): (f64, Option<f64>),
        gradient: &mut Vec<f32>,
    ) -> Result<(f64, usize), TrainError> {
        let inputs = self.inputs(epoch, indices)?;
        let labels: Vec<u32> = indices.iter().map(|&i| self.labels[i]).collect();
        let outputs = self.network.program.forward(&inputs, BatchNormMode::Batch)?;
        let classes = self.network.classes;
        let logits = outputs[0].flatten_all()?.to_vec1::<f32>()?;
        let sums = cross_entropy(&logits, &labels, classes, self.options.label_smoothing, gradient);
        let mut loss = sums.loss;
        let mut seeds = Vec::with_capacity(outputs.len());
        let mut of_features = None;
        if let (Some(teacher), Some(soft)) = (&self.teacher, self.options.distillation) {
            let answers = teacher.answers(&inputs)?;
            let asked = (soft.temperature, soft.alpha);
            loss = distil((&logits, &answers[0]), classes, asked, loss, gradient);
            if let (Some(ours), Some(theirs)) = (outputs.get(1), answers.get(1)) {
                let ours = ours.flatten_all()?.to_vec1::<f32>()?;
                if ours.len() != theirs.len() {
                    return Err(TrainError::Features("what they read has another shape than with the teacher"));
                }
                let (more, seed) = match_features(&ours, theirs, indices.len(), soft.features);
                loss += more;
                of_features = Some(seed);
            }
        }
        seeds.push(CandleTensor::from_slice(gradient, outputs[0].shape(), &Device::Cpu)?);
        if let (Some(seed), Some(output)) = (of_features, outputs.get(1)) {
            seeds.push(CandleTensor::from_vec(seed, output.shape(), &Device::Cpu)?);
        }
        let gradients = self.network.program.backward_from(&seeds)?;
        if let Some(share) = regrown {
            self.parameters.regrow(&gradients, share)?;
        }
        self.parameters.step(&gradients, rate)?;
        Ok((loss, sums.correct))
    }

    /// The examples as the graph takes them, changed at random if that is asked for.
    fn inputs(&self, epoch: u32, indices: &[usize]) -> Result<Vec<CandleTensor>, TrainError> {
        let batch = self.feed.batch(indices)?;
        let mut inputs = self.network.program.program().convert(&batch.inputs)?;
        if let ([input], true) = (&mut inputs[..], self.options.augment != super::Augment::default()) {
            let mut values = input.flatten_all()?.to_vec1::<f32>()?;
            self.augmenter.apply(u64::from(epoch), indices, &mut values);
            *input = CandleTensor::from_vec(values, input.shape(), &Device::Cpu)?;
        }
        Ok(inputs)
    }
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

    /// One fully connected layer.
    fn linear() -> Model {
        let mut b = GraphBuilder::new("linear");
        let x = b.input("x", vec![Dim::symbol("batch"), 1.into(), 8.into(), 8.into()]);
        let h = b.node("flatten", "Flatten", &[x], &[]);
        let values = (0..192).map(|i| (i % 5) as f32 * 0.1).collect();
        let w = b.tensor("fc.weight", crate::model::Tensor::from_f32(vec![3, 64], values).unwrap());
        let y = b.gemm("fc", h, w, None);
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
        pool.install(|| train(&Task::new(&tiny(), &stripes(300), options), &mut quiet).unwrap().model)
    }

    #[test]
    fn it_learns_and_returns_a_consistent_model() {
        let outcome = train(&Task::new(&tiny(), &stripes(300), &options()), &mut quiet).unwrap();
        assert_eq!((outcome.epochs.len(), outcome.ended), (3, Ended::Completed));
        let best = outcome.best();
        assert!(best.validation_accuracy.unwrap() > 0.9, "{best:?}");
        assert!(outcome.epochs[2].train_loss < outcome.epochs[0].train_loss);
        assert_eq!(check_consistency(&outcome.model), Ok(()));
        assert_ne!(outcome.model.tensors["mean"], tiny().tensors["mean"], "running statistics follow the data");
        assert!(outcome.model.metadata[METADATA_KEY].contains("\"seed\":1"));
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
        let options = TrainOptions { augment: Augment { shift: 1, flip: true, crop: 1 }, ..options() };
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
        let model = train(&Task::new(&tiny(), &stripes(300), &options), &mut quiet).unwrap().model;
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
        let early = train(&Task::new(&tiny(), &stripes(300), &options()), &mut stop_early);
        assert!(matches!(early, Err(TrainError::Cancelled)));
        let mut stop_late = |r: &EpochReport| if r.epoch == 2 { ControlFlow::Break(()) } else { quiet(r) };
        let late = train(&Task::new(&tiny(), &stripes(300), &options()), &mut stop_late).unwrap();
        assert_eq!((late.ended, late.best_epoch, late.epochs.len()), (Ended::Cancelled, 1, 1));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_a_sentence() {
        let data = stripes(30);
        let try_with = |model: &Model, options: &TrainOptions| {
            train(&Task::new(model, &data, options), &mut quiet).unwrap_err().to_string()
        };
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
        let error = train(&Task::new(&tiny(), &stripes(60), &wild), &mut quiet).unwrap_err();
        assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_from_its_checkpoint_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        let (model, data) = (tiny(), stripes(300));
        for optimizer in [Optimizer::SGD, Optimizer::ADAM_W] {
            let mut masks = Masks::default();
            masks.insert("fc.weight", (0..192).map(|i| i % 4 == 0).collect::<Vec<_>>());
            let options = TrainOptions { epochs: 4, optimizer, learning_rate: 0.01, masks, ..options() };
            let whole = train(&Task::new(&model, &data, &options), &mut quiet).unwrap();
            let task = Task { checkpoint: Some(&path), ..Task::new(&model, &data, &options) };
            let mut stop = |r: &EpochReport| if r.finished && r.epoch == 2 { ControlFlow::Break(()) } else { quiet(r) };
            let part = train(&task, &mut stop).unwrap();
            assert_eq!((part.ended, part.epochs.len()), (Ended::Cancelled, 2));
            let mut seen = Vec::new();
            let rest = train(&task, &mut |r| {
                seen.push(r.epoch);
                ControlFlow::Continue(())
            });
            let rest = rest.unwrap();
            assert_eq!((seen[0], rest.epochs.len()), (3, 4));
            assert_eq!(rest.model.tensors, whole.model.tensors);
            assert_eq!(rest.model.metadata, whole.model.metadata);
            // Another task must not go on from there.
            let other = TrainOptions { learning_rate: 0.02, ..options.clone() };
            let error = train(&Task { options: &other, ..task }, &mut quiet).unwrap_err().to_string();
            assert!(error.contains("another model, data or options") && error.ends_with("run.safetensors"), "{error}");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn zeros_that_are_masked_are_counted_every_epoch() {
        let mut masks = Masks::default();
        masks.insert("fc.weight", (0..192).map(|i| i % 4 == 0).collect::<Vec<_>>());
        let options = TrainOptions { masks, ..options() };
        let outcome = train(&Task::new(&tiny(), &stripes(300), &options), &mut quiet).unwrap();
        assert!(outcome.epochs.iter().all(|epoch| epoch.zeros == 144));
    }

    #[test]
    fn a_run_that_gets_no_better_ends_early_and_gives_back_what_it_began_with() {
        let trained = train(&Task::new(&tiny(), &stripes(300), &options()), &mut quiet).unwrap();
        let wild = TrainOptions { learning_rate: 3.0, epochs: 100, patience: Some(2), ..options() };
        let outcome = train(&Task::new(&trained.model, &stripes(300), &wild), &mut quiet).unwrap();
        assert_eq!((outcome.ended, outcome.epochs.len() as u32), (Ended::NoBetter, outcome.best_epoch + 2));
        assert_eq!(outcome.start.validation_accuracy, trained.best().validation_accuracy);
        // Steps too small to change anything: nothing is better than the start.
        let still = TrainOptions { learning_rate: 1e-30, epochs: 100, patience: Some(3), ..options() };
        let model = linear();
        let outcome = train(&Task::new(&model, &stripes(300), &still), &mut quiet).unwrap();
        assert_eq!((outcome.ended, outcome.best_epoch, outcome.epochs.len()), (Ended::NoBetter, 0, 3));
        assert_eq!(outcome.model.tensors, model.tensors);
    }

    #[test]
    fn regrowth_moves_zeros_and_keeps_their_number() {
        let keep: Vec<bool> = (0..192).map(|i| i % 8 == 0).collect();
        let mut masks = Masks::default();
        masks.insert("fc.weight", keep.clone());
        let regrow = Some(super::super::Regrow { share: 0.5, until: 1.0 });
        let options = TrainOptions { masks, regrow, validation: 0, ..options() };
        let (model, data) = (tiny(), stripes(300));
        let outcome = train(&Task::new(&model, &data, &options), &mut quiet).unwrap();
        assert!(outcome.epochs.iter().all(|epoch| epoch.zeros == 168));
        let values = outcome.model.tensors["fc.weight"].to_f32().into_owned();
        assert!(values.iter().filter(|v| **v == 0.0).count() >= 168);
        assert!(values.iter().zip(&keep).any(|(v, keep)| !keep && *v != 0.0), "something grew");
        // A run that was stopped knows which zeros it had moved.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let task = Task { checkpoint: Some(&path), ..Task::new(&model, &data, &options) };
        let mut stop = |r: &EpochReport| if r.finished && r.epoch == 2 { ControlFlow::Break(()) } else { quiet(r) };
        train(&task, &mut stop).unwrap();
        assert_eq!(train(&task, &mut quiet).unwrap().model.tensors, outcome.model.tensors);
    }

    #[test]
    fn a_time_budget_ends_the_run_within_an_epoch_with_the_rate_run_down() {
        let short = TrainOptions { epochs: 100_000, seconds: Some(0.3), ..options() };
        let outcome = train(&Task::new(&tiny(), &stripes(300), &short), &mut quiet).unwrap();
        assert_eq!(outcome.ended, Ended::OutOfTime);
        let last = outcome.epochs.last().unwrap();
        assert!(outcome.epochs.len() < 100_000 && last.learning_rate < 0.005, "{last:?}");
    }

    #[test]
    fn a_time_budget_counts_every_epoch_once() {
        // Epochs of about 100 ms, most of which the observer does not spend waiting.
        let options = TrainOptions { epochs: 1000, seconds: Some(1.0), batch: 2, ..options() };
        let outcome = train(&Task::new(&tiny(), &stripes(1500), &options), &mut quiet).unwrap();
        let spent: f64 = outcome.epochs.iter().map(|epoch| epoch.seconds).sum();
        assert_eq!(outcome.ended, Ended::OutOfTime);
        assert!(spent >= 1.0, "it ended after {spent} s of 1 s");
    }

    #[test]
    fn a_student_follows_its_teacher_where_labels_mislead() {
        let data = stripes(300);
        let teacher = train(&Task::new(&tiny(), &data, &options()), &mut quiet).unwrap().model;
        let soft = super::super::Distillation { alpha: 1.0, features: 0.1, ..Default::default() };
        let wrong: Vec<u32> = data.labels().unwrap().iter().map(|l| (l + 1) % 3).collect();
        let bytes: Vec<u8> = (0..data.len()).flat_map(|i| data.stored_bytes(i).unwrap().to_vec()).collect();
        let misled = Dataset::new(
            Examples::U8(bytes),
            &[300, 1, 8, 8],
            Some(wrong),
            Preprocess::default(),
            Split::Train,
            Path::new("mem"),
        )
        .unwrap();
        let options = TrainOptions { distillation: Some(soft), validation: 0, epochs: 6, ..options() };
        let model = tiny();
        let task = Task { teacher: Some(&teacher), ..Task::new(&model, &misled, &options) };
        let student = train(&task, &mut quiet).unwrap().model;
        let measured = Measure::new(&student, &data).unwrap().of(&student).unwrap();
        assert!(measured.validation_accuracy.unwrap() > 0.9, "{measured:?}");
        let alone = train(&Task::new(&tiny(), &data, &options), &mut quiet).unwrap_err().to_string();
        assert!(alone.contains("teacher"), "{alone}");
    }
}
