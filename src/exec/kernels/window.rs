//! How a convolution or pooling window moves over the two spatial axes.

/// Kernel extent, stride, dilation and padding of both spatial axes; one spatial axis is a height of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Step between the elements of one window.
    pub dilation: [usize; 2],
    /// Padding before each axis.
    pub before: [usize; 2],
    /// Padding after each axis.
    pub after: [usize; 2],
}

impl Window {
    /// A window of unit stride and dilation without padding.
    pub const fn dense(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1; 2], dilation: [1; 2], before: [0; 2], after: [0; 2] }
    }

    /// Input elements from the first to the last of one window.
    pub const fn extent(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output height and width, or `None` where the window does not fit the padded input.
    ///
    /// With `ceil_mode` a last partial window counts if it starts inside the input or its leading padding.
    pub fn output(&self, input: [usize; 2], ceil_mode: bool) -> Option<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let padded = input[axis] + self.before[axis] + self.after[axis];
            let room = padded.checked_sub(self.extent(axis))?;
            let mut steps = if ceil_mode { room.div_ceil(self.stride[axis]) } else { room / self.stride[axis] };
            if ceil_mode && steps > 0 && steps * self.stride[axis] >= input[axis] + self.before[axis] {
                steps -= 1;
            }
            output[axis] = steps + 1;
        }
        Some(output)
    }

    /// Whether every output reads exactly the input element at its own place.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1; 2] && self.stride == [1; 2] && self.before == [0; 2] && self.after == [0; 2]
    }

    /// The outputs `lo..hi` along `axis` whose window element `offset` lies inside the input.
    pub fn inside(&self, axis: usize, offset: usize, input: usize, output: usize) -> (usize, usize) {
        let (stride, before) = (self.stride[axis], self.before[axis]);
        let shift = offset * self.dilation[axis];
        let lo = before.saturating_sub(shift).div_ceil(stride).min(output);
        let hi = (input + before).saturating_sub(shift).div_ceil(stride).min(output);
        (lo, hi.max(lo))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_extents_follow_the_onnx_formula() {
        let pool = Window { stride: [2; 2], before: [1; 2], after: [1; 2], ..Window::dense([3; 2]) };
        assert_eq!(pool.output([9, 7], false), Some([5, 4]));
        assert_eq!(pool.output([10, 8], true), Some([6, 5]));
        assert_eq!(Window::dense([3; 2]).output([2, 9], false), None);
    }

    #[test]
    fn outputs_that_read_padding_are_outside() {
        let window = Window { stride: [2; 2], before: [2; 2], after: [2; 2], ..Window::dense([3; 2]) };
        let reads_input = |offset: usize, out: usize| (2 * out + offset).checked_sub(2).is_some_and(|i| i < 5);
        for offset in 0..3 {
            let (lo, hi) = window.inside(0, offset, 5, 4);
            for out in 0..4 {
                assert_eq!((lo..hi).contains(&out), reads_input(offset, out), "offset {offset}, output {out}");
            }
        }
    }
}
