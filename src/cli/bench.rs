use super::args::BenchArgs;
use super::console::Console;
use super::eval::bind;
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::exec::latency::{self, Latency, Repeats, StepComparison};
use crate::exec::{Bound, ExampleInputs, StepTime};
use crate::export::count_nonzeros;
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
    /// Whether the second is slower beyond noise: the middle halves of the times do not meet.
    slower: Option<bool>,
    /// What the shapes of the second say about its speed.
    note: Option<&'static str>,
    /// Steps in the order in which they run, if asked for.
    steps: Vec<Step>,
    #[serde(flatten)]
    sizes: Option<SizesReport>,
}

#[derive(Serialize)]
struct Step {
    /// The node that computes, and after it those that run as part of it.
    nodes: Vec<String>,
    op: String,
    /// Of the first model; `null` for what only the second has.
    median_ms: Option<f64>,
    iqr_ms: Option<f64>,
    /// Of the second model, if there is one and it has the nodes.
    pruned_median_ms: Option<f64>,
    pruned_iqr_ms: Option<f64>,
    ratio: Option<f64>,
    slower: Option<bool>,
}

#[derive(Default, Serialize)]
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
    let mut report = Report {
        batch,
        threads: rayon::current_num_threads(),
        model: Times::default(),
        pruned: None,
        ratio: None,
        slower: None,
        note: None,
        steps: Vec::new(),
        sizes: taken.report(),
    };
    if let Some(path) = &args.pruned {
        let second = formats::open(path)?;
        let (pruned, pruned_inputs, rows) = prepare(&second, path, &taken, args, console)?;
        ensure!(rows == batch, "one model takes {batch} examples at once, the other {rows}: {}", path.display());
        let (a, b) = ((&bound, &inputs[..]), (&pruned, &pruned_inputs[..]));
        let both = latency::compare(a, b, repeats, &interrupt::asked).at(path)?.ok_or(Interrupted)?;
        report.model = Times::new(&args.model, batch, both.a);
        report.pruned = Some(Times::new(path, batch, both.b));
        report.ratio = Some(both.ratio);
        report.slower = Some(both.is_slower());
        report.note = note(&model, &second);
        if args.steps {
            let rows = latency::compare_steps(a, b, args.runs, &interrupt::asked).at(path)?.ok_or(Interrupted)?;
            report.steps = rows.into_iter().map(Step::of_both).collect();
        }
    } else {
        let measured = latency::measure(&bound, &inputs, repeats, &interrupt::asked).at(&args.model)?;
        report.model = Times::new(&args.model, batch, measured.ok_or(Interrupted)?);
        if args.steps {
            report.steps = bound.profile(&inputs, args.runs).at(&args.model)?.into_iter().map(Step::of_one).collect();
        }
    }
    console.report(&report, text)
}

impl Step {
    fn of_one(time: StepTime) -> Self {
        Self {
            nodes: time.nodes,
            op: time.op,
            median_ms: Some(time.median_ms),
            iqr_ms: None,
            pruned_median_ms: None,
            pruned_iqr_ms: None,
            ratio: None,
            slower: None,
        }
    }

    fn of_both(row: StepComparison) -> Self {
        Self {
            ratio: row.ratio(),
            slower: Some(row.is_slower()),
            nodes: row.nodes,
            op: row.op,
            median_ms: row.a.map(|a| a.median_ms),
            iqr_ms: row.a.map(|a| a.iqr_ms),
            pruned_median_ms: row.b.map(|b| b.median_ms),
            pruned_iqr_ms: row.b.map(|b| b.iqr_ms),
        }
    }

    /// What rows are ordered by.
    fn longest(&self) -> f64 {
        self.median_ms.unwrap_or(0.0).max(self.pruned_median_ms.unwrap_or(0.0))
    }
}

/// What the shapes of two models say about their speed: nothing where they differ.
fn note(first: &Model, second: &Model) -> Option<&'static str> {
    let shapes =
        |m: &Model| m.tensors.iter().map(|(n, t)| (n.clone(), t.dtype(), t.shape().to_vec())).collect::<Vec<_>>();
    let nodes = |m: &Model| m.graph.as_ref().map(|g| g.nodes.iter().map(|n| n.op.clone()).collect::<Vec<_>>());
    if shapes(first) != shapes(second) || nodes(first) != nodes(second) {
        return None;
    }
    let nonzeros = |m: &Model| m.tensors.values().map(count_nonzeros).sum::<usize>();
    let zeros_only = nonzeros(second) < nonzeros(first);
    Some(if zeros_only {
        "zeros only: same speed on a dense runtime"
    } else {
        "same shapes: same speed on a dense runtime"
    })
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
    let verdict = if report.slower == Some(true) { ", slower beyond noise" } else { "" };
    lines.extend(report.ratio.map(|ratio| format!("second over first: {ratio:.3}{verdict}")));
    lines.extend(report.note.map(str::to_owned));
    if !report.steps.is_empty() {
        lines.push(String::new());
        lines.extend(step_table(&report.steps, report.pruned.is_some()));
    }
    lines
}

fn step_table(steps: &[Step], both: bool) -> Vec<String> {
    let total: f64 = steps.iter().filter_map(|step| step.median_ms).sum();
    let mut slowest: Vec<&Step> = steps.iter().collect();
    slowest.sort_by(|a, b| b.longest().total_cmp(&a.longest()));
    let titles: &[&str] = if both {
        &["step", "operator", ">first", ">second", ">ratio", ""]
    } else {
        &["step", "operator", ">median", ">share"]
    };
    let mut table = Table::new(titles);
    let time = |ms: Option<f64>| ms.map_or_else(|| "\u{2013}".to_owned(), figures::milliseconds);
    for step in slowest {
        let name = match &step.nodes[..] {
            [first, rest @ ..] if !rest.is_empty() => format!("{first} + {}", rest.len()),
            nodes => nodes.concat(),
        };
        let mut cells = vec![name, step.op.clone(), time(step.median_ms)];
        if both {
            let ratio = step.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let verdict = if step.slower == Some(true) { "slower" } else { "" };
            cells.extend([time(step.pruned_median_ms), ratio, verdict.to_owned()]);
        } else {
            let share = 100.0 * step.median_ms.unwrap_or(0.0) / total.max(f64::MIN_POSITIVE);
            cells.push(format!("{share:.1} %"));
        }
        table.row(cells);
    }
    table.lines()
}
