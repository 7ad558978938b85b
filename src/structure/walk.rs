//! One walk over the graph that gives every axis its atoms.

use super::atoms::{Atom, Atoms, Level, Reason};
use super::labels::{Axis, Labels, for_each_index};
use super::reason::{Obstacle, Reasons};
use super::regroup::has_period;
use super::rule::{Barrier, Rule, View};
use crate::model::{Dim, Graph, Model, Node, NodeId, Shape, ValueId};

/// Places of which as many must stay in every row, rows apart that go as a whole.
#[derive(Clone, Debug)]
pub struct Even {
    /// The value at which it was found.
    pub value: ValueId,
    /// What removes a row.
    pub gates: Vec<Atom>,
    /// The places of a row.
    pub rows: Vec<Vec<Atom>>,
}

/// The state of the walk.
pub struct Walk<'a> {
    pub view: View<'a>,
    pub atoms: Atoms,
    pub reasons: Reasons,
    /// By value; none where nobody has asked yet.
    pub labels: Vec<Option<Labels>>,
    /// Whether a value is computed from data of the model alone.
    pub stored: Vec<bool>,
    /// By node.
    pub rules: Vec<Rule>,
    pub even: Vec<Even>,
    /// The node that is being looked at.
    pub here: NodeId,
}

impl<'a> Walk<'a> {
    /// Walks the whole graph.
    pub fn over(model: &'a Model, graph: &'a Graph) -> Self {
        let stored = graph.values.iter().map(|value| model.tensors.contains_key(&value.name)).collect();
        let mut walk = Self {
            view: View { model, graph },
            atoms: Atoms::new(),
            reasons: Reasons::new(),
            labels: vec![None; graph.values.len()],
            stored,
            rules: Vec::with_capacity(graph.nodes.len()),
            even: Vec::new(),
            here: NodeId(0),
        };
        for &input in &graph.inputs {
            walk.labels[input.0 as usize] = Some(walk.nothing(input));
        }
        for (id, node) in graph.iter_nodes() {
            walk.here = id;
            walk.visit(node);
        }
        for (index, &output) in graph.outputs.iter().enumerate() {
            let why = walk.reasons.of(Obstacle::Output(index), None);
            walk.of(output).iter().flatten().for_each(|axis| axis.pin(&mut walk.atoms, why));
        }
        walk
    }

    /// The reason that an obstacle at this node is.
    pub fn because(&mut self, obstacle: Obstacle) -> Reason {
        self.reasons.of(obstacle, Some(self.here))
    }

    fn nothing(&self, value: ValueId) -> Labels {
        vec![None; self.view.shape(value).map_or(0, Vec::len)]
    }

    /// Atoms of a value; data of the model gets new ones on first sight.
    pub fn of(&mut self, value: ValueId) -> Labels {
        if let Some(labels) = &self.labels[value.0 as usize] {
            return labels.clone();
        }
        let labels = if self.stored[value.0 as usize] { self.new_axes(value) } else { self.nothing(value) };
        self.labels[value.0 as usize] = Some(labels.clone());
        labels
    }

    /// Atoms for every axis of which an extent is known and more than 1.
    pub fn new_axes(&mut self, value: ValueId) -> Labels {
        let Some(shape) = self.view.shape(value) else { return Labels::new() };
        shape.iter().map(|dim| self.new_axis(dim)).collect()
    }

    pub fn new_axis(&mut self, dim: &Dim) -> Option<Axis> {
        let extent = dim.known().filter(|&n| n > 1)?;
        Some(Axis::flat((0..extent).map(|_| self.atoms.fresh(Level::Channel)).collect()))
    }

    /// Gives axes of stored data atoms that were worked out elsewhere.
    pub fn relabel(&mut self, value: ValueId, axes: impl IntoIterator<Item = (usize, Axis)>) {
        let untouched = self.labels[value.0 as usize].is_none() && self.view.model.initializer(value).is_some();
        let mut labels = self.of(value);
        let why = self.because(Obstacle::Joined);
        for (axis, with) in axes {
            let Some(slot) = labels.get_mut(axis) else { continue };
            *slot = match slot.take() {
                Some(old) if !untouched => Some(old.united(&with, &mut self.atoms, why)),
                Some(_) => Some(with),
                None => {
                    with.pin(&mut self.atoms, why);
                    None
                }
            };
        }
        self.labels[value.0 as usize] = Some(labels);
    }

