//! Taking units out of a model: data cut, attributes and shapes rewritten, constants made up for.

mod border;
mod cut;
mod depth;
mod edit;
mod fold;
mod freeze;
mod nodes;
mod scale;
mod stored;

use super::error::StructureError;
use super::removal::{Gone, Removal};
use super::structure::Structure;
use crate::model::{Dim, Model, Shape, check_consistency, infer_facts};
pub(crate) use depth::{readable, sweep};
use edit::Edit;
pub(super) use freeze::changed_by_shapes;
use indexmap::IndexMap;
use serde::Serialize;

/// Metadata key of the channel map: a JSON object of layer names, each with the channels of the original
/// model that its remaining output channels are. Layers that lost nothing are left out.
pub const CHANNELS_KEY: &str = "secateur.channels";

/// What is done about the border of a zero-padded convolution that read a removed channel of constant
/// value: there the constant met zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// A convolution of ones with what the channel contributed is added: exact, one more addition.
    #[default]
    Exact,
    /// The constant goes into the bias as if it went on beyond the border. Reported as inexact.
    Interior,
}

/// How units are taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShrinkOptions {
    /// What is done about borders.
    pub border: Border,
}

/// A place at which the shrunk model is not the masked one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inexact {
    /// Label of the node.
    pub node: String,
    /// Why, in one sentence.
    pub reason: String,
}

/// A model that units were taken out of.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smaller model, consistent and with facts inferred afresh; [`CHANNELS_KEY`] is in its metadata.
    pub model: Model,
    /// By layer name, the channels that stayed, counted along the output axis of the model that was given.
    pub kept: IndexMap<String, Vec<usize>>,
    /// Where the result differs from the masked model by more than rounding.
    pub inexact: Vec<Inexact>,
}

/// Removes units for good. The result computes what the masked model ([`Structure::masked`]) computes:
/// constants that removed channels still sent are folded into what comes after.
///
/// `model` is the one that `structure` was worked out for, or one with other weights in the same graph.
///
/// # Errors
/// Those of [`Structure::check`]; [`StructureError::OtherModel`] if the graph is another one;
/// [`StructureError::Remainder`] if weights have changed so that a constant can no longer be made up for.
pub fn shrink(
    model: &Model,
    structure: &Structure,
    removal: &Removal,
    options: ShrinkOptions,
) -> Result<Shrunk, StructureError> {
    structure.check(removal)?;
    depth::chosen(structure, model, &removal.blocks)?;
    let gone = Gone::new(structure, removal)?;
    let mut edit = Edit::new(model, structure, &gone, options)?;
    edit.cut_data()?;
    edit.rewrite()?;
    let Edit { model: mut shrunk, graph, expected, inexact, .. } = edit;
    shrunk.graph = Some(graph);
    infer_facts(&mut shrunk)?;
    compare(&shrunk, &expected)?;
    if let Some(graph) = &model.graph {
        sweep(&mut shrunk, &readable(graph));
    }
    depth::remove_blocks(&mut shrunk, &removal.blocks)?;
    check_consistency(&shrunk)?;
    let kept = kept_channels(structure, &gone);
    if let Some(text) = channel_map(model, &kept) {
        shrunk.metadata.insert(CHANNELS_KEY.to_owned(), text);
    }
    shrunk.origin.source = None;
    Ok(Shrunk { model: shrunk, kept, inexact })
}

/// Every value must have the shape that the removal leaves.
fn compare(shrunk: &Model, expected: &[Option<Shape>]) -> Result<(), StructureError> {
    let Some(graph) = &shrunk.graph else { return Err(StructureError::NoGraph) };
    for (value, expected) in graph.values.iter().zip(expected) {
        let (Some(expected), Some(actual)) = (expected, &value.fact.shape) else { continue };
        let differs = |(a, b): (&Dim, &Dim)| {
            *a != Dim::Unknown && *b != Dim::Unknown && a != b || {
                // What was known must still be.
                a.known().is_some() && *b == Dim::Unknown
            }
        };
        if expected.len() != actual.len() || expected.iter().zip(actual).any(differs) {
            let text = |shape: &Shape| format!("[{}]", shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
            return Err(StructureError::Shape {
                value: value.name.clone(),
                expected: text(expected),
                actual: text(actual),
            });
        }
    }
    Ok(())
}

fn kept_channels(structure: &Structure, gone: &Gone) -> IndexMap<String, Vec<usize>> {
    let mut kept = IndexMap::new();
    for layer in structure.layers() {
        let Some(places) = structure.output_places(layer) else { continue };
        if gone.shrinks(Some(places)) {
            kept.insert(layer.name.clone(), gone.kept(&places.sets));
        }
    }
    kept
}

/// The kept channels in terms of the model that earlier removals began with.
pub(super) fn channel_map(model: &Model, kept: &IndexMap<String, Vec<usize>>) -> Option<String> {
    let earlier = model.metadata.get(CHANNELS_KEY).map_or("{}", String::as_str);
    let mut map: IndexMap<String, Vec<usize>> = serde_json::from_str(earlier).unwrap_or_default();
    for (layer, kept) in kept {
        let original = match map.get(layer) {
            Some(before) => kept.iter().filter_map(|&channel| before.get(channel).copied()).collect(),
            None => kept.clone(),
        };
        map.insert(layer.clone(), original);
    }
    if map.is_empty() { None } else { serde_json::to_string(&map).ok() }
}
