//! Where a graph's boxes and lines go, in points at full size; no widgets.
//!
//! Nodes are joined to boxes that people think in (`contract.rs`, `boxes.rs`), boxes get ranks and long lines a place in
//! every rank that they pass (`rows.rs`), ranks are ordered for few crossings (`order.rs`), places are found
//! that keep chains straight (`align.rs`), and a drawing that is much taller than a window is broken into columns
//! (`fold.rs`). The layered method of Sugiyama, Tagawa and Toda (1981).

mod align;
mod boxes;
mod contract;
mod fold;
mod order;
mod route;
mod rows;
mod words;

use crate::model::{Layer, Model, NodeId};

/// A cubic Bézier curve: start, two control points, end.
pub type Curve = [[f32; 2]; 4];

/// What a box stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BoxKind {
    /// A node with weights that are layers.
    Layer,
    /// A node without.
    Operator,
    /// What the caller feeds.
    Input,
    /// What the caller gets.
    Output,
}

/// A node of the drawing: one node of the graph with everything that is fused to it in passing.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphBox {
    /// What it stands for.
    pub kind: BoxKind,
    /// Layers whose weights it uses, by index; one as a rule.
    pub layers: Vec<usize>,
    /// Name in full: of the layer, the node, or the value.
    pub name: String,
    /// First line: the name of a layer or value, else what the operator is.
    pub title: String,
    /// Second line: operator and shape. May be empty.
    pub detail: String,
    /// Third line: what is fused to it. May be empty.
    pub caption: String,
    /// Shape of what it gives, such as `batch×64×56×56`; empty if it is not known.
    pub result: String,
    /// All nodes in it, in graph order.
    pub nodes: Vec<NodeId>,
    /// Left and top.
    pub min: [f32; 2],
    /// Right and bottom.
    pub max: [f32; 2],
}

impl GraphBox {
    /// Middle.
    pub fn center(&self) -> [f32; 2] {
        [f32::midpoint(self.min[0], self.max[0]), f32::midpoint(self.min[1], self.max[1])]
    }

    const fn sized(mut self, size: [f32; 2]) -> Self {
        self.max = [self.min[0] + size[0], self.min[1] + size[1]];
        self
    }
}

/// Data that goes from one box to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphEdge {
    /// Index of the box that gives.
    pub from: usize,
    /// Index of the box that takes.
    pub to: usize,
    /// The curves that it consists of, by index; lines of one origin share them.
    pub curves: Vec<u32>,
}

/// A drawing of a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphLayout {
    /// Boxes, producers before consumers.
    pub boxes: Vec<GraphBox>,
    /// Edges, each pair of boxes once.
    pub edges: Vec<GraphEdge>,
    /// Pieces of lines.
    pub curves: Vec<Curve>,
    /// Width and height of everything; it starts at the origin.
    pub size: [f32; 2],
    /// Boxes of every layer, by layer.
    pub boxes_of: Vec<Vec<usize>>,
}

impl GraphLayout {
    /// Lays out the graph of a model; none without a graph or with nothing to draw. `layers` are those of the
    /// model.
    pub fn of(model: &Model, layers: &[Layer]) -> Option<Self> {
        let graph = model.graph.as_ref()?;
        let (mut boxes, pairs) = contract::contract(model, graph, layers);
        if boxes.is_empty() {
            return None;
        }
        let mut rows = rows::Rows::of(&boxes, &pairs);
        order::reduce_crossings(&mut rows);
        let places = align::places(&rows);
        let columns = fold::columns(&rows, &places);
        let (edges, curves, size) = route::draw(&mut boxes, &rows, &places, &columns);
        let mut boxes_of = vec![Vec::new(); layers.len()];
        for (index, found) in boxes.iter().enumerate() {
            found.layers.iter().for_each(|&layer| boxes_of[layer].push(index));
        }
        Some(Self { boxes, edges, curves, size, boxes_of })
    }
}

#[cfg(test)]
mod tests;
