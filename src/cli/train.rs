use super::args::TrainArgs;
use super::console::Console;
use super::eval::{bind, evaluate};
use super::failure::{Interrupted, Outcome};
use super::interrupt;
use crate::app::figures;
use crate::data::{DataError, Dataset, Split};
use crate::formats;
use crate::train::{EpochReport, TrainOptions, TrainOutcome, train_architecture};
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Report {
    architecture: &'static str,
    /// Accuracy of the written model on `measured_on`, in 0..=1.
    top1: Option<f64>,
    /// `test`, or `validation` where there are no test examples.
    measured_on: &'static str,
    best_epoch: u32,
    file_bytes: u64,
    seconds: f64,
    epochs: Vec<EpochReport>,
    #[serde(skip)]
    output: String,
}

pub(super) fn train(args: &TrainArgs, console: &Console) -> Outcome {
    let start = Instant::now();
    let recipe = TrainOptions::recipe(args.architecture);
    let options = TrainOptions {
        epochs: args.epochs.unwrap_or(recipe.epochs),
        batch: args.batch.unwrap_or(recipe.batch),
        learning_rate: args.lr.unwrap_or(recipe.learning_rate),
        validation: args.validation.unwrap_or(recipe.validation),
        seed: console.seed().unwrap_or(recipe.seed),
        ..recipe
    };
    let open = |split| Dataset::open_with(&args.data, split, args.dataset_toml.as_deref());
    let data = open(Split::Train)?;
    let test = match open(Split::Test) {
        Ok(test) if args.data.is_dir() => Some(test),
        Ok(_) | Err(DataError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let outcome = learn(args, &data, &options, console)?;
    let saved = formats::save(&outcome.model, &args.output)?;
    let top1 = match &test {
        Some(test) => {
            let written = formats::open(&args.output)?;
            Some(evaluate(&bind(&written, &args.output)?, &written, test, None, console)?.top1())
        }
        None => outcome.best().validation_accuracy,
    };
    let report = Report {
        architecture: args.architecture.name(),
        top1,
        measured_on: if test.is_some() { "test" } else { "validation" },
        best_epoch: outcome.best_epoch,
        file_bytes: saved.bytes,
        seconds: start.elapsed().as_secs_f64(),
        epochs: outcome.epochs,
        output: args.output.display().to_string(),
    };
    console.report(&report, text)
}

fn learn(args: &TrainArgs, data: &Dataset, options: &TrainOptions, console: &Console) -> anyhow::Result<TrainOutcome> {
    console.tell(&format!(
        "training {} on {} ({} examples, {} of them for validation), {} epochs",
        args.architecture.name(),
        data.name(),
        figures::count(data.len() as u64),
        figures::count(options.validation as u64),
        options.epochs
    ))?;
    let bar = console.progress("training", data.len() as u64);
    let mut told = Ok(());
    let outcome = train_architecture(args.architecture, data, options, &mut |report| {
        bar.set_message(format!("epoch {} of {}", report.epoch, report.epochs));
        bar.set_length(report.total as u64);
        bar.set_position(report.done as u64);
        if report.finished && told.is_ok() {
            told = bar.suspend(|| console.tell(&epoch_line(report)));
        }
        interrupt::check()
    });
    bar.finish_and_clear();
    told?;
    if interrupt::asked() {
        return Err(Interrupted.into());
    }
    Ok(outcome?)
}

fn epoch_line(report: &EpochReport) -> String {
    let share = |accuracy: Option<f64>| accuracy.map_or_else(|| "\u{2013}".to_owned(), |a| figures::percent(a, 2));
    format!(
        "  epoch {:>3}   loss {:.4}   training {}   validation {}   {}",
        report.epoch,
        report.train_loss,
        figures::percent(report.train_accuracy, 2),
        share(report.validation_accuracy),
        figures::milliseconds(report.seconds * 1000.0),
    )
}

fn text(report: &Report) -> Vec<String> {
    let accuracy = report.top1.map_or_else(|| "not measured".to_owned(), |share| figures::percent(share, 2));
    vec![format!(
        "{}  {}, weights of epoch {}, {} accuracy {accuracy}, {}",
        report.output,
        figures::bytes(report.file_bytes as f64),
        report.best_epoch,
        report.measured_on,
        figures::milliseconds(report.seconds * 1000.0),
    )]
}
