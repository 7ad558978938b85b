use super::args::{DataArgs, EvalArgs};
use super::console::Console;
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::table::Table;
use crate::app::figures;
use crate::data::Dataset;
use crate::eval::{self, Agreement, EvalError, EvalOptions, Evaluation, Probe};
use crate::exec::{Bound, ExecError, Program};
use crate::formats;
use crate::model::Model;
use anyhow::anyhow;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// An evaluation as `--json` prints it; shares are in 0..=1.
#[derive(Serialize)]
pub(super) struct Report {
    n: usize,
    total: usize,
    top1: f64,
    top5: f64,
    /// Mean cross-entropy in nats; `null` if no example has finite scores.
    loss: Option<f64>,
    /// 95 % Wilson interval of `top1`.
    interval: [f64; 2],
    non_finite: usize,
    seconds: f64,
    per_class: Vec<ClassReport>,
    /// What the user should know about how these figures came about; usually nothing.
    remarks: Vec<String>,
    #[serde(skip)]
    title: String,
}

/// Accuracy on labelled examples, in 0..=1.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub n: usize,
    pub top1: f64,
    /// 95 % Wilson interval of `top1`.
    pub interval: [f64; 2],
    /// Mean cross-entropy in nats; `null` if no example has finite scores.
    pub loss: Option<f64>,
}

impl Measured {
    pub fn of(evaluation: &Evaluation) -> Self {
        let (low, high) = evaluation.interval();
        Self { n: evaluation.n, top1: evaluation.top1(), interval: [low, high], loss: evaluation.loss() }
    }
}

#[derive(Serialize)]
struct ClassReport {
    name: String,
    n: usize,
    correct: usize,
    /// `null` if the class was not seen.
    top1: Option<f64>,
}

impl Report {
    pub fn new(evaluation: &Evaluation, title: String) -> Self {
        let (low, high) = evaluation.interval();
        Self {
            n: evaluation.n,
            total: evaluation.total,
            top1: evaluation.top1(),
            top5: evaluation.top5(),
            loss: evaluation.loss(),
            interval: [low, high],
            non_finite: evaluation.non_finite,
            seconds: evaluation.seconds,
            per_class: evaluation
                .per_class
                .iter()
                .map(|c| ClassReport { name: c.name.clone(), n: c.n, correct: c.correct, top1: c.accuracy() })
                .collect(),
            remarks: Vec::new(),
            title,
        }
    }
}

pub(super) fn eval(args: &EvalArgs, console: &Console) -> Outcome {
    let model = formats::open(&args.model)?;
    let data = open_data(&args.data)?;
    let bound = bind(&model, &args.model)?;
    if let Some(reference) = &args.reference {
        return agreement(args, reference, (&model, &bound), &data, console);
    }
    let evaluation = evaluate(&bound, &model, &data, args.limit, console)?;
    let (name, part, n) = (model.display_name(), data.split().name(), figures::count(evaluation.n as u64));
    let title = format!("{name} on {} ({part}, {n} examples)", data.name());
    let report = Report { remarks: remarks(&data, &evaluation), ..Report::new(&evaluation, title) };
    if console.tells() {
        report.remarks.iter().for_each(|remark| console.note(remark));
    }
    console.report(&report, text)
}

/// What was assumed of the data, and whether the accuracy says that it is not what the model was trained on.
fn remarks(data: &Dataset, evaluation: &Evaluation) -> Vec<String> {
    let assumed = data.assumed().map(|clause| {
        format!("note: no dataset.toml beside the data, so {clause}; write one there if the model wants other values")
    });
    let chance = evaluation.is_near_chance().then(|| {
        format!(
            "warning: the model is right in {} of {} examples, as guessing would be: check scale, mean, std and layout \
             in dataset.toml, and the order of the labels",
            figures::count(evaluation.correct1 as u64),
            figures::count(evaluation.n as u64)
        )
    });
    assumed.into_iter().chain(chance).collect()
}

/// How near two models' outputs are, as `--json` prints it.
#[derive(Serialize)]
struct AgreementReport {
    #[serde(flatten)]
    agreement: Agreement,
    seconds: f64,
    #[serde(skip)]
    title: String,
}

/// Compares the outputs of two models on examples that need no labels.
pub(super) fn compare(
    expected: &Bound,
    (model, bound): (&Model, &Bound),
    data: &Dataset,
    limit: Option<usize>,
    console: &Console,
) -> anyhow::Result<Agreement> {
    let limit = limit.unwrap_or(usize::MAX);
    let bar = console.progress("comparing", limit.min(data.len()) as u64);
    let options = EvalOptions::for_data(model, data);
    let probe = Probe::Data { data, limit };
    let outcome = eval::compare_observed(expected, bound, &probe, &options, &mut |so_far, _| {
        bar.set_position(so_far.n as u64);
        interrupt::check()
    });
    bar.finish_and_clear();
    match outcome {
        Err(EvalError::Cancelled) => Err(Interrupted.into()),
        other => other.at(data.path()),
    }
}

