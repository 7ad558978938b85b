//! Criteria that look at what layers read and send on calibration examples: APoZ, mean activation and Wanda.

use super::sending::{Channels, Sending};
use super::watch::{Seen, Values, Watch};
use super::{CalibrateError, Observe, wanda};
use crate::data::Dataset;
use crate::exec::ExecError;
use crate::model::Layer;
use crate::prune::{Calibration, Criterion, LayerScores, Scores, Subject};
use rayon::prelude::*;

/// Works out a criterion of activations; a layer that it does not apply to gets the reason.
///
/// # Errors
/// [`CalibrateError::Cancelled`] if `observe` broke, others if the graph cannot be run on the data.
pub(super) fn score(
    subject: &Subject<'_>,
    criterion: Criterion,
    layers: &[&Layer],
    data: &Dataset,
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let watch = Watch::new(subject.model, data, calibration);
    if criterion == Criterion::Wanda {
        return wanda::score(subject.model, layers, &watch, observe);
    }
    let graph = subject.model.graph.as_ref().ok_or(ExecError::NoGraph)?;
    let (mut scores, mut values, mut followed) = (Scores::default(), Values::default(), Vec::new());
    for &layer in layers {
        match Sending::all(subject.model, graph, layer) {
            Ok(sent) => {
                let places = sent.iter().map(|sent| (values.place(sent.value), sent.channels)).collect();
                followed.push(Followed::new(layer, places));
            }
            Err(reason) => scores.insert(&layer.name, criterion, Err(reason)),
        }
    }
    if followed.is_empty() {
        return Ok(scores);
    }
    let examples = watch.examples() as u64;
    watch.run(values.ids(), &mut |seen, done| {
        for layer in &mut followed {
            layer.add(criterion, seen);
        }
        observe(done as u64, examples)
    })?;
    for followed in followed {
        scores.insert(&followed.layer.name, criterion, followed.scores());
    }
    Ok(scores)
}

/// A layer whose activations are being added up.
struct Followed<'a> {
    layer: &'a Layer,
    /// Places among the watched values.
    sent: Vec<(usize, Channels)>,
    /// By channel.
    sums: Vec<f64>,
    /// Activations of each channel.
    count: u64,
    problem: Option<String>,
}

impl<'a> Followed<'a> {
    fn new(layer: &'a Layer, sent: Vec<(usize, Channels)>) -> Self {
        let channels = match layer.kind {
            crate::model::LayerKind::ConvTranspose => layer.channel_count() * layer.groups.max(1),
            _ => layer.channel_count(),
        };
        Self { layer, sent, sums: vec![0.0; channels], count: 0, problem: None }
    }

    fn add(&mut self, criterion: Criterion, seen: &[Seen<'_>]) {
        for &(place, channels) in &self.sent {
            let seen = &seen[place];
            let axis = channels.axis(seen.shape.len()).filter(|&axis| seen.shape[axis] == self.sums.len());
            let Some(axis) = axis else {
                self.problem = Some(format!("it sends {:?} on, not {} channels", seen.shape, self.sums.len()));
                return;
            };
            let channels = Channel { criterion, seen, axis };
            self.count += channels.count();
            self.sums.par_iter_mut().enumerate().for_each(|(channel, sum)| *sum += channels.sum(channel));
        }
    }

    fn scores(self) -> Result<LayerScores, String> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if !self.sums.iter().all(|sum| sum.is_finite()) {
            return Err("what it sends on these examples is not finite".to_owned());
        }
        if self.layer.kind == crate::model::LayerKind::ConvTranspose && self.layer.groups > 1 {
            return Ok(LayerScores::of_channels(self.over_groups()));
        }
        Ok(LayerScores::of_channels(self.sums.iter().map(|sum| sum / self.count.max(1) as f64).collect()))
    }

    /// The output axis of a grouped transposed convolution counts the outputs of one group: their mean over groups.
    fn over_groups(&self) -> Vec<f64> {
        let each = self.layer.channel_count();
        let of = |channel| self.sums.iter().skip(channel).step_by(each.max(1)).sum::<f64>();
        let count = self.count.max(1) as f64 * self.layer.groups as f64;
        (0..each).map(|channel| of(channel) / count).collect()
    }
}

/// Activations of one batch.
struct Channel<'a> {
    criterion: Criterion,
    seen: &'a Seen<'a>,
    axis: usize,
}

