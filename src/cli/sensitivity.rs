use super::calibration;
use super::console::Console;
use super::eval::{bind, open_data};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::output_kind::OutputKind;
use super::search_args::SensitivityArgs;
use super::table::Table;
use crate::app::figures;
use crate::formats::{self, write_atomically};
use crate::model::layers_of;
use crate::prune::{Plan, Subject};
use crate::search::sensitivity::{Row, Scan, ScanOptions, ScanRequest, scan, targets_of};
use crate::search::{Curve, SearchError, Sensitivity, Target};
use crate::stats::Statistics;
use crate::structure::Structure;
use anyhow::anyhow;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A scan as `--json` and `-o FILE.json` hold it; shares are in 0..=1.
#[derive(Serialize)]
struct Report<'a> {
    model: String,
    data: String,
    /// Every point, curve by curve.
    points: Vec<Row<'a>>,
    #[serde(flatten)]
    sensitivity: &'a Sensitivity,
    skipped: Vec<SkippedReport<'a>>,
    /// Points that were measured now, and those that the cache knew.
    measured: usize,
    known: usize,
    seconds: f64,
    #[serde(skip)]
    outputs: &'a [PathBuf],
}

#[derive(Serialize)]
struct SkippedReport<'a> {
    target: &'a str,
    reason: &'a str,
}

pub(super) fn sensitivity(args: &SensitivityArgs, console: &Console) -> Outcome {
    let start = Instant::now();
    OutputKind::check(&args.output)?;
    let model = formats::open(&args.model)?;
    let data = open_data(&args.data)?;
    let dense = bind(&model, &args.model)?;
    let layers = layers_of(&model);
    let structure = Structure::of(&model);
    let statistics = Statistics::of_model(&model, &layers);
    let subject =
        Subject { structure: structure.as_ref().ok(), statistics: &statistics, ..Subject::new(&model, &layers) };
    let mut settings = args.plan.as_deref().map_or_else(|| Ok(Plan::dense()), super::plan_file::read)?;
    calibration::set(&mut settings, &args.calibration, console);
    let targets = targets_of(&subject, &settings, args.groups, &args.include, &args.exclude).at(&args.model)?;
    let examples = calibration::open(&args.calibration, Some(&args.data.data))?;
    let asked = together(&targets, &settings, args);
    let scores = calibration::score(&subject, &asked, examples.as_ref(), console)?;
    let options = ScanOptions {
        granularity: args.granularity,
        criterion: args.criterion,
        ratios: args.ratios.clone(),
        max_drop: (args.max_drop < 100.0).then_some(args.max_drop / 100.0),
        limit: Some(args.limit),
        ..ScanOptions::default()
    };
    let request = ScanRequest {
        subject: Subject { scores: &scores, ..subject },
        dense: &dense,
        data: &data,
        settings: &settings,
        targets: &targets,
        options: &options,
        cache: args.cache.as_deref(),
        calibrated_on: examples.as_ref().map(crate::data::Dataset::fingerprint),
    };
    let found = run(&request, args, console)?;
    if let (true, Some(first)) = (found.sensitivity.curves.is_empty(), found.skipped.first()) {
        return Err(anyhow!("nothing could be scanned: {}", first.reason)).at(&args.model);
    }
    let skipped = found.skipped.iter();
    let report = Report {
        model: model.display_name(),
        data: data.name().to_owned(),
        points: found.sensitivity.rows().collect(),
        sensitivity: &found.sensitivity,
        skipped: skipped.map(|s| SkippedReport { target: s.target.name(), reason: &s.reason }).collect(),
        measured: found.measured,
        known: found.known,
        seconds: start.elapsed().as_secs_f64(),
        outputs: &args.output,
    };
    for path in &args.output {
        write(&report, path)?;
    }
    console.report(&report, text)
}

/// One plan with the criterion for all that is scanned.
fn together(targets: &[Target], settings: &Plan, args: &SensitivityArgs) -> Plan {
    let mut plan = Plan { calibration: settings.calibration, ..Plan::dense() };
    for target in targets {
        let one = target.plan(settings, args.granularity, args.criterion, 0.5);
        plan.layers.extend(one.layers);
        plan.groups.extend(one.groups);
    }
    plan
}

