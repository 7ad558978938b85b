use super::args::BenchArgs;
use super::console::Console;
use super::eval::bind;
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::exec::latency::{self, Latency, Repeats};
use crate::exec::{Bound, ExampleInputs, StepTime};
use crate::formats;
use crate::model::{Model, Tensor};
use anyhow::ensure;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    /// Examples per run.
    batch: usize,
    threads: usize,
    /// Of the first model.
    #[serde(flatten)]
    model: Times,
    /// Of the second model; `null` without one.
    pruned: Option<Times>,
    /// Median of the second over median of the first; `null` without one.
    ratio: Option<f64>,
    /// Steps of the first in the order in which they run, if asked for.
    steps: Vec<Step>,
    #[serde(flatten)]
    sizes: Option<SizesReport>,
}

#[derive(Serialize)]
struct Step {
    /// The node that computes, and after it those that run as part of it.
    nodes: Vec<String>,
    op: String,
    median_ms: f64,
}

#[derive(Serialize)]
struct Times {
    name: String,
    median_ms: f64,
    iqr_ms: f64,
    least_ms: f64,
    runs: usize,
    /// From the median.
    examples_per_second: f64,
}

impl Times {
    fn new(path: &Path, batch: usize, latency: Latency) -> Self {
        Self {
            name: path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            median_ms: latency.median_ms,
            iqr_ms: latency.iqr_ms,
            least_ms: latency.least_ms,
            runs: latency.runs,
            examples_per_second: batch as f64 * 1000.0 / latency.median_ms,
        }
    }
}

pub(super) fn bench(args: &BenchArgs, console: &Console) -> Outcome {
    let repeats = Repeats { measured: args.runs, ..Repeats::default() };
    let model = formats::open(&args.model)?;
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let (bound, inputs, batch) = prepare(&model, &args.model, &taken, args, console)?;
    let report = |model, pruned, ratio| {
        let threads = rayon::current_num_threads();
        Report { batch, threads, model, pruned, ratio, steps: Vec::new(), sizes: taken.report() }
    };
    let mut report = if let Some(path) = &args.pruned {
        let (pruned, pruned_inputs, rows) = prepare(&formats::open(path)?, path, &taken, args, console)?;
        ensure!(rows == batch, "one model takes {batch} examples at once, the other {rows}: {}", path.display());
        let compared = latency::compare((&bound, &inputs), (&pruned, &pruned_inputs), repeats, &interrupt::asked);
        let both = compared.at(path)?.ok_or(Interrupted)?;
        let times = (Times::new(&args.model, batch, both.a), Times::new(path, batch, both.b));
        report(times.0, Some(times.1), Some(both.ratio))
    } else {
        let measured = latency::measure(&bound, &inputs, repeats, &interrupt::asked).at(&args.model)?;
        report(Times::new(&args.model, batch, measured.ok_or(Interrupted)?), None, None)
    };
    if args.steps {
        report.steps = steps(&bound, &inputs, args)?;
    }
    console.report(&report, text)
}

fn steps(model: &Bound, inputs: &[Tensor], args: &BenchArgs) -> anyhow::Result<Vec<Step>> {
    let measured = model.profile(inputs, args.runs).at(&args.model)?;
    let step = |time: StepTime| Step { nodes: time.nodes, op: time.op, median_ms: time.median_ms };
    Ok(measured.into_iter().map(step).collect())
}

/// The model bound, inputs for it, and how many examples they are.
fn prepare(
    model: &Model,
    path: &Path,
    taken: &Taken,
    args: &BenchArgs,
    console: &Console,
) -> anyhow::Result<(Bound, Vec<Tensor>, usize)> {
    let bound = bind(model, path)?;
    let mut source = ExampleInputs::new(model, &taken.sizes, console.seed().unwrap_or(0));
    let inputs = source.batch(args.batch).at(path)?;
    Ok((bound, inputs, source.rows(args.batch)))
}

fn text(report: &Report) -> Vec<String> {
    let mut table = Table::new(&["model", ">median", ">IQR", ">least", ">runs", ">examples/s"]);
    for times in std::iter::once(&report.model).chain(&report.pruned) {
        table.row([
            times.name.clone(),
            figures::milliseconds(times.median_ms),
            figures::milliseconds(times.iqr_ms),
            figures::milliseconds(times.least_ms),
            times.runs.to_string(),
            figures::short_count(times.examples_per_second),
        ]);
    }
    let mut lines = table.lines();
    let how = if report.pruned.is_some() { "taking turns" } else { "alone" };
    lines.push(String::new());
    lines.push(format!("batch {}, {} threads, {how}", report.batch, report.threads));
    lines.extend(report.sizes.as_ref().map(SizesReport::line));
    lines.extend(report.ratio.map(|ratio| format!("second over first: {ratio:.3}")));
    if !report.steps.is_empty() {
        lines.push(String::new());
        lines.extend(step_table(&report.steps));
    }
    lines
}

fn step_table(steps: &[Step]) -> Vec<String> {
    let total: f64 = steps.iter().map(|step| step.median_ms).sum();
    let mut slowest: Vec<&Step> = steps.iter().collect();
    slowest.sort_by(|a, b| b.median_ms.total_cmp(&a.median_ms));
    let mut table = Table::new(&["step", "operator", ">median", ">share"]);
    for step in slowest {
        let share = 100.0 * step.median_ms / total.max(f64::MIN_POSITIVE);
        let name = match &step.nodes[..] {
            [first, rest @ ..] if !rest.is_empty() => format!("{first} + {}", rest.len()),
            nodes => nodes.concat(),
        };
        table.row([name, step.op.clone(), figures::milliseconds(step.median_ms), format!("{share:.1} %")]);
    }
    table.lines()
}
