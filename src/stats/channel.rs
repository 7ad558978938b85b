use super::float::{Float, FloatVisitor, with_float};
use super::vectorize::{Kernel, vectorized};
use crate::model::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a row whose sums stay in the first-level cache.
const STRIPE: usize = 512;
/// Elements that a worker takes at once, unless a single channel of a row has more.
const TASK: usize = 1 << 17;
/// Elements of a channel that lie together from which on they are summed as a run, not side by side.
const RUN: usize = 64;
/// Rows that are summed side by side before the next stretch of columns.
const ROWS: usize = 8;
/// Independent sums within a run; fixed, so that every machine adds in the same order.
const LANES: usize = 16;

/// Norms of the slices of a weight along one axis: one entry per output channel or neuron.
///
/// Sums are taken in f64 in a fixed order, so that the result has the same bytes on any number of
/// threads. A channel with a weight that is not a number has norms that are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelScores {
    /// Sum of magnitudes.
    pub l1: Vec<f64>,
    /// Euclidean norm.
    pub l2: Vec<f64>,
    /// Largest magnitude.
    pub linf: Vec<f64>,
    /// Weights that are zero.
    pub zeros: Vec<usize>,
    /// Weights per channel.
    pub channel_len: usize,
}

impl ChannelScores {
    /// Reads `tensor` once, with channels along `axis`. Integers and axes the tensor lacks give no
    /// channels.
    pub fn of_tensor(tensor: &Tensor, axis: usize) -> Self {
        struct Visitor<'a>(&'a Tensor, Layout);
        impl FloatVisitor for Visitor<'_> {
            type Output = Vec<Sums>;
            fn visit<F: Float>(self) -> Vec<Sums> {
                sums::<F>(F::elements(self.0), self.1)
            }
        }
        let tensor = &*tensor.resident();
        let Some(&channels) = tensor.shape().get(axis) else { return Self::default() };
        let layout = Layout {
            outer: tensor.shape()[..axis].iter().product(),
            channels,
            inner: tensor.shape()[axis + 1..].iter().product(),
        };
        let Some(sums) = with_float(tensor.dtype(), Visitor(tensor, layout)) else { return Self::default() };
        Self {
            l1: sums.iter().map(|s| s.abs).collect(),
            l2: sums.iter().map(|s| s.squares.sqrt()).collect(),
            linf: sums.iter().map(|s| s.max).collect(),
            zeros: sums.iter().map(|s| s.zeros).collect(),
            channel_len: layout.outer * layout.inner,
        }
    }

    /// Number of channels.
    pub const fn len(&self) -> usize {
        self.l1.len()
    }

    /// Whether there are no channels.
    pub const fn is_empty(&self) -> bool {
        self.l1.is_empty()
    }
}

/// Row-major extents around the channel axis.
#[derive(Clone, Copy)]
struct Layout {
    outer: usize,
    channels: usize,
    inner: usize,
}

/// Sums of one channel.
#[derive(Clone, Copy, Default)]
struct Sums {
    abs: f64,
    squares: f64,
    max: f64,
    zeros: usize,
}

impl Sums {
    /// Replaces sums over weights that are not finite, whose values are not to be trusted.
    fn of<F: Float>(abs: f64, squares: f64, most: F::Key, zeros: usize) -> Self {
        if most <= F::LAST_FINITE {
            return Self { abs, squares, max: F::magnitude(most), zeros };
        }
        let all = if most > F::LAST_NUMBER { f64::NAN } else { f64::INFINITY };
        Self { abs: all, squares: all, max: all, zeros }
    }

    fn add(&mut self, other: &Self) {
        self.abs += other.abs;
        self.squares += other.squares;
        let unordered = self.max.is_nan() || other.max.is_nan();
        self.max = if unordered { f64::NAN } else { self.max.max(other.max) };
        self.zeros += other.zeros;
    }
}

