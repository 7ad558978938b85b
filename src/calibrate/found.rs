//! From numbers to what a criterion says of a layer.

use crate::model::Layer;
use crate::prune::LayerScores;

/// Why a layer has no scores, where they overflow or its weights are not numbers.
const NOT_FINITE: &str = "its scores are not finite";

/// Scores of single weights, not below zero, and of channels: their sums, unless they are given.
///
/// A weight that is zero gets the score zero: removing it changes nothing, so it goes first, and a plan removes as
/// many weights as it says.
pub(super) fn of_weights(
    layer: &Layer,
    weight: &[f32],
    mut scores: Vec<f32>,
    channels: Option<Vec<f64>>,
) -> Result<LayerScores, String> {
    scores.iter_mut().zip(weight).filter(|(_, weight)| **weight == 0.0).for_each(|(score, _)| *score = 0.0);
    let finite = scores.iter().all(|score| score.is_finite());
    if !finite || !channels.iter().flatten().all(|score| score.is_finite()) {
        return Err(NOT_FINITE.to_owned());
    }
    Ok(LayerScores::of_weights(layer, scores, channels))
}

/// Scores of whole channels alone.
pub(super) fn of_channels(channels: Vec<f64>) -> Result<LayerScores, String> {
    if channels.iter().all(|score| score.is_finite()) {
        Ok(LayerScores::of_channels(channels))
    } else {
        Err(NOT_FINITE.to_owned())
    }
}

/// Sums by output channel of what stands at each weight, in stored order.
pub(super) fn sums(layer: &Layer, values: impl Iterator<Item = f64>) -> Vec<f64> {
    let inner: usize = layer.shape.iter().skip(layer.output_axis + 1).product();
    let channels = layer.channel_count();
    let mut sums = vec![0.0; channels];
    let mut values = values.peekable();
    while values.peek().is_some() {
        for sum in &mut sums {
            *sum += values.by_ref().take(inner).sum::<f64>();
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Tensor, layers_of};

    fn layer(shape: &[usize], output_axis: usize) -> Layer {
        let mut model = Model::default();
        let zeros = vec![0.0; shape.iter().product()];
        model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), zeros).unwrap());
        Layer { output_axis, ..layers_of(&model)[0].clone() }
    }

    #[test]
    fn channels_are_summed_along_any_axis() {
        let values = || (1..=12).map(f64::from);
        assert_eq!(sums(&layer(&[2, 3, 2], 0), values()), [21.0, 57.0]);
        assert_eq!(sums(&layer(&[2, 3, 2], 1), values()), [18.0, 26.0, 34.0]);
        assert_eq!(sums(&layer(&[2, 3, 2], 2), values()), [36.0, 42.0]);
        assert_eq!(sums(&layer(&[2, 0], 0), std::iter::empty()), [0.0, 0.0]);
    }

    #[test]
    fn weights_that_are_zero_already_go_first_and_overflow_is_no_score() {
        let layer = layer(&[1, 3], 0);
        let found = of_weights(&layer, &[0.0, 1.0, -0.0], vec![5.0, 2.0, 3.0], None).unwrap();
        assert_eq!(found.weights.unwrap().to_f32().as_ref(), [0.0, 2.0, 0.0]);
        assert_eq!(found.channels.as_deref(), Some(&[2.0][..]));
        assert!(of_weights(&layer, &[1.0; 3], vec![1.0, f32::INFINITY, 0.0], None).is_err());
        assert!(of_channels(vec![f64::NAN]).is_err());
    }
}
