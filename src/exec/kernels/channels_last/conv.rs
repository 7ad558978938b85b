use super::Order;
use crate::exec::kernels::conv::{Convolution, with_scratch};
use crate::exec::kernels::tile::{PanelWeight, Reads, Target};
use crate::exec::kernels::{Activation, Window, parallel};

/// Elements of a task's results, few enough to stay in the first cache ...
const BAND_ELEMENTS: usize = 8 << 10;
/// ... unless that were fewer positions than make reading the weight worth while: a multiple of a tile's rows.
const LEAST_POSITIONS: usize = 56;

/// A convolution's weight and bias, packed group by group.
#[derive(Clone, Debug)]
pub struct ChannelsLastWeight(Vec<PanelWeight>);

impl ChannelsLastWeight {
    /// Packs a row-major weight of `shape` [outputs, channels / groups, kernel...].
    pub fn new(weight: &[f32], shape: &[usize], groups: usize, bias: Option<&[f32]>) -> Self {
        let (outputs, channels, taps) = (shape[0] / groups, shape[1], shape[2..].iter().product::<usize>());
        let pack = |group: usize| {
            let rows = &weight[group * outputs * channels * taps..];
            let element = |o: usize, k: usize| rows[(o * channels + k % channels) * taps + k / channels];
            PanelWeight::new(outputs, channels * taps, element, bias.map(|b| &b[group * outputs..][..outputs]))
        };
        Self((0..groups).map(pack).collect())
    }
}

/// The rows of an image that a task reads, with padding in place.
pub(super) struct Rows {
    /// Elements from row to row.
    pub row: usize,
    /// Whether the image has to be copied: it is padded, or lies plane by plane.
    pub copied: bool,
}

impl Convolution {
    pub(super) fn rows(&self, order: Order) -> Rows {
        let Window { before, after, stride, .. } = self.window;
        let padded = before != [0; 2] || after != [0; 2];
        let width = (self.output[1] - 1) * stride[1] + self.window.extent(1);
        let copied = padded || (order == Order::Planes && self.channels > 1);
        Rows { row: if copied { width } else { self.input[1] } * self.channels, copied }
    }

    /// The same convolution with all positions in one row, where each output reads just its own position.
    fn flattened(self, order: Order) -> Self {
        let flat = order == Order::ChannelsLast && self.window == Window::dense([1; 2]);
        if flat {
            Self {
                batch: 1,
                input: [self.batch * self.input_plane(), 1],
                output: [self.batch * self.output_plane(), 1],
                ..self
            }
        } else {
            self
        }
    }

    /// The convolution of `x`, plus `residual`, under `activation`: [batch, output..., outputs].
    ///
    /// `residual` is laid out as the result.
    pub fn forward_channels_last(
        self,
        x: (&[f32], Order),
        ChannelsLastWeight(weight): &ChannelsLastWeight,
        residual: Option<&[f32]>,
        activation: Activation,
    ) -> Vec<f32> {
        let (x, order) = x;
        let conv = self.flattened(order);
        let rows = conv.rows(order);
        let ([height, width], [stride, _]) = (conv.output, conv.window.stride);
        let (row_out, image_in) = (width * conv.outputs, conv.channels * conv.input_plane());
        // The partition does not show in the result, so it may follow the number of threads.
        let fair = (height * conv.batch).div_ceil(4 * rayon::current_num_threads());
        let positions = (BAND_ELEMENTS / conv.outputs.max(1)).max(LEAST_POSITIONS);
        let positions = positions / LEAST_POSITIONS * LEAST_POSITIONS;
        let band = (positions / width.max(1)).min(fair).clamp(1, height);
        let runs = conv.runs(rows.row);
        let limits = activation.limits();
        parallel::build_nested(conv.batch * height * row_out, (height * row_out, band * row_out), |image, part, out| {
            let (first, count) = (part * band, out.len() / row_out);
            let residual = residual.map(|r| &r[(image * height + first) * row_out..][..out.len()]);
            let x = &x[image * image_in..][..image_in];
            let mut bases = Vec::with_capacity(count * width);
            for y in 0..count {
                let row = y * stride * rows.row;
                bases.extend((0..width).map(|x| row + x * conv.window.stride[1] * conv.channels));
            }
            let read = (count - 1) * stride + conv.window.extent(0);
            let mut multiply = |values: &[f32]| {
                for (group, weight) in weight.iter().enumerate() {
                    let at = group * conv.channels / conv.groups;
                    let values = if values.is_empty() { values } else { &values[at..] };
                    let reads = Reads { values, runs: &runs.0, length: runs.1, bases: &bases };
                    let first = group * conv.group_outputs();
                    let target = Target { out, stride: conv.outputs, first, residual, limits };
                    weight.multiply(reads, 0..weight.panels(), target);
                }
            };
            if rows.copied {
                with_scratch([read * rows.row, 0], |[padded, _]| {
                    conv.copy_rows((x, order), first * stride, padded);
                    multiply(padded);
                });
            } else {
                multiply(&x[first * stride * rows.row..]);
            }
            if limits.is_none() {
                activation.apply(out);
            }
        })
    }

    /// Stretches of neighbouring inputs that an output reads, and their length.
    pub(super) fn runs(&self, row: usize) -> (Vec<usize>, usize) {
        let Window { kernel, dilation, .. } = self.window;
        if self.groups == 1 && (dilation[1] == 1 || kernel[1] == 1) {
            return ((0..kernel[0]).map(|ky| ky * dilation[0] * row).collect(), kernel[1] * self.channels);
        }
        let tap = |t: usize| t / kernel[1] * dilation[0] * row + t % kernel[1] * dilation[1] * self.channels;
        ((0..kernel[0] * kernel[1]).map(tap).collect(), self.channels / self.groups)
    }

    /// Fills `padded` with the rows of the padded image from `first` on.
    pub(super) fn copy_rows(&self, (x, order): (&[f32], Order), first: usize, padded: &mut [f32]) {
        let ([height, width], channels, [above, left]) = (self.input, self.channels, self.window.before);
        let row = self.rows(order).row;
        let left = left.min(row / channels);
        // Right of what the windows reach, columns of the image are left out.
        let right = width.min(row / channels - left);
        for (y, target) in padded.chunks_exact_mut(row).enumerate() {
            let Some(y) = (first + y).checked_sub(above).filter(|&y| y < height) else {
                target.fill(0.0);
                continue;
            };
            target[..left * channels].fill(0.0);
            target[(left + right) * channels..].fill(0.0);
            let target = &mut target[left * channels..(left + right) * channels];
            match order {
                Order::ChannelsLast => target.copy_from_slice(&x[y * width * channels..][..right * channels]),
                Order::Planes => {
                    for c in 0..channels {
                        let source = &x[(c * height + y) * width..][..right];
                        // Windows may lie in the padding as a whole.
                        let target = target.get_mut(c..).unwrap_or_default();
                        target.iter_mut().step_by(channels).zip(source).for_each(|(t, s)| *t = *s);
                    }
                }
            }
        }
    }
}
