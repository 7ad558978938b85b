//! The input gradient of a convolution over activations whose channels lie side by side.

use super::{ChannelsLastWeight, Order};
use crate::exec::kernels::conv::{Convolution, with_scratch};
use crate::exec::kernels::direct::lanes;
use crate::exec::kernels::tile::{PanelWeight, Reads, Target};
use crate::exec::kernels::{Activation, parallel};
use pulp::{Simd, WithSimd};

/// Positions whose products are computed at once, before they are added up: whole tiles.
const POSITIONS: usize = 28;

impl Convolution {
    /// The gradient with respect to the input, channels last like `grad`, plus `present`; for one group.
    ///
    /// It is the convolution of the gradients with the turned kernel, or, where that would read much padding, leave
    /// vectors half empty or read between the strides, a product whose terms are added where they belong.
    pub fn input_gradient_channels_last(&self, weight: &[f32], grad: &[f32], present: Option<&[f32]>) -> Vec<f32> {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        let filled = |columns: usize| columns.next_multiple_of(lanes());
        let turned = self.input_plane() * taps * filled(self.channels);
        let folded = self.output_plane() * filled(taps * self.channels);
        match self.transposed() {
            // Adding the terms up costs an eighth of the product or less.
            Some(transposed) if turned <= folded + folded / 8 => {
                let shape = [self.channels, self.outputs, self.window.kernel[0], self.window.kernel[1]];
                let weight = ChannelsLastWeight::new(&self.turned(weight), &shape, 1, None);
                transposed.forward_channels_last((grad, Order::ChannelsLast), &weight, present, Activation::Identity)
            }
            _ => self.folded_input_gradient(weight, grad, present),
        }
    }

    fn folded_input_gradient(&self, weight: &[f32], grad: &[f32], present: Option<&[f32]>) -> Vec<f32> {
        let Self { channels, outputs, output: [height, width], window, .. } = *self;
        let taps = window.kernel[0] * window.kernel[1];
        let depth = taps * channels;
        let element = |k: usize, o: usize| weight[(o * channels + k % channels) * taps + k / channels];
        let packed = PanelWeight::new(depth, outputs, element, None);
        let (image_in, image_out) = (channels * self.input_plane(), outputs * height * width);
        let band = POSITIONS.div_ceil(width).min(height);
        parallel::build(self.batch * image_in, image_in, |image, out| {
            if let Some(present) = present {
                out.copy_from_slice(&present[image * image_in..][..image_in]);
            }
            let grad = &grad[image * image_out..][..image_out];
            let bases: Vec<usize> = (0..band * width).map(|position| position * outputs).collect();
            with_scratch([band * width * depth, 0], |[terms, _]| {
                for top in (0..height).step_by(band) {
                    let grad = &grad[top * width * outputs..];
                    let count = band.min(height - top) * width;
                    let terms = &mut terms[..count * depth];
                    let reads = Reads { values: grad, runs: &[0], length: outputs, bases: &bases[..count] };
                    let target = Target { out: terms, stride: depth, first: 0, residual: None, limits: None };
                    packed.multiply(reads, 0..packed.panels(), target);
                    pulp::Arch::new().dispatch(Fold { conv: self, terms, top, out });
                }
            });
        })
    }
}

/// Adds what each position contributes, [kernel..., channels], to the inputs under its window.
struct Fold<'a> {
    conv: &'a Convolution,
    terms: &'a [f32],
    /// The first row of positions.
    top: usize,
    out: &'a mut [f32],
}

impl WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Convolution { channels, input: [height, width], output: [_, columns], window, .. } = *self.conv;
        // Without dilation the elements of a kernel's row fall side by side.
        let joined = if window.dilation[1] == 1 { window.kernel[1] } else { 1 };
        let mut runs = self.terms.chunks_exact(joined * channels);
        for position in 0..self.terms.len() / (window.kernel[0] * window.kernel[1] * channels) {
            let (oy, ox) = (self.top + position / columns, position % columns);
            for ky in 0..window.kernel[0] {
                let y = (oy * window.stride[0] + ky * window.dilation[0]).wrapping_sub(window.before[0]);
                for kx in (0..window.kernel[1]).step_by(joined) {
                    let Some(run) = runs.next() else { return };
                    let x = ox * window.stride[1] + kx * window.dilation[1];
                    // Columns of the padded image that the run covers and the image has.
                    let from = x.max(window.before[1]);
                    let to = (x + joined).min(width + window.before[1]);
                    if y >= height || from >= to {
                        continue;
                    }
                    let run = &run[(from - x) * channels..(to - x) * channels];
                    let at = (y * width + from - window.before[1]) * channels;
                    let target = &mut self.out[at..][..run.len()];
                    for i in 0..run.len() {
                        target[i] += run[i];
                    }
                }
            }
        }
    }
}
