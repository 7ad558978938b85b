use super::console::Console;
use super::eval::{bind, evaluate};
use super::failure::{At as _, Interrupted, Outcome};
use super::{interrupt, prune_text};
use crate::app::{figures, samples};
use crate::export::{self, ExportError, ExportReport, LayerReport};
use crate::formats;
use crate::model::{Sizes, layers_of};
use crate::prune::{Cut, Granularity, LayerPlan, Plan, Subject};
use anyhow::{anyhow, ensure};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    model: String,
    data: String,
    n: usize,
    /// Top-1 accuracies in 0..=1: of the sample, of the pruned model in memory, of the exported file.
    dense: f64,
    pruned: f64,
    reopened: f64,
    plan: Plan,
    export: ExportReport,
}

/// A cut of each kind: a few whole channels, shares of single weights, and a multiple of sigma.
fn demo_plan() -> Plan {
    let mut plan = Plan::dense();
    for (layer, granularity, cut) in [
        ("conv1", Granularity::Channel, Cut::Keep(18)),
        ("conv2", Granularity::Element, Cut::Sparsity(0.5)),
        ("fc1", Granularity::Element, Cut::Sparsity(0.85)),
        ("fc2", Granularity::Element, Cut::Sigma(0.5)),
    ] {
        plan.set(layer, LayerPlan { granularity, cut, ..LayerPlan::default() });
    }
    plan
}

pub(super) fn demo(console: &Console) -> Outcome {
    let model = samples::model()?;
    let data = samples::dataset()?;
    let path = samples::model_path();
    let layers = layers_of(&model);
    console.tell(&format!(
        "{}: {} layers, {} parameters\n{}: {} test images\n",
        path.display(),
        layers.len(),
        figures::count(model.parameter_count()),
        data.name(),
        figures::count(data.len() as u64),
    ))?;

    let dense_bound = bind(&model, &path)?;
    let dense = evaluate(&dense_bound, &model, &data, None, console)?;
    let (low, high) = dense.interval();
    console.tell(&format!(
        "  dense     {}   95 % interval {} to {}, measured in {}",
        figures::percent(dense.top1(), 2),
        figures::percent(low, 2),
        figures::percent(high, 2),
        figures::milliseconds(dense.seconds * 1000.0),
    ))?;

    let plan = demo_plan();
    let mask = crate::prune::resolve(&model, &layers, &plan)?;
    let masked = crate::prune::apply(&model, &layers, &mask);
    let pruned = evaluate(&dense_bound.rebind(&masked).at(&path)?, &masked, &data, None, console)?;
    let change = figures::change((pruned.top1() - dense.top1()) * 100.0, 2, "pt");
    console.tell(&format!("  pruned    {}   {change}", figures::percent(pruned.top1(), 2)))?;

    let folder = tempfile::tempdir().map_err(|e| anyhow!("no temporary folder can be made: {e}"))?;
    let file = folder.path().join("lenet-5-pruned.safetensors");
    let sizes = Sizes::default();
    let subject = Subject::new(&model, &layers);
    let request = export::Request { subject, plan: &plan, data: Some(&data), sizes: &sizes, path: &file };
    let export = match export::export(&request, &mut |_, _| interrupt::check()) {
        Err(ExportError::Cancelled) => return Err(Interrupted.into()),
        other => other?,
    };
    let reopened_model = formats::open(&file)?;
    let reopened = evaluate(&bind(&reopened_model, &file)?, &reopened_model, &data, None, console)?;
    console.tell(&format!("  exported  {}   read from the file again\n", figures::percent(reopened.top1(), 2)))?;
    ensure!(
        (reopened.correct1, reopened.n) == (pruned.correct1, pruned.n),
        "the exported file measures {} instead of {}: {}",
        figures::percent(reopened.top1(), 2),
        figures::percent(pruned.top1(), 2),
        file.display()
    );
    let report = Report {
        model: file_name(&path),
        data: data.name().to_owned(),
        n: dense.n,
        dense: dense.top1(),
        pruned: pruned.top1(),
        reopened: reopened.top1(),
        plan,
        export,
    };
    console.report(&report, |report| {
        let cut = |layer: &LayerReport| format!("{} {}", layer.name, figures::percent(layer.sparsity, 0));
        let cuts: Vec<String> = report.export.layers.iter().map(cut).collect();
        let mut lines = vec![format!("  cuts        {}", cuts.join(", "))];
        lines.extend(prune_text::summary(&report.export));
        lines
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
