use super::super::analysis::Places;
use super::super::error::StructureError;
use super::super::remainder::{Remainder, Remainders, remainders};
use super::super::removal::Gone;
use super::super::rule::View;
use super::super::structure::Structure;
use super::{Inexact, ShrinkOptions};
use crate::model::{Attribute, Dim, Extent, Fact, Graph, Model, Node, NodeId, Shape, Tensor, ValueId};
use std::collections::{HashMap, HashSet};

/// A model that is being rewritten, beside the one that it comes from.
pub struct Edit<'a> {
    /// The original.
    pub view: View<'a>,
    pub structure: &'a Structure,
    pub gone: &'a Gone,
    pub options: ShrinkOptions,
    pub remainders: Vec<Option<Remainder>>,
    /// Values that follow from extents that are now others.
    pub changed: HashSet<ValueId>,
    /// Readers of each original value.
    pub readers: Vec<Vec<NodeId>>,
    /// The result so far: tensors.
    pub model: Model,
    /// The result so far: nodes.
    pub graph: Graph,
    /// Shapes that the original values shall have.
    pub expected: Vec<Option<Shape>>,
    pub inexact: Vec<Inexact>,
    /// Values to be added to the result of a node.
    pub pending: HashMap<NodeId, Vec<ValueId>>,
    names: HashSet<String>,
}

impl<'a> Edit<'a> {
    pub fn new(
        model: &'a Model,
        structure: &'a Structure,
        gone: &'a Gone,
        options: ShrinkOptions,
    ) -> Result<Self, StructureError> {
        let graph = structure.graph_of(model)?;
        let view = View { model, graph };
        let Remainders { values, failures } =
            remainders(view, &structure.analysis, &structure.producers, &structure.clearing);
        if let Some(failure) = failures.into_iter().find(|failure| gone.set(failure.set)) {
            return Err(StructureError::Remainder(graph.node(failure.node).label().to_owned()));
        }
        let mut edit = Self {
            view,
            structure,
            gone,
            options,
            remainders: values,
            changed: super::freeze::changed_by_shapes(graph, |value| {
                structure.analysis.values[value.0 as usize].iter().any(|places| gone.shrinks(places.as_ref()))
            }),
            readers: graph.consumers(),
            model: Model { graph: None, ..model.clone() },
            graph: Graph { nodes: Vec::with_capacity(graph.nodes.len()), ..graph.clone() },
            expected: Vec::new(),
            inexact: Vec::new(),
            pending: HashMap::new(),
            names: graph.values.iter().map(|v| v.name.clone()).chain(model.tensors.keys().cloned()).collect(),
        };
        edit.expected = (0..graph.values.len() as u32).map(|id| edit.shape_after(ValueId(id))).collect();
        Ok(edit)
    }

