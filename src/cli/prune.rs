use super::args::{PieceFlag, PruneArgs};
use super::console::Console;
use super::eval::{bind, compare, evaluate};
use super::failure::{Interrupted, Outcome};
use super::interrupt;
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::data::{Dataset, Split};
use crate::eval::{Agreement, Evaluation, gives_scores};
use crate::export::{self, ExportError, ExportReport, LayerReport};
use crate::formats;
use crate::model::{Layer, Model, layers_of};
use crate::prune::{self, Cut, LayerPlan, Plan};
use crate::stats::Statistics;
use anyhow::bail;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    export: ExportReport,
    /// Measured on `--data` with labels; `null` without.
    accuracy: Option<Accuracy>,
    /// How near the exported file's outputs are to the source's on `--data` without labels; `null` elsewhere.
    fidelity: Option<Agreement>,
    #[serde(flatten)]
    sizes: Option<SizesReport>,
}

/// Top-1 accuracy before and after, in 0..=1.
#[derive(Serialize)]
struct Accuracy {
    n: usize,
    dense: f64,
    pruned: f64,
    /// 95 % Wilson interval of `pruned`.
    interval: [f64; 2],
}

pub(super) fn prune(args: &PruneArgs, console: &Console) -> Outcome {
    if let Some(option) = args.later.first() {
        bail!("`{option}` is not available yet");
    }
    let model = formats::open(&args.model)?;
    let data = args.data.as_deref().map(|path| Dataset::open(path, Split::Test)).transpose()?;
    let layers = layers_of(&model);
    let plan = plan(args, &model, &layers)?;
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let report = export_plan(&model, (&layers, &plan), (data.as_ref(), &taken), args, console)?;
    if let Some(path) = &args.save_plan {
        prune::write_plan(&plan, path)?;
    }
    let (mut accuracy, mut fidelity) = (None, None);
    if let Some(data) = &data {
        if data.labels().is_some() && gives_scores(&model) {
            accuracy = Some(measure_accuracy(&model, data, args, console)?);
        } else {
            let pruned = formats::open(&args.output)?;
            let (expected, bound) = (bind(&model, &args.model)?, bind(&pruned, &args.output)?);
            fidelity = Some(compare(&expected, (&pruned, &bound), data, None, console)?);
        }
    }
    let sizes = taken.report().filter(|_| data.is_none());
    console.report(&Report { export: report, accuracy, fidelity, sizes }, text)
}

fn export_plan(
    model: &Model,
    (layers, plan): (&[Layer], &Plan),
    (data, taken): (Option<&Dataset>, &Taken),
    args: &PruneArgs,
    console: &Console,
) -> anyhow::Result<ExportReport> {
    let bar = console.progress("exporting", 1);
    let request = export::Request { model, layers, plan, data, sizes: &taken.sizes, path: &args.output };
    let outcome = export::export(&request, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt::check()
    });
    bar.finish_and_clear();
    match outcome {
        Err(ExportError::Cancelled) => Err(Interrupted.into()),
        other => Ok(other?),
    }
}

/// The plan of the file, or the one that the flags say.
fn plan(args: &PruneArgs, model: &Model, layers: &[Layer]) -> anyhow::Result<Plan> {
    if let Some(path) = &args.plan {
        return Ok(prune::read_plan(path)?);
    }
    let granularity = match &args.granularity {
        PieceFlag::Now(granularity) => *granularity,
        PieceFlag::Later(name) => bail!("granularity `{name}` is not available yet"),
    };
    let criterion = args.criterion;
    let selected = prune::select(layers, &args.include, &args.exclude)?;
    if selected.is_empty() {
        bail!("no layer of the model can be pruned: {}", args.model.display());
    }
    let cut = cut(args);
    let cuts: Vec<(String, Cut)> = if args.scope == "global" {
        prune::global(model, &selected, &Statistics::default(), granularity, criterion, cut)?
    } else {
        selected.iter().map(|layer| (layer.name.clone(), cut)).collect()
    };
    let mut plan = Plan::dense();
    for (layer, cut) in cuts {
        plan.set(&layer, LayerPlan { granularity, criterion, cut, locked: false });
    }
    Ok(plan)
}

/// The one cut given; the argument group has seen to that.
fn cut(args: &PruneArgs) -> Cut {
    let sparsity = args.sparsity.map(Cut::Sparsity);
    let threshold = args.threshold.map(Cut::Threshold);
    let sigma = args.sigma.map(Cut::Sigma);
    sparsity.or(threshold).or(sigma).or_else(|| args.keep.map(Cut::Keep)).unwrap_or_default()
}

