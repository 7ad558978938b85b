//! Summing the columns of an unfolded matrix back into the input.

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

    /// Adds every element of `columns` [rows, positions] to the input element that its tap reads at its
    /// position.
    pub fn fold(&self, columns: &[f32], planes: &mut [f32]) {
        let [height, width] = self.input;
        let [rows, positions] = self.output;
        let Window { kernel, stride, dilation, before, .. } = self.window;
        let mut taps = columns.chunks_exact((rows * positions).max(1));
        for plane in planes.chunks_exact_mut(height * width).take(self.channels) {
            for tap in 0..kernel[0] * kernel[1] {
                let Some(source) = taps.next() else { return };
                let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
                let (lo, hi) = self.window.inside(1, kx, width, positions);
                if lo == hi {
                    continue;
                }
                let x = lo * stride[1] + kx * dilation[1] - before[1];
                for (oy, source) in source.chunks_exact(positions).enumerate() {
                    let y = (oy * stride[0] + ky * dilation[0]).checked_sub(before[0]).filter(|&y| y < height);
                    let Some(y) = y else { continue };
                    let target = plane[y * width + x..(y + 1) * width].iter_mut().step_by(stride[1]);
                    target.zip(&source[lo..hi]).for_each(|(t, s)| *t += s);
                }
            }
        }
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
        fn folding_adds_each_column_element_to_the_input_under_its_tap(u in unfold()) {
            let [rows, positions] = u.output;
            let columns: Vec<f32> = (0..u.rows() * rows * positions).map(|i| (i % 5) as f32 - 2.0).collect();
            let mut expected = vec![0.0; u.channels * u.input[0] * u.input[1]];
            for (i, value) in columns.iter().enumerate() {
                let (row, position) = (i / (rows * positions), i % (rows * positions));
                let [kh, kw] = u.window.kernel;
                let (c, at, tap) = (row / (kh * kw), [position / positions, position % positions], [row / kw % kh, row % kw]);
                let [y, x] = [0, 1].map(|a| at[a] * u.window.stride[a] + tap[a] * u.window.dilation[a]);
                let inside = |v: usize, axis: usize| v.checked_sub(u.window.before[axis]).filter(|v| *v < u.input[axis]);
                if let (Some(y), Some(x)) = (inside(y, 0), inside(x, 1)) {
                    expected[(c * u.input[0] + y) * u.input[1] + x] += value;
                }
            }
            let mut planes = vec![0.0; expected.len()];
            u.fold(&columns, &mut planes);
            prop_assert_eq!(planes, expected);
        }
    }
}
