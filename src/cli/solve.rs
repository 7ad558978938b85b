use super::args::PieceFlag;
use super::calibration;
use super::console::Console;
use super::eval::{bind, open_data};
use super::failure::{At as _, Interrupted, Outcome};
use super::interrupt;
use super::plan_flags::{self, check_plan_target};
use super::search_args::SolveArgs;
use super::solve_text::{self, text};
use crate::data::Dataset;
use crate::export::{self, ExportReport};
use crate::formats;
use crate::model::{Model, Sizes, layers_of};
use crate::prune::{self, Allocation, Granularity, GroupPlan, LayerPlan, Plan, Share, Subject};
use crate::search::Target;
use crate::search::solve::{
    Candidate, Costs, Goal, HeldOut, Limit, Outcome as Reached, Quantity, Range, Solution, SolveError, SolveRequest,
    Stage, Strategy, halves, solve as find,
};
use crate::stats::Statistics;
use crate::structure::{Structure, StructureError, UnitKind};
use anyhow::bail;
use serde::Serialize;
use std::time::Instant;

/// A plan for goals as `--json` prints it; drops are in percentage points, shares in 0..=1.
#[derive(Serialize)]
pub(super) struct Report {
    model: String,
    data: String,
    /// Examples that were searched on, and where they come from.
    pub searched_on: usize,
    pub search: String,
    pub objective: Quantity,
    pub ranges: Vec<Range>,
    pub goals: Vec<Reached>,
    /// By layer or group.
    pub shares: Vec<ShareReport>,
    /// What the opened model costs, and the plan's.
    pub dense: Costs,
    pub costs: Costs,
    /// Percentage points that the drop on the search had to lie below its goal.
    pub margin: f64,
    pub held_out: HeldOut,
    /// Every candidate, in the order in which they were tried.
    pub points: Vec<Candidate>,
    plan: Plan,
    pub export: Option<ExportReport>,
    pub seconds: f64,
    /// Whether what costs less is a smaller model, not zeros.
    #[serde(skip)]
    pub shrinks: bool,
}

#[derive(Serialize)]
pub(super) struct ShareReport {
    #[serde(flatten)]
    pub share: Share,
    pub ratio: f64,
}

pub(super) fn solve(args: &SolveArgs, console: &Console) -> Outcome {
    let start = Instant::now();
    check_plan_target(args.save_plan.as_deref(), &args.model, args.output.as_deref())?;
    if args.structure.permute {
        bail!("`--permute` has no effect on what solve removes; leave it out");
    }
    if args.structure.no_latency && (args.latency.is_some() || args.minimise == Some(Quantity::Latency)) {
        bail!("`--no-latency` leaves nothing to hold a goal for latency against; leave one of them out");
    }
    let model = formats::open(&args.model)?;
    let goals = goals(args)?;
    let (search, held_out, of) = parts(args, console)?;
    let dense = bind(&model, &args.model)?;
    let layers = layers_of(&model);
    let structure = Structure::of(&model);
    let statistics = Statistics::of_model(&model, &layers);
    let subject =
        Subject { structure: structure.as_ref().ok(), statistics: &statistics, ..Subject::new(&model, &layers) };
    let mut base = args.plan.as_deref().map_or_else(|| Ok(Plan::dense()), super::plan_file::read)?;
    plan_flags::set_limits(&mut base, &args.structure);
    calibration::set(&mut base, &args.calibration, console);
    let (targets, granularity) = targets(args, &subject, base.shrink)?;
    let asked = together(&targets, &base, (granularity, args));
    let scores = calibration::score(&subject, &asked, Some(&search), console)?;
    let strategies = strategies(args);
    let request = SolveRequest {
        subject: Subject { scores: &scores, ..subject },
        dense: &dense,
        base: &base,
        targets: &targets,
        granularity,
        criterion: args.criterion,
        goals: &goals,
        objective: args.minimise.unwrap_or_else(|| objective(&goals, base.shrink)),
        strategies: &strategies,
        search: &search,
        held_out: &held_out,
        cache: args.cache.as_deref(),
        calibrated_on: Some(search.fingerprint()),
    };
    let title = format!(
        "{} on {}: searched on {of}, checked on {} others",
        model.display_name(),
        held_out.name(),
        held_out.len()
    );
    let solution = run(&request, (args, &title), console)?;
    if let Some(path) = &args.save_plan {
        prune::write_plan(&solution.plan, path)?;
    }
    let export = match &args.output {
        Some(_) => Some(write(&request, &solution.plan, args, console)?),
        None => None,
    };
    let report = report((&model, &held_out, of), solution, export, start.elapsed().as_secs_f64());
    console.report(&report, text)
}