impl Channel<'_> {
    /// Extents before, along and after the axis of channels.
    fn extents(&self) -> [usize; 3] {
        let product = |extents: &[usize]| extents.iter().product();
        let shape = &self.seen.shape;
        [product(&shape[..self.axis]), shape[self.axis], product(&shape[self.axis + 1..])]
    }

    /// Which stretches of a channel count: tokens that fill a row up do not.
    fn counted(&self) -> Option<&[bool]> {
        let [outer, _, inner] = self.extents();
        self.seen.counted.filter(|counted| inner == 1 && counted.len() == outer)
    }

    /// Activations of a channel that count.
    fn count(&self) -> u64 {
        let [outer, _, inner] = self.extents();
        let stretches = self.counted().map_or(outer, |counted| counted.iter().filter(|&&counts| counts).count());
        (stretches * inner) as u64
    }

    fn sum(&self, channel: usize) -> f64 {
        let [outer, channels, inner] = self.extents();
        let counted = self.counted();
        let counts = |o: &usize| counted.is_none_or(|counted| counted[*o]);
        let stretch = |o: usize| &self.seen.values[(o * channels + channel) * inner..][..inner];
        let sum = |values: &[f32]| match self.criterion {
            Criterion::Apoz => values.iter().filter(|&&v| v > 0.0).count() as f64 + nan_of(values),
            _ => values.iter().map(|&v| f64::from(v.abs())).sum(),
        };
        (0..outer).filter(counts).map(|o| sum(stretch(o))).sum()
    }
}

/// NaN if a value is, or is infinite, so that it is not passed over; else 0.
fn nan_of(values: &[f32]) -> f64 {
    if values.iter().all(|v| v.is_finite()) { 0.0 } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{dataset, net_of};
    use super::*;
    use crate::model::layers_of;
    use std::ops::ControlFlow;

    /// Two inputs, three neurons with biases of -1, then Relu.
    fn dense(criterion: Criterion) -> Vec<f64> {
        let model = net_of(&[2], |b, x| {
            let w = b
                .tensor("w", crate::model::Tensor::from_f32(vec![3, 2], vec![1.0, 0.0, 0.0, 1.0, -1.0, -1.0]).unwrap());
            let bias = b.tensor("bias", crate::model::Tensor::from_f32(vec![3], vec![-1.0; 3]).unwrap());
            let y = b.gemm("fc", x, w, Some(bias));
            b.node("relu", "Relu", &[y], &[])
        });
        let layers = layers_of(&model);
        let subject = Subject::new(&model, &layers);
        let data = dataset(&[4, 2], &[2.0, 1.0, 3.0, 0.0, 1.0, 6.0, -4.0, -5.0]);
        let all: Vec<&Layer> = layers.iter().collect();
        let calibration = Calibration::default();
        let scores = score(&subject, criterion, &all, &data, calibration, &mut |_, _| ControlFlow::Continue(()));
        scores.unwrap().get("w", criterion).unwrap().unwrap().channels.as_ref().unwrap().to_vec()
    }

    #[test]
    fn active_share_and_mean_of_a_small_dense_layer_by_hand() {
        // Before Relu: (1 0 -4) (2 -1 -4) (0 5 -8) (-5 -6 8).
        assert_eq!(dense(Criterion::Apoz), [0.5, 0.25, 0.25]);
        assert_eq!(dense(Criterion::MeanActivation), [0.75, 1.25, 2.0]);
    }

    #[test]
    fn activations_of_a_grouped_convolution_are_counted_over_positions() {
        // Two channels of a row of three, padded by one, stride 2, a kernel of three: outputs at 0 and 2.
        let model = net_of(&[2, 1, 3], |b, x| {
            let w = crate::model::Tensor::from_f32(vec![2, 1, 1, 3], vec![1.0, 1.0, 1.0, -1.0, 0.0, 2.0]).unwrap();
            let w = b.tensor("w", w);
            use crate::model::Attribute::{Int, Ints};
            let attributes = [("strides", Ints(vec![1, 2])), ("pads", Ints(vec![0, 1, 0, 1])), ("group", Int(2))];
            let y = b.node("conv", "Conv", &[x, w], &attributes);
            b.node("relu", "Relu", &[y], &[])
        });
        let layers = layers_of(&model);
        let data = dataset(&[1, 2, 1, 3], &[1.0, 2.0, -4.0, 3.0, 1.0, 2.0]);
        let score = |criterion| {
            let subject = Subject::new(&model, &layers);
            let scores = score(&subject, criterion, &[&layers[0]], &data, Calibration::default(), &mut |_, _| {
                ControlFlow::Continue(())
            });
            scores.unwrap().get("w", criterion).unwrap().unwrap().channels.as_ref().unwrap().to_vec()
        };
        // First channel: 0+1+2 = 3 and 2-4+0 = -2; second: 2*1 = 2 and -1 + 0 = -1.
        assert_eq!(score(Criterion::Apoz), [0.5, 0.5]);
        assert_eq!(score(Criterion::MeanActivation), [1.5, 1.0]);
    }

    #[test]
    fn breaking_off_is_cancelling() {
        let model = net_of(&[1], |b, x| {
            let w = b.tensor("w", crate::model::Tensor::from_f32(vec![1, 1], vec![1.0]).unwrap());
            b.gemm("fc", x, w, None)
        });
        let layers = layers_of(&model);
        let subject = Subject::new(&model, &layers);
        let data = dataset(&[2, 1], &[1.0, 2.0]);
        for criterion in [Criterion::Apoz, Criterion::Wanda] {
            let outcome = score(&subject, criterion, &[&layers[0]], &data, Calibration::default(), &mut |_, _| {
                ControlFlow::Break(())
            });
            assert!(matches!(outcome, Err(CalibrateError::Cancelled)));
        }
    }
}
