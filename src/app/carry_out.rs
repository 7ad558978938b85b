//! What background work does with a plan: bind it, take out what goes, run it against the clock.

use super::project::Opened;
use crate::exec::latency::{self, Comparison, Latency, Repeats, StepComparison};
use crate::exec::{Bound, ExampleInputs, Program};
use crate::export::Written;
use crate::model::{Model, Sizes as InputSizes};
use crate::prune::{Plan, PruneError};
use crate::recover;
use std::sync::Arc;

/// Why a graph cannot run with these sizes of its inputs, in one sentence.
pub(super) fn try_sizes(model: &Model, dense: Option<&Bound>, sizes: &InputSizes) -> Result<(), String> {
    if let Some((name, _)) = sizes.iter().find(|&(_, size)| size == 0) {
        return Err(format!("{name} has to be 1 or more."));
    }
    let refused = |why: String| format!("The model cannot run with these sizes: {why}.");
    sizes.fix(model).map_err(|e| refused(e.to_string()))?;
    let Some(dense) = dense else { return Ok(()) };
    // Inputs that cannot be made up say nothing against the sizes.
    let Ok(inputs) = ExampleInputs::new(model, sizes, 0).batch(1) else { return Ok(()) };
    dense.run(&inputs).map(|_| ()).map_err(|e| refused(e.to_string()))
}

/// Rounds in which every step is timed.
const STEP_ROUNDS: usize = 9;

/// By layer, milliseconds of the dense model and of the plan's; none without steps of their own.
pub(super) type LayerTimes = Arc<[Option<[f64; 2]>]>;

/// Both at batch 1, in turn: as a whole, and then layer by layer.
pub(super) fn compare_latency(
    (opened, sizes): (&Opened, &InputSizes),
    [dense, pruned]: [&Bound; 2],
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<(Comparison, LayerTimes)>, String> {
    let inputs = ExampleInputs::new(&opened.model, sizes, 0).batch(1).map_err(|e| e.to_string())?;
    let pair = ((dense, &inputs[..]), (pruned, &inputs[..]));
    let whole = latency::compare(pair.0, pair.1, Repeats::default(), cancelled).map_err(|e| e.to_string())?;
    let steps = latency::compare_steps(pair.0, pair.1, STEP_ROUNDS, cancelled).map_err(|e| e.to_string())?;
    Ok(whole.zip(steps.map(|steps| times_of_layers(opened, &steps))))
}

/// As [`compare_latency`] where both are the same network, which is measured once.
pub(super) fn measure_latency(
    (opened, sizes): (&Opened, &InputSizes),
    dense: &Bound,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<(Comparison, LayerTimes)>, String> {
    let inputs = ExampleInputs::new(&opened.model, sizes, 0).batch(1).map_err(|e| e.to_string())?;
    let whole = latency::measure(dense, &inputs, Repeats::default(), cancelled).map_err(|e| e.to_string())?;
    let pair = (dense, &inputs[..]);
    let steps = latency::compare_steps(pair, pair, STEP_ROUNDS, cancelled).map_err(|e| e.to_string())?;
    let Some((whole, steps)) = whole.zip(steps) else { return Ok(None) };
    Ok(Some(as_opened(whole, &times_of_layers(opened, &steps))))
}

/// What the opened model takes, beside itself.
pub(super) fn as_opened(dense: Latency, layers: &[Option<[f64; 2]>]) -> (Comparison, LayerTimes) {
    let comparison = Comparison { a: dense, b: dense, ratio: 1.0 };
    (comparison, layers.iter().map(|times| times.map(|[own, _]| [own, own])).collect())
}

/// Times of the steps that begin with a layer's nodes.
fn times_of_layers(opened: &Opened, steps: &[StepComparison]) -> LayerTimes {
    let Some(graph) = &opened.model.graph else { return Arc::new([]) };
    let of_layer = |layer: &crate::model::Layer| {
        let labels: Vec<&str> = layer.nodes.iter().map(|&id| graph.node(id).label()).collect();
        let mut own = steps.iter().filter(|step| step.nodes.iter().any(|n| labels.contains(&n.as_str()))).peekable();
        own.peek()?;
        let ms = |latency: &Option<Latency>| latency.as_ref().map_or(0.0, |l| l.median_ms);
        Some(own.fold([0.0, 0.0], |[a, b], step| [a + ms(&step.a), b + ms(&step.b)]))
    };
    opened.layers.iter().map(of_layer).collect()
}

/// The masked model bound for running.
pub(super) fn bind(opened: &Opened, plan: &Plan, dense: &Bound) -> Result<Bound, String> {
    let mask = opened.resolve(plan).map_err(|e| e.to_string())?;
    let masked = opened.subject().masked(&mask).map_err(|e| e.to_string())?;
    dense.rebind(&recalibrated(opened, plan, masked)?).map_err(|e| e.to_string())
}

/// What an export would write, bound for running.
pub(super) fn bind_smaller(opened: &Opened, plan: &Plan, dense: &Bound) -> Result<Bound, String> {
    if !plan.shrink {
        return bind(opened, plan, dense);
    }
    let pruned = written(opened, plan)?;
    if !pruned.shrunk {
        return dense.rebind(&pruned.model).map_err(|e| e.to_string());
    }
    let program = Program::compile(&pruned.model).map_err(|e| e.to_string())?;
    program.bind(&pruned.model).map_err(|e| e.to_string())
}

/// What an export would write.
pub(super) fn written(opened: &Opened, plan: &Plan) -> Result<Written, String> {
    let carried_out = || Written::of(&opened.subject(), plan, &*opened.resolve(plan)?);
    let written = carried_out().map_err(|error: PruneError| error.to_string())?;
    Ok(Written { model: recalibrated(opened, plan, written.model)?, ..written })
}

/// A pruned model with batch-norms that know of it, if the plan asks for that.
fn recalibrated(opened: &Opened, plan: &Plan, model: Model) -> Result<Model, String> {
    let Some(data) = opened.calibration.as_ref().filter(|_| plan.recalibrate) else { return Ok(model) };
    let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
    recover::recalibrate(&model, data, plan.calibration, go_on).map_err(|error| error.to_string())
}