/// Measures the source and the exported file, not the model in memory.
fn measure_accuracy(model: &Model, data: &Dataset, args: &PruneArgs, console: &Console) -> anyhow::Result<Accuracy> {
    let measure = |model: &Model, path| -> anyhow::Result<Evaluation> {
        evaluate(&bind(model, path)?, model, data, None, console)
    };
    let dense = measure(model, &args.model)?;
    let pruned = measure(&formats::open(&args.output)?, &args.output)?;
    let (low, high) = pruned.interval();
    Ok(Accuracy { n: pruned.n, dense: dense.top1(), pruned: pruned.top1(), interval: [low, high] })
}

fn text(report: &Report) -> Vec<String> {
    let export = &report.export;
    let mut lines = vec![export.path.display().to_string(), String::new()];
    lines.extend(layer_table(&export.layers));
    lines.push(String::new());
    lines.extend(summary(export));
    if let Some(accuracy) = &report.accuracy {
        let [low, high] = accuracy.interval.map(|share| figures::percent(share, 2));
        lines.push(format!(
            "  accuracy    {} \u{2192} {} ({}), 95 % interval {low} to {high}, {} examples",
            figures::percent(accuracy.dense, 2),
            figures::percent(accuracy.pruned, 2),
            figures::change((accuracy.pruned - accuracy.dense) * 100.0, 2, "pt"),
            figures::count(accuracy.n as u64),
        ));
    }
    if let Some(fidelity) = &report.fidelity {
        lines.push(format!(
            "  beside dense  same answer in {}, cosine {:.6}, least {:.6}, {} examples",
            figures::percent(fidelity.argmax_agreement, 2),
            fidelity.cosine,
            fidelity.least_cosine,
            figures::count(fidelity.n as u64),
        ));
    }
    lines.extend(report.sizes.as_ref().map(|sizes| format!("  {}", sizes.line())));
    lines
}

/// Sizes and the proof, a line each.
pub(super) fn summary(export: &ExportReport) -> Vec<String> {
    let bytes = |n: u64| figures::bytes(n as f64);
    let sizes = &export.bytes;
    let mut lines = vec![format!(
        "  sparsity    {} of the weights are zero; {} of {} parameters are not",
        figures::percent(export.sparsity, 2),
        figures::count(export.nonzeros),
        figures::count(export.params),
    )];
    lines.extend(export.macs.map(|macs| {
        let macs = figures::short_count(macs as f64);
        format!("  MACs        {macs} per example, as before: zeros only, same speed on a dense runtime")
    }));
    lines.push(format!(
        "  size        file {}, zip {}, bitmask {}, CSR {}, best per layer {}",
        bytes(sizes.file),
        bytes(sizes.zip),
        bytes(sizes.bitmask),
        bytes(sizes.csr),
        bytes(sizes.best),
    ));
    let ran = match (&export.equal, &export.not_run) {
        (Some(equal), _) => format!(
            "outputs on {} {} examples differ by {}, same answer in {}",
            figures::count(equal.agreement.n as u64),
            if equal.inputs == "data" { "real" } else { "random" },
            figures::magnitude(equal.agreement.max_abs_diff),
            figures::percent(equal.agreement.argmax_agreement, 2),
        ),
        (None, reason) => {
            let reason = reason.as_deref().unwrap_or("there was nothing to run it on");
            format!("not run: {}", reason.strip_suffix(", so it cannot be run").unwrap_or(reason))
        }
    };
    lines.push(format!("  proof       re-opened: every byte as intended; {ran}"));
    lines
}

fn layer_table(layers: &[LayerReport]) -> Vec<String> {
    let titles =
        ["layer", "operator", ">weights", ">zeros", ">sparsity", "kept", ">threshold", ">bytes", "stored best as"];
    let mut table = Table::new(&titles);
    for layer in layers {
        table.row([
            layer.name.clone(),
            layer.op.clone(),
            figures::count(layer.weights as u64),
            figures::count(layer.zeros as u64),
            figures::percent(layer.sparsity, 1),
            format!(
                "{} of {} {}s",
                figures::count(layer.kept as u64),
                figures::count(layer.pieces as u64),
                layer.granularity.piece()
            ),
            figures::magnitude(layer.threshold),
            figures::bytes(layer.bytes.best().1 as f64),
            format!("{:?}", layer.best).to_lowercase(),
        ]);
    }
    table.lines()
}
