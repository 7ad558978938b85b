use super::console::Console;
use super::eval::{Measured, bind, compare, evaluate};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::quantise_args::QuantiseArgs;
use super::sizes::{SizesReport, Taken};
use super::table::Table;
use crate::app::figures;
use crate::data::{Dataset, Split};
use crate::eval::{self, Agreement, EvalOptions, Probe, gives_scores};
use crate::formats;
use crate::model::Model;
use crate::prune::Calibration;
use crate::quantise::{self, Mode, QuantiseError, QuantiseOptions, Quantised, QuantisedFile, QuantisedLayer};
use anyhow::bail;
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    file: QuantisedFile,
    /// What was asked for.
    options: QuantiseOptions,
    /// The model as it was, on `--data` with labels; `null` without.
    before: Option<Measured>,
    /// The file that was written, on the same.
    after: Option<Measured>,
    /// How near its outputs are to those of the model as it was; `null` where accuracy is measured.
    fidelity: Option<Agreement>,
    /// Whether that was on `data` or on `random` inputs.
    fidelity_on: Option<&'static str>,
    /// Weights of all layers that were zero.
    zeros_before: usize,
    /// Weights of all layers that are zero now.
    zeros_after: usize,
    /// Batch normalisations that became part of a convolution.
    folded: usize,
    /// Calibration examples that were looked at.
    calibrated_on: usize,
    layers: Vec<QuantisedLayer>,
    #[serde(flatten)]
    sizes: Option<SizesReport>,
}

pub(super) fn quantise(args: &QuantiseArgs, console: &Console) -> Outcome {
    let model = formats::open(&args.model)?;
    let data = args.data.as_deref().map(|path| Dataset::open(path, Split::Test)).transpose()?;
    let calibration = if args.mode == Mode::Static { calibration_of(args)? } else { None };
    let options = QuantiseOptions {
        mode: args.mode,
        weights: args.weights,
        activations: args.activations,
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        spare_first: args.keep_first,
        spare_last: args.keep_last,
        calibration: Calibration { examples: args.calibration_examples, seed: console.seed().unwrap_or(0) },
    };
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let quantised = carry_out(&model, &options, calibration.as_ref(), args, console)?;
    let file = write(&model, &quantised, (data.as_ref(), &taken), args, console)?;
    let (mut before, mut after, mut fidelity) = (None, None, None);
    match &data {
        Some(data) if data.labels().is_some() && gives_scores(&model) => {
            let measure = |model: &Model, path: &Path| -> anyhow::Result<Measured> {
                Ok(Measured::of(&evaluate(&bind(model, path)?, model, data, None, console)?))
            };
            before = Some(measure(&model, &args.model)?);
            after = Some(measure(&formats::open(&args.output)?, &args.output)?);
        }
        _ if file.equal.is_some() => fidelity = Some(nearness(&model, data.as_ref(), &taken, args, console)?),
        _ => {}
    }
    let on = if data.is_some() { "data" } else { "random" };
    let report = Report {
        file,
        options,
        before,
        after,
        fidelity,
        fidelity_on: fidelity.map(|_| on),
        zeros_before: quantised.zeros_before(),
        zeros_after: quantised.zeros_after(),
        folded: quantised.folded,
        calibrated_on: quantised.examples,
        layers: quantised.layers,
        sizes: taken.report().filter(|_| data.is_none()),
    };
    console.report(&report, text)
}

/// Examples to find ranges on: never those that accuracy is measured on.
fn calibration_of(args: &QuantiseArgs) -> anyhow::Result<Option<Dataset>> {
    let place = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(path) = &args.calibration {
        if path.is_file() && args.data.as_deref().is_some_and(|data| place(data) == place(path)) {
            bail!("accuracy is measured on these examples, give --calibration others: {}", path.display());
        }
        return Ok(Some(Dataset::open_calibration(path)?));
    }
    match args.data.as_deref().filter(|path| path.is_dir()).map(Dataset::open_calibration) {
        Some(Ok(data)) => Ok(Some(data)),
        _ => bail!("static quantisation finds the ranges of activations on examples: give --calibration DATA"),
    }
}

fn carry_out(
    model: &Model,
    options: &QuantiseOptions,
    calibration: Option<&Dataset>,
    args: &QuantiseArgs,
    console: &Console,
) -> anyhow::Result<Quantised> {
    let bar = console.progress("calibrating", 1);
    let outcome = quantise::quantise(model, options, calibration, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        interrupt::check()
    });
    bar.finish_and_clear();
    match outcome {
        Err(QuantiseError::Cancelled) => Err(Interrupted.into()),
        Err(error @ QuantiseError::NoGraph) => {
            bail!("{error}; {}: {}", formats::advice_without_graph(&args.model), args.model.display())
        }
        other => other.at(&args.model),
    }
}

fn write(
    model: &Model,
    quantised: &Quantised,
    (data, taken): (Option<&Dataset>, &Taken),
    args: &QuantiseArgs,
    console: &Console,
) -> anyhow::Result<QuantisedFile> {
    console
        .writing("exporting", |observe| quantise::export(model, quantised, data, &taken.sizes, &args.output, observe))
}

