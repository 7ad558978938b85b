use super::family::Family;
use super::lab::Lab;
use super::search::{Bounds, MARGINS, bisect, fill};
use super::solution::{Candidate, HeldOut, Outcome, Range, Solution};
use super::space::Space;
use super::{Costs, Goal, Progress, Quantity, SolveError, Stage, Strategy, Watch, scan};
use crate::data::Dataset;
use crate::eval::{EvalOptions, answers};
use crate::exec::{Bound, Program};
use crate::prune::{Criterion, Granularity, Plan, Share, Subject};
use crate::search::{Curve, Sensitivity, Target};
use std::ops::ControlFlow;
use std::path::Path;

/// What is asked for, of what, on which examples.
#[derive(Clone, Copy, Debug)]
pub struct SolveRequest<'a> {
    /// The model, with the scores that the criterion needs.
    pub subject: Subject<'a>,
    /// The opened model, bound.
    pub dense: &'a Bound,
    /// Limits, scoring, locks, whether to shrink, and decisions on what is no target.
    pub base: &'a Plan,
    /// What may lose something; locked ones do not.
    pub targets: &'a [Target],
    /// Piece that layers lose; groups lose units.
    pub granularity: Granularity,
    /// How pieces are ranked.
    pub criterion: Criterion,
    /// What has to be reached.
    pub goals: &'a [Goal],
    /// What is to be as low as it can be beside.
    pub objective: Quantity,
    /// Where candidates come from.
    pub strategies: &'a [Strategy],
    /// Labelled examples to search on.
    pub search: &'a Dataset,
    /// Labelled examples that are kept for the check.
    pub held_out: &'a Dataset,
    /// Folder with what was measured before of single targets, which is made where it is missing.
    pub cache: Option<&'a Path>,
    /// [`Dataset::fingerprint`] of the examples that scores were worked out on.
    pub calibrated_on: Option<u64>,
}

/// Fewest examples of which a half says anything.
const FEWEST: usize = 20;

/// Two disjoint halves of some examples, the classes in equal shares: one to search on, one to check on.
///
/// # Errors
/// [`SolveError::TooFewExamples`].
pub fn halves(data: &Dataset, seed: u64) -> Result<(Dataset, Dataset), SolveError> {
    if data.len() < FEWEST {
        return Err(SolveError::TooFewExamples(data.len()));
    }
    Ok(data.split_off(data.len() / 2, seed))
}

