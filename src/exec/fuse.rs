use super::kernels::Activation;
use super::ops::{ChannelAxis, Inputs, Stage};
use super::program::{Call, Constant, Source};
use crate::model::{Dim, Graph};

/// One node of the evaluation, with the nodes that became part of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Index of the call that computes.
    pub call: usize,
    /// Calls fused into it, in order.
    pub fused: Vec<(Stage, usize)>,
    /// The tensor that a fused addition adds.
    pub residual: Option<Source>,
    /// Slots of the results, those that somebody reads.
    pub outputs: Vec<Option<usize>>,
    /// Slots read here for the last time.
    pub frees: Vec<usize>,
}

/// The evaluation's steps: later nodes become part of earlier ones where these can take them in.
///
/// A step stands where the last of its nodes stood, so that everything it reads exists by then.
pub(super) fn fuse(graph: &Graph, constants: &[Constant], calls: &[Call], outputs: &[Source]) -> Vec<Step> {
    let readers = readers(graph.values.len(), calls, outputs);
    let mut absorbed = vec![false; calls.len()];
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for index in 0..calls.len() {
        if absorbed[index] {
            continue;
        }
        let outputs = calls[index].outputs.clone();
        let mut step = Step { call: index, fused: Vec::new(), residual: None, outputs, frees: Vec::new() };
        let mut last = index;
        if takes_only_constants(&calls[index]) {
            while let Some((stage, next, residual)) = next_stage(graph, constants, calls, &readers, &absorbed, &step) {
                absorbed[next] = true;
                step.fused.push((stage, next));
                step.residual = step.residual.or(residual);
                step.outputs.clone_from(&calls[next].outputs);
                last = last.max(next);
            }
        }
        steps.push((last, step));
    }
    steps.sort_by_key(|(last, _)| *last);
    let mut steps: Vec<Step> = steps.into_iter().map(|(_, step)| step).collect();
    mark_last_reads(&mut steps, calls, outputs, graph.values.len());
    steps
}

/// Every call that reads a slot, once per operand; the graph's outputs count as a reader of no index.
fn readers(slots: usize, calls: &[Call], outputs: &[Source]) -> Vec<Vec<Option<usize>>> {
    let mut readers = vec![Vec::new(); slots];
    for (index, call) in calls.iter().enumerate() {
        for input in &call.inputs {
            if let Source::Slot(slot) = input {
                readers[*slot].push(Some(index));
            }
        }
    }
    for output in outputs {
        if let Source::Slot(slot) = output {
            readers[*slot].push(None);
        }
    }
    readers
}

fn takes_only_constants(call: &Call) -> bool {
    call.inputs.iter().skip(1).all(|input| !matches!(input, Source::Slot(_)))
}

type Next = (Stage, usize, Option<Source>);

fn next_stage(
    graph: &Graph,
    constants: &[Constant],
    calls: &[Call],
    readers: &[Vec<Option<usize>>],
    absorbed: &[bool],
    step: &Step,
) -> Option<Next> {
    let &[Some(output)] = &step.outputs[..] else { return None };
    let &[Some(next)] = &readers[output][..] else { return None };
    let (head, call) = (&calls[step.call].operator, &calls[next]);
    let last = step.fused.last().map(|(stage, _)| *stage);
    // Normalisations one after another are one.
    let fits = |stage| {
        head.accepts(stage) && last.is_none_or(|last| last < stage || (last == Stage::Norm && stage == Stage::Norm))
    };
    let single = matches!(call.outputs[..], [Some(_)]);
    if absorbed[next] || !single {
        return None;
    }
    if call.operator.is_affine()
        && let Some(constant) = other_constant(call, output)
    {
        let channels = channels(graph, head.channel_axis()?, output)?;
        let per_channel = is_per_channel(constants[constant].shape()?, head.channel_axis()?, graph, output, channels);
        return (fits(Stage::Norm) && per_channel).then_some((Stage::Norm, next, None));
    }
    let stage = call.operator.stage()?;
    if !fits(stage) || (stage == Stage::Norm && !is_second(graph, head.channel_axis()?, output)) {
        return None;
    }
    if stage == Stage::Residual {
        let &[a, b] = &call.inputs[..] else { return None };
        let other = if a == Source::Slot(output) { b } else { a };
        let Source::Slot(other_slot) = other else { return None };
        return same_shape(graph, output, other_slot).then_some((stage, next, Some(other)));
    }
    let feeds_first = call.inputs.first() == Some(&Source::Slot(output));
    (feeds_first && takes_only_constants(call)).then_some((stage, next, None))
}

/// The constant of a call on a slot and a constant.
fn other_constant(call: &Call, slot: usize) -> Option<usize> {
    match call.inputs[..] {
        [Source::Slot(a), Source::Constant(c)] | [Source::Constant(c), Source::Slot(a)] if a == slot => Some(c),
        _ => None,
    }
}