    /// Notes that rows of axes keep equally many places, for values that the graph does not show.
    pub fn note(&mut self, value: ValueId, labels: &Labels) {
        for axis in labels.iter().flatten() {
            let mut gates = Vec::new();
            for_each_index(&axis.over, |at| {
                let index = |a: usize| axis.over.iter().position(|&(o, _)| o == a).map_or(0, |i| at[i]);
                let outer: Vec<Atom> = axis
                    .over
                    .iter()
                    .zip(at)
                    .filter_map(|(&(a, _), &i)| labels[a].as_ref().map(|outer| outer.get(index, i)))
                    .collect();
                gates.push(outer);
            });
            let gates = gates.iter().map(|outer| self.atoms.any_of(outer)).collect();
            self.even.push(Even { value, gates, rows: axis.rows().map(<[Atom]>::to_vec).collect() });
        }
    }

    pub fn shape(&self, node: &Node, input: usize) -> Result<&'a Shape, Barrier> {
        self.view.shape_of(node, input).ok_or(Barrier::Dynamic)
    }

    /// Shape and atoms of an operand.
    pub fn operand(&mut self, node: &Node, input: usize) -> Result<(Labels, &'a Shape), Barrier> {
        let shape = self.shape(node, input)?;
        let value = node.input(input).ok_or(Barrier::Dynamic)?;
        Ok((self.of(value), shape))
    }

    /// Keeps every place of the given axes.
    pub fn pin_axes(&mut self, labels: &Labels, axes: impl IntoIterator<Item = usize>, obstacle: Obstacle) {
        for axis in axes {
            if let Some(Some(axis)) = labels.get(axis) {
                let why = self.because(obstacle);
                axis.pin(&mut self.atoms, why);
            }
        }
    }

    /// Keeps every place of the operands from one on; shapes, indices and bounds do not count.
    pub fn pin_operands(&mut self, node: &Node, from: usize, obstacle: Obstacle) {
        for &value in node.inputs.iter().skip(from).flatten() {
            if let Some(labels) = self.labels[value.0 as usize].clone() {
                self.pin_axes(&labels, 0..labels.len(), obstacle);
            }
        }
    }

    fn visit(&mut self, node: &Node) {
        let graph = self.view.graph;
        for body in node.subgraphs() {
            for name in body.captures() {
                if let Some(value) = graph.find(name) {
                    let labels = self.of(value);
                    self.pin_axes(&labels, 0..labels.len(), Obstacle::Body);
                }
            }
        }
        let stored = node.inputs.iter().flatten().all(|input| self.stored[input.0 as usize]);
        let rule = Rule::of(self.view, node);
        let results = super::follow::follow(self, node, &rule);
        let rule = match results {
            Ok(results) => {
                for (output, labels) in node.outputs.iter().zip(results) {
                    if let Some(output) = output {
                        self.set(*output, labels);
                    }
                }
                rule
            }
            Err(barrier) => {
                let obstacle = if barrier == Barrier::Operator { Obstacle::Operator } else { Obstacle::Dynamic };
                self.pin_operands(node, 0, obstacle);
                // Data that is used here only still has axes to count.
                for &input in node.inputs.iter().flatten() {
                    if self.view.model.initializer(input).is_some() && self.labels[input.0 as usize].is_none() {
                        let labels = self.of(input);
                        self.pin_axes(&labels, 0..labels.len(), obstacle);
                    }
                }
                Rule::Opaque(barrier)
            }
        };
        for output in node.outputs.iter().flatten() {
            self.stored[output.0 as usize] = stored && !matches!(rule, Rule::Opaque(_) | Rule::Extents);
            if self.labels[output.0 as usize].is_none() {
                let nothing = self.nothing(*output);
                self.labels[output.0 as usize] = Some(nothing);
            }
        }
        self.rules.push(rule);
    }

    /// Stores the atoms of a result, as far as they fit its shape.
    fn set(&mut self, value: ValueId, mut labels: Labels) {
        let shape = self.view.shape(value);
        for (axis, label) in labels.iter_mut().enumerate() {
            let Some(found) = label else { continue };
            let dim = shape.and_then(|s| s.get(axis));
            let fits = dim.is_some_and(|dim| match dim.known() {
                Some(extent) => extent == found.extent,
                None => has_period(dim, found.extent),
            });
            if !fits {
                let why = self.reasons.of(Obstacle::Dynamic, Some(self.here));
                found.pin(&mut self.atoms, why);
                *label = None;
            } else if found.extent <= 1 {
                // The only place of an axis cannot go.
                let why = self.reasons.of(Obstacle::Picked, Some(self.here));
                found.pin(&mut self.atoms, why);
                *label = None;
            }
        }
        labels.resize(shape.map_or(0, Vec::len), None);
        self.labels[value.0 as usize] = Some(labels);
    }
}