/// Tasks are stripes of neighbouring channels by blocks of the outer axis; blocks are combined in order.
fn sums<F: Float>(elements: &[F::Raw], layout: Layout) -> Vec<Sums> {
    let Layout { outer, channels, inner } = layout;
    if elements.is_empty() {
        return vec![Sums::default(); channels];
    }
    let stripe = (if outer == 1 { TASK } else { STRIPE } / inner).clamp(1, channels);
    let block = (TASK / (stripe * inner)).clamp(1, outer);
    let (stripes, blocks) = (channels.div_ceil(stripe), outer.div_ceil(block));
    let tasks: Vec<Vec<Sums>> = (0..stripes * blocks)
        .into_par_iter()
        .map(|task| {
            let channels = (task / blocks * stripe)..((task / blocks + 1) * stripe).min(channels);
            let rows = (task % blocks * block)..((task % blocks + 1) * block).min(outer);
            if inner >= RUN {
                vectorized(RunTask::<F> { elements, layout, channels, rows })
            } else {
                vectorized(ColumnTask::<F> { elements, layout, channels, rows })
            }
        })
        .collect();
    let mut all = Vec::with_capacity(channels);
    for blocks in tasks.chunks(blocks) {
        let mut stripe = blocks[0].clone();
        for block in &blocks[1..] {
            for (sum, next) in stripe.iter_mut().zip(block) {
                sum.add(next);
            }
        }
        all.extend(stripe);
    }
    all
}

impl Layout {
    /// The part of a row that holds `channels`.
    fn slice<'a, T>(&self, elements: &'a [T], row: usize, channels: &Range<usize>) -> &'a [T] {
        let start = row * self.channels;
        &elements[(start + channels.start) * self.inner..(start + channels.end) * self.inner]
    }
}

/// Sums over neighbouring elements, one per lane.
struct Lanes<F: Float> {
    abs: [f64; LANES],
    squares: [f64; LANES],
    most: [F::Key; LANES],
    zeros: [u32; LANES],
}

impl<F: Float> Clone for Lanes<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Float> Copy for Lanes<F> {}

impl<F: Float> Lanes<F> {
    const EMPTY: Self = Self { abs: [0.0; LANES], squares: [0.0; LANES], most: [F::ZERO; LANES], zeros: [0; LANES] };

    /// Adds at most [`LANES`] elements, one to each lane.
    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn add(&mut self, elements: &[F::Raw]) {
        for (lane, &raw) in elements.iter().enumerate() {
            let (key, value) = (F::key(raw), F::value(raw));
            self.abs[lane] += value.abs();
            self.squares[lane] += value * value;
            self.most[lane] = self.most[lane].max(key);
            self.zeros[lane] += u32::from(key == F::ZERO);
        }
    }

    fn lane(&self, lane: usize) -> Sums {
        Sums::of::<F>(self.abs[lane], self.squares[lane], self.most[lane], self.zeros[lane] as usize)
    }
}

/// Channels whose elements lie together in long runs: each run is summed by itself.
struct RunTask<'a, F: Float> {
    elements: &'a [F::Raw],
    layout: Layout,
    channels: Range<usize>,
    rows: Range<usize>,
}

impl<F: Float> Kernel for RunTask<'_, F> {
    type Output = Vec<Sums>;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> Vec<Sums> {
        let mut sums = vec![Sums::default(); self.channels.len()];
        for row in self.rows {
            let elements = self.layout.slice(self.elements, row, &self.channels);
            for (run, sum) in elements.chunks_exact(self.layout.inner).zip(&mut sums) {
                let mut lanes = Lanes::<F>::EMPTY;
                let (groups, rest) = run.as_chunks::<LANES>();
                for group in groups {
                    lanes.add(group);
                }
                lanes.add(rest);
                for lane in 0..LANES {
                    sum.add(&lanes.lane(lane));
                }
            }
        }
        sums
    }
}

/// Channels whose elements lie side by side: every position of a row has its own sums.
struct ColumnTask<'a, F: Float> {
    elements: &'a [F::Raw],
    layout: Layout,
    channels: Range<usize>,
    rows: Range<usize>,
}

