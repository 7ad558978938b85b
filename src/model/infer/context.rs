use super::partial::Partial;
use crate::model::{DType, Extent, Fact, Graph, Node, Shape, Tensor};
use indexmap::IndexMap;

/// Facts of the outputs, in order; those past the end are not known.
pub type Facts = Vec<Fact>;

/// Derives the facts of a node's outputs, or says what does not fit.
pub type Rule = fn(&Context<'_>) -> Result<Facts, String>;

/// A node and all that is known before it.
pub struct Context<'a> {
    pub node: &'a Node,
    pub graph: &'a Graph,
    pub tensors: &'a IndexMap<String, Tensor>,
    pub partials: &'a [Option<Partial>],
}

impl<'a> Context<'a> {
    /// The fact of an input, if it is given.
    pub fn fact(&self, index: usize) -> Option<&'a Fact> {
        self.node.input(index).map(|id| &self.graph.value(id).fact)
    }

    /// The shape of an input, if its rank is known.
    pub fn shape(&self, index: usize) -> Option<&'a Shape> {
        self.fact(index)?.shape.as_ref()
    }

    /// The rank of an input.
    pub fn rank(&self, index: usize) -> Option<usize> {
        self.shape(index).map(Vec::len)
    }

    /// The element type of an input.
    pub fn dtype(&self, index: usize) -> Option<DType> {
        self.fact(index)?.dtype
    }

    /// Whether an input is given.
    pub fn has(&self, index: usize) -> bool {
        self.node.input(index).is_some()
    }

    /// The elements of an input, as far as they are known.
    pub fn partial(&self, index: usize) -> Option<&'a Partial> {
        self.partials[self.node.input(index)?.0 as usize].as_ref()
    }

    /// The integers of an input, if all are fixed.
    pub fn ints(&self, index: usize) -> Option<Vec<i64>> {
        self.partial(index)?.to_ints()
    }

    /// The integers of an input as expressions, `None` for elements that are not known.
    pub fn extents(&self, index: usize) -> Option<Vec<Option<Extent>>> {
        self.partial(index).map(Partial::to_extents)
    }

    /// The values of a small floating-point input that does not depend on the run.
    pub fn floats(&self, index: usize) -> Option<Vec<f32>> {
        let id = self.node.input(index)?;
        let value = self.graph.value(id);
        let tensor = self.tensors.get(&value.name).or(value.fact.constant.as_ref())?;
        (tensor.dtype().is_float() && tensor.len() <= 64).then(|| tensor.to_f32().into_owned())
    }

    /// Integers of an attribute, or of an input where newer operator sets have them.
    pub fn attribute_or_input(&self, name: &str, index: usize) -> Option<Vec<i64>> {
        self.node.ints(name).map(<[i64]>::to_vec).or_else(|| self.ints(index))
    }

    /// One output of the first input's dtype.
    pub fn like_first(&self, shape: Shape) -> Facts {
        vec![Fact { dtype: self.dtype(0), shape: Some(shape), constant: None }]
    }
}

/// An output of which the dtype may be known and the shape is.
pub fn fact(dtype: Option<DType>, shape: Shape) -> Fact {
    Fact { dtype, shape: Some(shape), constant: None }
}