fn agreement(
    args: &EvalArgs,
    reference: &Path,
    (model, bound): (&Model, &Bound),
    data: &Dataset,
    console: &Console,
) -> Outcome {
    let dense = formats::open(reference)?;
    let expected = bind(&dense, reference)?;
    let start = Instant::now();
    let agreement = compare(&expected, (model, bound), data, args.limit, console)?;
    let n = figures::count(agreement.n as u64);
    let title = format!("{} beside {} on {} ({n} examples)", model.display_name(), dense.display_name(), data.name());
    let report = AgreementReport { agreement, seconds: start.elapsed().as_secs_f64(), title };
    console.report(&report, agreement_text)
}

fn agreement_text(report: &AgreementReport) -> Vec<String> {
    let AgreementReport { agreement, seconds, title } = report;
    let mut lines = vec![title.clone(), String::new()];
    if agreement.rows > 0 {
        lines.push(format!("  same answer         {}", figures::percent(agreement.argmax_agreement, 2)));
    }
    lines.extend([
        format!("  cosine              {:.6}, least {:.6}", agreement.cosine, agreement.least_cosine),
        format!("  largest difference  {}", figures::magnitude(agreement.max_abs_diff)),
        format!("  relative to dense   {}", figures::magnitude(agreement.max_rel_diff)),
        format!("  time                {}", figures::milliseconds(seconds * 1000.0)),
    ]);
    if agreement.masked > 0 {
        let masked = figures::count(agreement.masked as u64);
        lines.push(format!("  left out            {masked} tokens that the attention mask hides"));
    }
    lines
}

pub(super) fn open_data(args: &DataArgs) -> anyhow::Result<Dataset> {
    Ok(Dataset::open_with(&args.data, args.split, args.dataset_toml.as_deref())?)
}

pub(super) fn bind(model: &Model, path: &Path) -> anyhow::Result<Bound> {
    compile(model, path)?.bind(model).at(path)
}

/// The program of a model, or what to do where the file holds weights alone.
pub(super) fn compile(model: &Model, path: &Path) -> anyhow::Result<Program> {
    match Program::compile(model) {
        Err(error @ ExecError::NoGraph) => {
            Err(anyhow!("{error}; {}: {}", formats::advice_without_graph(path), path.display()))
        }
        other => other.at(path),
    }
}

/// Evaluates with a progress bar, until the user interrupts.
pub(super) fn evaluate(
    bound: &Bound,
    model: &Model,
    data: &Dataset,
    limit: Option<usize>,
    console: &Console,
) -> anyhow::Result<Evaluation> {
    let options = EvalOptions { limit, ..EvalOptions::for_data(model, data) };
    let bar = console.progress("evaluating", limit.map_or(data.len(), |l| l.min(data.len())) as u64);
    let outcome = eval::evaluate(bound, data, &options, &mut |so_far| {
        bar.set_position(so_far.n as u64);
        interrupt::check()
    });
    bar.finish_and_clear();
    match outcome {
        Err(EvalError::Cancelled) => Err(Interrupted.into()),
        Err(error @ EvalError::NoLabels) => {
            let names: Vec<String> = data.arrays().map(|(name, ..)| format!("`{name}`")).collect();
            Err(anyhow!("{error}; the data holds {}: {}", names.join(", "), data.path().display()))
        }
        other => other.at(data.path()),
    }
}

fn text(report: &Report) -> Vec<String> {
    let [low, high] = report.interval.map(|share| figures::percent(share, 2));
    let loss = report.loss.map_or_else(|| "\u{2013}".to_owned(), |loss| format!("{loss:.4}"));
    let mut lines = vec![
        report.title.clone(),
        String::new(),
        format!("  top-1  {}   95 % interval {low} to {high}", figures::percent(report.top1, 2)),
        format!("  top-5  {}", figures::percent(report.top5, 2)),
        format!("  loss   {loss}"),
        format!("  time   {}", figures::milliseconds(report.seconds * 1000.0)),
    ];
    if report.non_finite > 0 {
        lines.push(format!("  {} examples have scores that are not finite; they count as wrong", report.non_finite));
    }
    lines.push(String::new());
    let mut table = Table::new(&["class", ">n", ">correct", ">top-1"]);
    for class in report.per_class.iter().filter(|class| class.n > 0) {
        table.row([
            class.name.clone(),
            figures::count(class.n as u64),
            figures::count(class.correct as u64),
            class.top1.map_or_else(String::new, |share| figures::percent(share, 1)),
        ]);
    }
    lines.extend(table.lines());
    lines
}
