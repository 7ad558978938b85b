use super::args::PruneArgs;
use super::calibration;
use super::console::Console;
use super::eval::{Measured, bind, evaluate};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::plan_flags::{check_plan_target, criteria_of, plan_of};
use super::recover_args::RecoverArgs;
use super::recover_text::{epoch_line, rung_line, text};
use super::sizes::Taken;
use crate::data::{DataError, Dataset, Split};
use crate::export::{self, Proven, provenance};
use crate::formats;
use crate::model::{Architecture, Model, layers_of};
use crate::prune::{self, Calibration, Plan, Subject};
use crate::recover::{
    self, Event, Recipe, RecoverError, Recovery, RepairOptions, RepairedLayer, Request, Rung, RungReport,
};
use crate::structure::Structure;
use crate::train::{Ended, EpochReport, TrainOptions};
use anyhow::bail;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::Instant;

#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub file: Proven,
    /// The dense model; `null` if only a pruned one is known.
    pub dense: Option<Measured>,
    /// The pruned model before it was recovered; of several steps, cut all at once.
    pub before: Measured,
    /// The written file, opened again.
    pub after: Measured,
    /// `test`, or `validation` where there are no test examples.
    pub measured_on: &'static str,
    /// Weights of layers that were zero before recovery.
    pub zeros_before: u64,
    /// Weights of layers that are zero now.
    pub zeros_after: u64,
    /// Weights of layers now.
    pub weights: u64,
    /// How many times as many weights the dense model has as this one has that are not zero.
    pub compression: f64,
    /// Every rung of every step, measured on training examples that were kept apart.
    pub rungs: Vec<RungReport>,
    /// Ends of epochs.
    pub epochs: Vec<Epoch>,
    /// What became of each layer in the last repair.
    pub layers: Vec<RepairedLayer>,
    /// Why training ended; `null` if nothing was trained.
    pub ended: Option<Ended>,
    pub recipe: Recipe,
    pub seconds: f64,
}

/// An epoch, with the step that it belongs to.
#[derive(Serialize)]
pub(super) struct Epoch {
    pub step: u32,
    #[serde(flatten)]
    pub report: EpochReport,
}

pub(super) fn recover(args: &RecoverArgs, console: &Console) -> Outcome {
    let start = Instant::now();
    let prune = &args.prune;
    check_plan_target(prune.save_plan.as_deref(), &prune.model, Some(&prune.output))?;
    let model = formats::open(&prune.model)?;
    let original = args.rungs.original.as_deref().map(formats::open).transpose()?;
    let early = early(args, &model)?;
    let Some(data) = &prune.data else { bail!("recovery learns from examples: give --data a folder with some") };
    let (learning, test) = examples(args, data)?;
    let plan = plan(args, &model, &learning, console)?;
    if plan.is_dense() && recover::count_zeros(&model).0 == 0 && original.is_none() {
        bail!(
            "the model has no zeros and nothing is to be removed: give --sparsity or --plan, or --original with the \
             model that it was made of: {}",
            prune.model.display()
        );
    }
    let mut recipe = recipe(args, &learning, console);
    recipe.batch_norm |= plan.recalibrate;
    if !recipe.batch_norm && recipe.repair.is_none() && recipe.train.is_none() {
        bail!("nothing is asked for: give --bn, --repair, --bias or --epochs");
    }
    let (held, measured_on) = match test {
        Some(test) => (test, "test"),
        None => (validation(&learning, &recipe), "validation"),
    };
    let measure = |model: &Model, path: &Path| -> anyhow::Result<Measured> {
        Ok(Measured::of(&evaluate(&bind(model, path)?, model, &held, None, console)?))
    };
    let dense = match (&original, plan.is_dense()) {
        (Some(original), _) => Some(measure(original, args.rungs.original.as_deref().unwrap_or(&prune.model))?),
        (None, false) => Some(measure(&model, &prune.model)?),
        (None, true) => None,
    };
    let at_once = cut_at_once(&model, &plan, &learning, console)?;
    let before = measure(&at_once, &prune.model)?;
    let zeros_before = recover::count_zeros(&at_once).0;
    if let Some(path) = &prune.save_plan {
        prune::write_plan(&plan, path)?;
    }
    let request = Request {
        model: &model,
        plan: &plan,
        original: original.as_ref(),
        early: early.as_ref(),
        data: &learning,
        recipe: &recipe,
        checkpoint: args.rungs.checkpoint.as_deref(),
    };
    let mut recovery = climb(&request, args, console)?;
    stamp(&mut recovery.model, &model, &plan)?;
    let file = write(&recovery.model, &held, prune, console)?;
    let after = measure(&formats::open(&prune.output)?, &prune.output)?;
    let (zeros_after, weights) = recover::count_zeros(&recovery.model);
    let all = recover::count_zeros(original.as_ref().unwrap_or(&model)).1;
    let report = Report {
        file,
        dense,
        before,
        after,
        measured_on,
        zeros_before,
        zeros_after,
        weights,
        compression: all as f64 / (weights - zeros_after).max(1) as f64,
        rungs: recovery.rungs,
        epochs: recovery.epochs.into_iter().map(|(step, report)| Epoch { step, report }).collect(),
        layers: recovery.layers,
        ended: recovery.ended,
        recipe,
        seconds: start.elapsed().as_secs_f64(),
    };
    console.report(&report, text)
}

