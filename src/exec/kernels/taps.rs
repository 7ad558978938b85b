//! Windows over any number of spatial axes, as a table of what each output reads.

use super::matrix::{Matrix, multiply};
use super::parallel;
use super::selection::{NOWHERE, Selection, strides};
use rayon::prelude::*;

/// Kernel, steps and leading padding on every spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Extents of an input plane.
    pub input: Vec<usize>,
    /// Extents of an output plane.
    pub output: Vec<usize>,
    /// Extents of the kernel.
    pub kernel: Vec<usize>,
    /// Step between windows.
    pub stride: Vec<usize>,
    /// Step between the elements of one window.
    pub dilation: Vec<usize>,
    /// Padding before each axis.
    pub before: Vec<usize>,
}

impl Geometry {
    /// Which input element each element of each window is: window by window, [`NOWHERE`] in the padding.
    pub fn taps(&self) -> Selection {
        let per_axis = |a: usize| -> Vec<Vec<usize>> {
            let read = |o: usize, k: usize| {
                let at = (o * self.stride[a] + k * self.dilation[a]).checked_sub(self.before[a]);
                at.filter(|&i| i < self.input[a]).unwrap_or(NOWHERE)
            };
            (0..self.output[a]).map(|o| (0..self.kernel[a]).map(|k| read(o, k)).collect()).collect()
        };
        let axes: Vec<_> = (0..self.input.len()).map(per_axis).collect();
        let (windows, taps) = (self.windows(), self.kernel.iter().product::<usize>());
        let (steps, out_steps, tap_steps) = (strides(&self.input), strides(&self.output), strides(&self.kernel));
        let mut from = Vec::with_capacity(windows * taps);
        for (window, tap) in (0..windows).flat_map(|w| (0..taps).map(move |t| (w, t))) {
            let mut at = 0;
            for (a, axis) in axes.iter().enumerate() {
                let read = axis[window / out_steps[a] % self.output[a]][tap / tap_steps[a] % self.kernel[a]];
                if read == NOWHERE {
                    at = NOWHERE;
                    break;
                }
                at += read * steps[a];
            }
            from.push(at);
        }
        Selection { block: 1, from }
    }

    /// Windows of a plane.
    pub fn windows(&self) -> usize {
        self.output.iter().product()
    }

    /// Elements of an input plane.
    pub fn plane(&self) -> usize {
        self.input.iter().product()
    }
}

/// A convolution over any number of axes, by unfolding its input: slower than [`super::conv`].
#[derive(Clone, Debug)]
pub struct UnfoldedConvolution {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups that see only their own channels.
    pub groups: usize,
    /// The windows.
    pub geometry: Geometry,
}

impl UnfoldedConvolution {
    fn sizes(&self) -> Sizes {
        let taps: usize = self.geometry.kernel.iter().product();
        Sizes {
            inputs: self.channels / self.groups,
            outputs: self.outputs / self.groups,
            windows: self.geometry.windows(),
            plane: self.geometry.plane(),
            depth: self.channels / self.groups * taps,
            taps,
        }
    }

    /// The unfolded input of one group of one image: [windows, inputs x taps].
    fn unfold(&self, taps: &Selection, planes: &[f32]) -> Vec<f32> {
        let s = self.sizes();
        let mut columns = vec![0.0; s.windows * s.depth];
        for (c, plane) in planes.chunks_exact(s.plane.max(1)).enumerate() {
            for (window, from) in taps.from.chunks_exact(s.taps).enumerate() {
                let out = &mut columns[window * s.depth + c * s.taps..][..s.taps];
                for (value, &i) in out.iter_mut().zip(from) {
                    if i != NOWHERE {
                        *value = plane[i];
                    }
                }
            }
        }
        columns
    }

