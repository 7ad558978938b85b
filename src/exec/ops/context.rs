use crate::exec::body::captures_of;
use crate::model::{DType, Fact, Graph, Model, Node, Shape, Tensor};

/// What a constructor may look at.
pub struct NodeContext<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its graph.
    pub graph: &'a Graph,
    /// Its model.
    pub model: &'a Model,
    /// Element type of every value of the graph that is already known.
    pub types: &'a [Option<DType>],
}

impl NodeContext<'_> {
    /// The shape of an input, if its rank is known.
    pub fn shape(&self, index: usize) -> Option<&Shape> {
        self.node.input(index).and_then(|id| self.graph.value(id).fact.shape.as_ref())
    }

    /// The extents of an input, if all are known.
    pub fn extents(&self, index: usize) -> Option<Vec<usize>> {
        self.node.input(index).and_then(|id| self.graph.value(id).fact.extents())
    }

    /// The element type of an input; f32 where it is omitted or unknown.
    pub fn dtype(&self, index: usize) -> DType {
        self.known_type(index).unwrap_or(DType::F32)
    }

    /// The element type of an input, if it was given and its type is known.
    pub fn known_type(&self, index: usize) -> Option<DType> {
        self.node.input(index).and_then(|id| self.types.get(id.0 as usize).copied().flatten())
    }

    /// The element type that an attribute names by its ONNX number.
    pub fn type_attribute(&self, name: &str, default: DType) -> Result<DType, String> {
        match self.node.int(name, 0) {
            0 => Ok(default),
            number => DType::from_onnx(number).ok_or_else(|| format!("element type {number} is not implemented")),
        }
    }

    /// The value of an input that does not depend on the graph's inputs, if it is known already.
    pub fn constant(&self, index: usize) -> Option<&Tensor> {
        let id = self.node.input(index)?;
        self.model.initializer(id).or_else(|| self.graph.value(id).fact.constant.as_ref())
    }

    /// Names and facts of the values that the node's bodies read from this graph.
    pub fn captured(&self) -> Vec<(String, Fact)> {
        let fact = |name: String| {
            let Some(id) = self.graph.find(&name) else { return (name, Fact::default()) };
            let fact = &self.graph.value(id).fact;
            let dtype = self.types.get(id.0 as usize).copied().flatten().or(fact.dtype);
            (name, Fact { dtype, ..fact.clone() })
        };
        captures_of(self.node).into_iter().map(fact).collect()
    }

    /// Integers of an attribute, copied.
    pub fn integers(&self, name: &str) -> Option<Vec<i64>> {
        self.node.ints(name).map(<[i64]>::to_vec)
    }

    /// Whether the output at `index` is read by a node or returned.
    pub fn output_is_used(&self, index: usize) -> bool {
        self.node.outputs.get(index).copied().flatten().is_some_and(|id| {
            self.graph.outputs.contains(&id) || self.graph.nodes.iter().any(|n| n.inputs.contains(&Some(id)))
        })
    }
}
