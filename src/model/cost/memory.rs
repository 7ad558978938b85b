use super::example::OneExample;
use crate::model::{Graph, Model};

/// Memory that the computed values of a graph take, weights apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationMemory {
    /// Most bytes alive at once.
    pub peak_bytes: u64,
    /// The node that runs then, its operands and results being alive; empty where nothing runs.
    pub peak_node: String,
    /// Bytes of all values, inputs included.
    pub sum_bytes: u64,
}

/// Operators whose result is their first operand, seen otherwise.
const VIEWS: [&str; 6] = ["Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"];

/// Activation memory of one example when the nodes run in their order: a value is alive from the node that computes
/// it (an input from the start) to the last one that reads it, a graph output to the end.
///
/// Values count in the dtypes of the graph. What does not depend on the inputs counts as weights, a reshape as
/// the value that it reshapes, and what happens inside of loops and branches not at all. A graph of a fixed number of examples
/// gets the share of one of them. None where a shape or type is not known.
pub fn activation_memory(model: &Model) -> Option<ActivationMemory> {
    let graph = model.graph.as_ref()?;
    let example = OneExample::of(graph);
    let buffers = buffers(model, graph);
    let last = last_reads(graph, &buffers);
    let sizes: Vec<u64> = (0..graph.values.len())
        .map(|value| if buffers[value] == Some(value) { example.bytes(id(value)) } else { Some(0) })
        .collect::<Option<_>>()?;
    let mut alive: u64 = graph.inputs.iter().map(|input| sizes[input.0 as usize]).sum();
    let (mut peak, mut peak_node) = (alive, "");
    for (index, node) in graph.nodes.iter().enumerate() {
        alive += node.outputs.iter().flatten().map(|output| sizes[output.0 as usize]).sum::<u64>();
        if alive > peak {
            (peak, peak_node) = (alive, node.label());
        }
        alive -= last[index].iter().map(|&buffer| sizes[buffer]).sum::<u64>();
    }
    let sum: u64 = sizes.iter().sum();
    Some(ActivationMemory {
        peak_bytes: peak.div_ceil(example.rows),
        peak_node: peak_node.to_owned(),
        sum_bytes: sum.div_ceil(example.rows),
    })
}

const fn id(value: usize) -> crate::model::ValueId {
    crate::model::ValueId(value as u32)
}

/// By value, the value whose memory it is in; none for what the inputs have no part in.
fn buffers(model: &Model, graph: &Graph) -> Vec<Option<usize>> {
    let mut buffers = vec![None; graph.values.len()];
    for input in &graph.inputs {
        buffers[input.0 as usize] = Some(input.0 as usize);
    }
    for node in &graph.nodes {
        if !reads(graph, node).any(|value| buffers[value].is_some()) {
            continue;
        }
        let viewed = node.input(0).filter(|_| VIEWS.contains(&node.op.as_str()) && node.domain.is_empty());
        let viewed = viewed.and_then(|value| buffers[value.0 as usize]);
        for (index, output) in node.outputs.iter().enumerate() {
            let Some(output) = output.map(|output| output.0 as usize) else { continue };
            let known = graph.values[output].fact.constant.is_some() || model.initializer(id(output)).is_some();
            buffers[output] = viewed.filter(|_| index == 0).or_else(|| (!known).then_some(output));
        }
    }
    buffers
}

/// Indices of the values that a node reads, for its bodies as well.
fn reads<'a>(graph: &'a Graph, node: &'a crate::model::Node) -> impl Iterator<Item = usize> + 'a {
    let captured = node.subgraphs().flat_map(Graph::captures).filter_map(|name| graph.find(name));
    node.inputs.iter().flatten().copied().chain(captured).map(|value| value.0 as usize)
}

/// By node, the buffers that nobody needs after it.
fn last_reads(graph: &Graph, buffers: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut needed = vec![false; graph.values.len()];
    for output in &graph.outputs {
        if let Some(buffer) = buffers[output.0 as usize] {
            needed[buffer] = true;
        }
    }
    let mut last = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let written = node.outputs.iter().flatten().map(|output| output.0 as usize);
        for buffer in reads(graph, node).chain(written).filter_map(|value| buffers[value]) {
            if !std::mem::replace(&mut needed[buffer], true) {
                last[index].push(buffer);
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Dim, GraphBuilder, Tensor};

    fn shape(width: usize) -> Vec<Dim> {
        vec![Dim::symbol("batch"), width.into()]
    }

    fn linear(
        b: &mut GraphBuilder,
        name: &str,
        x: crate::model::ValueId,
        (o, i): (usize, usize),
    ) -> crate::model::ValueId {
        let w = b.tensor(&format!("{name}.weight"), Tensor::from_f32(vec![o, i], vec![0.0; o * i]).unwrap());
        b.gemm(name, x, w, None)
    }

    #[test]
    fn a_shortcut_stays_alive_until_it_is_added() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", shape(10));
        let up = linear(&mut b, "up", x, (30, 10));
        let act = b.node("act", "Relu", &[up], &[]);
        let down = linear(&mut b, "down", act, (10, 30));
        let sum = b.node("sum", "Add", &[down, x], &[]);
        b.output(sum);
        let memory = activation_memory(&b.finish().unwrap()).unwrap();
        // At `act`: x, 30 before and 30 after.
        assert_eq!((memory.peak_bytes, memory.peak_node.as_str()), (4 * 70, "act"));
        assert_eq!(memory.sum_bytes, 4 * (10 + 30 + 30 + 10 + 10));
    }

    #[test]
    fn a_view_takes_nothing_and_keeps_what_it_shows() {
        let mut b = GraphBuilder::new("net");
        let x = b.input_of("x", DType::F16, shape(8));
        let axes = b.tensor("axes", Tensor::from_i64(vec![1], &[1]).unwrap());
        let h = b.node("h", "Relu", &[x], &[]);
        let view = b.node("view", "Unsqueeze", &[h, axes], &[]);
        let y = b.node("y", "Abs", &[x], &[]);
        let z = b.node("z", "Add", &[y, view], &[]);
        b.output(z);
        let memory = activation_memory(&b.finish().unwrap()).unwrap();
        assert_eq!((memory.peak_bytes, memory.sum_bytes), (2 * 3 * 8, 2 * 4 * 8));
    }

    #[test]
    fn open_shapes_have_no_memory_and_a_fixed_batch_is_shared_out() {
        let relu = |shape: Vec<Dim>| {
            let mut b = GraphBuilder::new("net");
            let x = b.input("x", shape);
            let y = b.node("y", "Relu", &[x], &[]);
            b.output(y);
            activation_memory(&b.finish().unwrap())
        };
        assert_eq!(relu(vec![Dim::symbol("batch"), Dim::symbol("sequence")]), None);
        assert_eq!(relu(vec![4.into(), 5.into()]).unwrap().peak_bytes, 2 * 5 * 4);
    }
}
