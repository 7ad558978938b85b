use super::found::{of_weights, sums};
use super::progress::Progress;
use super::{CalibrateError, Observe};
use crate::model::{Layer, Tensor};
use crate::prune::{Calibration, Criterion, Scores, Subject};
use rayon::prelude::*;

/// Draws of one task.
const CHUNK: usize = 1 << 16;

/// Numbers drawn uniformly from (0, 1], for weights and, apart from them, for channels.
///
/// They follow from the seed, the layer's name and the place of the weight or channel alone.
pub(super) fn score(
    subject: &Subject<'_>,
    layers: &[&Layer],
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let mut progress = Progress::new(layers.len() as u64, observe);
    let mut scores = Scores::default();
    for layer in layers {
        let Some(weight) = subject.model.tensors.get(&layer.weight).map(Tensor::resident) else { continue };
        let weight = weight.to_f32();
        let mut drawn = vec![0.0; weight.len()];
        let stream = Stream::new(calibration.seed, &layer.name, "weights");
        drawn.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| {
            part.iter_mut().enumerate().for_each(|(i, value)| *value = stream.single(chunk * CHUNK + i));
        });
        let stream = Stream::new(calibration.seed, &layer.name, "channels");
        let present = sums(layer, weight.iter().map(|&w| f64::from(u8::from(w != 0.0))));
        let draw = |(channel, present)| if present > 0.0 { stream.double(channel) } else { 0.0 };
        let channels = present.into_iter().enumerate().map(draw).collect();
        scores.insert(&layer.name, Criterion::Random, of_weights(layer, &weight, drawn, Some(channels)));
        progress.advance(1)?;
    }
    Ok(scores)
}

/// Numbers that are drawn by place, in any order: SplitMix64 (Steele et al. 2014).
#[derive(Clone, Copy)]
struct Stream(u64);

impl Stream {
    fn new(seed: u64, layer: &str, purpose: &str) -> Self {
        let bytes = purpose.bytes().chain([0]).chain(layer.bytes());
        Self(bytes.fold(mixed(seed), |state, byte| mixed(state ^ u64::from(byte))))
    }

    const fn bits(self, place: usize) -> u64 {
        mixed(self.0.wrapping_add((place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn single(self, place: usize) -> f32 {
        ((self.bits(place) >> 40) + 1) as f32 / (1u64 << 24) as f32
    }

    fn double(self, place: usize) -> f64 {
        ((self.bits(place) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

const fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, layers_of};
    use std::ops::ControlFlow;

    fn drawn(seed: u64) -> (Vec<Layer>, Scores) {
        let mut model = Model::default();
        for name in ["a", "b"] {
            let mut values = vec![1.0; 4000];
            values[..100].fill(0.0);
            model.tensors.insert(name.into(), Tensor::from_f32(vec![40, 100], values).unwrap());
        }
        let layers = layers_of(&model);
        let asked: Vec<&Layer> = layers.iter().collect();
        let calibration = Calibration { seed, ..Calibration::default() };
        let quiet = &mut |_, _| ControlFlow::Continue(());
        let scores = score(&Subject::new(&model, &layers), &asked, calibration, quiet).unwrap();
        (layers, scores)
    }

    fn numbers(seed: u64, layer: &str) -> (Vec<f32>, Vec<f64>) {
        let (_, scores) = drawn(seed);
        let found = scores.get(layer, Criterion::Random).unwrap().unwrap();
        (found.weights.as_ref().unwrap().to_f32().to_vec(), found.channels.as_ref().unwrap().to_vec())
    }

    #[test]
    fn draws_are_uniform_and_what_is_zero_already_goes_first() {
        let (weights, channels) = numbers(0, "a");
        assert!(weights[..100].iter().all(|&w| w == 0.0) && channels[0] == 0.0);
        assert!(weights[100..].iter().all(|&w| w > 0.0 && w <= 1.0));
        assert!(channels[1..].iter().all(|&c| c > 0.0 && c <= 1.0));
        for edge in [0.1, 0.5, 0.9] {
            let below = weights[100..].iter().filter(|&&w| w < edge).count() as f32 / 3900.0;
            assert!((below - edge).abs() < 0.03, "{below} below {edge}");
        }
    }

    #[test]
    fn the_seed_and_the_layer_decide() {
        assert_eq!(numbers(0, "a"), numbers(0, "a"));
        let (weights, channels) = numbers(0, "a");
        for (seed, layer) in [(1, "a"), (0, "b")] {
            let (others, other_channels) = numbers(seed, layer);
            let same = weights[100..].iter().zip(&others[100..]).filter(|(a, b)| a == b).count();
            assert!(same < 5, "{same} draws of seed {seed} and layer {layer} are the same");
            assert_ne!(channels, other_channels);
        }
    }
}
