use super::{Asked, Cost, Figures, Planner, Refused, Setting, Shard, Sweep, SweepPoint};
use crate::calibrate::Observe;
use crate::data::Dataset;
use crate::eval::{EvalOptions, evaluate, sizes_of};
use crate::exec::latency::{self, Repeats};
use crate::exec::{Bound, ExampleInputs, Program};
use crate::export::{Count, ExportError, Pruned, measure_sizes};
use crate::model::{Model, Sizes as InputSizes};
use crate::prune::{Plan, PruneError, Subject};
use crate::search::{Measured, SearchError};
use std::cell::Cell;
use std::ops::ControlFlow;

/// What a sweep measures, and on what.
#[derive(Clone, Copy, Debug)]
pub struct SweepRequest<'a> {
    /// The model, with the scores that criteria need.
    pub subject: Subject<'a>,
    /// The dense model, bound.
    pub dense: &'a Bound,
    /// Labelled examples.
    pub data: &'a Dataset,
    /// Makes the plans.
    pub planner: &'a Planner<'a>,
    /// All points; a shard goes through some of them.
    pub settings: &'a [Setting],
    /// The part that is measured; all without.
    pub shard: Option<Shard>,
    /// Examples, in stratified order; all without.
    pub limit: Option<usize>,
    /// Whether times are measured, of one example.
    pub latency: bool,
    /// What accuracy is weighed against.
    pub cost: Cost,
    /// [`Dataset::fingerprint`] of the examples that scores were worked out on.
    pub calibrated_on: Option<u64>,
}

/// Measures accuracy and costs of every setting.
///
/// `observe` hears how many examples of how many have been seen, `found` every point as soon as it is measured, not
/// yet marked as on the front. A setting that cannot be is listed with the reason.
///
/// # Errors
/// [`SearchError::Cancelled`] if `observe` broke; others if model, data and request do not fit together.
pub fn sweep(
    request: &SweepRequest<'_>,
    observe: Observe<'_>,
    found: &mut dyn FnMut(&SweepPoint),
) -> Result<Sweep, SearchError> {
    let SweepRequest { subject, data, settings, shard, .. } = *request;
    let chosen = settings.iter().enumerate().filter(|(index, _)| shard.is_none_or(|shard| shard.holds(*index)));
    let chosen: Vec<(usize, &Setting)> = chosen.collect();
    let options = EvalOptions { limit: request.limit, ..EvalOptions::for_data(subject.model, data) };
    let examples = request.limit.map_or(data.len(), |limit| limit.min(data.len()));
    let total = (examples * (1 + chosen.len())) as u64;
    let mut gauge = Gauge { request, options, sizes: sizes_of(subject.model, data), observe, done: 0, total };
    let dense = gauge.figures(&Plan::dense())?;
    let mut sweep = Sweep {
        asked: asked(request, examples),
        shard,
        cost: request.cost,
        dense,
        points: Vec::with_capacity(chosen.len()),
        refused: Vec::new(),
    };
    for (index, &setting) in chosen {
        gauge.done += examples as u64;
        let plan = match request.planner.plan(&subject, &setting) {
            Err(error @ (PruneError::CannotAllocate { .. } | PruneError::CannotRank { .. })) => {
                sweep.refused.push(Refused { index, setting, reason: error.to_string() });
                continue;
            }
            other => other?,
        };
        let figures = match gauge.figures(&plan) {
            Err(SearchError::Export(error @ ExportError::Pattern { .. })) => {
                sweep.refused.push(Refused { index, setting, reason: error.to_string() });
                continue;
            }
            Err(SearchError::Prune(error @ PruneError::CannotRank { .. })) => {
                sweep.refused.push(Refused { index, setting, reason: error.to_string() });
                continue;
            }
            other => other?,
        };
        let point = SweepPoint { index, setting, figures, front: false, plan };
        found(&point);
        sweep.points.push(point);
    }
    sweep.weigh(request.cost);
    Ok(sweep)
}

fn asked(request: &SweepRequest<'_>, examples: usize) -> Asked {
    let hex = |fingerprint: u64| format!("{fingerprint:016x}");
    let curves = request.planner.curves.map(|curves| {
        let text = serde_json::to_vec(curves).unwrap_or_default();
        hex(crate::model::hash(&text))
    });
    Asked {
        version: Asked::VERSION,
        model: request.subject.model.display_name(),
        model_fingerprint: hex(request.subject.model.fingerprint()),
        data: request.data.name().to_owned(),
        data_fingerprint: hex(request.data.fingerprint()),
        calibrated_on: request.calibrated_on.map(hex),
        curves,
        examples,
        base: request.planner.base.clone(),
        settings: request.settings.to_vec(),
    }
}

/// Seconds spent on the time of one point.
const TIMING: f64 = 0.3;

/// Measures plans.
struct Gauge<'r> {
    request: &'r SweepRequest<'r>,
    options: EvalOptions,
    /// Of the inputs, for what is counted.
    sizes: InputSizes,
    observe: Observe<'r>,
    done: u64,
    total: u64,
}

impl Gauge<'_> {
    fn figures(&mut self, plan: &Plan) -> Result<Figures, SearchError> {
        let SweepRequest { subject, dense, data, .. } = *self.request;
        let pruned = match Pruned::new(&subject, plan) {
            Err(ExportError::Prune(error)) => return Err(error.into()),
            other => other?,
        };
        let masked = dense.rebind(pruned.masked())?;
        let (observe, done, total) = (&mut *self.observe, self.done, self.total);
        let evaluation = evaluate(&masked, data, &self.options, &mut |so_far| observe(done + so_far.n as u64, total))?;
        let written = pruned.written();
        let seen = done + evaluation.n as u64;
        let bytes = measure_sizes(written, &mut || observe(seen, total).is_break());
        let bytes = match bytes {
            Err(ExportError::Cancelled) => return Err(SearchError::Cancelled),
            other => other?,
        };
        let smaller = pruned.is_rewritten().then(|| Program::compile(written)?.bind(written)).transpose()?;
        let ms = if self.request.latency {
            self.milliseconds(written, smaller.as_ref().unwrap_or(&masked), seen)?
        } else {
            None
        };
        let count = Count::of(written, &self.sizes);
        Ok(Figures::new(Measured::from(&evaluation), &count, subject.layers, bytes, ms))
    }

    /// Time of one example; none where no inputs can be made up.
    fn milliseconds(&mut self, model: &Model, bound: &Bound, seen: u64) -> Result<Option<f64>, SearchError> {
        let Ok(inputs) = ExampleInputs::new(model, &self.sizes, 0).batch(1) else { return Ok(None) };
        let total = self.total;
        let observe = std::cell::RefCell::new(&mut *self.observe);
        let asked = Cell::new(false);
        let cancelled = || {
            asked.set(asked.get() || observe.borrow_mut()(seen, total) == ControlFlow::Break(()));
            asked.get()
        };
        let first = latency::measure(bound, &inputs, Repeats { warm_up: 1, measured: 1 }, &cancelled)?;
        let repeats = first.map(|first| Repeats::within(TIMING, first.median_ms));
        let measured = match repeats {
            Some(repeats) => latency::measure(bound, &inputs, repeats, &cancelled)?,
            None => None,
        };
        if asked.get() {
            return Err(SearchError::Cancelled);
        }
        Ok(measured.map(|latency| latency.median_ms))
    }
}
