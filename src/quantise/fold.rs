//! Batch normalisation folded into the convolution before it.

use super::rewrite::free_name;
use crate::model::{Fact, Graph, Model, Node, NodeId, Tensor, ValueId};
use std::collections::HashSet;

/// A convolution whose only reader is a batch normalisation.
struct Pair {
    conv: NodeId,
    norm: NodeId,
    weight: String,
    bias: Option<String>,
    /// For each output channel, what the weight is multiplied with.
    factors: Vec<f64>,
    /// For each output channel, the bias of both together.
    shifts: Vec<f64>,
}

/// Folds normalisations into the convolutions of `wanted` nodes; zeros stay zero. Returns how many it folded.
///
/// Nodes keep their order; ids behind a folded normalisation change. A convolution whose weight or bias something else
/// reads too, or whose own result is asked for, stays as it is, and so does one whose numbers would not be finite.
/// What nothing reads any more is left for the caller to sweep out.
pub(super) fn fold_normalisations(model: &mut Model, wanted: &HashSet<NodeId>) -> usize {
    let Some(graph) = &model.graph else { return 0 };
    let search = Search { model, graph, consumers: graph.consumers(), captured: captured(graph) };
    let found = graph.iter_nodes().filter(|(id, _)| wanted.contains(id));
    let found: Vec<Pair> = found.filter_map(|(id, node)| search.pair(id, node)).collect();
    let found: Vec<(Pair, Tensor, Tensor)> = found
        .into_iter()
        .filter_map(|pair| folded(model, graph.node(pair.conv), &pair).map(|(weight, bias)| (pair, weight, bias)))
        .collect();
    let Some(mut graph) = model.graph.take() else { return 0 };
    let mut gone = HashSet::new();
    for (pair, weight, bias) in found {
        let norm = graph.nodes[pair.norm.0 as usize].outputs[..1].to_vec();
        if pair.bias.is_none() {
            let stem = pair.weight.strip_suffix(".weight").unwrap_or(&pair.weight);
            let name = free_name(&format!("{stem}.bias"), &graph, &model.tensors);
            let value = graph.add_value(name.clone(), Fact::of_tensor(&bias));
            let inputs = &mut graph.nodes[pair.conv.0 as usize].inputs;
            inputs.resize(3, None);
            inputs[2] = Some(value);
            model.tensors.insert(name, bias);
        } else if let Some(name) = pair.bias {
            model.tensors.insert(name, bias);
        }
        model.tensors.insert(pair.weight, weight);
        graph.nodes[pair.conv.0 as usize].outputs = norm;
        gone.insert(pair.norm.0 as usize);
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    model.graph = Some(graph);
    gone.len()
}

/// Names that bodies of nodes read from the graph.
pub(super) fn captured(graph: &Graph) -> HashSet<String> {
    graph.nodes.iter().flat_map(Node::subgraphs).flat_map(Graph::captures).map(str::to_owned).collect()
}

struct Search<'a> {
    model: &'a Model,
    graph: &'a Graph,
    consumers: Vec<Vec<NodeId>>,
    captured: HashSet<String>,
}

impl Search<'_> {
    /// Whether one node alone reads a value.
    fn is_read_once(&self, value: ValueId) -> bool {
        let captured = self.captured.contains(&self.graph.value(value).name);
        self.consumers[value.0 as usize].len() == 1 && !captured && !self.graph.outputs.contains(&value)
    }

    fn pair(&self, id: NodeId, node: &Node) -> Option<Pair> {
        let output = node.output().filter(|&output| self.is_read_once(output))?;
        let norm_id = *self.consumers[output.0 as usize].first()?;
        let norm = self.graph.node(norm_id);
        let plain = norm.outputs.iter().skip(1).all(Option::is_none) && norm.int("training_mode", 0) == 0;
        let fits = matches!(node.op.as_str(), "Conv" | "ConvTranspose") && norm.op == "BatchNormalization";
        if !fits || !plain || !node.domain.is_empty() || norm.input(0) != Some(output) {
            return None;
        }
        let own = |value: ValueId| self.model.initializer(value).filter(|_| self.is_read_once(value));
        let weight = node.input(1).filter(|&weight| own(weight).is_some_and(|t| t.dtype().is_float()))?;
        let numbers = |index: usize| Some(self.model.initializer(norm.input(index)?)?.to_f32().into_owned());
        let [scale, shift, mean, variance] = [numbers(1)?, numbers(2)?, numbers(3)?, numbers(4)?];
        let before = match node.input(2) {
            Some(bias) => own(bias)?.to_f32().into_owned(),
            None => vec![0.0; scale.len()],
        };
        if [shift.len(), mean.len(), variance.len(), before.len()] != [scale.len(); 4] {
            return None;
        }
        let epsilon = f64::from(norm.float("epsilon", 1e-5));
        let factor = |i: usize| f64::from(scale[i]) / (f64::from(variance[i]) + epsilon).sqrt();
        let moved = |i: usize| (f64::from(before[i]) - f64::from(mean[i])) * factor(i) + f64::from(shift[i]);
        let name = |value: ValueId| self.graph.value(value).name.clone();
        Some(Pair {
            conv: id,
            norm: norm_id,
            weight: name(weight),
            bias: node.input(2).map(name),
            factors: (0..scale.len()).map(factor).collect(),
            shifts: (0..scale.len()).map(moved).collect(),
        })
    }
}

