use super::calibration;
use super::console::Console;
use super::eval::{bind, open_data};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::output_kind::OutputKind;
use super::search_args::{MergeArgs, SweepArgs};
use super::table::Table;
use crate::app::figures;
use crate::data::Dataset;
use crate::formats::{self, write_atomically};
use crate::model::{Layer, layers_of};
use crate::prune::{self, GroupPlan, LayerPlan, Plan, Scores, Subject};
use crate::search::sweep::{self, Ladder, Planner, Setting, Sweep, SweepRequest};
use crate::search::{SearchError, Sensitivity};
use crate::stats::Statistics;
use crate::structure::{Structure, UnitKind};
use anyhow::{anyhow, bail};
use std::path::{Path, PathBuf};

pub(super) fn sweep(args: &SweepArgs, console: &Console) -> Outcome {
    OutputKind::check(&args.output)?;
    let model = formats::open(&args.model)?;
    let data = open_data(&args.data)?;
    let dense = bind(&model, &args.model)?;
    let layers = layers_of(&model);
    let structure = Structure::of(&model);
    let statistics = Statistics::of_model(&model, &layers);
    let subject =
        Subject { structure: structure.as_ref().ok(), statistics: &statistics, ..Subject::new(&model, &layers) };
    let mut base = args.plan.as_deref().map_or_else(|| Ok(Plan::dense()), super::plan_file::read)?;
    base.shrink |= args.shrink;
    calibration::set(&mut base, &args.calibration, console);
    let settings = settings(args)?;
    let curves = args.curves.as_deref().map(read_curves).transpose()?;
    let planner = planner((&subject, &base), &settings, curves.as_ref(), args)?;
    let examples = calibration::open(&args.calibration, Some(&args.data.data))?;
    let scores = scores(&subject, &planner, args, examples.as_ref(), console)?;
    let request = SweepRequest {
        subject: Subject { scores: &scores, ..subject },
        dense: &dense,
        data: &data,
        planner: &planner,
        settings: &settings,
        shard: args.shard,
        limit: args.limit,
        latency: !args.no_latency,
        cost: args.cost,
        calibrated_on: examples.as_ref().filter(|_| !scores.is_empty()).map(Dataset::fingerprint),
    };
    let found = run(&request, args, console)?;
    write(&found, &args.output)?;
    console.report(&found, |found| text(found, &args.output))
}

pub(super) fn merge(args: &MergeArgs, console: &Console) -> Outcome {
    OutputKind::check(&args.output)?;
    let same = |part: &PathBuf, output: &PathBuf| {
        part == output || part.canonicalize().is_ok_and(|part| output.canonicalize().is_ok_and(|output| part == output))
    };
    if let Some(output) = args.output.iter().find(|output| args.parts.iter().any(|part| same(part, output))) {
        bail!("the result would replace one of the parts: {}", output.display());
    }
    let parts = args.parts.iter().map(|path| Sweep::read(path)).collect::<Result<Vec<_>, _>>()?;
    let merged = sweep::merge(parts)?;
    write(&merged, &args.output)?;
    console.report(&merged, |merged| text(merged, &args.output))
}

fn settings(args: &SweepArgs) -> anyhow::Result<Vec<Setting>> {
    let ladder = Ladder {
        allocations: args.allocations.clone(),
        granularities: args.granularity.clone(),
        criteria: args.criterion.clone(),
        ratios: args.ratios.clone(),
        sigmas: args.sigmas.clone(),
        groups: args.shrink,
    };
    if ladder.allocations.iter().any(|allocation| allocation.needs_curves()) && args.curves.is_none() {
        bail!(
            "the allocation sensitivity needs measured curves: write them with `secateur sensitivity MODEL --data DATA -o \
             curves.json`, and give them with --curves curves.json"
        );
    }
    Ok(ladder.settings())
}

fn read_curves(path: &Path) -> anyhow::Result<Sensitivity> {
    let bytes = std::fs::read(path).map_err(|error| anyhow!("the curves cannot be read: {error}")).at(path)?;
    let read = serde_json::from_slice(&bytes);
    read.map_err(|error| anyhow!("these are no curves as `sensitivity -o FILE.json` writes them: {error}")).at(path)
}

fn planner<'a>(
    (subject, base): (&Subject<'_>, &'a Plan),
    settings: &[Setting],
    curves: Option<&'a Sensitivity>,
    args: &SweepArgs,
) -> anyhow::Result<Planner<'a>> {
    let name = |layer: &Layer| layer.name.clone();
    let layers: Vec<String> =
        prune::select(subject.layers, &args.include, &args.exclude)?.into_iter().map(name).collect();
    let mut groups = Vec::new();
    if settings.iter().any(|setting| setting.groups) {
        let structure: &Structure = subject.structure.ok_or(crate::structure::StructureError::NoGraph)?;
        let kinds = [UnitKind::Channel, UnitKind::Hidden, UnitKind::Width];
        let chosen = prune::select_groups(structure, &kinds, &args.include, &args.exclude)?;
        groups = chosen.into_iter().map(|index| structure.groups()[index].name.clone()).collect();
        if groups.is_empty() {
            bail!("the layers that were chosen have no group that may be cut: {}", args.model.display());
        }
    }
    if layers.is_empty() {
        bail!("no layer of the model can be pruned: {}", args.model.display());
    }
    Ok(Planner { base, layers, groups, curves })
}

