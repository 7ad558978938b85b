use super::ops::Stage;
use super::program::{Call, Source};
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
pub(super) fn fuse(graph: &Graph, calls: &[Call], outputs: &[Source]) -> Vec<Step> {
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
            while let Some((stage, next, residual)) = next_stage(graph, calls, &readers, &absorbed, &step) {
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
    calls: &[Call],
    readers: &[Vec<Option<usize>>],
    absorbed: &[bool],
    step: &Step,
) -> Option<Next> {
    let &[Some(output)] = &step.outputs[..] else { return None };
    let &[Some(next)] = &readers[output][..] else { return None };
    let (head, call) = (&calls[step.call].operator, &calls[next]);
    let stage = call.operator.stage()?;
    let in_order = step.fused.last().is_none_or(|(previous, _)| *previous < stage);
    let single = matches!(call.outputs[..], [Some(_)]);
    if absorbed[next] || !single || !in_order || !head.accepts(stage) {
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

fn same_shape(graph: &Graph, a: usize, b: usize) -> bool {
    match (&graph.values[a].fact.shape, &graph.values[b].fact.shape) {
        (Some(a), Some(b)) => a == b && !a.contains(&Dim::Unknown),
        _ => false,
    }
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