/// The number of channels of a value, if its shape says so.
fn channels(graph: &Graph, axis: ChannelAxis, slot: usize) -> Option<usize> {
    let shape = graph.values[slot].fact.shape.as_ref()?;
    match axis {
        ChannelAxis::Second => shape.get(1)?.known(),
        ChannelAxis::Last => shape.last()?.known(),
    }
}

/// Whether a constant of this shape has one number for each channel of a value, or for all of them, and
/// adds no axis to it.
fn is_per_channel(constant: &[usize], axis: ChannelAxis, graph: &Graph, slot: usize, channels: usize) -> bool {
    let Some(shape) = &graph.values[slot].fact.shape else { return false };
    let from_end = match axis {
        ChannelAxis::Second => shape.len() - 2,
        ChannelAxis::Last => 0,
    };
    if constant.iter().product::<usize>() == 1 {
        return constant.len() <= shape.len();
    }
    let Some(at) = constant.len().checked_sub(from_end + 1) else { return false };
    let others = constant.iter().enumerate().all(|(i, &n)| i == at || n == 1);
    constant.len() <= shape.len() && others && constant[at] == channels && channels > 1
}

/// Whether the channels of a value are its second axis, as those of a batch normalisation.
fn is_second(graph: &Graph, axis: ChannelAxis, slot: usize) -> bool {
    axis == ChannelAxis::Second || graph.values[slot].fact.shape.as_ref().is_some_and(|shape| shape.len() == 2)
}

fn same_shape(graph: &Graph, a: usize, b: usize) -> bool {
    match (&graph.values[a].fact.shape, &graph.values[b].fact.shape) {
        (Some(a), Some(b)) => a == b && !a.contains(&Dim::Unknown),
        _ => false,
    }
}

/// The calls of training in batch mode: where nothing but ReLU reads a batch normalisation, or its sum with another
/// activation, they become one call, which stands where ReLU stood.
pub(super) fn fuse_relu(graph: &Graph, calls: &[Call], outputs: &[Source]) -> Vec<Call> {
    let readers = readers(graph.values.len(), calls, outputs);
    // The one call that reads the only result of another.
    let next = |call: &Call| match (&call.outputs[..], call.outputs.first()) {
        ([Some(slot)], _) => match &readers[*slot][..] {
            &[Some(next)] => Some((*slot, next)),
            _ => None,
        },
        _ => None,
    };
    let is_relu = |call: &Call| {
        let activation = call.operator.activation(&Inputs(&[]));
        call.inputs.len() == 1 && activation.is_ok_and(|a| a == Activation::Relu)
    };
    let mut result: Vec<Option<Call>> = calls.iter().cloned().map(Some).collect();
    for (index, call) in calls.iter().enumerate() {
        let Some((slot, second)) = next(call) else { continue };
        let (last, residual) = if is_relu(&calls[second]) {
            (second, None)
        } else {
            let (add, Some((_, last))) = (&calls[second], next(&calls[second])) else { continue };
            let [a, b] = add.inputs[..] else { continue };
            let other = if a == Source::Slot(slot) { b } else { a };
            let fits = matches!(other, Source::Slot(other) if same_shape(graph, slot, other));
            if add.operator.stage() != Some(Stage::Residual) || !fits || !is_relu(&calls[last]) {
                continue;
            }
            (last, Some((second, other)))
        };
        // Both operands of a sum may be normalisations, of which it can become part of one.
        let taken = result[last].is_none() || residual.is_some_and(|(add, _)| result[add].is_none());
        let Some(operator) = call.operator.with_relu(residual.is_some()).filter(|_| !taken) else { continue };
        let fused = Call {
            operator,
            inputs: call.inputs.iter().copied().chain(residual.map(|(_, other)| other)).collect(),
            outputs: calls[last].outputs.clone(),
            ..call.clone()
        };
        result[index] = None;
        if let Some((add, _)) = residual {
            result[add] = None;
        }
        result[last] = Some(fused);
    }
    result.into_iter().flatten().collect()
}

fn mark_last_reads(steps: &mut [Step], calls: &[Call], outputs: &[Source], slots: usize) {
    let mut needed = vec![false; slots];
    for output in outputs {
        if let Source::Slot(slot) = output {
            needed[*slot] = true;
        }
    }
    for step in steps.iter_mut().rev() {
        let reads = calls[step.call].inputs.iter().chain(&step.residual);
        for read in reads {
            if let Source::Slot(slot) = read
                && !std::mem::replace(&mut needed[*slot], true)
            {
                step.frees.push(*slot);
            }
        }
    }
}
