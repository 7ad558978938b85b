use super::ScanRequest;
use super::cache::Cache;
use crate::calibrate::Observe;
use crate::eval::{EvalError, EvalOptions, Replay};
use crate::prune::{Mask, PruneError};
use crate::search::{Curve, Measured, Point, SearchError, Sensitivity, Target};
use std::ops::ControlFlow;

/// What a scan found.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The curves.
    pub sensitivity: Sensitivity,
    /// Targets without a curve.
    pub skipped: Vec<Skipped>,
    /// Points that were measured now.
    pub measured: usize,
    /// Points that were known from before.
    pub known: usize,
}

/// A target that the criterion has nothing to say of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The layer or group.
    pub target: Target,
    /// Why, in one sentence.
    pub reason: String,
}

/// Hears what the dense model gives, and a curve with one more point.
pub type Found<'a> = &'a mut dyn FnMut(&Measured, &Curve);

/// Measures how accuracy and loss fall as each target loses more of its pieces, all others dense.
///
/// Targets are taken in the order in which they compute, and the steps before a target are run once for all of its
/// points. Every point is what an evaluation of the masked model gives, to the bit. Of ratios that ask for the same
/// number of pieces one is measured, and nothing that the cache holds.
///
/// `observe` hears how many examples of how many have been measured; the whole becomes less with every point that need
/// not be measured. `found` hears every curve as it grows by a point.
///
/// # Errors
/// [`SearchError::Cancelled`] if `observe` broke: what was measured until then is in the cache. Others if model, data
/// and request do not fit together.
pub fn scan(request: &ScanRequest<'_>, observe: Observe<'_>, found: Found<'_>) -> Result<Scan, SearchError> {
    let ScanRequest { subject, dense, data, options, .. } = *request;
    let ladder = options.ladder()?;
    let limits = EvalOptions { limit: options.limit, ..EvalOptions::for_data(subject.model, data) };
    let replay = Replay::new(dense, data, &limits, options.budget)?;
    let cache = Cache::open(request, replay.examples())?;
    let (order, skipped) = in_order(request, &replay, &ladder)?;
    let each = replay.examples() as u64;
    let total = each * (1 + (order.len() * ladder.len()) as u64);
    let progress = Progress { done: 0, total, observe };
    let mut scanner = Scanner { request, replay, cache, progress, measured: 0, known: 0 };
    let outcome = scanner.run(&order, &ladder, found);
    // Whatever became of the scan, the next one begins where it ended.
    let saved = scanner.cache.save();
    let (dense, mut curves) = outcome?;
    saved?;
    let place = |curve: &Curve| request.targets.iter().position(|target| *target == curve.target);
    curves.sort_by_key(place);
    let (granularity, criterion) = (options.granularity, options.criterion);
    let sensitivity = Sensitivity { granularity, criterion, dense, curves };
    Ok(Scan { sensitivity, skipped, measured: scanner.measured, known: scanner.known })
}

/// A target and the step from which on its points have to be computed.
type Placed<'a> = (usize, &'a Target);

/// Targets by the step from which on they have to be computed, and those that cannot be ranked.
fn in_order<'a>(
    request: &ScanRequest<'a>,
    replay: &Replay<'_>,
    ladder: &[f64],
) -> Result<(Vec<Placed<'a>>, Vec<Skipped>), SearchError> {
    let mut order = Vec::with_capacity(request.targets.len());
    let mut skipped = Vec::new();
    for target in request.targets {
        match first_step(request, replay, target, ladder) {
            Ok(step) => order.push((step, target)),
            Err(SearchError::Prune(error @ PruneError::CannotRank { .. })) => {
                skipped.push(Skipped { target: target.clone(), reason: error.to_string() });
            }
            Err(error) => return Err(error),
        }
    }
    order.sort_by_key(|(step, _)| *step);
    Ok((order, skipped))
}

/// The first step that has to be computed on any rung: the one that changes, or that after it if its output is a patch.
fn first_step(
    request: &ScanRequest<'_>,
    replay: &Replay<'_>,
    target: &Target,
    ladder: &[f64],
) -> Result<usize, SearchError> {
    for &ratio in ladder {
        let mask = resolve(request, target, ratio)?;
        if counts(&mask, target).1 > 0 {
            let edited = request.dense.rebind(&request.subject.masked(&mask)?)?;
            let patched = replay.patch(&edited)?.is_some();
            return Ok(request.dense.first_change(&edited) + usize::from(patched));
        }
    }
    Ok(request.dense.steps())
}

fn resolve(request: &ScanRequest<'_>, target: &Target, ratio: f64) -> Result<Mask, PruneError> {
    let (granularity, criterion) = (request.options.granularity, request.options.criterion);
    request.subject.resolve(&target.plan(request.settings, granularity, criterion, ratio))
}