/// What every criterion says of all that may be pruned.
fn scores(
    subject: &Subject<'_>,
    planner: &Planner<'_>,
    args: &SweepArgs,
    examples: Option<&Dataset>,
    console: &Console,
) -> anyhow::Result<Scores> {
    let mut scores = Scores::default();
    for &criterion in &args.criterion {
        let mut plan = planner.base.clone();
        for layer in &planner.layers {
            plan.set(layer, LayerPlan { criterion, ..LayerPlan::default() });
        }
        for group in &planner.groups {
            plan.set_group(group, GroupPlan { criterion, ..GroupPlan::default() });
        }
        let known = Subject { scores: &scores, ..*subject };
        let found = calibration::score(&known, &plan, examples, console)?;
        scores.extend(found);
    }
    Ok(scores)
}

fn run(request: &SweepRequest<'_>, args: &SweepArgs, console: &Console) -> anyhow::Result<Sweep> {
    let bar = console.progress("measuring", 1);
    let mut observe = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt::check()
    };
    let outcome = sweep::sweep(request, &mut observe, &mut |point| bar.set_message(point.setting.to_string()));
    bar.finish_and_clear();
    match outcome {
        Err(SearchError::Cancelled) => Err(Interrupted.into()),
        Err(error @ SearchError::Eval(_)) => Err(error).at(request.data.path()),
        other => other.at(&args.model),
    }
}

fn write(sweep: &Sweep, paths: &[PathBuf]) -> Outcome {
    for path in paths {
        let bytes = match OutputKind::of(path)? {
            OutputKind::Json => {
                sweep.write(path)?;
                continue;
            }
            OutputKind::Csv => sweep.to_csv().into_bytes(),
            OutputKind::Svg => sweep.picture().to_svg().into_bytes(),
            OutputKind::Png => sweep.picture().to_png().at(path)?,
        };
        write_atomically(path, |file| file.write_all(&bytes)).at(path)?;
    }
    Ok(())
}

fn text(sweep: &Sweep, outputs: &[PathBuf]) -> Vec<String> {
    let asked = &sweep.asked;
    let examples = figures::counted(asked.examples, "example", "examples");
    let part = sweep.shard.map_or_else(String::new, |shard| format!(", part {shard}"));
    let mut lines = vec![
        format!("{} on {} ({examples}){part}", asked.model, asked.data),
        format!(
            "dense {}, {} parameters, {}",
            figures::percent(sweep.dense.top1, 2),
            figures::short_count(sweep.dense.nonzeros as f64),
            figures::bytes(sweep.dense.bytes.file as f64)
        ),
        String::new(),
    ];
    let mut table = Table::new(&[
        ">point",
        "curve",
        ">amount",
        ">sparsity",
        ">top-1",
        ">loss",
        ">nonzeros",
        ">MACs",
        ">nonzero MACs",
        ">smallest",
        ">time",
        "front",
    ]);
    let none = || "\u{2013}".to_owned();
    for point in &sweep.points {
        let at = &point.figures;
        table.row([
            point.index.to_string(),
            point.setting.curve(),
            format!("{}", point.setting.ratio),
            figures::percent(at.sparsity, 1),
            figures::percent(at.top1, 2),
            at.measured.loss.map_or_else(none, |loss| format!("{loss:.4}")),
            figures::short_count(at.nonzeros as f64),
            at.macs.map_or_else(none, |macs| figures::short_count(macs as f64)),
            at.macs_nonzero.map_or_else(none, |macs| figures::short_count(macs as f64)),
            figures::bytes(at.bytes.smallest().1 as f64),
            at.milliseconds.map_or_else(none, figures::milliseconds),
            if point.front { "*".to_owned() } else { String::new() },
        ]);
    }
    lines.extend(table.lines());
    lines.push(String::new());
    lines
        .push(format!("* no other point is more accurate for as few {}, or as accurate for fewer", sweep.cost.title()));
    let patterns: std::collections::BTreeSet<String> =
        asked.settings.iter().filter(|s| s.granularity.is_pattern()).map(|s| s.granularity.to_string()).collect();
    lines.extend(patterns.iter().map(|pattern| {
        format!("{pattern} says by itself how much goes: it has one point, whatever the ratios and allocations")
    }));
    lines.extend(sweep.refused.iter().map(|refused| format!("left out: {}: {}", refused.setting, refused.reason)));
    lines.extend(outputs.iter().map(|path| format!("written: {}", path.display())));
    lines
}