fn report(
    (model, data, search): (&Model, &Dataset, String),
    solution: Solution,
    export: Option<ExportReport>,
    seconds: f64,
) -> Report {
    let share = |share: Share| ShareReport { ratio: share.ratio(), share };
    Report {
        model: model.display_name(),
        data: data.name().to_owned(),
        searched_on: solution.searched_on,
        search,
        objective: solution.objective,
        ranges: solution.ranges,
        goals: solution.goals,
        shares: solution.shares.into_iter().map(share).collect(),
        dense: solution.dense,
        costs: solution.costs,
        margin: solution.margin,
        held_out: solution.held_out,
        points: solution.candidates,
        shrinks: solution.plan.shrink,
        plan: solution.plan,
        export,
        seconds,
    }
}

fn goals(args: &SolveArgs) -> anyhow::Result<Vec<Goal>> {
    let costs = [
        (Quantity::Params, args.params),
        (Quantity::Macs, args.macs),
        (Quantity::Bytes, args.bytes),
        (Quantity::Latency, args.latency),
    ];
    let drop = args.max_drop.map(|points| Goal { quantity: Quantity::Drop, limit: Limit::AtMost(points) });
    let cost = |(quantity, limit): (Quantity, Option<Limit>)| Some(Goal { quantity, limit: limit? });
    let goals: Vec<Goal> = drop.into_iter().chain(costs.into_iter().filter_map(cost)).collect();
    if goals.is_empty() {
        return Err(SolveError::NoGoal.into());
    }
    Ok(goals)
}

/// What is least where nobody says.
fn objective(goals: &[Goal], shrinks: bool) -> Quantity {
    let bounded = goals.iter().any(|goal| goal.quantity == Quantity::Drop);
    match (bounded, shrinks) {
        (false, _) => Quantity::Drop,
        (true, true) => Quantity::Macs,
        (true, false) => Quantity::Params,
    }
}

/// Examples to search on and examples to check on, and what to call the first.
fn parts(args: &SolveArgs, console: &Console) -> anyhow::Result<(Dataset, Dataset, String)> {
    let data = open_data(&args.data)?;
    data.require_labels()?;
    let others = calibration::open(&args.calibration, Some(&args.data.data))?;
    let (search, held_out, of) = if let Some(search) = others {
        let part = search.split().name();
        (search, data, format!("examples of the {part} part"))
    } else {
        let (search, held_out) = halves(&data, console.seed().unwrap_or(0)).at(data.path())?;
        (search, held_out, "examples, half of the data".to_owned())
    };
    search.require_labels()?;
    if search.fingerprint() == held_out.fingerprint() {
        return Err(SolveError::SameExamples).at(held_out.path());
    }
    let mut order = search.stratified_order(0);
    order.truncate(args.limit);
    let search = if order.len() < search.len() { search.subset(&order) } else { search };
    let of = format!("{} {of}", search.len());
    Ok((search, held_out, of))
}

