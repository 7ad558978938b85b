//! Unfolding windows into the columns of a matrix, and summing them back.

use super::Window;

/// The planes of one image that a convolution group reads, and where its windows fall.
#[derive(Clone, Copy, Debug)]
pub struct Unfold {
    /// Number of planes.
    pub channels: usize,
    /// Height and width of a plane.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// The window.
    pub window: Window,
}

impl Unfold {
    /// Rows of the unfolded matrix: channels x kernel height x kernel width.
    pub const fn rows(&self) -> usize {
        self.channels * self.window.kernel[0] * self.window.kernel[1]
    }

    /// Writes the windows of output positions `from..to` as columns: row `r` of the matrix starts at
    /// `columns[r * row_stride]`. Padding becomes zero.
    pub fn im2col(&self, planes: &[f32], (from, to): (usize, usize), columns: &mut [f32], row_stride: usize) {
        let [height, width] = self.input;
        let mut row = 0;
        for plane in planes.chunks_exact(height * width).take(self.channels) {
            self.for_each_tap(|_, ky, kx, inside| {
                let target = &mut columns[row * row_stride..][..to - from];
                row += 1;
                self.for_each_segment(from, to, |oy, start, end, at| {
                    let segment = &mut target[at..at + end - start];
                    match self.source_row(ky, oy) {
                        Some(y) => {
                            let source = &plane[y * width..(y + 1) * width];
                            self.gather(segment, source, kx, start, inside);
                        }
                        None => segment.fill(0.0),
                    }
                });
            });
        }
    }

    /// The transpose of [`Unfold::im2col`]: adds every column element to the input element it came from.
    pub fn col2im(&self, columns: &[f32], row_stride: usize, (from, to): (usize, usize), planes: &mut [f32]) {
        let [height, width] = self.input;
        let stride = self.window.stride[1];
        let mut row = 0;
        for plane in planes.chunks_exact_mut(height * width).take(self.channels) {
            self.for_each_tap(|_, ky, kx, (lo, hi)| {
                let source = &columns[row * row_stride..][..to - from];
                row += 1;
                self.for_each_segment(from, to, |oy, start, end, at| {
                    let Some(y) = self.source_row(ky, oy) else { return };
                    let (lo, hi) = (lo.clamp(start, end), hi.clamp(start, end));
                    if lo == hi {
                        return;
                    }
                    let x = lo * stride + kx * self.window.dilation[1] - self.window.before[1];
                    let target = &mut plane[y * width + x..(y + 1) * width];
                    let segment = &source[at + lo - start..at + hi - start];
                    if stride == 1 {
                        target.iter_mut().zip(segment).for_each(|(t, s)| *t += s);
                    } else {
                        target.iter_mut().step_by(stride).zip(segment).for_each(|(t, s)| *t += s);
                    }
                });
            });
        }
    }

    fn for_each_tap(&self, mut visit: impl FnMut(usize, usize, usize, (usize, usize))) {
        let [kernel_height, kernel_width] = self.window.kernel;
        for tap in 0..kernel_height * kernel_width {
            let (ky, kx) = (tap / kernel_width, tap % kernel_width);
            visit(tap, ky, kx, self.window.inside(1, kx, self.input[1], self.output[1]));
        }
    }

    /// Visits the parts of output rows in `from..to` as (row, first, past the last, offset from `from`).
    fn for_each_segment(&self, from: usize, to: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let width = self.output[1];
        let mut at = from;
        while at < to {
            let (oy, start) = (at / width, at % width);
            let end = width.min(start + to - at);
            visit(oy, start, end, at - from);
            at += end - start;
        }
    }

    fn source_row(&self, ky: usize, oy: usize) -> Option<usize> {
        let y = oy * self.window.stride[0] + ky * self.window.dilation[0];
        y.checked_sub(self.window.before[0]).filter(|&y| y < self.input[0])
    }