    /// x [batch, channels, input...] with weight [outputs, channels / groups, kernel...].
    pub fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let (s, taps) = (self.sizes(), self.geometry.taps());
        let per_group = s.outputs * s.windows;
        parallel::build(self.batch * self.groups * per_group, per_group, |index, out| {
            let planes = &x[index * s.inputs * s.plane..][..s.inputs * s.plane];
            let columns = self.unfold(&taps, planes);
            let rows = &weight[index % self.groups * s.outputs * s.depth..][..s.outputs * s.depth];
            let columns = Matrix::new(&columns, s.windows, s.depth);
            multiply(out, false, Matrix::new(rows, s.outputs, s.depth), columns.t());
        })
    }

    /// The gradient with respect to x; also the transposed convolution of `grad`.
    pub fn backward_input(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let (s, taps) = (self.sizes(), self.geometry.taps());
        let per_group = s.inputs * s.plane;
        parallel::build(self.batch * self.groups * per_group, per_group, |index, out| {
            let grad = &grad[index * s.outputs * s.windows..][..s.outputs * s.windows];
            let rows = &weight[index % self.groups * s.outputs * s.depth..][..s.outputs * s.depth];
            let mut columns = vec![0.0; s.windows * s.depth];
            let grad = Matrix::new(grad, s.outputs, s.windows);
            multiply(&mut columns, false, grad.t(), Matrix::new(rows, s.outputs, s.depth));
            for (c, plane) in out.chunks_exact_mut(s.plane.max(1)).enumerate() {
                for (window, from) in taps.from.chunks_exact(s.taps).enumerate() {
                    for (value, &i) in columns[window * s.depth + c * s.taps..].iter().zip(from) {
                        if i != NOWHERE {
                            plane[i] += value;
                        }
                    }
                }
            }
        })
    }

    /// The gradient with respect to the weight, summed over images in order.
    pub fn backward_weight(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let (s, taps) = (self.sizes(), self.geometry.taps());
        let per_group = s.outputs * s.depth;
        let mut result = vec![0.0; self.groups * per_group];
        result.par_chunks_mut(per_group.max(1)).enumerate().for_each(|(group, out)| {
            for image in 0..self.batch {
                let index = image * self.groups + group;
                let columns = self.unfold(&taps, &x[index * s.inputs * s.plane..][..s.inputs * s.plane]);
                let grad = &grad[index * s.outputs * s.windows..][..s.outputs * s.windows];
                let columns = Matrix::new(&columns, s.windows, s.depth);
                multiply(out, true, Matrix::new(grad, s.outputs, s.windows), columns);
            }
        });
        result
    }
}

/// Extents of one group.
#[derive(Clone, Copy)]
struct Sizes {
    inputs: usize,
    outputs: usize,
    windows: usize,
    plane: usize,
    depth: usize,
    taps: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::kernels::Window;
    use crate::exec::kernels::conv::{ConvWeight, Convolution};
    use crate::exec::kernels::epilogue::Epilogue;

    #[test]
    fn two_axes_agree_with_the_fast_convolution() {
        let window = Window { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], before: [1, 0], after: [0, 1] };
        let (input, batch, channels, outputs, groups) = ([7, 6], 2, 4, 6, 2);
        let output = window.output(input, false).unwrap();
        let fast = Convolution { batch, channels, outputs, groups, input, output, window };
        let slow = UnfoldedConvolution {
            batch,
            channels,
            outputs,
            groups,
            geometry: Geometry {
                input: input.to_vec(),
                output: output.to_vec(),
                kernel: window.kernel.to_vec(),
                stride: window.stride.to_vec(),
                dilation: window.dilation.to_vec(),
                before: window.before.to_vec(),
            },
        };
        // Whole numbers, so that sums are exact in any order.
        let whole = |n: usize, k: usize| (0..n).map(|i| (i * 7 % k) as f32 - 3.0).collect::<Vec<f32>>();
        let (x, w) = (whole(batch * channels * 42, 11), whole(outputs * 2 * 6, 7));
        let y = slow.forward(&x, &w);
        assert_eq!(y, fast.forward(&x, &ConvWeight::new(&w, &[6, 2, 3, 2], groups), &Epilogue::default()));
        let grad = whole(y.len(), 5);
        let gradients = fast.backward(&x, &w, &grad, (true, true));
        assert_eq!(slow.backward_input(&w, &grad), gradients.input.unwrap());
        assert_eq!(slow.backward_weight(&x, &grad), gradients.weight.unwrap());
    }
}
