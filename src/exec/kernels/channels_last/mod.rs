//! Kernels for activations whose channels lie side by side: [batch, height, width, channels] in memory.
//!
//! A convolution then reads stretches of neighbouring channels without unfolding anything, and every other
//! kernel runs along the channels with full vectors whatever the width of the plane. To the graph such an
//! activation is an ordinary [batch, channels, height, width] tensor with permuted strides.

mod conv;
mod depthwise;
mod gradient;
pub mod norm;
mod order;
mod pool;
mod weight_gradient;

pub use conv::ChannelsLastWeight;
pub use depthwise::DepthwiseWeight;
pub use order::{Order, add_alike, as_channels_last, as_planes, with_memory};
pub use pool::{pool, spread, unpool};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::kernels::conv::{ConvWeight, Convolution};
    use crate::exec::kernels::epilogue::Epilogue;
    use crate::exec::kernels::pool::{Pool, PoolKind};
    use crate::exec::kernels::{Activation, Window};
    use proptest::prelude::*;

    /// Small whole numbers, so that every sum is exact in any order.
    fn whole(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009 % 7) as f32 - 3.0).collect()
    }

    /// [images, channels, plane] to [images, plane, channels].
    fn side_by_side(x: &[f32], channels: usize, plane: usize) -> Vec<f32> {
        let at = |i: usize| {
            let (image, p, c) = (i / (channels * plane), i / channels % plane, i % channels);
            x[(image * channels + c) * plane + p]
        };
        (0..x.len()).map(at).collect()
    }

    fn window() -> impl Strategy<Value = (Window, [usize; 2])> {
        let axis =
            (prop::sample::select(vec![1usize, 2, 3, 5, 7]), 1usize..4, 1usize..3, 0usize..4, 0usize..4, 1usize..24);
        (axis.clone(), axis).prop_map(|(y, x)| {
            let window = Window {
                kernel: [y.0, x.0],
                stride: [y.1, x.1],
                dilation: [y.2, x.2],
                before: [y.3, x.3],
                after: [y.4, x.4],
            };
            (window, [y.5, x.5])
        })
    }

    fn convolution(depthwise: bool) -> impl Strategy<Value = Convolution> {
        (window(), (1usize..5, 1usize..40, 1usize..3), 1usize..4, 1usize..40).prop_filter_map(
            "the window fits",
            move |((window, input), (inputs, outputs, groups), batch, lone)| {
                let output = window.output(input, false)?;
                let (channels, outputs, groups) =
                    if depthwise { (lone, lone, lone) } else { (inputs * groups, outputs * groups, groups) };
                Some(Convolution { batch, channels, outputs, groups, input, output, window })
            },
        )
    }

    proptest! {
        #[test]
        fn convolution_equals_that_over_planes(
            c in convolution(false), from_planes in any::<bool>(), adds in any::<bool>(), soft in any::<bool>(),
        ) {
            let (plane_in, plane) = (c.input[0] * c.input[1], c.output[0] * c.output[1]);
            let shape = [c.outputs, c.channels / c.groups, c.window.kernel[0], c.window.kernel[1]];
            let (x, w) = (whole(c.batch * c.channels * plane_in, 1), whole(shape.iter().product(), 2));
            let (bias, residual) = (whole(c.outputs, 3), whole(c.batch * c.outputs * plane, 4));
            let activation = if soft { Activation::Softsign } else { Activation::Clip(-5.0, 9.0) };
            let epilogue = Epilogue {
                bias: Some(&bias), residual: adds.then_some(&residual[..]), activation, max_pool: None,
            };
            let expected = c.forward(&x, &ConvWeight::new(&w, &shape, c.groups), &epilogue);
            let weight = ChannelsLastWeight::new(&w, &shape, c.groups, Some(&bias));
            let residual = side_by_side(&residual, c.outputs, plane);
            let last = side_by_side(&x, c.channels, plane_in);
            let x = if from_planes { (&x[..], Order::Planes) } else { (&last[..], Order::ChannelsLast) };
            let y = c.forward_channels_last(x, &weight, adds.then_some(&residual[..]), activation);
            prop_assert_eq!(y, side_by_side(&expected, c.outputs, plane));
        }

        #[test]
        fn depthwise_convolution_equals_that_over_planes(c in convolution(true), adds in any::<bool>()) {
            let (plane_in, plane) = (c.input[0] * c.input[1], c.output[0] * c.output[1]);
            let shape = [c.outputs, 1, c.window.kernel[0], c.window.kernel[1]];
            let (x, w) = (whole(c.batch * c.channels * plane_in, 1), whole(shape.iter().product(), 2));
            let (bias, residual) = (whole(c.outputs, 3), whole(c.batch * c.outputs * plane, 4));
            let residual = adds.then_some(&residual[..]);
            let epilogue = Epilogue { bias: Some(&bias), residual, activation: Activation::Relu, max_pool: None };
            let expected = c.forward(&x, &ConvWeight::new(&w, &shape, c.groups), &epilogue);
            let weight = DepthwiseWeight::new(&w, c.channels, Some(&bias));
            let residual = residual.map(|r| side_by_side(r, c.channels, plane));
            let x = side_by_side(&x, c.channels, plane_in);
            let y = c.forward_depthwise(&x, &weight, residual.as_deref(), Activation::Relu);
            prop_assert_eq!(y, side_by_side(&expected, c.outputs, plane));
        }

        #[test]
        fn gradients_equal_those_over_planes(c in convolution(false), adds in any::<bool>(), from_planes in any::<bool>()) {
            let (plane_in, plane) = (c.input[0] * c.input[1], c.output[0] * c.output[1]);
            let (x, w) = (whole(c.batch * c.channels * plane_in, 1), whole(c.outputs * c.channels / c.groups * c.window.kernel[0] * c.window.kernel[1], 2));
            let (grad, present) = (whole(c.batch * c.outputs * plane, 3), whole(x.len(), 4));
            let expected = c.backward(&x, &w, &grad, (true, true));
            let mut input = expected.input.unwrap();
            if adds {
                input.iter_mut().zip(&present).for_each(|(i, p)| *i += p);
            }
            let grad = side_by_side(&grad, c.outputs, plane);
            let present = side_by_side(&present, c.channels, plane_in);
            if c.groups == 1 {
                let found = c.input_gradient_channels_last(&w, &grad, adds.then_some(&present[..]));
                prop_assert_eq!(found, side_by_side(&input, c.channels, plane_in));
                let last = side_by_side(&x, c.channels, plane_in);
                let (x, order) = if from_planes { (&x[..], Order::Planes) } else { (&last[..], Order::ChannelsLast) };
                prop_assert_eq!(c.weight_gradient_channels_last(x, order, &grad), expected.weight.unwrap());
            }
        }

        #[test]
        fn gradients_of_halving_maxima_equal_those_over_planes(
            input in (2usize..12, 2usize..12), channels in 1usize..20, batch in 1usize..3,
        ) {
            let (input, window) = ([input.0, input.1], Window { stride: [2; 2], ..Window::dense([2; 2]) });
            let output = [input[0] / 2, input[1] / 2];
            let planes = Pool { planes: batch * channels, input, output, window, kind: PoolKind::Max };
            let (plane_in, plane) = (input[0] * input[1], output[0] * output[1]);
            let (x, grad) = (whole(batch * channels * plane_in, 1), whole(batch * channels * plane, 2));
            let expected = side_by_side(&planes.backward(&x, &grad), channels, plane_in);
            let found = unpool(&planes, batch, &side_by_side(&x, channels, plane_in), &side_by_side(&grad, channels, plane));
            prop_assert_eq!(found.unwrap(), expected);
        }

        #[test]
        fn pooling_equals_that_over_planes((window, input) in window(), channels in 1usize..20, batch in 1usize..3, kind in 0..3) {
            let kind = match kind {
                0 => PoolKind::Max,
                n => PoolKind::Average { count_padding: n == 1 },
            };
            let before = [0, 1].map(|a| window.before[a].min(window.kernel[a] - 1));
            let after = [0, 1].map(|a| window.after[a].min(window.kernel[a] - 1));
            let window = Window { before, after, ..window };
            let Some(output) = window.output(input, false) else { return Ok(()) };
            let (plane_in, plane) = (input[0] * input[1], output[0] * output[1]);
            let x = whole(batch * channels * plane_in, 5);
            let planes = Pool { planes: batch * channels, input, output, window, kind };
            let y = pool(&planes, batch, &side_by_side(&x, channels, plane_in));
            for (y, expected) in y.iter().zip(side_by_side(&planes.forward(&x), channels, plane)) {
                prop_assert!(*y == expected || (y - expected).abs() <= 1e-6 * expected.abs(), "{} {}", y, expected);
            }
        }
    }
}
