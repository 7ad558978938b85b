use super::graph::{Attribute, Graph};
use super::{Model, Tensor};

/// Takes a word into a running state: the finaliser of SplitMix64 (Steele et al. 2014).
pub(crate) const fn mix(state: u64, word: u64) -> u64 {
    let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of bytes that is the same on every machine.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let state = words.iter().fold(bytes.len() as u64, |state, &word| mix(state, u64::from_le_bytes(word)));
    tail.iter().fold(state, |state, &byte| mix(state, u64::from(byte)))
}

impl Model {
    /// A hash of what the model computes, its graph and its tensors: equal for equal models on every machine, whatever
    /// file they came from.
    pub fn fingerprint(&self) -> u64 {
        let tensors = self.tensors.iter().fold(self.tensors.len() as u64, |state, (name, tensor)| {
            mix(mix(state, hash(name.as_bytes())), of_tensor(tensor))
        });
        self.graph.as_ref().map_or(tensors, |graph| mix(tensors, of_graph(graph)))
    }
}

fn all(state: u64, words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(state, mix)
}

fn of_tensor(tensor: &Tensor) -> u64 {
    let tensor = tensor.resident();
    let kind = hash(tensor.dtype().to_string().as_bytes());
    let shape = all(kind, tensor.shape().iter().map(|&extent| extent as u64));
    mix(shape, hash(tensor.bytes()))
}

fn of_graph(graph: &Graph) -> u64 {
    let name = |id: &super::ValueId| hash(graph.value(*id).name.as_bytes());
    let optional = |id: &Option<super::ValueId>| id.as_ref().map_or(0, name);
    let mut state = all(graph.opset as u64, graph.inputs.iter().chain(&graph.outputs).map(name));
    for node in &graph.nodes {
        state = all(state, [hash(node.op.as_bytes()), hash(node.domain.as_bytes())]);
        state = all(state, node.inputs.iter().chain(&node.outputs).map(optional));
        for (key, attribute) in &node.attributes {
            state = all(state, [hash(key.as_bytes()), of_attribute(attribute)]);
        }
    }
    state
}

fn of_attribute(attribute: &Attribute) -> u64 {
    match attribute {
        Attribute::Int(value) => mix(1, *value as u64),
        Attribute::Float(value) => mix(2, u64::from(value.to_bits())),
        Attribute::String(value) => mix(3, hash(value)),
        Attribute::Ints(values) => all(4, values.iter().map(|&value| value as u64)),
        Attribute::Floats(values) => all(5, values.iter().map(|value| u64::from(value.to_bits()))),
        Attribute::Strings(values) => all(6, values.iter().map(|value| hash(value))),
        Attribute::Tensor(value) => mix(7, of_tensor(value)),
        Attribute::Tensors(values) => all(8, values.iter().map(of_tensor)),
        Attribute::Graph(value) => mix(9, of_graph(value)),
        Attribute::Graphs(values) => all(10, values.iter().map(|value| of_graph(value))),
        Attribute::Opaque(value) => mix(11, hash(&value.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    #[test]
    fn every_weight_and_every_attribute_counts_and_where_it_came_from_does_not() {
        let model = Architecture::LeNet5.build(1).unwrap();
        let mut moved = model.clone();
        moved.origin.path = Some("elsewhere".into());
        assert_eq!(moved.fingerprint(), model.fingerprint());
        assert_ne!(Architecture::LeNet5.build(2).unwrap().fingerprint(), model.fingerprint());
        let mut strided = model.clone();
        let node = strided.graph.as_mut().unwrap().nodes.iter_mut().find(|node| node.op == "MaxPool").unwrap();
        node.attributes.insert("strides".into(), Attribute::Ints(vec![1, 2]));
        assert_ne!(strided.fingerprint(), model.fingerprint());
        let mut edited = model.clone();
        let bias = &model.tensors["fc2.bias"];
        let mut values = bias.to_f32().into_owned();
        values[9] += 1.0;
        edited.tensors.insert("fc2.bias".into(), Tensor::from_f32(bias.shape().to_vec(), values).unwrap());
        assert_ne!(edited.fingerprint(), model.fingerprint());
    }
}