impl<F: Float> Kernel for ColumnTask<'_, F> {
    type Output = Vec<Sums>;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> Vec<Sums> {
        let inner = self.layout.inner;
        let width = self.channels.len() * inner;
        let mut positions = vec![Lanes::<F>::EMPTY; width.div_ceil(LANES)];
        let mut rows = self.rows;
        while !rows.is_empty() {
            let some = rows.start..rows.end.min(rows.start + ROWS);
            rows.start = some.end;
            for (index, position) in positions.iter_mut().enumerate() {
                // A copy, so that the sums stay in registers from row to row.
                let mut lanes = *position;
                for row in some.clone() {
                    let elements = self.layout.slice(self.elements, row, &self.channels);
                    match elements[index * LANES..].first_chunk::<LANES>() {
                        Some(group) => lanes.add(group),
                        None => lanes.add(&elements[index * LANES..]),
                    }
                }
                *position = lanes;
            }
        }
        let sums = positions.iter().flat_map(|lanes| (0..LANES).map(|lane| lanes.lane(lane))).take(width);
        let mut channels = vec![Sums::default(); self.channels.len()];
        for (position, sum) in sums.enumerate() {
            channels[position / inner].add(&sum);
        }
        channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DType;

    fn check(shape: &[usize], axis: usize) {
        let n: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..n).map(|i| if i % 11 == 0 { 0.0 } else { ((i * 37 % 101) as f32 - 50.0) * 0.01 }).collect();
        let scores = ChannelScores::of_tensor(&Tensor::from_f32(shape.to_vec(), values.clone()).unwrap(), axis);
        let inner: usize = shape[axis + 1..].iter().product();
        assert_eq!((scores.len(), scores.channel_len), (shape[axis], n / shape[axis]));
        for channel in 0..shape[axis] {
            let slice = values.iter().enumerate().filter(|(i, _)| i / inner % shape[axis] == channel);
            let slice: Vec<f64> = slice.map(|(_, &v)| f64::from(v.abs())).collect();
            let squares: f64 = slice.iter().map(|v| v * v).sum();
            assert!((scores.l1[channel] - slice.iter().sum::<f64>()).abs() < 1e-9 * n as f64);
            assert!((scores.l2[channel] - squares.sqrt()).abs() < 1e-9 * n as f64);
            assert_eq!(scores.linf[channel], slice.iter().copied().fold(0.0, f64::max));
            assert_eq!(scores.zeros[channel], slice.iter().filter(|&&v| v == 0.0).count());
        }
    }

    #[test]
    fn every_axis_of_every_shape_has_its_norms() {
        check(&[16, 3, 5, 5], 0);
        check(&[6, 8, 3, 3], 1);
        check(&[40, 7], 1);
        check(&[1, 10_000], 0);
        check(&[3, 5, 9000], 1);
        check(&[2000, 300], 1);
        check(&[70_000, 10], 1);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        let values: Vec<f32> = (0..1_200_000).map(|i| (i as f32 * 0.01).sin()).collect();
        let tensor = Tensor::from_f32(vec![120_000, 10], values).unwrap();
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| ChannelScores::of_tensor(&tensor, 1))
        };
        assert_eq!(with_threads(1), with_threads(3));
    }

    #[test]
    fn integers_empty_tensors_and_missing_axes_have_no_scores() {
        let integers = Tensor::new(DType::I8, vec![2, 2], vec![1; 4].into()).unwrap();
        assert!(ChannelScores::of_tensor(&integers, 0).is_empty());
        let empty = Tensor::from_f32(vec![3, 0], Vec::new()).unwrap();
        assert_eq!(ChannelScores::of_tensor(&empty, 0).l1, [0.0; 3]);
        assert!(ChannelScores::of_tensor(&empty, 7).is_empty());
        assert!(ChannelScores::of_tensor(&empty, 1).is_empty());
    }

    #[test]
    fn a_weight_that_is_not_a_number_shows_in_its_channel_only() {
        let scores = ChannelScores::of_tensor(&Tensor::from_f32(vec![2, 2], vec![1.0, f32::NAN, 3.0, 4.0]).unwrap(), 0);
        assert!(scores.l1[0].is_nan() && scores.l2[0].is_nan());
        assert_eq!((scores.l1[1], scores.l2[1]), (7.0, 5.0));
    }
}