/// Looks for a plan that reaches the goals, and within them is as low as can be in the objective. See the
/// [module](super::solve) for how, and on which examples. `found` hears of the ranges before the search
/// begins, if every goal lies in its own.
///
/// # Errors
/// [`SolveError::Unsatisfiable`] before anything is searched, where a goal lies outside its range;
/// [`SolveError::NotTogether`] and [`SolveError::NotHeld`] after; [`SolveError::Cancelled`] if `observe` broke; other
/// [`SolveError`]s where model, data and request do not fit together.
pub fn solve(
    request: &SolveRequest<'_>,
    found: &mut dyn FnMut(&[Range]),
    observe: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Solution, SolveError> {
    let watch = &mut Watch::new(observe);
    if request.search.fingerprint() == request.held_out.fingerprint() {
        return Err(SolveError::SameExamples);
    }
    let drop_goal = request.goals.iter().any(|goal| goal.quantity == Quantity::Drop);
    if request.goals.is_empty() {
        return Err(SolveError::NoGoal);
    }
    if request.objective != Quantity::Drop && !drop_goal {
        return Err(SolveError::Unbounded(request.objective));
    }
    let asked: Vec<Quantity> = Quantity::ALL
        .into_iter()
        .filter(|q| request.objective == *q || request.goals.iter().any(|goal| goal.quantity == *q))
        .collect();
    let SolveRequest { subject, base, granularity, criterion, .. } = *request;
    let space = Space::of(subject, base, request.targets, (granularity, criterion))?;
    let mut lab = Lab::new(space, (request.dense, request.search), asked, watch)?;
    let dense = lab.dense_costs(base.shrink, &lab.asked, watch)?;
    watch.tell(Stage::Search, 0, 2).is_continue().then_some(()).ok_or(SolveError::Cancelled)?;
    let most = lab.space.most.clone();
    let all = lab.measure(&most, "most", watch)?;
    let ranges = ranges(&lab, &dense, all)?;
    let bounds = bounds(request, &dense, &ranges)?;
    found(&ranges);
    let curves = if request.strategies.iter().any(|strategy| strategy.needs_curves()) {
        Some(scan::scan(&lab, (request.cache, request.calibrated_on), watch)?)
    } else {
        None
    };
    let weights = weights(&bounds, &dense);
    let expected = request.strategies.len() as u64 * 9 + 2 * lab.space.targets.len() as u64;
    watch.tell(Stage::Search, 0, expected).is_continue().then_some(()).ok_or(SolveError::Cancelled)?;
    for &strategy in request.strategies {
        let family = Family::of(strategy, &lab, curves.as_ref(), &weights, watch)?;
        bisect(&mut lab, &bounds, strategy, &family, watch)?;
    }
    fill(&mut lab, &bounds, watch)?;
    check(request, &lab, &bounds, (dense, ranges, curves.as_ref()), watch)
}

fn ranges(lab: &Lab<'_>, dense: &Costs, all: usize) -> Result<Vec<Range>, SolveError> {
    let range = |quantity: Quantity| {
        let pruned = lab.value(all, quantity);
        let dense = if quantity == Quantity::Drop { Some(0.0) } else { dense.get(quantity) };
        let (dense, pruned) = dense.zip(pruned).ok_or(SolveError::NotKnown(quantity))?;
        Ok(Range { quantity, dense, pruned })
    };
    let always = [Quantity::Params, Quantity::Macs, Quantity::Drop];
    let wanted = |q: &Quantity| lab.asked.contains(q) || always.contains(q);
    let known = |q: &Quantity| lab.asked.contains(q) || *q == Quantity::Drop || dense.get(*q).is_some();
    Quantity::ALL.into_iter().filter(|q| wanted(q) && known(q)).map(range).collect()
}

/// The goals as figures, each inside its range.
fn bounds(request: &SolveRequest<'_>, dense: &Costs, ranges: &[Range]) -> Result<Bounds, SolveError> {
    let mut bounds =
        Bounds { costs: Vec::new(), drop: None, objective: request.objective, held_out: request.held_out.len() };
    for goal in request.goals {
        let quantity = goal.quantity;
        let asked = goal.limit.value(dense.get(quantity).unwrap_or(0.0));
        let range = ranges.iter().find(|r| r.quantity == quantity).ok_or(SolveError::NotKnown(quantity))?;
        let (least, most) = (range.dense.min(range.pruned), range.dense.max(range.pruned));
        if asked < least || asked.is_nan() {
            return Err(SolveError::Unsatisfiable { quantity, asked, least, most });
        }
        match quantity {
            Quantity::Drop => bounds.drop = Some(bounds.drop.map_or(asked, |known| known.min(asked))),
            _ => bounds.costs.push((quantity, asked)),
        }
    }
    Ok(bounds)
}

/// What a unit of each quantity is worth: all that has to go of it together counts as one, and so does the objective.
fn weights(bounds: &Bounds, dense: &Costs) -> Vec<(Quantity, f64)> {
    let mut weights = Vec::new();
    let mut add = |quantity, amount: f64| {
        if amount > 0.0 {
            weights.push((quantity, 1.0 / amount));
        }
    };
    if let Some(all) = dense.get(bounds.objective) {
        add(bounds.objective, all);
    }
    for &(quantity, most) in &bounds.costs {
        add(quantity, dense.get(quantity).unwrap_or(0.0) - most);
    }
    if weights.is_empty() {
        weights.push((Quantity::Params, 1.0));
    }
    weights
}

/// Looks at the candidates that were chosen beforehand, the most daring first, until one holds.
fn check(
    request: &SolveRequest<'_>,
    lab: &Lab<'_>,
    bounds: &Bounds,
    (dense, ranges, curves): (Costs, Vec<Range>, Option<&Sensitivity>),
    watch: &mut Watch<'_>,
) -> Result<Solution, SolveError> {
    // Chosen here, before anything is known of the held-out examples.
    let mut chosen: Vec<(usize, f64)> = Vec::new();
    for deviations in MARGINS {
        if let Some(at) = bounds.best(lab, deviations)
            && chosen.iter().all(|&(known, _)| known != at)
        {
            chosen.push((at, deviations));
        }
    }
    if chosen.is_empty() {
        return Err(not_together(lab, bounds));
    }
    let model = request.subject.model;
    let options = EvalOptions::for_data(model, request.held_out);
    let total = 2 * request.held_out.len() as u64;
    let mut tell = |done: usize, before: usize| watch.tell(Stage::HeldOut, (before + done) as u64, total);
    let right = answers(request.dense, request.held_out, &options, &mut |done| tell(done, 0))?.right;
    let (mut looks, mut last) = (0, None);
    for (at, deviations) in chosen {
        let untouched = request.base.is_dense() && lab.trials[at].removed.iter().all(|&removed| removed == 0);
        if let (true, Some(asked)) = (untouched && bounds.objective != Quantity::Drop, bounds.drop) {
            // The model as it was opened reaches any drop, and is no answer.
            if looks > 0 {
                break;
            }
            let (searched, held_out) = (request.search.len(), request.held_out.len());
            return Err(SolveError::TooUncertain { searched, held_out, asked });
        }
        let plan = lab.space.plan(&lab.trials[at].removed);
        let costs = lab.costs(&plan, &lab.asked, watch)?;
        let holds = |&(quantity, most): &(Quantity, f64)| costs.get(quantity).is_some_and(|value| value <= most);
        if !bounds.costs.iter().all(holds) {
            // A time that was measured again was longer.
            continue;
        }
        let written = lab.written(&plan)?;
        let bound = Program::compile(&written.model)?.bind(&written.model)?;
        let before = request.held_out.len();
        let mut tell = |done: usize| watch.tell(Stage::HeldOut, (before + done) as u64, total);
        let pruned = answers(&bound, request.held_out, &options, &mut tell)?.right;
        looks += 1;
        let held_out = HeldOut::of(&right, &pruned, looks);
        last = Some(held_out.drop);
        if bounds.drop.is_none_or(|most| held_out.drop <= most) {
            let margin = bounds.drop.map_or(0.0, |_| bounds.margin(lab, at, deviations));
            let goals = outcomes(request, lab, at, (&dense, &costs), held_out.drop, curves);
            return Ok(Solution {
                shares: shares(&lab.space, &lab.trials[at].removed),
                goals,
                ranges,
                objective: request.objective,
                dense,
                costs,
                candidates: candidates(lab, bounds, at),
                searched_on: request.search.len(),
                margin,
                held_out,
                plan,
            });
        }
    }
    match (last, bounds.drop) {
        (Some(lost), Some(asked)) => Err(SolveError::NotHeld { looks, lost, asked }),
        _ => Err(not_together(lab, bounds)),
    }
}

/// The goal that the candidates nearest to all goals miss.
fn not_together(lab: &Lab<'_>, bounds: &Bounds) -> SolveError {
    let measured: Vec<usize> = (0..lab.trials.len()).filter(|&at| lab.trials[at].seen.is_some()).collect();
    let least = |quantity: Quantity, among: &dyn Fn(usize) -> bool| {
        let of = |all: bool| {
            let values = measured.iter().filter(|&&at| all || among(at)).filter_map(|&at| lab.value(at, quantity));
            values.fold(f64::INFINITY, f64::min)
        };
        let found = of(false);
        if found.is_finite() { found } else { of(true) }
    };
    let tried = measured.len();
    if let Some(asked) = bounds.drop
        && !bounds.costs.is_empty()
    {
        let least = least(Quantity::Drop, &|at| bounds.costs_hold(lab, at));
        return SolveError::NotTogether { quantity: Quantity::Drop, asked, least, tried };
    }
    let missed = bounds.costs.iter().map(|&(quantity, asked)| (quantity, asked, least(quantity, &|_| true)));
    let missed = missed.clone().find(|(_, asked, least)| least > asked).or_else(|| missed.clone().next());
    let drop = (Quantity::Drop, bounds.drop.unwrap_or(0.0), least(Quantity::Drop, &|_| true));
    let (quantity, asked, least) = missed.unwrap_or(drop);
    SolveError::NotTogether { quantity, asked, least, tried }
}

fn shares(space: &Space<'_>, removed: &[usize]) -> Vec<Share> {
    let share = |((target, &pieces), &removed): ((&Target, &usize), &usize)| Share {
        target: target.name().to_owned(),
        pieces,
        removed,
    };
    space.targets.iter().zip(&space.pieces).zip(removed).map(share).collect()
}

fn candidates(lab: &Lab<'_>, bounds: &Bounds, chosen: usize) -> Vec<Candidate> {
    let pieces: usize = lab.space.pieces.iter().sum();
    let candidate = |(at, trial): (usize, &super::lab::Trial)| Candidate {
        origin: trial.origin,
        ratio: trial.removed.iter().sum::<usize>() as f64 / pieces.max(1) as f64,
        costs: trial.costs,
        drop: lab.lost(at),
        loss: trial.seen.and_then(|seen| seen.loss),
        reaches: trial.seen.is_some() && bounds.costs_hold(lab, at) && bounds.drop_holds(lab, at, MARGINS[0]),
        chosen: at == chosen,
    };
    lab.trials.iter().enumerate().map(candidate).collect()
}

fn outcomes(
    request: &SolveRequest<'_>,
    lab: &Lab<'_>,
    at: usize,
    (dense, costs): (&Costs, &Costs),
    lost: f64,
    curves: Option<&Sensitivity>,
) -> Vec<Outcome> {
    let outcome = |&goal: &Goal| {
        let asked = goal.limit.value(dense.get(goal.quantity).unwrap_or(0.0));
        let of_drop = goal.quantity == Quantity::Drop;
        let checked = if of_drop { lost } else { costs.get(goal.quantity).unwrap_or(f64::NAN) };
        Outcome {
            goal,
            asked,
            predicted: curves.filter(|_| of_drop).map(|curves| predicted(curves, &lab.trials[at].removed)),
            searched: lab.value(at, goal.quantity).unwrap_or(f64::NAN),
            checked,
            reached: checked <= asked,
        }
    };
    request.goals.iter().map(outcome).collect()
}

/// Percentage points lost if what targets lose by themselves added up; straight between measured points, and beyond
/// the last one as steep as to it.
fn predicted(curves: &Sensitivity, removed: &[usize]) -> f64 {
    let dense = curves.dense.top1();
    let lost = |(curve, &removed): (&Curve, &usize)| {
        let (mut from, mut lost) = (0.0, 0.0);
        for point in &curve.points {
            let (to, then) = (point.removed as f64, dense - point.measured.top1());
            if removed as f64 <= to {
                return lost + (then - lost) * (removed as f64 - from) / (to - from).max(1.0);
            }
            (from, lost) = (to, then);
        }
        if from > 0.0 { lost * removed as f64 / from } else { 0.0 }
    };
    100.0 * curves.curves.iter().zip(removed).map(lost).sum::<f64>()
}
