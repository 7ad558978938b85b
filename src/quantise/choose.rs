//! Which layers are quantised, and why others are not.

use super::fold::captured;
use super::{QuantiseError, QuantiseOptions};
use crate::model::{Graph, Layer, LayerKind, Model, layers_of};
use crate::prune::select;
use std::collections::HashSet;

/// A layer of a model, and why it is left as it is, if it is.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub layer: Layer,
    pub skipped: Option<String>,
}

/// The layers of a model with what the options say of each.
///
/// # Errors
/// [`QuantiseError::Select`] for globs that match nothing.
pub(super) fn choose(model: &Model, graph: &Graph, options: &QuantiseOptions) -> Result<Vec<Choice>, QuantiseError> {
    let layers = layers_of(model);
    let selected: HashSet<String> =
        select(&layers, &options.include, &options.exclude)?.into_iter().map(|layer| layer.name.clone()).collect();
    let taken = captured(graph);
    let mut choices: Vec<Choice> = layers
        .iter()
        .map(|layer| {
            let left_out = !selected.contains(&layer.name) && layer.prunability.is_prunable();
            let by_choice = || left_out.then(|| "left out by choice".to_owned());
            Choice { layer: layer.clone(), skipped: obstacle(model, graph, &taken, layer).or_else(by_choice) }
        })
        .collect();
    let able: Vec<usize> =
        (0..choices.len()).filter(|&i| obstacle(model, graph, &taken, &choices[i].layer).is_none()).collect();
    let ends =
        [(options.spare_first, able.first(), "the first layer"), (options.spare_last, able.last(), "the last layer")];
    for (spared, index, which) in ends {
        if let (true, Some(&index)) = (spared, index) {
            choices[index].skipped = Some(format!("spared as {which}"));
        }
    }
    Ok(choices)
}

/// Why the weight of a layer cannot be quantised.
fn obstacle(model: &Model, graph: &Graph, taken: &HashSet<String>, layer: &Layer) -> Option<String> {
    if !layer.prunability.is_prunable() {
        return Some(layer.prunability.reason());
    }
    match layer.kind {
        LayerKind::Conv | LayerKind::ConvTranspose | LayerKind::Linear | LayerKind::MatMul => {}
        LayerKind::Embedding => return Some("its rows are looked up, not multiplied".to_owned()),
        LayerKind::Recurrent => return Some("recurrent layers have no quantised form in ONNX".to_owned()),
        LayerKind::Weight => return Some("nothing is known of its use".to_owned()),
    }
    let Some(weight) = model.tensors.get(&layer.weight) else { return Some("its weight is missing".to_owned()) };
    if taken.contains(&layer.weight) {
        return Some("the body of another node reads its weight".to_owned());
    }
    if graph.outputs.iter().any(|&id| graph.value(id).name == layer.weight) {
        return Some("its weight is an output of the network".to_owned());
    }
    let lost = weight.resident().to_f32().iter().filter(|w| !w.is_finite()).count();
    (lost > 0).then(|| format!("{lost} of its weights are not finite"))
}

/// The axis of a stored weight that gets a scale for each place.
///
/// That of the output channels. A transposed convolution in groups of one output each counts these along its inputs;
/// of other groups, outputs at the same place in their groups share a scale.
pub(super) fn axis_of(layer: &Layer) -> usize {
    let depthwise = layer.kind == LayerKind::ConvTranspose && layer.groups > 1 && layer.shape.get(1) == Some(&1);
    if depthwise { 0 } else { layer.output_axis }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, Dim, GraphBuilder, Tensor};

    fn skipped(model: &Model, options: &QuantiseOptions) -> Vec<(String, String)> {
        let chosen = choose(model, model.graph.as_ref().unwrap(), options).unwrap();
        chosen.into_iter().filter_map(|c| Some((c.layer.name, c.skipped?))).collect()
    }

    #[test]
    fn layers_are_left_out_by_name_and_at_the_ends() {
        let model = Architecture::LeNet5.build(1).unwrap();
        let options = QuantiseOptions {
            exclude: vec!["fc*".to_owned()],
            spare_first: true,
            spare_last: true,
            ..QuantiseOptions::default()
        };
        let found = skipped(&model, &options);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["conv1", "fc1", "fc2"]);
        assert_eq!(found[0].1, "spared as the first layer");
        assert_eq!(found[1].1, "left out by choice");
        let typo = QuantiseOptions { include: vec!["cnov*".to_owned()], ..QuantiseOptions::default() };
        assert!(matches!(choose(&model, model.graph.as_ref().unwrap(), &typo), Err(QuantiseError::Select(_))));
    }

    #[test]
    fn tables_and_weights_that_are_not_finite_have_a_reason() {
        let mut b = GraphBuilder::new("g");
        let ids = b.input_of("ids", crate::model::DType::I64, vec![Dim::symbol("n")]);
        let table = b.tensor("table", Tensor::from_f32(vec![5, 2], vec![0.5; 10]).unwrap());
        let rows = b.node("rows", "Gather", &[table, ids], &[]);
        let w = b.tensor("w", Tensor::from_f32(vec![2, 2], vec![1.0, f32::INFINITY, 0.0, 1.0]).unwrap());
        let y = b.node("y", "MatMul", &[rows, w], &[]);
        b.output(y);
        let found = skipped(&b.finish().unwrap(), &QuantiseOptions::default());
        assert_eq!(found[0], ("table".to_owned(), "its rows are looked up, not multiplied".to_owned()));
        assert_eq!(found[1].1, "1 of its weights are not finite");
    }
}
