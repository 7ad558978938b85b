use super::{Fact, Tensor};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Index of a [`Value`] in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// Index of a [`Node`] in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A named edge of the graph: an input, an initializer or the result of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Unique within the graph; an initializer's name is its tensor's name.
    pub name: String,
    /// What is known of it.
    pub fact: Fact,
}

/// A typed operator attribute, as in ONNX.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `INT`
    Int(i64),
    /// `FLOAT`
    Float(f32),
    /// `STRING`, kept as bytes
    String(Vec<u8>),
    /// `INTS`
    Ints(Vec<i64>),
    /// `FLOATS`
    Floats(Vec<f32>),
    /// `STRINGS`
    Strings(Vec<Vec<u8>>),
    /// `TENSOR`
    Tensor(Tensor),
    /// `TENSORS`
    Tensors(Vec<Tensor>),
    /// `GRAPH`: the body of an `If`, `Loop` or `Scan`. Its initializers are `Constant` nodes at its front;
    /// a name that it reads but does not define belongs to the graph around it.
    Graph(Arc<Graph>),
    /// `GRAPHS`
    Graphs(Vec<Arc<Graph>>),
    /// A value that is kept but not interpreted: types, sparse tensors, and tensors of strings, complex
    /// numbers or element types outside [`super::DType`].
    Opaque(Opaque),
}

/// An attribute value that nothing here interprets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// What it is, in a few words, such as `a tensor of strings`.
    pub kind: String,
    /// The ONNX `AttributeProto` message.
    pub bytes: Bytes,
}

/// One operator application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name as in the file, possibly empty.
    pub name: String,
    /// Operator type, such as `Conv`.
    pub op: String,
    /// Operator set domain; empty is the ONNX default domain.
    pub domain: String,
    /// Inputs in operator order; `None` is an omitted optional input.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs in operator order; `None` is an output nobody asked for.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Node {
    /// The `index`-th input, if present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The first output. Every consistent node has one.
    pub fn output(&self) -> Option<ValueId> {
        self.outputs.first().copied().flatten()
    }

    /// Integer attribute or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(v)) => *v,
            _ => default,
        }
    }

    /// Float attribute or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(v)) => *v,
            _ => default,
        }
    }

    /// Integer list attribute.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(v)) => Some(v),
            _ => None,
        }
    }

    /// String attribute, if it is valid UTF-8.
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::String(v)) => std::str::from_utf8(v).ok(),
            _ => None,
        }
    }

    /// The bodies that the node runs, by attribute name and position.
    pub fn subgraphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes
            .values()
            .flat_map(|attribute| match attribute {
                Attribute::Graph(graph) => std::slice::from_ref(graph),
                Attribute::Graphs(graphs) => graphs.as_slice(),
                _ => &[],
            })
            .map(Arc::as_ref)
    }

    /// `name`, or the operator type where the node is anonymous.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.op } else { &self.name }
    }
}

/// A directed acyclic graph of nodes in topological order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name as in the file.
    pub name: String,
    /// ONNX default-domain operator set version whose semantics the nodes follow.
    pub opset: i64,
    /// All values.
    pub values: Vec<Value>,
    /// Nodes, producers before consumers.
    pub nodes: Vec<Node>,
    /// Values fed by the caller, initializers excluded.
    pub inputs: Vec<ValueId>,
    /// Values returned to the caller.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// The value behind `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }

    /// Mutable access, for inference and surgery.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// The node behind `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Names that the nodes read, those of nested graphs included, without anything in this graph that
    /// defines them: what a subgraph takes from the graphs around it. Sorted.
    pub fn captures(&self) -> Vec<&str> {
        let produced = self.nodes.iter().flat_map(|n| &n.outputs).flatten();
        let defined: HashSet<&str> = self.inputs.iter().chain(produced).map(|&id| self.name_of(id)).collect();
        let mut names: Vec<&str> = self
            .nodes
            .iter()
            .flat_map(|n| &n.inputs)
            .flatten()
            .chain(&self.outputs)
            .map(|&id| self.name_of(id))
            .collect();
        names.extend(self.nodes.iter().flat_map(Node::subgraphs).flat_map(Self::captures));
        names.retain(|name| !defined.contains(name));
        names.sort_unstable();
        names.dedup();
        names
    }

    fn name_of(&self, id: ValueId) -> &str {
        &self.value(id).name
    }

    /// Nodes with their ids, in topological order.
    pub fn iter_nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), n))
    }

    /// Adds a value and returns its id. Names must be kept unique by the caller.
    pub fn add_value(&mut self, name: impl Into<String>, fact: Fact) -> ValueId {
        self.values.push(Value { name: name.into(), fact });
        ValueId((self.values.len() - 1) as u32)
    }

    /// Finds a value by name. Linear; build [`Graph::names`] for repeated use.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(|i| ValueId(i as u32))
    }

    /// Name to id of every value.
    pub fn names(&self) -> HashMap<&str, ValueId> {
        self.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), ValueId(i as u32))).collect()
    }

    /// The node that produces each value, by value index.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.iter_nodes() {
            for output in node.outputs.iter().flatten() {
                producers[output.0 as usize] = Some(id);
            }
        }
        producers
    }

    /// The nodes that read each value, by value index, in topological order.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (id, node) in self.iter_nodes() {
            for input in node.inputs.iter().flatten() {
                consumers[input.0 as usize].push(id);
            }
        }
        consumers
    }
}