/// What may lose something, and the piece that layers lose.
fn targets(args: &SolveArgs, subject: &Subject<'_>, shrinks: bool) -> anyhow::Result<(Vec<Target>, Granularity)> {
    const CHANNELS: &[UnitKind] = &[UnitKind::Channel, UnitKind::Hidden, UnitKind::Width];
    let (kinds, granularity): (&[UnitKind], _) = match args.granularity {
        None | Some(PieceFlag::Weights(Granularity::Channel)) if shrinks => (CHANNELS, Granularity::Channel),
        None => (&[], Granularity::Element),
        Some(PieceFlag::Weights(granularity)) => (&[], granularity),
        Some(PieceFlag::Head) => (&[UnitKind::Head], Granularity::Channel),
        Some(PieceFlag::HeadDimension) => (&[UnitKind::HeadDimension], Granularity::Channel),
        Some(PieceFlag::Layer) => bail!("whole residual blocks have no share to choose; use prune --granularity layer"),
    };
    if kinds.is_empty() {
        let mut selected = prune::select(subject.layers, &args.include, &args.exclude)?;
        plan_flags::spare_ends_of_layers(&mut selected, subject.layers, &args.structure);
        return Ok((selected.iter().map(|layer| Target::Layer(layer.name.clone())).collect(), granularity));
    }
    let structure = subject.structure.ok_or(StructureError::NoGraph)?;
    let mut selected = prune::select_groups(structure, kinds, &args.include, &args.exclude)?;
    plan_flags::spare_ends_of_groups(&mut selected, structure, &args.structure);
    if selected.is_empty() {
        bail!("{}: {}", plan_flags::nothing_of(kinds, structure), args.model.display());
    }
    let target = |index: usize| Target::Group(structure.groups()[index].name.clone());
    Ok((selected.into_iter().map(target).collect(), granularity))
}

/// One plan with the criterion for all that may lose something.
fn together(targets: &[Target], base: &Plan, (granularity, args): (Granularity, &SolveArgs)) -> Plan {
    let mut plan = base.clone();
    let criterion = args.criterion;
    for target in targets {
        match target {
            Target::Layer(name) => plan.set(name, LayerPlan { granularity, criterion, ..LayerPlan::default() }),
            Target::Group(name) => plan.set_group(name, GroupPlan { criterion, ..GroupPlan::default() }),
        }
    }
    plan
}

fn strategies(args: &SolveArgs) -> Vec<Strategy> {
    match &args.allocation[..] {
        [] => vec![Strategy::Greedy, Strategy::Allocation(Allocation::Global)],
        given => given.to_vec(),
    }
}

fn run(request: &SolveRequest<'_>, (args, title): (&SolveArgs, &str), console: &Console) -> anyhow::Result<Solution> {
    let bar = console.progress("measuring the opened model", 1);
    let mut told = Ok(());
    let mut found = |ranges: &[Range]| {
        let lines = solve_text::ranges(title, ranges, request.base.shrink).join("\n");
        told = bar.suspend(|| console.tell(&lines));
    };
    let outcome = find(request, &mut found, &mut |progress| {
        bar.set_message(match progress.stage {
            Stage::Dense => "measuring the opened model",
            Stage::Scan => "measuring one by one",
            Stage::Search => "trying plans",
            Stage::HeldOut => "checking on held-out examples",
        });
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        interrupt::check()
    });
    bar.finish_and_clear();
    told?;
    match outcome {
        Err(SolveError::Cancelled) => Err(Interrupted.into()),
        Err(error @ SolveError::Eval(_)) => Err(error).at(request.search.path()),
        other => other.at(&args.model),
    }
}

/// Writes the plan's model, proven on held-out examples.
fn write(request: &SolveRequest<'_>, plan: &Plan, args: &SolveArgs, console: &Console) -> anyhow::Result<ExportReport> {
    let Some(path) = &args.output else { bail!("there is no file to write") };
    let sizes = Sizes::default();
    let export = export::Request { subject: request.subject, plan, data: Some(request.held_out), sizes: &sizes, path };
    console.writing("exporting", |observe| export::export(&export, observe))
}