fn run(request: &ScanRequest<'_>, args: &SensitivityArgs, console: &Console) -> anyhow::Result<Scan> {
    let bar = console.progress("measuring", 1);
    let mut observe = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt::check()
    };
    let outcome = scan(request, &mut observe, &mut |_, curve| bar.set_message(curve.target.name().to_owned()));
    bar.finish_and_clear();
    match outcome {
        Err(SearchError::Cancelled) if args.cache.is_some() => {
            Err(anyhow!("interrupted; the same command goes on where this one ended"))
        }
        Err(SearchError::Cancelled) => Err(Interrupted.into()),
        Err(error @ SearchError::Eval(_)) => Err(error).at(request.data.path()),
        Err(error @ SearchError::Cache { .. }) => Err(error.into()),
        other => other.at(&args.model),
    }
}

fn write(report: &Report<'_>, path: &Path) -> anyhow::Result<()> {
    let bytes = match OutputKind::of(path)? {
        OutputKind::Csv => report.sensitivity.to_csv().into_bytes(),
        OutputKind::Json => [serde_json::to_vec_pretty(report)?, b"\n".to_vec()].concat(),
        OutputKind::Svg => report.sensitivity.picture().to_svg().into_bytes(),
        OutputKind::Png => report.sensitivity.picture().to_png().at(path)?,
    };
    write_atomically(path, |file| file.write_all(&bytes)).at(path)?;
    Ok(())
}

fn text(report: &Report<'_>) -> Vec<String> {
    let sensitivity = report.sensitivity;
    let mut lines = vec![
        format!(
            "{} on {} ({}), {} by {}",
            report.model,
            report.data,
            figures::counted(sensitivity.dense.n, "example", "examples"),
            match sensitivity.curves.first().map(|curve| &curve.target) {
                Some(Target::Group(_)) => "groups".to_owned(),
                _ => format!("{}s of layers", sensitivity.granularity.piece()),
            },
            sensitivity.criterion.title(),
        ),
        format!("dense {}; points of accuracy lost at each ratio:", figures::percent(sensitivity.dense.top1(), 2)),
        String::new(),
    ];
    let mut ratios: Vec<f64> = sensitivity.curves.iter().flat_map(|c| c.points.iter().map(|p| p.ratio)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.dedup();
    let titles: Vec<String> = ratios.iter().map(|ratio| format!(">{}", share(*ratio))).collect();
    let mut table =
        Table::new(&["name", ">pieces"].into_iter().chain(titles.iter().map(String::as_str)).collect::<Vec<_>>());
    for curve in &sensitivity.curves {
        let head = [curve.target.name().to_owned(), figures::count(curve.pieces as u64)];
        table.row(head.into_iter().chain(ratios.iter().map(|&ratio| cell(sensitivity, curve, ratio))));
    }
    lines.extend(table.lines());
    lines.push(String::new());
    lines.extend(report.skipped.iter().map(|skipped| format!("left out: {}", skipped.reason)));
    let known = match report.known {
        0 => String::new(),
        known => format!(", {} from the cache", figures::count(known as u64)),
    };
    let measured = figures::counted(report.measured, "point", "points");
    lines.push(format!("{measured} measured{known}, {}", figures::milliseconds(report.seconds * 1000.0)));
    lines.extend(report.outputs.iter().map(|path| format!("written: {}", path.display())));
    lines
}

/// `10 %` or `12.5 %`.
fn share(ratio: f64) -> String {
    let text = format!("{:.2}", ratio * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What a curve lost at a ratio; empty behind its end.
fn cell(sensitivity: &Sensitivity, curve: &Curve, ratio: f64) -> String {
    let point = curve.points.iter().find(|point| point.ratio == ratio);
    point.map_or_else(String::new, |point| figures::change(100.0 * sensitivity.drop_of(point), 2, ""))
}