/// Examples to learn from, and those to measure on, which are never learnt from.
fn examples(args: &RecoverArgs, data: &Path) -> anyhow::Result<(Dataset, Option<Dataset>)> {
    let test = match Dataset::open(data, Split::Test) {
        Ok(test) if data.is_dir() => Some(test),
        Ok(_) | Err(DataError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let place = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let learning = match &args.rungs.learn {
        Some(path) if path.is_file() && place(path) == place(data) => {
            bail!("accuracy is measured on these examples, give --learn others: {}", path.display())
        }
        Some(path) => Dataset::open(path, Split::Train).or_else(|_| Dataset::open_calibration(path))?,
        None => Dataset::open(data, Split::Train).or_else(|_| Dataset::open_calibration(data))?,
    };
    Ok((learning, test))
}

/// The examples that training keeps apart.
fn validation(learning: &Dataset, recipe: &Recipe) -> Dataset {
    let train = recipe.train.as_ref();
    let count = train.map_or_else(|| (learning.len() / 10).min(5000), |train| train.validation);
    learning.split_off(count, train.map_or(recipe.calibration.seed, |train| train.seed)).1
}

/// The weights to rewind to.
fn early(args: &RecoverArgs, model: &Model) -> anyhow::Result<Option<Model>> {
    let Some(path) = &args.rungs.rewind else { return Ok(None) };
    if path.as_os_str() != "init" {
        return Ok(Some(formats::open(path)?));
    }
    let architecture = Architecture::ALL
        .into_iter()
        .find(|architecture| model.metadata.values().any(|value| value == architecture.name()));
    let recipe =
        model.metadata.get("secateur.training").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let seed = recipe.and_then(|recipe| recipe.get("options")?.get("seed")?.as_u64());
    match architecture.zip(seed) {
        Some((architecture, seed)) => Ok(Some(architecture.build(seed)?)),
        None => bail!(
            "the file does not say what its weights were at first: give --rewind a file with them: {}",
            args.prune.model.display()
        ),
    }
}

/// What is to be removed in the end; a plan that removes nothing if flags say nothing.
fn plan(args: &RecoverArgs, model: &Model, learning: &Dataset, console: &Console) -> anyhow::Result<Plan> {
    let mut flags = args.prune.clone();
    if let Some(last) = args.rungs.schedule.last {
        if flags.plan.is_some() || flags.threshold.is_some() || flags.sigma.is_some() || flags.keep.is_some() {
            bail!("--schedule says how much to remove, and so does another flag: write it as agp/8 or linear/4");
        }
        flags.sparsity = Some(last);
    }
    let layers = layers_of(model);
    let structure = Structure::of(model);
    let subject = Subject { structure: structure.as_ref().ok(), ..Subject::new(model, &layers) };
    let mut asked = criteria_of(&flags, &subject)?;
    calibration::set(&mut asked, &flags.calibration, console);
    let scores = calibration::score(&subject, &asked, Some(learning), console)?;
    let subject = Subject { scores: &scores, ..subject };
    Ok(Plan { calibration: asked.calibration, ..plan_of(&flags, &subject)? })
}

fn recipe(args: &RecoverArgs, learning: &Dataset, console: &Console) -> Recipe {
    let (rungs, flags) = (&args.rungs, &args.learning);
    let seed = console.seed();
    let gentle = TrainOptions::fine_tuning(learning.len());
    let train = (flags.epochs > 0 || flags.minutes.is_some()).then(|| TrainOptions {
        // A time budget alone is bounded by time alone.
        epochs: if flags.epochs > 0 { flags.epochs } else { 10_000 },
        batch: flags.batch,
        seed: seed.unwrap_or(gentle.seed),
        learning_rate: flags.lr,
        schedule: flags.schedule(),
        optimizer: flags.rule(),
        label_smoothing: flags.label_smoothing,
        augment: flags.augment,
        validation: flags.validation.unwrap_or(gentle.validation),
        clip: flags.clip,
        distillation: flags.distil.map(|soft| crate::train::Distillation { features: flags.features, ..soft }),
        regrow: flags.regrowth(),
        patience: flags.patience,
        seconds: flags.minutes.map(|minutes| minutes * 60.0),
        ..gentle.clone()
    });
    let calibration =
        Calibration { examples: args.prune.calibration.calibration_examples.unwrap_or(512), seed: seed.unwrap_or(0) };
    let repair =
        (rungs.repair || rungs.bias).then_some(RepairOptions { weights: rungs.repair, damping: rungs.damping });
    let rewind = rungs.rewind.is_some();
    Recipe { approach: rungs.schedule.approach, calibration, batch_norm: rungs.bn, repair, train, rewind }
}

/// The plan carried out without any recovery.
fn cut_at_once(model: &Model, plan: &Plan, learning: &Dataset, console: &Console) -> anyhow::Result<Model> {
    if plan.is_dense() {
        return Ok(model.clone());
    }
    let layers = layers_of(model);
    let structure = Structure::of(model);
    let subject = Subject { structure: structure.as_ref().ok(), ..Subject::new(model, &layers) };
    let scores = calibration::score(&subject, plan, Some(learning), console)?;
    let subject = Subject { scores: &scores, ..subject };
    Ok(subject.masked(&subject.resolve(plan)?)?)
}

fn climb(request: &Request<'_>, args: &RecoverArgs, console: &Console) -> anyhow::Result<Recovery> {
    let bar = console.progress("recovering", 1);
    let mut told = Ok(());
    let mut tell = |line: String| {
        if told.is_ok() {
            told = bar.suspend(|| console.tell(&line));
        }
    };
    let outcome = recover::recover(request, &mut |event| {
        match event {
            Event::Working(rung, done, total) => {
                bar.set_message(if rung == Rung::Cut { "cutting" } else { "recovering" });
                bar.set_length(total);
                bar.set_position(done);
            }
            Event::Epoch(step, report) => {
                bar.set_message(format!("step {step}, epoch {} of {}", report.epoch, report.epochs));
                bar.set_length(report.total as u64);
                bar.set_position(report.done as u64);
                if report.finished {
                    tell(epoch_line(report));
                }
            }
            Event::Reached(report, _) => tell(rung_line(report)),
        }
        interrupt::check()
    });
    bar.finish_and_clear();
    told?;
    match outcome {
        Err(RecoverError::Cancelled) => Err(Interrupted.into()),
        _ if interrupt::asked() => match &args.rungs.checkpoint {
            Some(path) => bail!("interrupted; the same command goes on from the checkpoint: {}", path.display()),
            None => Err(Interrupted.into()),
        },
        other => other.at(&args.prune.model),
    }
}

/// What the file says of itself.
fn stamp(model: &mut Model, source: &Model, plan: &Plan) -> anyhow::Result<()> {
    let what = if plan.shrink { provenance::SHRUNK } else { provenance::ZEROS_ONLY };
    model.origin.path.clone_from(&source.origin.path);
    if plan.is_dense() {
        return Ok(());
    }
    Ok(provenance::stamp(model, plan, &format!("pruned and recovered; {what}"))?)
}

fn write(model: &Model, data: &Dataset, args: &PruneArgs, console: &Console) -> anyhow::Result<Proven> {
    let taken = Taken::of(&args.sizes, model, &args.model)?;
    console.writing("writing", |observe| export::export_model(model, Some(data), &taken.sizes, &args.output, observe))
}