/// The weight and the bias of both together, in the type of the weight.
fn folded(model: &Model, node: &Node, pair: &Pair) -> Option<(Tensor, Tensor)> {
    let weight = model.tensors.get(&pair.weight)?;
    let [first, second, kernel @ ..] = weight.shape() else { return None };
    let area: usize = kernel.iter().product();
    let groups = node.int("group", 1).max(1) as usize;
    let transposed = node.op == "ConvTranspose";
    let outputs = if transposed { second * groups } else { *first };
    if outputs != pair.factors.len() || *first < groups {
        return None;
    }
    let channel = |i: usize| {
        let (row, column) = (i / (second * area), i / area % second);
        if transposed { row / (first / groups) * second + column } else { row }
    };
    let product = |(i, &w): (usize, &f32)| (f64::from(w) * pair.factors[channel(i)]) as f32;
    let values: Vec<f32> = weight.to_f32().iter().enumerate().map(product).collect();
    let shifts: Vec<f32> = pair.shifts.iter().map(|&s| s as f32).collect();
    if !values.iter().chain(&shifts).all(|v| v.is_finite()) {
        return None;
    }
    let tensor = |shape: Vec<usize>, values| Tensor::from_f32(shape, values).ok()?.cast(weight.dtype()).ok();
    Some((tensor(weight.shape().to_vec(), values)?, tensor(vec![outputs], shifts)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Program;
    use crate::model::{Attribute, Dim, GraphBuilder, check_structure, infer_facts};

    fn numbers(len: usize, first: usize) -> Vec<f32> {
        (0..len).map(|i| ((i + first) * 37 % 23) as f32 / 11.0 - 1.0).collect()
    }

    /// A convolution with a normalisation behind it, `transposed` or not, in groups.
    #[expect(clippy::fn_params_excessive_bools, reason = "each is a case of its own")]
    fn normalised(transposed: bool, groups: i64, bias: bool, taken: bool) -> Model {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 4.into(), 5.into(), 5.into()]);
        let shape = if transposed { vec![4, 6 / groups as usize, 3, 3] } else { vec![6, 4 / groups as usize, 3, 3] };
        let mut values = numbers(shape.iter().product(), 0);
        values.iter_mut().step_by(3).for_each(|v| *v = 0.0);
        let w = b.tensor("conv.weight", Tensor::from_f32(shape, values).unwrap());
        let own = bias.then(|| b.tensor("own", Tensor::from_f32(vec![6], numbers(6, 3)).unwrap()));
        let inputs = [Some(x), Some(w), own].into_iter().flatten().collect::<Vec<_>>();
        let op = if transposed { "ConvTranspose" } else { "Conv" };
        let h = b.node("conv", op, &inputs, &[("group", Attribute::Int(groups))]);
        let mut operands = vec![h];
        for (name, first) in [("scale", 1), ("shift", 2), ("mean", 5), ("variance", 7)] {
            let mut values = numbers(6, first);
            if name == "variance" {
                for v in &mut values {
                    *v = v.abs() + 0.1;
                }
            }
            operands.push(b.tensor(name, Tensor::from_f32(vec![6], values).unwrap()));
        }
        let y = b.node("norm", "BatchNormalization", &operands, &[]);
        b.output(y);
        if taken {
            b.output(h);
        }
        b.finish().unwrap()
    }

    #[test]
    fn the_folded_convolution_computes_the_same_and_zeros_stay() {
        let x = Tensor::from_f32(vec![2, 4, 5, 5], numbers(200, 9)).unwrap();
        for (transposed, groups, bias) in
            [(false, 1, false), (false, 2, true), (true, 1, true), (true, 2, false), (false, 2, false)]
        {
            let model = normalised(transposed, groups, bias, false);
            let mut folded = model.clone();
            assert_eq!(fold_normalisations(&mut folded, &HashSet::from([NodeId(0)])), 1);
            infer_facts(&mut folded).unwrap();
            check_structure(&folded).unwrap();
            assert_eq!(folded.graph.as_ref().unwrap().nodes.len(), 1);
            let run = |model: &Model| {
                let bound = Program::compile(model).unwrap().bind(model).unwrap();
                bound.run(std::slice::from_ref(&x)).unwrap()[0].to_f32().into_owned()
            };
            let largest = run(&model).iter().zip(run(&folded)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 2e-5, "{transposed} {groups} {bias}: {largest}");
            let (before, after) = (&model.tensors["conv.weight"], &folded.tensors["conv.weight"]);
            assert!(before.to_f32().iter().zip(after.to_f32().iter()).all(|(b, a)| *b != 0.0 || *a == 0.0));
        }
    }

    #[test]
    fn a_convolution_stays_that_is_not_asked_for_or_whose_own_result_is() {
        let mut model = normalised(false, 1, false, false);
        assert_eq!(fold_normalisations(&mut model, &HashSet::new()), 0);
        let mut model = normalised(false, 1, false, true);
        assert_eq!(fold_normalisations(&mut model, &HashSet::from([NodeId(0)])), 0);
        assert_eq!(model.graph.unwrap().nodes.len(), 2);
    }
}