/// Pieces that were ranked, and those that go.
fn counts(mask: &Mask, target: &Target) -> (usize, usize) {
    match target {
        Target::Layer(name) => mask.layer(name).map_or((0, 0), |mask| (mask.pieces, mask.removed())),
        Target::Group(name) => mask.groups.get(name).map_or((0, 0), |mask| (mask.units, mask.removed.len())),
    }
}

/// Weights of a layer, or of all layers of a group.
fn weights(request: &ScanRequest<'_>, target: &Target) -> usize {
    let layers = request.subject.layers.iter();
    match (target, request.subject.structure) {
        (Target::Group(name), Some(structure)) => {
            let group = structure.group_named(name).map(|index| &structure.groups()[index]);
            let layers = group.map_or(&[][..], |group| &group.layers);
            layers.iter().map(|&layer| structure.layers()[layer].weight_count()).sum()
        }
        _ => layers.filter(|layer| layer.name == target.name()).map(crate::model::Layer::weight_count).sum(),
    }
}

struct Progress<'a> {
    done: u64,
    total: u64,
    observe: Observe<'a>,
}

impl Progress<'_> {
    /// What takes no time is no part of the way: the time that is left follows from what was measured alone.
    const fn leave_out(&mut self, examples: u64) {
        self.total -= examples;
    }

    fn tell(&mut self, more: usize) -> ControlFlow<()> {
        (self.observe)(self.done + more as u64, self.total)
    }
}

struct Scanner<'a, 'r> {
    request: &'r ScanRequest<'a>,
    replay: Replay<'a>,
    cache: Cache,
    progress: Progress<'r>,
    measured: usize,
    known: usize,
}

impl Scanner<'_, '_> {
    fn run(
        &mut self,
        order: &[Placed<'_>],
        ladder: &[f64],
        found: Found<'_>,
    ) -> Result<(Measured, Vec<Curve>), SearchError> {
        let each = self.replay.examples() as u64;
        let dense = if let Some(known) = self.cache.dense() {
            self.progress.leave_out(each);
            known
        } else {
            let measured = self.measure(self.request.dense)?;
            self.progress.done += each;
            measured
        };
        self.cache.set_dense(dense);
        let mut curves = Vec::with_capacity(order.len());
        for &(step, target) in order {
            let curve = self.curve((step, target), dense, ladder, found)?;
            self.progress.leave_out((ladder.len() - curve.points.len()) as u64 * each);
            curves.push(curve);
        }
        Ok((dense, curves))
    }

    fn curve(
        &mut self,
        (step, target): Placed<'_>,
        dense: Measured,
        ladder: &[f64],
        found: Found<'_>,
    ) -> Result<Curve, SearchError> {
        let mut curve =
            Curve { target: target.clone(), pieces: 0, weights: weights(self.request, target), points: Vec::new() };
        for &ratio in ladder {
            if self.progress.tell(0).is_break() {
                return Err(SearchError::Cancelled);
            }
            let mask = resolve(self.request, target, ratio)?;
            let (pieces, removed) = counts(&mask, target);
            curve.pieces = pieces;
            let same = curve.points.iter().find(|point| point.removed == removed).map(|point| point.measured);
            let known = same.or_else(|| (removed == 0).then_some(dense)).or_else(|| {
                let known = self.cache.get(target, removed);
                self.known += usize::from(known.is_some());
                known
            });
            let each = self.replay.examples() as u64;
            let measured = if let Some(known) = known {
                self.progress.leave_out(each);
                known
            } else {
                let measured = self.point(step, target, (&mask, removed))?;
                self.progress.done += each;
                measured
            };
            let point = Point { ratio, removed, measured };
            curve.points.push(point);
            found(&dense, &curve);
            if self.request.options.max_drop.is_some_and(|most| dense.lost(&measured) >= most) {
                break;
            }
        }
        Ok(curve)
    }

    /// A point that is not known yet.
    fn point(
        &mut self,
        step: usize,
        target: &Target,
        (mask, removed): (&Mask, usize),
    ) -> Result<Measured, SearchError> {
        let progress = &mut self.progress;
        self.replay.advance(step, &mut || progress.tell(0))?;
        let edited = self.request.dense.rebind(&self.request.subject.masked(mask)?)?;
        let measured = self.measure(&edited)?;
        self.measured += 1;
        self.cache.put(target, removed, measured)?;
        Ok(measured)
    }

    fn measure(&mut self, bound: &crate::exec::Bound) -> Result<Measured, EvalError> {
        let progress = &mut self.progress;
        let evaluation = self.replay.measure(bound, &mut |so_far| progress.tell(so_far.n))?;
        Ok(Measured::from(&evaluation))
    }
}
