//! Gradients of a convolution with respect to its input and its weight.

use super::conv::{ConvWeight, Convolution, with_scratch};
use super::direct::{self, Layout};
use super::epilogue::Epilogue;
use super::matrix::{Matrix, multiply};
use super::weight_gradient::WeightGradient;
use super::{Window, parallel};
use rayon::prelude::*;

/// Elements of padded images and gradients that one step of a weight gradient takes in.
const TILE_ELEMENTS: usize = 64 << 10;
/// Parts of the batch that accumulate a weight gradient of their own.
const GRADIENT_PARTS: usize = 16;

/// Gradients of a convolution.
#[derive(Debug, Default)]
pub struct ConvGradients {
    /// With respect to the input, if asked for.
    pub input: Option<Vec<f32>>,
    /// With respect to the weight, if asked for.
    pub weight: Option<Vec<f32>>,
}

impl Convolution {
    /// Gradients with respect to input and weight, from the gradient of the result (without epilogue).
    ///
    /// Weight gradients are summed within fixed parts of the batch, then over the parts in order.
    pub fn backward(
        &self,
        x: &[f32],
        weight: &[f32],
        grad: &[f32],
        (for_input, for_weight): (bool, bool),
    ) -> ConvGradients {
        let depthwise = self.depthwise();
        ConvGradients {
            input: for_input.then(|| self.backward_input(weight, grad)),
            weight: for_weight.then(|| match depthwise {
                Some(depthwise) => depthwise.backward_weight(x, grad),
                None => self.backward_weight(x, grad, weight.len()),
            }),
        }
    }

    fn backward_weight(&self, x: &[f32], grad: &[f32], len: usize) -> Vec<f32> {
        let lanes = direct::lanes();
        let layout = Layout::new(self.unfold(), lanes);
        let sums = WeightGradient::new(&layout, self.group_outputs(), lanes);
        let (image_in, image_out) = (self.channels * self.input_plane(), self.outputs * self.output_plane());
        let per_part = self.batch.div_ceil(GRADIENT_PARTS).max(1);
        let at_once = (TILE_ELEMENTS / (layout.image_len + sums.gradients_len(1)).max(1)).clamp(1, per_part);
        let group_out = self.group_outputs() * self.output_plane();
        let parts: Vec<Vec<f32>> = (0..self.batch.div_ceil(per_part))
            .into_par_iter()
            .map(|part| {
                let mut total = vec![0.0; self.groups * sums.sums_len()];
                let last = ((part + 1) * per_part).min(self.batch);
                for first in (part * per_part..last).step_by(at_once) {
                    let images = at_once.min(last - first);
                    with_scratch([images * layout.image_len, sums.gradients_len(images)], |[padded, gradients]| {
                        for (group, total) in total.chunks_exact_mut(sums.sums_len()).enumerate() {
                            for (i, padded) in padded.chunks_exact_mut(layout.image_len).enumerate() {
                                let image = &x[(first + i) * image_in..][..image_in];
                                layout.pad(self.group_planes(image, group), padded);
                                let planes = &grad[(first + i) * image_out + group * group_out..][..group_out];
                                sums.lay_out(planes, (i, images), gradients);
                            }
                            sums.add(padded, gradients, total);
                        }
                    });
                }
                total
            })
            .collect();
        let total = sum_in_order(parts, self.groups * sums.sums_len());
        let mut result = vec![0.0; len];
        let rows = result.chunks_exact_mut((len / self.groups).max(1));
        rows.zip(total.chunks_exact(sums.sums_len().max(1))).for_each(|(rows, total)| sums.write(total, rows));
        result
    }

    fn backward_input(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        match self.transposed() {
            Some(transposed) => {
                let turned = self.turned(weight);
                let shape = [self.channels, self.group_outputs(), self.window.kernel[0], self.window.kernel[1]];
                transposed.forward(grad, &ConvWeight::new(&turned, &shape, self.groups), &Epilogue::default())
            }
            None => match self.depthwise() {
                Some(depthwise) => depthwise.backward_input(grad, weight),
                None => self.backward_input_by_folding(weight, grad),
            },
        }
    }

    /// The convolution that takes gradients of the result to gradients of the input, if it is one: with
    /// larger strides it would read between the gradients.
    pub(super) fn transposed(&self) -> Option<Self> {
        let Window { before, after, stride, .. } = self.window;
        let reach = [0, 1].map(|axis| self.window.extent(axis) - 1);
        let pads = |pads: [usize; 2]| Some([reach[0].checked_sub(pads[0])?, reach[1].checked_sub(pads[1])?]);
        let window = Window { before: pads(before)?, after: pads(after)?, ..self.window };
        (stride == [1; 2]).then_some(Self {
            channels: self.outputs,
            outputs: self.channels,
            input: self.output,
            output: self.input,
            window,
            ..*self
        })
    }

    /// The weight of [`Convolution::transposed`]: inputs and outputs of each group swapped, kernels turned
    /// by 180 degrees.
    pub(super) fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        let (inputs, outputs) = (self.channels / self.groups, self.group_outputs());
        let mut turned = Vec::with_capacity(weight.len());
        for group in 0..self.groups {
            let rows = self.group_weight(weight, group);
            for c in 0..inputs {
                for o in 0..outputs {
                    turned.extend(rows[(o * inputs + c) * taps..][..taps].iter().rev());
                }
            }
        }
        turned
    }

    fn backward_input_by_folding(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let (unfold, rows, plane) = (self.unfold(), self.unfold().rows(), self.output_plane());
        let (image_in, image_out) = (self.channels * self.input_plane(), self.outputs * plane);
        let (outputs, size) = (self.group_outputs(), unfold.channels * self.input_plane());
        parallel::build(self.batch * image_in, image_in, |image, out| {
            let grad = &grad[image * image_out..][..image_out];
            with_scratch([rows * plane, 0], |[columns, _]| {
                for (group, planes) in out.chunks_exact_mut(size.max(1)).enumerate() {
                    let grad = Matrix::new(&grad[group * outputs * plane..], outputs, plane);
                    let weight = Matrix::new(self.group_weight(weight, group), outputs, rows);
                    multiply(columns, false, weight.t(), grad);
                    unfold.fold(columns, planes);
                }
            });
        })
    }
}

pub(super) fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
    }
    total
}