    #[inline]
    fn gather(&self, target: &mut [f32], source: &[f32], kx: usize, start: usize, (lo, hi): (usize, usize)) {
        let end = start + target.len();
        let (lo, hi) = (lo.clamp(start, end), hi.clamp(start, end));
        target[..lo - start].fill(0.0);
        target[hi - start..].fill(0.0);
        if lo == hi {
            return;
        }
        let stride = self.window.stride[1];
        let x = lo * stride + kx * self.window.dilation[1] - self.window.before[1];
        let target = &mut target[lo - start..hi - start];
        if stride == 1 {
            copy_short(target, &source[x..x + hi - lo]);
        } else {
            target.iter_mut().zip(source[x..].iter().step_by(stride)).for_each(|(t, &s)| *t = s);
        }
    }
}

/// A copy without the call that `memcpy` costs, for the short rows of small images.
#[inline]
fn copy_short(target: &mut [f32], source: &[f32]) {
    if target.len() > 64 {
        target.copy_from_slice(source);
        return;
    }
    let (target, target_rest) = target.as_chunks_mut::<8>();
    let (source, source_rest) = source.as_chunks::<8>();
    for (t, s) in target.iter_mut().zip(source) {
        *t = *s;
    }
    for (t, s) in target_rest.iter_mut().zip(source_rest) {
        *t = *s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unfold() -> impl Strategy<Value = Unfold> {
        let axis = (1usize..4, 1usize..3, 1usize..3, 0usize..3, 0usize..3, 1usize..8);
        (axis.clone(), axis, 1usize..3).prop_filter_map("the window fits", |(y, x, channels)| {
            let window = Window {
                kernel: [y.0, x.0],
                stride: [y.1, x.1],
                dilation: [y.2, x.2],
                before: [y.3, x.3],
                after: [y.4, x.4],
            };
            let input = [y.5, x.5];
            window.output(input, false).map(|output| Unfold { channels, input, output, window })
        })
    }

    proptest! {
        #[test]
        fn columns_hold_the_input_under_each_window_and_zero_in_the_padding(u in unfold()) {
            let planes: Vec<f32> = (1..=u.channels * u.input[0] * u.input[1]).map(|i| i as f32).collect();
            let count = u.output[0] * u.output[1];
            let mut columns = vec![f32::NAN; u.rows() * count];
            u.im2col(&planes, (0, count), &mut columns, count);
            for (i, &value) in columns.iter().enumerate() {
                let (row, position) = (i / count, i % count);
                let [kh, kw] = u.window.kernel;
                let (c, ky, kx) = (row / (kh * kw), row / kw % kh, row % kw);
                let y = (position / u.output[1] * u.window.stride[0] + ky * u.window.dilation[0]) as i64 - u.window.before[0] as i64;
                let x = (position % u.output[1] * u.window.stride[1] + kx * u.window.dilation[1]) as i64 - u.window.before[1] as i64;
                let inside = (0..u.input[0] as i64).contains(&y) && (0..u.input[1] as i64).contains(&x);
                let expected = if inside { planes[(c * u.input[0] + y as usize) * u.input[1] + x as usize] } else { 0.0 };
                prop_assert_eq!(value, expected);
            }
        }

        #[test]
        fn col2im_is_the_transpose_of_im2col(u in unfold(), split in 0.0f64..1.0) {
            let planes: Vec<f32> = (0..u.channels * u.input[0] * u.input[1]).map(|i| (i % 7) as f32 - 3.0).collect();
            let count = u.output[0] * u.output[1];
            let weights: Vec<f32> = (0..u.rows() * count).map(|i| (i % 5) as f32 - 2.0).collect();
            let mut columns = vec![0.0; u.rows() * count];
            u.im2col(&planes, (0, count), &mut columns, count);
            let mut back = vec![0.0; planes.len()];
            let middle = (split * count as f64) as usize;
            u.col2im(&weights, count, (0, middle), &mut back);
            u.col2im(&weights[middle..], count, (middle, count), &mut back);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            prop_assert_eq!(dot(&columns, &weights), dot(&planes, &back));
        }
    }
}
