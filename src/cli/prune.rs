use super::args::PruneArgs;
use super::calibration;
use super::console::Console;
use super::eval::{bind, compare, evaluate};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::plan_flags::{check_plan_target, criteria_of, plan_of, without_effect};
use super::prune_text::text;
use super::sizes::{SizesReport, Taken};
use crate::data::{Dataset, Split};
use crate::eval::{self, Agreement, EvalOptions, Evaluation, Probe, gives_scores};
use crate::exec::ExampleInputs;
use crate::exec::latency;
use crate::export::{self, ExportReport};
use crate::formats;
use crate::model::{Model, layers_of};
use crate::prune::{self, Plan, Subject};
use crate::structure::Structure;
use anyhow::bail;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub export: ExportReport,
    /// Measured on `--data` with labels; `null` without.
    pub accuracy: Option<Accuracy>,
    /// How near the exported file's outputs are to the source's, on `--data` without labels or on random inputs;
    /// `null` where accuracy is measured or the model cannot be run.
    pub fidelity: Option<Agreement>,
    /// Whether that was on `data` or on `random` inputs.
    pub fidelity_on: Option<&'static str>,
    /// The source and the exported file in turn, of a smaller model; `null` elsewhere.
    pub latency: Option<Latencies>,
    #[serde(flatten)]
    pub sizes: Option<SizesReport>,
}

/// Measured times of one example, the source and the exported file taking turns.
#[derive(Serialize)]
pub(super) struct Latencies {
    pub median_ms: f64,
    pub iqr_ms: f64,
    pub pruned_median_ms: f64,
    pub pruned_iqr_ms: f64,
    /// `pruned_median_ms` over `median_ms`.
    pub ratio: f64,
    /// Whether the file is slower than the spread explains.
    pub slower: bool,
    pub runs: usize,
    pub threads: usize,
}

/// Top-1 accuracy before and after, in 0..=1.
#[derive(Serialize)]
pub(super) struct Accuracy {
    pub n: usize,
    pub dense: f64,
    pub pruned: f64,
    /// 95 % Wilson interval of `pruned`.
    pub interval: [f64; 2],
    /// Whether `pruned` is what guessing gives, and `dense` is not.
    pub near_chance: bool,
}

pub(super) fn prune(args: &PruneArgs, console: &Console) -> Outcome {
    check_plan_target(args.save_plan.as_deref(), &args.model, Some(&args.output))?;
    let model = formats::open(&args.model)?;
    let data = args.data.as_deref().map(|path| Dataset::open(path, Split::Test)).transpose()?;
    let layers = layers_of(&model);
    let structure = Structure::of(&model);
    let subject = Subject { structure: structure.as_ref().ok(), ..Subject::new(&model, &layers) };
    let mut asked = criteria_of(args, &subject)?;
    calibration::set(&mut asked, &args.calibration, console);
    let examples = calibration::open(&args.calibration, args.data.as_deref())?;
    let scores = calibration::score(&subject, &asked, examples.as_ref(), console)?;
    let subject = Subject { scores: &scores, ..subject };
    let plan = Plan { calibration: asked.calibration, ..plan_of(args, &subject)? };
    if plan.recalibrate {
        let file = args.plan.as_ref().map_or_else(String::new, |path| format!(": {}", path.display()));
        bail!("the plan recalibrates batch-norms, which takes `secateur recover` with --bn and --data{file}");
    }
    if let Some(remark) = without_effect(args, &plan) {
        console.note(&remark);
    }
    let taken = Taken::of(&args.sizes, &model, &args.model)?;
    let report = export_plan(&subject, &plan, (data.as_ref(), &taken), args, console)?;
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
    } else if report.equal.is_some() {
        fidelity = Some(compare_on_random(&model, &taken, args)?);
    }
    let on = if data.is_some() { "data" } else { "random" };
    let fidelity_on = fidelity.map(|_| on);
    let latency = if report.shrunk && report.equal.is_some() && !args.structure.no_latency {
        Some(measure_latency(&model, &taken, args)?)
    } else {
        None
    };
    let sizes = taken.report().filter(|_| data.is_none());
    console.report(&Report { export: report, accuracy, fidelity, fidelity_on, latency, sizes }, text)
}

/// The exported file beside the source, not beside the masked model that it is proven to equal.
fn compare_on_random(model: &Model, taken: &Taken, args: &PruneArgs) -> anyhow::Result<Agreement> {
    let pruned = formats::open(&args.output)?;
    let (expected, bound) = (bind(model, &args.model)?, bind(&pruned, &args.output)?);
    let options = EvalOptions::for_model(model, &taken.sizes);
    let probe = Probe::Random { model, sizes: &taken.sizes, examples: options.random_examples(), seed: 0 };
    eval::compare(&expected, &bound, &probe, &options).at(&args.output)
}

/// Seconds spent on measuring both models.
const MEASURING: f64 = 2.0;

fn measure_latency(model: &Model, taken: &Taken, args: &PruneArgs) -> anyhow::Result<Latencies> {
    let pruned = formats::open(&args.output)?;
    let (a, b) = (bind(model, &args.model)?, bind(&pruned, &args.output)?);
    let inputs = ExampleInputs::new(model, &taken.sizes, 0).batch(1).at(&args.model)?;
    let compared = latency::compare_for(MEASURING, (&a, &inputs), (&b, &inputs), &interrupt::asked);
    let both = compared.at(&args.model)?.ok_or(Interrupted)?;
    Ok(Latencies {
        median_ms: both.a.median_ms,
        iqr_ms: both.a.iqr_ms,
        pruned_median_ms: both.b.median_ms,
        pruned_iqr_ms: both.b.iqr_ms,
        ratio: both.ratio,
        slower: both.is_slower(),
        runs: both.a.runs,
        threads: rayon::current_num_threads(),
    })
}

fn export_plan(
    subject: &Subject<'_>,
    plan: &Plan,
    (data, taken): (Option<&Dataset>, &Taken),
    args: &PruneArgs,
    console: &Console,
) -> anyhow::Result<ExportReport> {
    let request = export::Request { subject: *subject, plan, data, sizes: &taken.sizes, path: &args.output };
    console.writing("exporting", |observe| export::export(&request, observe))
}

/// Measures the source and the exported file, not the model in memory.
fn measure_accuracy(model: &Model, data: &Dataset, args: &PruneArgs, console: &Console) -> anyhow::Result<Accuracy> {
    let measure = |model: &Model, path| -> anyhow::Result<Evaluation> {
        evaluate(&bind(model, path)?, model, data, None, console)
    };
    let dense = measure(model, &args.model)?;
    let pruned = measure(&formats::open(&args.output)?, &args.output)?;
    let (low, high) = pruned.interval();
    let near_chance = pruned.is_near_chance() && !dense.is_near_chance();
    Ok(Accuracy { n: pruned.n, dense: dense.top1(), pruned: pruned.top1(), interval: [low, high], near_chance })
}
