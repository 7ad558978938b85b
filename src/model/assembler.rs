use super::{Attribute, DType, Graph, GraphBuilder, InferError, Model, Shape, Tensor, ValueId};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Builds a graph over tensors that exist already, for files that hold weights alone.
///
/// A weight that is asked for by a name that the file does not have gives `None`, which is how a recogniser
/// finds out that it looks at another network.
#[derive(Debug)]
pub struct Assembler<'a> {
    builder: GraphBuilder,
    tensors: &'a IndexMap<String, Tensor>,
    values: HashMap<String, ValueId>,
    fresh: usize,
}

/// Stride, padding (before and after each axis alike), dilation and groups of a sliding window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Steps between outputs on every axis; one entry stands for all.
    pub strides: Vec<i64>,
    /// Zeros on either side of every axis; one entry stands for all.
    pub padding: Vec<i64>,
    /// Steps between inputs on every axis; one entry stands for all.
    pub dilations: Vec<i64>,
    /// Channel groups.
    pub groups: i64,
}

impl Window {
    /// A stride and a padding for all axes, one group.
    pub fn new(stride: i64, padding: i64) -> Self {
        Self { strides: vec![stride], padding: vec![padding], dilations: vec![1], groups: 1 }
    }

    /// The same in several channel groups.
    #[must_use]
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups: groups as i64, ..self }
    }

    /// ONNX attributes for `axes` spatial axes; none if a list has another length.
    fn attributes(&self, axes: usize) -> Option<Vec<(&'static str, Attribute)>> {
        let spread = |list: &[i64]| match list {
            [one] => Some(vec![*one; axes]),
            many if many.len() == axes => Some(many.to_vec()),
            _ => None,
        };
        let padding = spread(&self.padding)?;
        Some(vec![
            ("strides", Attribute::Ints(spread(&self.strides)?)),
            ("pads", Attribute::Ints([padding.as_slice(), &padding].concat())),
            ("dilations", Attribute::Ints(spread(&self.dilations)?)),
        ])
    }
}

impl<'a> Assembler<'a> {
    /// An empty graph over `tensors`.
    pub fn new(name: &str, tensors: &'a IndexMap<String, Tensor>) -> Self {
        Self { builder: GraphBuilder::new(name), tensors, values: HashMap::new(), fresh: 0 }
    }

