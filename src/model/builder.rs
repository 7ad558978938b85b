use super::{Attribute, DType, Fact, Graph, InferError, Model, Node, Shape, Tensor, ValueId, infer_facts};
use indexmap::IndexMap;

/// Builds a [`Model`] node by node; used for our own architectures and for tests.
///
/// ```
/// use secateur::model::{known_shape, Dim, GraphBuilder, Tensor};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.input("x", vec![Dim::symbol("batch"), Dim::Known(2)]);
/// let w = b.tensor("fc.weight", Tensor::from_f32(vec![3, 2], vec![0.5; 6]).unwrap());
/// let y = b.gemm("fc", x, w, None);
/// b.output(y);
/// let model = b.finish().unwrap();
/// assert_eq!(model.graph.unwrap().nodes.len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
    tensors: IndexMap<String, Tensor>,
}

impl GraphBuilder {
    /// An empty graph in opset 21 semantics.
    pub fn new(name: &str) -> Self {
        Self { graph: Graph { name: name.to_owned(), opset: 21, ..Graph::default() }, tensors: IndexMap::new() }
    }

    /// Declares an f32 graph input.
    pub fn input(&mut self, name: &str, shape: Shape) -> ValueId {
        self.input_of(name, DType::F32, shape)
    }

    /// Declares a graph input of any type.
    pub fn input_of(&mut self, name: &str, dtype: DType, shape: Shape) -> ValueId {
        let id = self.graph.add_value(name, Fact::new(dtype, shape));
        self.graph.inputs.push(id);
        id
    }

    /// Adds an initializer.
    pub fn tensor(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let id = self.graph.add_value(name, Fact::of_tensor(&tensor));
        self.tensors.insert(name.to_owned(), tensor);
        id
    }

    /// Adds a node with one output, named `NAME_out`, and returns that output.
    pub fn node(&mut self, name: &str, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.node_with(name, op, inputs.iter().copied().map(Some).collect(), attributes)
    }

    /// As [`GraphBuilder::node`], with omitted optional inputs.
    pub fn node_with(
        &mut self,
        name: &str,
        op: &str,
        inputs: Vec<Option<ValueId>>,
        attributes: &[(&str, Attribute)],
    ) -> ValueId {
        let output = self.graph.add_value(format!("{name}_out"), Fact::default());
        self.graph.nodes.push(Node {
            name: name.to_owned(),
            op: op.to_owned(),
            domain: String::new(),
            inputs,
            outputs: vec![Some(output)],
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        });
        output
    }

    /// `Conv` with a square stride and symmetric padding.
    pub fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        weight: ValueId,
        bias: Option<ValueId>,
        (stride, padding, groups): (i64, i64, i64),
    ) -> ValueId {
        let inputs = [Some(x), Some(weight)].into_iter().chain(bias.map(Some)).collect();
        self.node_with(
            name,
            "Conv",
            inputs,
            &[
                ("strides", Attribute::Ints(vec![stride; 2])),
                ("pads", Attribute::Ints(vec![padding; 4])),
                ("group", Attribute::Int(groups)),
            ],
        )
    }

    /// `Gemm` with a weight of shape [out, in], as PyTorch's `Linear` stores it.
    pub fn gemm(&mut self, name: &str, x: ValueId, weight: ValueId, bias: Option<ValueId>) -> ValueId {
        let inputs = [Some(x), Some(weight)].into_iter().chain(bias.map(Some)).collect();
        self.node_with(name, "Gemm", inputs, &[("transB", Attribute::Int(1))])
    }

    /// Marks a value as a graph output.
    pub fn output(&mut self, value: ValueId) {
        self.graph.outputs.push(value);
    }

    /// Renames a value, for outputs with a meaning such as `logits`.
    pub fn rename(&mut self, value: ValueId, name: &str) {
        name.clone_into(&mut self.graph.value_mut(value).name);
    }

    /// Infers all facts and returns the model.
    ///
    /// # Errors
    /// [`InferError`] if the shapes of a node do not fit together.
    pub fn finish(self) -> Result<Model, InferError> {
        let mut model = self.unchecked();
        infer_facts(&mut model)?;
        Ok(model)
    }

    /// The model without facts of computed values.
    pub(super) fn unchecked(self) -> Model {
        Model { tensors: self.tensors, graph: Some(self.graph), ..Model::default() }
    }
}
