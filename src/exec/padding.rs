//! Zero padding before a convolution becomes the convolution's own, as exporters of other frameworks write it.

use super::builder::Parts;
use super::program::Source;
use crate::model::{Graph, Model, Node, Tensor};

/// Zeros before and after each axis.
type Margins = (Vec<usize>, Vec<usize>);

/// Gives convolutions the padding of the `Pad` nodes that feed them alone, and drops those.
pub(super) fn absorb_padding(model: &Model, graph: &Graph, parts: &mut Parts) {
    let producers = graph.producers();
    for pad in (0..parts.calls.len()).rev() {
        let call = &parts.calls[pad];
        let (&[Some(padded)], Some(&source)) = (&call.outputs[..], call.inputs.first()) else { continue };
        if call.op != "Pad" || graph.outputs.iter().any(|id| id.0 as usize == padded) {
            continue;
        }
        let Some(node) = producers[padded].map(|id| graph.node(id)) else { continue };
        let Some((before, after)) = margins(model, graph, node) else { continue };
        let readers: Vec<usize> =
            (0..parts.calls.len()).filter(|&i| parts.calls[i].inputs.contains(&Source::Slot(padded))).collect();
        let operators: Option<Vec<_>> = readers
            .iter()
            .map(|&i| {
                let reads_once = parts.calls[i].inputs.iter().skip(1).all(|s| *s != Source::Slot(padded));
                parts.calls[i].operator.padded(&before, &after).filter(|_| reads_once)
            })
            .collect();
        let Some(operators) = operators else { continue };
        for (&reader, operator) in readers.iter().zip(operators) {
            parts.calls[reader].operator = operator;
            parts.calls[reader].inputs[0] = source;
        }
        parts.calls.remove(pad);
    }
}

/// What a `Pad` node adds on each axis, if it is zeros and their number is fixed.
fn margins(model: &Model, graph: &Graph, node: &Node) -> Option<Margins> {
    let constant = |index: usize| -> Option<&Tensor> {
        let id = node.input(index)?;
        model.initializer(id).or_else(|| graph.value(id).fact.constant.as_ref())
    };
    let zero = match node.input(2) {
        Some(_) => constant(2)?.to_f32().iter().all(|v| *v == 0.0),
        None => node.float("value", 0.0) == 0.0,
    };
    if !zero || node.input(3).is_some() || node.string("mode").is_some_and(|mode| mode != "constant") {
        return None;
    }
    let pads = match node.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => constant(1)?.to_i64(),
    };
    let pads: Vec<usize> = pads.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?;
    let (before, after) = pads.split_at(pads.len() / 2);
    (before.len() == after.len()).then(|| (before.to_vec(), after.to_vec()))
}