    /// What removes the places of an axis, if it loses some.
    pub fn places(&self, value: Option<ValueId>, axis: usize) -> Option<&'a Places> {
        let structure = self.structure;
        let places = structure.analysis.values[value?.0 as usize].get(axis)?.as_ref()?;
        self.gone.shrinks(Some(places)).then_some(places)
    }

    /// Places that stay, for every row that does.
    pub fn kept_rows(&self, value: ValueId, axis: usize) -> Vec<Vec<usize>> {
        self.structure.kept_rows(self.gone, value, axis)
    }

    /// How many places of an axis stay.
    pub fn extent_after(&self, value: ValueId, axis: usize) -> Option<usize> {
        self.structure.extent_after(self.gone, value, axis)
    }

    fn shape_after(&self, value: ValueId) -> Option<Shape> {
        let shape = self.view.shape(value)?.clone();
        let extent = |(axis, dim): (usize, Dim)| match (self.extent_after(value, axis), dim.known()) {
            (Some(after), Some(_)) => Dim::Known(after),
            (Some(after), None) => {
                // As many periods as before, of fewer places.
                let before = self.structure.analysis.values[value.0 as usize][axis].as_ref().map_or(1, |p| p.extent);
                let periods = Extent::of(&dim).and_then(|e| e.exact_div(&Extent::constant(before as i64)));
                periods.and_then(|n| n.mul(&Extent::constant(after as i64))).map_or(Dim::Unknown, Dim::from)
            }
            (None, Some(_)) => dim,
            (None, None) => Dim::Unknown,
        };
        Some(shape.into_iter().enumerate().map(extent).collect())
    }

    /// The constant at a place of a value.
    pub fn remainder(&self, value: Option<ValueId>) -> Option<&Remainder> {
        self.remainders[value?.0 as usize].as_ref()
    }

    /// The constants of the places of an axis that go, the others being zero; none where all are zero.
    pub fn constants(&self, value: Option<ValueId>, axis: usize) -> Option<Vec<f64>> {
        let places = self.places(value, axis)?;
        let remainder = self.remainder(value)?;
        let constants: Vec<f64> = places.sets[..places.extent]
            .iter()
            .enumerate()
            .map(|(i, &set)| if self.gone.set(set) { remainder.at(|a| if a == axis { i } else { 0 }) } else { 0.0 })
            // What is no constant is read by columns that are zero.
            .map(|constant| if constant.is_nan() { 0.0 } else { constant })
            .collect();
        constants.iter().any(|&c| c != 0.0).then_some(constants)
    }

    /// A name that nothing has yet.
    fn fresh_name(&mut self, stem: &str) -> String {
        let numbered = (2..).map(|n| format!("{stem}_{n}"));
        let name = std::iter::once(stem.to_owned()).chain(numbered).find(|name| !self.names.contains(name));
        let name = name.unwrap_or_else(|| stem.to_owned());
        self.names.insert(name.clone());
        name
    }

    /// A new initializer.
    pub fn data(&mut self, stem: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh_name(stem);
        let id = self.graph.add_value(name.clone(), Fact::of_tensor(&tensor));
        self.model.tensors.insert(name, tensor);
        id
    }

    /// A new constant inside the graph, before the node that is being rewritten.
    pub fn constant(&mut self, stem: &str, tensor: Tensor) -> ValueId {
        self.insert(stem, "Constant", Vec::new(), &[("value", Attribute::Tensor(tensor))])
    }

    /// A new node, before the one that is being rewritten.
    pub fn insert(
        &mut self,
        stem: &str,
        op: &str,
        inputs: Vec<Option<ValueId>>,
        attributes: &[(&str, Attribute)],
    ) -> ValueId {
        let name = self.fresh_name(stem);
        let output = self.fresh_name(&format!("{name}_out"));
        let output = self.graph.add_value(output, Fact::default());
        self.graph.nodes.push(Node {
            name,
            op: op.to_owned(),
            domain: String::new(),
            inputs,
            outputs: vec![Some(output)],
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        });
        output
    }

    /// Puts `node` into the graph, and behind it for each of `steps` an operator with one more operand,
    /// whose last result takes the place of the node's.
    pub fn finish(&mut self, mut node: Node, steps: &[(&str, ValueId)]) {
        let Some(result) = node.output().filter(|_| !steps.is_empty()) else {
            self.graph.nodes.push(node);
            return;
        };
        let label = node.label().to_owned();
        let whole = self.fresh_name(&format!("{}_cut", self.graph.value(result).name));
        let mut current = self.graph.add_value(whole, Fact::default());
        node.outputs[0] = Some(current);
        self.graph.nodes.push(node);
        for (index, (op, operand)) in steps.iter().enumerate() {
            let last = index + 1 == steps.len();
            let name = self.fresh_name(&format!("{label}_{}", op.to_lowercase()));
            let output = if last {
                result
            } else {
                let name = self.fresh_name(&format!("{name}_out"));
                self.graph.add_value(name, Fact::default())
            };
            self.graph.nodes.push(Node {
                name,
                op: (*op).to_owned(),
                inputs: vec![Some(current), Some(*operand)],
                outputs: vec![Some(output)],
                ..Node::default()
            });
            current = output;
        }
    }

    /// Whether a value is an initializer that one node only reads, once.
    pub fn is_own(&self, value: ValueId) -> bool {
        self.view.model.initializer(value).is_some()
            && self.readers[value.0 as usize].len() == 1
            && !self.view.graph.outputs.contains(&value)
    }

    /// Gives an operand new data: in its place where nothing else reads it, else under a new name.
    pub fn replace(&mut self, value: ValueId, tensor: Tensor) -> ValueId {
        let name = self.view.graph.value(value).name.clone();
        if self.is_own(value) {
            self.model.tensors.insert(name, tensor);
            value
        } else {
            self.data(&name, tensor)
        }
    }
}