    /// Declares a graph input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> ValueId {
        self.builder.input_of(name, dtype, shape)
    }

    /// Extents of a tensor.
    pub fn shape_of(&self, name: &str) -> Option<&'a [usize]> {
        Some(self.tensors.get(name)?.shape())
    }

    /// The value of a tensor, as f32 if it is stored as another kind of float.
    pub fn weight(&mut self, name: &str) -> Option<ValueId> {
        if let Some(&id) = self.values.get(name) {
            return Some(id);
        }
        let tensor = self.tensors.get(name)?;
        let mut id = self.builder.tensor(name, tensor.clone());
        if tensor.dtype().is_float() && tensor.dtype() != DType::F32 {
            let to_float = [("to", Attribute::Int(1))];
            id = self.builder.node(&format!("{name}.float"), "Cast", &[id], &to_float);
        }
        self.values.insert(name.to_owned(), id);
        Some(id)
    }

    /// A constant inside the graph.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.fresh += 1;
        let name = format!("constant{}", self.fresh);
        self.builder.node(&name, "Constant", &[], &[("value", Attribute::Tensor(tensor))])
    }

    /// A list of integers inside the graph.
    pub fn integers(&mut self, values: &[i64]) -> Option<ValueId> {
        Tensor::from_i64(vec![values.len()], values).ok().map(|tensor| self.constant(tensor))
    }

    /// A single integer inside the graph, of rank 0.
    pub fn integer(&mut self, value: i64) -> Option<ValueId> {
        Tensor::from_i64(Vec::new(), &[value]).ok().map(|tensor| self.constant(tensor))
    }

    /// A single f32 inside the graph.
    pub fn scalar(&mut self, value: f32) -> Option<ValueId> {
        Tensor::from_f32(Vec::new(), vec![value]).ok().map(|tensor| self.constant(tensor))
    }

    /// A node with one output.
    pub fn node(&mut self, name: &str, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.builder.node(name, op, inputs, attributes)
    }

    /// A node whose second input is a list of integers, as `Reshape`, `Squeeze` and others have it.
    pub fn with_integers(&mut self, name: &str, op: &str, x: ValueId, values: &[i64]) -> Option<ValueId> {
        let values = self.integers(values)?;
        Some(self.node(name, op, &[x, values], &[]))
    }

    /// `Transpose` of all axes.
    pub fn transpose(&mut self, name: &str, x: ValueId, order: &[i64]) -> ValueId {
        self.node(name, "Transpose", &[x], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    /// Convolution with `NAME.weight` and, where it exists, `NAME.bias`.
    pub fn conv(&mut self, name: &str, x: ValueId, window: &Window) -> Option<ValueId> {
        let axes = self.shape_of(&format!("{name}.weight"))?.len().checked_sub(2)?;
        let mut attributes = window.attributes(axes)?;
        attributes.push(("group", Attribute::Int(window.groups)));
        self.weighted(name, "Conv", x, &attributes)
    }

    /// Transposed convolution with `NAME.weight` and, where it exists, `NAME.bias`.
    pub fn conv_transpose(&mut self, name: &str, x: ValueId, window: &Window) -> Option<ValueId> {
        let axes = self.shape_of(&format!("{name}.weight"))?.len().checked_sub(2)?;
        let mut attributes = window.attributes(axes)?;
        attributes.push(("group", Attribute::Int(window.groups)));
        self.weighted(name, "ConvTranspose", x, &attributes)
    }

    /// `x W^T + b` of a two-dimensional input with `NAME.weight` [out, in].
    pub fn linear(&mut self, name: &str, x: ValueId) -> Option<ValueId> {
        self.weighted(name, "Gemm", x, &[("transB", Attribute::Int(1))])
    }

    /// `x W^T + b` over the last axis of an input of any rank, with `NAME.weight` [out, in].
    pub fn dense(&mut self, name: &str, x: ValueId) -> Option<ValueId> {
        self.dense_with(name, x, &format!("{name}.weight"))
    }

    /// As [`Assembler::dense`], with a weight of another name.
    pub fn dense_with(&mut self, name: &str, x: ValueId, weight: &str) -> Option<ValueId> {
        let weight = self.weight(weight)?;
        let weight = self.transpose(&format!("{name}.transpose"), weight, &[1, 0]);
        Some(self.product(name, x, weight))
    }

    /// `x W + b` over the last axis of an input of any rank, with `NAME.weight` [in, out].
    pub fn projection(&mut self, name: &str, x: ValueId) -> Option<ValueId> {
        let weight = self.weight(&format!("{name}.weight"))?;
        Some(self.product(name, x, weight))
    }

    fn product(&mut self, name: &str, x: ValueId, weight: ValueId) -> ValueId {
        let y = self.node(name, "MatMul", &[x, weight], &[]);
        match self.weight(&format!("{name}.bias")) {
            Some(bias) => self.node(&format!("{name}.add"), "Add", &[y, bias], &[]),
            None => y,
        }
    }

    fn weighted(&mut self, name: &str, op: &str, x: ValueId, attributes: &[(&str, Attribute)]) -> Option<ValueId> {
        let weight = self.weight(&format!("{name}.weight"))?;
        let bias = self.weight(&format!("{name}.bias"));
        let inputs: Vec<ValueId> = [x, weight].into_iter().chain(bias).collect();
        Some(self.node(name, op, &inputs, attributes))
    }

    /// Batch normalisation with PyTorch's four names below `name`.
    pub fn batch_norm(&mut self, name: &str, x: ValueId, epsilon: f32) -> Option<ValueId> {
        let mut inputs = vec![x];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            inputs.push(self.weight(&format!("{name}.{part}"))?);
        }
        Some(self.node(name, "BatchNormalization", &inputs, &[("epsilon", Attribute::Float(epsilon))]))
    }

    /// Normalisation over the last axis with `NAME.weight` and `NAME.bias`.
    pub fn layer_norm(&mut self, name: &str, x: ValueId, epsilon: f32) -> Option<ValueId> {
        let attributes = [("epsilon", Attribute::Float(epsilon)), ("axis", Attribute::Int(-1))];
        self.weighted(name, "LayerNormalization", x, &attributes)
    }

    /// Max or average pooling over two axes, or as many as `kernel` has entries.
    pub fn pool(&mut self, name: &str, op: &str, x: ValueId, kernel: &[i64], window: &Window) -> Option<ValueId> {
        self.pool_with(name, op, x, kernel, window, false)
    }

    /// As [`Assembler::pool`]; with `ceil` the last window may reach beyond the input.
    pub fn pool_with(
        &mut self,
        name: &str,
        op: &str,
        x: ValueId,
        kernel: &[i64],
        window: &Window,
        ceil: bool,
    ) -> Option<ValueId> {
        let mut attributes = window.attributes(kernel.len())?;
        attributes.push(("kernel_shape", Attribute::Ints(kernel.to_vec())));
        // Dilated averages came late to ONNX and are rare.
        attributes.retain(|(key, _)| op == "MaxPool" || *key != "dilations");
        if op == "AveragePool" {
            // PyTorch counts padding unless told otherwise.
            attributes.push(("count_include_pad", Attribute::Int(1)));
        }
        if ceil {
            attributes.push(("ceil_mode", Attribute::Int(1)));
        }
        Some(self.node(name, op, &[x], &attributes))
    }

    /// `min(max(x, 0), 6)`
    pub fn relu6(&mut self, name: &str, x: ValueId) -> Option<ValueId> {
        let (low, high) = (self.scalar(0.0)?, self.scalar(6.0)?);
        Some(self.node(name, "Clip", &[x, low, high], &[]))
    }

    /// Mean over all spatial axes, then two axes: batch and channels.
    pub fn pooled(&mut self, x: ValueId) -> ValueId {
        let pooled = self.node("avgpool", "GlobalAveragePool", &[x], &[]);
        self.node("flatten", "Flatten", &[pooled], &[])
    }

    /// Whether a tensor is used.
    pub fn uses(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Names of the tensors that nothing uses.
    pub fn unused(&self) -> impl Iterator<Item = &'a str> {
        self.tensors.keys().map(String::as_str).filter(|name| !self.uses(name))
    }

    /// Makes a value an output called `name`.
    pub fn output(&mut self, value: ValueId, name: &str) {
        self.builder.rename(value, name);
        self.builder.output(value);
    }

    /// Infers all facts and returns the graph.
    ///
    /// # Errors
    /// [`InferError`] if the shapes of a node do not fit together.
    pub fn finish(self) -> Result<Graph, InferError> {
        let Model { graph, .. } = self.builder.finish()?;
        Ok(graph.unwrap_or_default())
    }
}
