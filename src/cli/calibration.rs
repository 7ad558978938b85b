use super::args::CalibrationArgs;
use super::console::Console;
use super::failure::Interrupted;
use super::interrupt;
use crate::calibrate::{self, CalibrateError};
use crate::data::Dataset;
use crate::prune::{Calibration, Plan, Scores, Subject};
use std::path::Path;

/// The examples that criteria look at: those that were named, else the calibration part of the folder that holds the
/// examples to measure on. Never these themselves.
pub(super) fn open(args: &CalibrationArgs, data: Option<&Path>) -> anyhow::Result<Option<Dataset>> {
    if let Some(path) = &args.calibration {
        return Ok(Some(Dataset::open_calibration(path)?));
    }
    Ok(data.filter(|path| path.is_dir()).and_then(|folder| Dataset::open_calibration(folder).ok()))
}

/// What the flags say of calibration, where `plan` says nothing else.
pub(super) fn set(plan: &mut Plan, args: &CalibrationArgs, console: &Console) {
    let now = plan.calibration;
    plan.calibration = Calibration {
        examples: args.calibration_examples.unwrap_or(now.examples),
        seed: console.seed().unwrap_or(now.seed),
    };
}

/// All scores that a plan needs, with a bar.
pub(super) fn score(
    subject: &Subject<'_>,
    plan: &Plan,
    data: Option<&Dataset>,
    console: &Console,
) -> anyhow::Result<Scores> {
    if subject.unscored(plan).is_empty() {
        return Ok(Scores::default());
    }
    let bar = console.progress("scoring", 1);
    let outcome = calibrate::score_plan(subject, plan, data, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt::check()
    });
    bar.finish_and_clear();
    match outcome {
        Err(CalibrateError::Cancelled) => Err(Interrupted.into()),
        other => Ok(other?),
    }
}
