//! What a layer sends on: its output after what directly follows.

use crate::model::{Graph, Layer, LayerKind, Model, Node, NodeId, ValueId};

/// Functions of one number that count as activations.
const ACTIVATIONS: &[&str] = &[
    "Relu",
    "LeakyRelu",
    "PRelu",
    "ThresholdedRelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "Tanh",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "HardSwish",
    "Swish",
    "Mish",
    "Softplus",
    "Softsign",
];
/// Nodes between a layer and its activation beyond which none is looked for.
const MOST_STEPS: usize = 6;

/// One use of a layer: the value that it sends on, and where its channels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// The value.
    pub value: ValueId,
    /// Which axis counts the layer's output channels.
    pub channels: Channels,
}

/// An axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channels {
    /// Counted from the first, which is 0.
    FromStart(usize),
    /// Counted from the last, which is 1.
    FromEnd(usize),
}

impl Channels {
    /// The axis in a value of this rank.
    pub fn axis(self, rank: usize) -> Option<usize> {
        match self {
            Self::FromStart(axis) => (axis < rank).then_some(axis),
            Self::FromEnd(axis) => rank.checked_sub(axis),
        }
    }
}

impl Sending {
    /// What a layer sends on in all its uses, or in a few words why that cannot be told.
    ///
    /// That is the output of the activation that follows, through batch normalisation and through constants that are
    /// added or multiplied; without an activation, the output after these.
    pub fn all(model: &Model, graph: &Graph, layer: &Layer) -> Result<Vec<Self>, String> {
        if layer.nodes.is_empty() {
            return Err("nothing is known of its use".to_owned());
        }
        let consumers = graph.consumers();
        let one = |&id: &NodeId| {
            let node = graph.node(id);
            let channels = channels(model, graph, node, layer)?;
            let output = node.output().ok_or("nobody reads what it computes")?;
            Ok(Self { value: follow(model, graph, &consumers, output), channels })
        };
        layer.nodes.iter().map(one).collect()
    }
}

fn channels(model: &Model, graph: &Graph, node: &Node, layer: &Layer) -> Result<Channels, String> {
    let is_first = || node.input(0).is_some_and(|id| comes_from(model, graph, id, &layer.weight));
    match (node.op.as_str(), layer.kind) {
        (_, LayerKind::Recurrent) => Err("its gates do not show outside of it".to_owned()),
        ("Conv" | "ConvTranspose", _) => Ok(Channels::FromStart(1)),
        // Whatever its kind, a table that is also multiplied with sends different things on.
        ("Gather", LayerKind::Embedding) => Ok(Channels::FromEnd(1)),
        ("Gemm" | "MatMul", LayerKind::Linear | LayerKind::MatMul) => {
            Ok(Channels::FromEnd(if is_first() { 2 } else { 1 }))
        }
        _ => Err("it is used in two directions".to_owned()),
    }
}

/// Whether a value is a constant made from the tensor called `weight`.
fn comes_from(model: &Model, graph: &Graph, mut id: ValueId, weight: &str) -> bool {
    for _ in 0..MOST_STEPS {
        if graph.value(id).name == weight && model.initializer(id).is_some() {
            return true;
        }
        let producer = graph.nodes.iter().find(|node| node.outputs.contains(&Some(id)));
        let Some(before) = producer.and_then(|node| node.input(0)) else { return false };
        id = before;
    }
    false
}

fn follow(model: &Model, graph: &Graph, consumers: &[Vec<NodeId>], output: ValueId) -> ValueId {
    let mut value = output;
    for _ in 0..MOST_STEPS {
        let readers: Vec<&Node> = consumers[value.0 as usize].iter().map(|&id| graph.node(id)).collect();
        let next = match readers[..] {
            [node] if node.input(0) == Some(value) && ACTIVATIONS.contains(&node.op.as_str()) => {
                return node.output().unwrap_or(value);
            }
            [node] if passes(model, graph, node, value) => node.output(),
            [a, b] => return gated(graph, consumers, value, a, b).unwrap_or(value),
            _ => None,
        };
        let Some(next) = next else { return value };
        value = next;
    }
    value
}

/// Whether a node changes each channel of `value` by constants alone.
fn passes(model: &Model, graph: &Graph, node: &Node, value: ValueId) -> bool {
    let constant = |&id: &ValueId| model.initializer(id).is_some() || graph.value(id).fact.constant.is_some();
    let others = || node.inputs.iter().flatten().filter(|&&id| id != value);
    match node.op.as_str() {
        "BatchNormalization" | "Identity" | "Dropout" => node.input(0) == Some(value),
        "Add" | "Sub" | "Mul" | "Div" => others().count() == 1 && others().all(constant),
        _ => false,
    }
}

/// The product of a value and a function of it, as Swish and HardSwish are written.
fn gated(graph: &Graph, consumers: &[Vec<NodeId>], value: ValueId, a: &Node, b: &Node) -> Option<ValueId> {
    let (function, product) = if a.op == "Mul" { (b, a) } else { (a, b) };
    let gate = function.output().filter(|_| ACTIVATIONS.contains(&function.op.as_str()))?;
    let only = consumers[gate.0 as usize].len() == 1 && function.input(0) == Some(value);
    let reads = |id| product.inputs.contains(&Some(id));
    let is_product = product.op == "Mul" && only && reads(value) && reads(gate) && product.inputs.len() == 2;
    product.output().filter(|id| is_product && (id.0 as usize) < graph.values.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder, Tensor, layers_of};

    /// Names of what the layer `w` sends on in a graph of a dense layer and what `build` appends.
    fn sent(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> (String, Channels) {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 2.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![2, 2], vec![0.0; 4]).unwrap());
        let y = b.gemm("fc", x, w, None);
        let out = build(&mut b, y);
        b.output(out);
        let model = b.finish().unwrap();
        let graph = model.graph.as_ref().unwrap();
        let found = Sending::all(&model, graph, &layers_of(&model)[0]).unwrap()[0];
        (graph.value(found.value).name.clone(), found.channels)
    }

    #[test]
    fn the_activation_that_follows_is_found_through_constants() {
        let name = |build: &dyn Fn(&mut GraphBuilder, ValueId) -> ValueId| sent(build).0;
        let one = |b: &mut GraphBuilder| b.tensor("one", Tensor::from_f32(vec![1], vec![1.0]).unwrap());
        assert_eq!(sent(|b, y| b.node("relu", "Relu", &[y], &[])), ("relu_out".into(), Channels::FromEnd(1)));
        let biased = name(&|b, y| {
            let bias = one(b);
            let sum = b.node("add", "Add", &[bias, y], &[]);
            b.node("tanh", "Tanh", &[sum], &[])
        });
        assert_eq!(biased, "tanh_out");
        let swish = name(&|b, y| {
            let gate = b.node("gate", "Sigmoid", &[y], &[]);
            b.node("swish", "Mul", &[y, gate], &[])
        });
        assert_eq!(swish, "swish_out");
        let residual = name(&|b, y| {
            let bias = one(b);
            let sum = b.node("add", "Add", &[y, bias], &[]);
            let other = b.node("other", "Neg", &[sum], &[]);
            b.node("join", "Add", &[sum, other], &[])
        });
        assert_eq!(residual, "add_out");
        assert_eq!(name(&|b, y| b.node("soft", "Softmax", &[y], &[])), "fc_out");
    }
}