/// The written file beside the model as it was.
fn nearness(
    model: &Model,
    data: Option<&Dataset>,
    taken: &Taken,
    args: &QuantiseArgs,
    console: &Console,
) -> anyhow::Result<Agreement> {
    let written = formats::open(&args.output)?;
    let (expected, bound) = (bind(model, &args.model)?, bind(&written, &args.output)?);
    if let Some(data) = data {
        return compare(&expected, (&written, &bound), data, None, console);
    }
    let options = EvalOptions::for_model(model, &taken.sizes);
    let probe = Probe::Random { model, sizes: &taken.sizes, examples: options.random_examples(), seed: 0 };
    eval::compare(&expected, &bound, &probe, &options).at(&args.output)
}

fn text(report: &Report) -> Vec<String> {
    let bytes = |n: u64| figures::bytes(n as f64);
    let sizes = &report.file.bytes;
    let mut lines = vec![report.file.path.display().to_string(), String::new()];
    lines.extend(layer_table(&report.layers));
    lines.push(String::new());
    let done = report.layers.iter().filter(|layer| layer.skipped.is_none()).count();
    let folded = match report.folded {
        0 => String::new(),
        count => format!("; {count} batch normalisations folded in"),
    };
    lines.push(format!("  quantised   {done} of {} layers, {}{folded}", report.layers.len(), mode_text(report)));
    let [before, after] = [report.zeros_before, report.zeros_after].map(|n| figures::count(n as u64));
    let more = figures::count((report.zeros_after - report.zeros_before.min(report.zeros_after)) as u64);
    lines.push(format!("  zeros       {before} \u{2192} {after}: none lost, {more} small weights rounded to zero"));
    lines.push(format!(
        "  size        f32 {} \u{2192} int8 {}; with zeros packed: bitmask {}, CSR {}, best per layer {}",
        bytes(sizes.dense_f32),
        bytes(sizes.int8),
        bytes(sizes.int8_bitmask),
        bytes(sizes.int8_csr),
        bytes(sizes.int8_best),
    ));
    lines.push(format!("              file {}, zip {}", bytes(sizes.file), bytes(sizes.zip)));
    lines.push(proof_line(&report.file));
    if let (Some(before), Some(after)) = (&report.before, &report.after) {
        let [low, high] = after.interval.map(|share| figures::percent(share, 2));
        lines.push(format!(
            "  accuracy    {} \u{2192} {} ({}), 95 % interval {low} to {high}, {} examples",
            figures::percent(before.top1, 2),
            figures::percent(after.top1, 2),
            figures::change((after.top1 - before.top1) * 100.0, 2, "pt"),
            figures::count(after.n as u64),
        ));
    }
    if let (Some(fidelity), Some(on)) = (&report.fidelity, report.fidelity_on) {
        lines.push(format!(
            "  beside f32  same answer in {}, cosine {:.6}, least {:.6}, {} {}",
            figures::percent(fidelity.argmax_agreement, 2),
            fidelity.cosine,
            fidelity.least_cosine,
            figures::count(fidelity.n as u64),
            if on == "data" { "examples" } else { "random inputs" },
        ));
    }
    lines.extend(report.sizes.as_ref().map(|sizes| format!("  {}", sizes.line())));
    lines
}

fn mode_text(report: &Report) -> String {
    let options = &report.options;
    match options.mode {
        Mode::Weights => format!("weights by {}, activations stay floats", options.weights),
        Mode::Dynamic => format!("weights by {}, activations by the range of each batch", options.weights),
        Mode::Static => format!(
            "weights by {}, activations by {} on {} calibration examples",
            options.weights,
            options.activations,
            figures::count(report.calibrated_on as u64)
        ),
    }
}

fn proof_line(file: &QuantisedFile) -> String {
    match (&file.equal, &file.not_run) {
        (Some(equal), _) => format!(
            "  proof       re-opened: every byte as intended; outputs on {} {} examples differ by {}, same answer in {}",
            figures::count(equal.agreement.n as u64),
            if equal.inputs == "data" { "real" } else { "random" },
            figures::magnitude(equal.agreement.max_abs_diff),
            figures::percent(equal.agreement.argmax_agreement, 2),
        ),
        (None, reason) => {
            let reason = reason.as_deref().unwrap_or("there was nothing to run it on");
            format!("  proof       re-opened: every byte as intended; not run: {reason}")
        }
    }
}

fn layer_table(layers: &[QuantisedLayer]) -> Vec<String> {
    let mut table =
        Table::new(&["layer", "operator", ">weights", ">scale from", ">to", ">SQNR", ">zeros", ">now", "note"]);
    for layer in layers {
        let scale = |scale: Option<f32>| scale.map_or_else(String::new, |scale| figures::magnitude(f64::from(scale)));
        let note = layer.skipped.as_ref().map(|reason| format!("not quantised: {reason}"));
        let input = layer.activation_skipped.as_ref().map(|reason| format!("weights only: {reason}"));
        table.row([
            layer.name.clone(),
            layer.op.clone(),
            figures::count(layer.shape.iter().product::<usize>() as u64),
            scale(layer.scale_min),
            scale(layer.scale_max),
            layer.sqnr_db.map_or_else(String::new, |db| format!("{db:.1} dB")),
            figures::count(layer.zeros_before as u64),
            figures::count(layer.zeros_after as u64),
            note.or(input).unwrap_or_default(),
        ]);
    }
    table.lines()
}
