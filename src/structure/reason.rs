//! Why something stays, as a sentence.

use super::atoms::Reason;
use crate::model::{Graph, NodeId};
use std::collections::HashMap;

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// A result of the whole graph, by position.
    Output(usize),
    /// An operator that is not followed.
    Operator,
    /// Something that would have to be known before the run.
    Dynamic,
    /// Another operand of the node cannot be shortened.
    Joined,
    /// Statistics over the axis would change.
    Statistics,
    /// A window or another function mixes neighbours along the axis.
    Mixed,
    /// Indices computed at run time pick from the axis.
    Lookup,
    /// One place is picked by its number.
    Picked,
    /// The body of the node reads the value.
    Body,
    /// Nothing would be left of a value, by its index.
    Whole(u32),
    /// The value that stays behind without weights cannot be made up for.
    Remainder,
}

/// Obstacles, each said once.
#[derive(Clone, Debug)]
pub struct Reasons {
    list: Vec<(Obstacle, Option<NodeId>)>,
    known: HashMap<(Obstacle, Option<NodeId>), Reason>,
}

impl Reasons {
    pub fn new() -> Self {
        Self { list: vec![(Obstacle::Operator, None)], known: HashMap::new() }
    }

    pub fn of(&mut self, obstacle: Obstacle, node: Option<NodeId>) -> Reason {
        let next = self.list.len() as Reason;
        let list = &mut self.list;
        *self.known.entry((obstacle, node)).or_insert_with(|| {
            list.push((obstacle, node));
            next
        })
    }

    /// The sentence, without a full stop; empty for no reason.
    pub fn sentence(&self, graph: &Graph, reason: Reason) -> String {
        let Some(&(obstacle, node)) = self.list.get(reason as usize).filter(|_| reason != 0) else {
            return String::new();
        };
        let node = node.map(|id| graph.node(id));
        let (label, op) = node.map_or(("", ""), |node| (node.label(), node.op.as_str()));
        let at = if label == op { format!("`{op}`") } else { format!("`{label}` ({op})") };
        match obstacle {
            Obstacle::Output(index) => match graph.outputs.get(index) {
                Some(&output) => format!("pinned: reaches graph output `{}`", graph.value(output).name),
                None => "pinned: reaches a graph output".to_owned(),
            },
            Obstacle::Operator if label == op => {
                format!("pinned: `{op}` is not an operator that Secateur can shrink through")
            }
            Obstacle::Operator => {
                format!("pinned: `{op}` is not an operator that Secateur can shrink through, at `{label}`")
            }
            Obstacle::Dynamic => format!("pinned: what {at} does to it is only known when it runs"),
            Obstacle::Joined => format!("pinned: {at} joins it with something that cannot be shortened"),
            Obstacle::Statistics => {
                format!("pinned: {at} normalises over it, and what is left would have other statistics")
            }
            Obstacle::Mixed => format!("pinned: {at} mixes it with its neighbours"),
            Obstacle::Lookup => format!("pinned: {at} looks it up by computed indices"),
            Obstacle::Picked => format!("pinned: {at} picks it by its number"),
            Obstacle::Body => format!("pinned: the body of {at} reads it"),
            Obstacle::Whole(value) => {
                let name = graph.values.get(value as usize).map_or("", |value| value.name.as_str());
                format!("pinned: nothing would be left of `{name}`")
            }
            Obstacle::Remainder => {
                format!("pinned: what it still sends without its weights cannot be made up for at {at}")
            }
        }
    }
}
