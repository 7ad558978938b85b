use super::found::of_channels;
use super::progress::Progress;
use super::{CalibrateError, Observe};
use crate::model::{Graph, Layer, LayerKind, Model, Node, NodeId, ValueId};
use crate::prune::{Criterion, LayerScores, Scores, Subject};

/// Magnitude of the factor of the batch-norm that reads what a layer computes, where nothing else reads it.
pub(super) fn score(subject: &Subject<'_>, layers: &[&Layer], observe: Observe<'_>) -> Result<Scores, CalibrateError> {
    let mut progress = Progress::new(1, observe);
    let mut scores = Scores::default();
    let search = subject.model.graph.as_ref().map(|graph| Search {
        model: subject.model,
        graph,
        producers: graph.producers(),
        consumers: graph.consumers(),
    });
    for layer in layers {
        let found = search.as_ref().map_or_else(|| Err(NO_GRAPH.to_owned()), |search| search.scales(layer));
        scores.insert(&layer.name, Criterion::BnScale, found);
    }
    progress.advance(1)?;
    Ok(scores)
}

const NO_GRAPH: &str = "the file has no graph that says which batch-norm follows";
const NO_NORM: &str = "no batch-norm follows it";
/// Operators between a stored weight and the node that it is an operand of.
const MOST_STEPS: usize = 8;

struct Search<'a> {
    model: &'a Model,
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
}

impl Search<'_> {
    fn scales(&self, layer: &Layer) -> Result<LayerScores, String> {
        let &[node] = &layer.nodes[..] else {
            return Err("its weight is used more than once".to_owned());
        };
        let node = self.graph.node(node);
        let output = node.output().filter(|output| !self.graph.outputs.contains(output)).ok_or(NO_NORM)?;
        let &[reader] = &self.consumers[output.0 as usize][..] else {
            return Err(NO_NORM.to_owned());
        };
        let norm = self.graph.node(reader);
        let direct = norm.op == "BatchNormalization" && norm.input(0) == Some(output);
        if !direct || !self.has_channels_second(layer, node, output) {
            return Err(NO_NORM.to_owned());
        }
        let scale = norm.input(1).and_then(|scale| self.model.initializer(scale));
        let scale = scale.ok_or("the factors of its batch-norm are computed")?;
        let channels = layer.channel_count();
        // The outputs of a grouped transposed convolution lie group after group; a stored channel is one of each.
        if channels == 0 || scale.shape().len() != 1 || !scale.len().is_multiple_of(channels) {
            return Err(NO_NORM.to_owned());
        }
        let mut sums = vec![0.0; channels];
        for group in scale.resident().to_f32().chunks(channels) {
            sums.iter_mut().zip(group).for_each(|(sum, scale)| *sum += f64::from(scale.abs()));
        }
        of_channels(sums)
    }

    /// Whether the axis that a batch-norm counts is that of the layer's outputs.
    fn has_channels_second(&self, layer: &Layer, node: &Node, output: ValueId) -> bool {
        match layer.kind {
            LayerKind::Conv | LayerKind::ConvTranspose => true,
            LayerKind::Linear | LayerKind::MatMul => {
                let rank = self.graph.value(output).fact.shape.as_ref().map(Vec::len);
                rank == Some(2) && node.input(1).is_some_and(|operand| self.comes_from(operand, &layer.weight))
            }
            LayerKind::Embedding | LayerKind::Recurrent | LayerKind::Weight => false,
        }
    }

    fn comes_from(&self, mut value: ValueId, weight: &str) -> bool {
        for _ in 0..MOST_STEPS {
            if self.graph.value(value).name == weight {
                return true;
            }
            let before = self.producers[value.0 as usize].and_then(|id| self.graph.node(id).input(0));
            let Some(before) = before else { return false };
            value = before;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, Dim, GraphBuilder, Tensor, layers_of};
    use std::ops::ControlFlow;

    fn scored(model: &Model) -> Vec<(String, Result<Vec<f64>, String>)> {
        let layers = layers_of(model);
        let asked: Vec<&Layer> = layers.iter().collect();
        let subject = Subject::new(model, &layers);
        let scores = score(&subject, &asked, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let found = |layer: &Layer| {
            let found = scores.get(&layer.name, Criterion::BnScale).unwrap();
            found.map(|found| found.channels.as_ref().unwrap().to_vec()).map_err(str::to_owned)
        };
        layers.iter().map(|layer| (layer.name.clone(), found(layer))).collect()
    }

    /// A convolution of three channels; `rest` goes on from it and ends with the output of the graph.
    fn after(rest: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Result<Vec<f64>, String> {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![Dim::symbol("n"), 2.into(), 4.into(), 4.into()]);
        let w = b.tensor("conv.weight", Tensor::from_f32(vec![3, 2, 1, 1], vec![1.0; 6]).unwrap());
        let h = b.conv("conv", x, w, None, (1, 0, 1));
        let y = rest(&mut b, h);
        b.output(y);
        scored(&b.finish().unwrap()).remove(0).1
    }

    fn norm(b: &mut GraphBuilder, x: ValueId) -> ValueId {
        let parts = ["scale", "shift", "mean", "var"]
            .map(|name| b.tensor(name, Tensor::from_f32(vec![3], vec![0.5, -2.0, 0.0]).unwrap()));
        b.node("norm", "BatchNormalization", &[&[x], &parts[..]].concat(), &[])
    }

    #[test]
    fn the_factors_of_the_norm_that_follows_directly_are_the_scores() {
        assert_eq!(after(norm), Ok(vec![0.5, 2.0, 0.0]));
    }

    #[test]
    fn a_norm_further_on_or_beside_another_reader_is_not_the_layers_own() {
        let behind_relu = after(|b, h| {
            let h = b.node("relu", "Relu", &[h], &[]);
            norm(b, h)
        });
        let beside = after(|b, h| {
            let normed = norm(b, h);
            b.node("add", "Add", &[h, normed], &[])
        });
        let also_output = after(|b, h| {
            b.output(h);
            norm(b, h)
        });
        let none = after(|b, h| b.node("relu", "Relu", &[h], &[]));
        for found in [behind_relu, beside, also_output, none] {
            assert_eq!(found, Err("no batch-norm follows it".to_owned()));
        }
    }

    #[test]
    fn fully_connected_layers_count_only_where_the_norm_counts_their_outputs() {
        let with = |shape: &[usize], weight_first: bool| {
            let mut b = GraphBuilder::new("net");
            let x = b.input("x", shape.iter().map(|&extent| Dim::Known(extent)).collect());
            let w = b.tensor("fc", Tensor::from_f32(vec![3, 3], vec![1.0; 9]).unwrap());
            let h = b.node("fc", "MatMul", &if weight_first { [w, x] } else { [x, w] }, &[]);
            let y = norm(&mut b, h);
            b.output(y);
            scored(&b.finish().unwrap()).remove(0).1
        };
        assert_eq!(with(&[5, 3], false), Ok(vec![0.5, 2.0, 0.0]));
        assert!(with(&[5, 3, 3], false).is_err());
        assert!(with(&[3, 3], true).is_err());
    }

    #[test]
    fn of_the_residual_sample_all_but_the_classifier_have_one() {
        let scored = scored(&Architecture::ResNet8.build(1).unwrap());
        let without: Vec<&str> = scored.iter().filter(|(_, s)| s.is_err()).map(|(name, _)| name.as_str()).collect();
        assert_eq!(without, ["fc"]);
    }
}
