//! Convolution in which every output channel reads one input channel.

use super::conv::Epilogue;
use super::{Window, parallel};
use rayon::prelude::*;

/// Planes and window of a depthwise convolution; output channel `o` reads input channel `o / multiplier`.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels per input channel.
    pub multiplier: usize,
    /// Height and width of an input plane.
    pub input: [usize; 2],
    /// Height and width of an output plane.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
}

impl Depthwise {
    const fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    const fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    const fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    const fn outputs(&self) -> usize {
        self.channels * self.multiplier
    }

    /// Visits every kernel tap that meets the input on an output row, as
    /// (tap, output row, input row, first output, past the last output, first input).
    #[inline(always)]
    fn for_each_run(&self, mut visit: impl FnMut(usize, usize, usize, usize, usize, usize)) {
        let w = &self.window;
        for oy in 0..self.output[0] {
            for ky in 0..w.kernel[0] {
                let y = oy * w.stride[0] + ky * w.dilation[0];
                let Some(y) = y.checked_sub(w.before[0]).filter(|&y| y < self.input[0]) else { continue };
                for kx in 0..w.kernel[1] {
                    let (lo, hi) = w.inside(1, kx, self.input[1], self.output[1]);
                    if lo < hi {
                        let x = lo * w.stride[1] + kx * w.dilation[1] - w.before[1];
                        visit(ky * w.kernel[1] + kx, oy, y, lo, hi, x);
                    }
                }
            }
        }
    }

    /// The convolution of `x` with `weight` [outputs, 1, kernel...] followed by `epilogue`, whose pooling
    /// does not apply.
    pub fn forward(&self, x: &[f32], weight: &[f32], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let (plane_in, plane, width, stride) =
            (self.input_plane(), self.output_plane(), self.output[1], self.window.stride[1]);
        parallel::build(self.batch * self.outputs() * plane, plane, |index, out| {
            let (image, o) = (index / self.outputs(), index % self.outputs());
            let source = &x[(image * self.channels + o / self.multiplier) * plane_in..][..plane_in];
            let taps = &weight[o * self.taps()..][..self.taps()];
            out.fill(epilogue.bias.map_or(0.0, |b| b[o]));
            pulp::Arch::new().dispatch(|| {
                self.for_each_run(|tap, oy, y, lo, hi, first| {
                    let target = &mut out[oy * width + lo..oy * width + hi];
                    let source = &source[y * self.input[1] + first..(y + 1) * self.input[1]];
                    multiply_add(target, source, stride, taps[tap]);
                });
            });
            if let Some(residual) = epilogue.residual {
                out.iter_mut().zip(&residual[index * plane..]).for_each(|(v, r)| *v += r);
            }
            epilogue.activation.apply(out);
        })
    }

    /// The gradient with respect to the input.
    pub fn backward_input(&self, grad: &[f32], weight: &[f32]) -> Vec<f32> {
        let (plane_in, plane, width, stride) =
            (self.input_plane(), self.output_plane(), self.output[1], self.window.stride[1]);
        parallel::build(self.batch * self.channels * plane_in, plane_in, |index, out| {
            let (image, c) = (index / self.channels, index % self.channels);
            for o in c * self.multiplier..(c + 1) * self.multiplier {
                let grad = &grad[(image * self.outputs() + o) * plane..][..plane];
                let taps = &weight[o * self.taps()..][..self.taps()];
                pulp::Arch::new().dispatch(|| {
                    self.for_each_run(|tap, oy, y, lo, hi, first| {
                        let source = &grad[oy * width + lo..oy * width + hi];
                        let target = &mut out[y * self.input[1] + first..(y + 1) * self.input[1]];
                        let w = taps[tap];
                        if stride == 1 {
                            target.iter_mut().zip(source).for_each(|(t, s)| *t += w * s);
                        } else {
                            target.iter_mut().step_by(stride).zip(source).for_each(|(t, s)| *t += w * s);
                        }
                    });
                });
            }
        })
    }

    /// The gradient with respect to the weight, summed over images in order.
    pub fn backward_weight(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let (plane_in, plane, width, stride) =
            (self.input_plane(), self.output_plane(), self.output[1], self.window.stride[1]);
        let mut result = vec![0.0; self.outputs() * self.taps()];
        result.par_chunks_mut(self.taps()).enumerate().for_each(|(o, sums)| {
            for image in 0..self.batch {
                let source = &x[(image * self.channels + o / self.multiplier) * plane_in..][..plane_in];
                let grad = &grad[(image * self.outputs() + o) * plane..][..plane];
                pulp::Arch::new().dispatch(|| {
                    self.for_each_run(|tap, oy, y, lo, hi, first| {
                        let grad = &grad[oy * width + lo..oy * width + hi];
                        let source = &source[y * self.input[1] + first..(y + 1) * self.input[1]];
                        sums[tap] += dot(grad, source, stride);
                    });
                });
            }
        });
        result
    }
}

#[inline(always)]
fn multiply_add(target: &mut [f32], source: &[f32], stride: usize, w: f32) {
    match stride {
        1 => target.iter_mut().zip(source).for_each(|(t, s)| *t += w * s),
        _ => target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(t, s)| *t += w * s),
    }
}

/// Dot product with eight running sums, which the compiler keeps in vector registers.
#[inline(always)]
fn dot(a: &[f32], b: &[f32], stride: usize) -> f32 {
    if stride != 1 {
        return a.iter().zip(b.iter().step_by(stride)).map(|(a, b)| a * b).sum();
    }
    let b = &b[..a.len()];
    let mut sums = [0.0f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
