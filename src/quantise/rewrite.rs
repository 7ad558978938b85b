//! The graph with nodes that quantise.

use super::Mode;
use super::range::Affine;
use super::weight::Codes;
use crate::model::{Attribute, DType, Fact, Graph, Model, Node, NodeId, Tensor, TensorError, ValueId};
use bytes::Bytes;
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap};

/// A name that nothing has yet, `name` itself if it is free.
pub(super) fn free_name(name: &str, graph: &Graph, tensors: &IndexMap<String, Tensor>) -> String {
    let is_free = |name: &String| !tensors.contains_key(name) && graph.find(name).is_none();
    let further = (2..).map(|n| format!("{name}.{n}"));
    std::iter::once(name.to_owned()).chain(further).find(is_free).unwrap_or_else(|| name.to_owned())
}

/// Nodes to be put in front of others, and what these read instead.
#[derive(Debug)]
pub(super) struct Rewrite {
    model: Model,
    graph: Graph,
    /// By the node that they go before.
    before: BTreeMap<u32, Vec<Node>>,
    /// Quantised activations that there are already.
    activations: HashMap<ValueId, ValueId>,
}

impl Rewrite {
    /// Of a model and its graph.
    pub fn new(mut model: Model) -> Option<Self> {
        let graph = model.graph.take()?;
        Some(Self { model, graph, before: BTreeMap::new(), activations: HashMap::new() })
    }

    /// The graph, without what is to be put in.
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The tensors, those of what is to be put in as well.
    pub const fn tensors(&self) -> &IndexMap<String, Tensor> {
        &self.model.tensors
    }

    fn value(&mut self, name: &str) -> ValueId {
        let name = free_name(name, &self.graph, &self.model.tensors);
        self.graph.add_value(name, Fact::default())
    }

    fn stored(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let id = self.value(name);
        self.graph.value_mut(id).fact = Fact::of_tensor(&tensor);
        self.model.tensors.insert(self.graph.value(id).name.clone(), tensor);
        id
    }

    fn put(
        &mut self,
        before: NodeId,
        op: &str,
        inputs: &[ValueId],
        output: &str,
        attributes: &[(&str, i64)],
    ) -> ValueId {
        let id = self.value(output);
        let attributes = attributes.iter().map(|&(name, value)| (name.to_owned(), Attribute::Int(value))).collect();
        let node = Node {
            name: self.graph.value(id).name.clone(),
            op: op.to_owned(),
            domain: String::new(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(id)],
            attributes,
        };
        self.before.entry(before.0).or_default().push(node);
        id
    }

    /// Stores a weight as codes and scales; all that read it read them through `DequantizeLinear`.
    ///
    /// # Errors
    /// [`TensorError`] if the codes are not those of the weight.
    pub fn weight(&mut self, name: &str, codes: &Codes, axis: usize) -> Result<(), TensorError> {
        let (Some(id), Some(old)) = (self.graph.find(name), self.model.tensors.get(name)) else { return Ok(()) };
        let dtype = old.dtype();
        let bytes: Vec<u8> = codes.values.iter().map(|code| code.cast_unsigned()).collect();
        let tensor = Tensor::new(DType::I8, old.shape().to_vec(), Bytes::from(bytes))?;
        let scales = Tensor::from_f32(vec![codes.scales.len()], codes.scales.clone())?;
        self.dequantised(id, tensor, scales, axis, dtype);
        Ok(())
    }

    /// As [`Rewrite::weight`], for a bias in units of the products that it is added to.
    ///
    /// # Errors
    /// As [`Rewrite::weight`].
    pub fn bias(&mut self, name: &str, codes: &[i32], scales: Vec<f32>) -> Result<(), TensorError> {
        let Some(id) = self.graph.find(name) else { return Ok(()) };
        let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(codes));
        let tensor = Tensor::new(DType::I32, vec![codes.len()], bytes)?;
        self.dequantised(id, tensor, Tensor::from_f32(vec![scales.len()], scales)?, 0, DType::F32);
        Ok(())
    }

    fn dequantised(&mut self, id: ValueId, codes: Tensor, scales: Tensor, axis: usize, dtype: DType) {
        let readers: Vec<NodeId> =
            self.graph.iter_nodes().filter(|(_, n)| n.inputs.contains(&Some(id))).map(|(id, _)| id).collect();
        let Some(&first) = readers.first() else { return };
        let name = self.graph.value(id).name.clone();
        self.graph.value_mut(id).fact = Fact::of_tensor(&codes);
        self.model.tensors.insert(name.clone(), codes);
        let scale = self.stored(&format!("{name}.scale"), scales);
        let output = format!("{name}.dequantized");
        let mut result = self.put(first, "DequantizeLinear", &[id, scale], &output, &[("axis", axis as i64)]);
        if dtype != DType::F32 {
            result =
                self.put(first, "Cast", &[result], &format!("{output}.cast"), &[("to", i64::from(dtype.to_onnx()))]);
        }
        for reader in readers {
            for input in &mut self.graph.nodes[reader.0 as usize].inputs {
                if *input == Some(id) {
                    *input = Some(result);
                }
            }
        }
    }

    /// Lets a node read an operand through codes of 8 bits.
    ///
    /// # Errors
    /// [`TensorError`] does not occur.
    pub fn activation(
        &mut self,
        node: NodeId,
        operand: usize,
        mode: Mode,
        codes: Option<Affine>,
    ) -> Result<(), TensorError> {
        let Some(value) = self.graph.node(node).input(operand) else { return Ok(()) };
        let quantised = match (self.activations.get(&value), mode, codes) {
            (Some(&known), ..) => known,
            (None, Mode::Static, Some(Affine { scale, zero_point })) => {
                let name = self.graph.value(value).name.clone();
                let scale = self.stored(&format!("{name}.scale"), Tensor::from_f32(Vec::new(), vec![scale])?);
                let zero = Tensor::new(DType::U8, Vec::new(), Bytes::copy_from_slice(&[zero_point]))?;
                let zero = self.stored(&format!("{name}.zero_point"), zero);
                let output = format!("{name}.quantized");
                let whole = self.put(node, "QuantizeLinear", &[value, scale, zero], &output, &[]);
                self.put(node, "DequantizeLinear", &[whole, scale, zero], &format!("{name}.dequantized"), &[])
            }
            (None, Mode::Dynamic, _) => {
                let name = self.graph.value(value).name.clone();
                let whole = self.put(node, "DynamicQuantizeLinear", &[value], &format!("{name}.quantized"), &[]);
                let further = ["scale", "zero_point"].map(|part| self.value(&format!("{name}.{part}")));
                if let Some(quantise) = self.before.get_mut(&node.0).and_then(|nodes| nodes.last_mut()) {
                    quantise.outputs.extend(further.map(Some));
                }
                let [scale, zero] = further;
                self.put(node, "DequantizeLinear", &[whole, scale, zero], &format!("{name}.dequantized"), &[])
            }
            _ => return Ok(()),
        };
        self.activations.insert(value, quantised);
        self.graph.nodes[node.0 as usize].inputs[operand] = Some(quantised);
        Ok(())
    }

    /// The model with all nodes in their places; facts are still to be inferred.
    pub fn finish(self) -> Model {
        let Self { mut model, mut graph, mut before, .. } = self;
        let nodes = std::mem::take(&mut graph.nodes);
        for (index, node) in (0..).zip(nodes) {
            graph.nodes.extend(before.remove(&index).unwrap_or_default());
            graph.nodes.push(node);
        }
        model.graph = Some(graph);
        // The file it was read from cannot be written again with other data alone.
        model.origin.source = None;
        model
    }
}
