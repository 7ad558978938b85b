use super::found::of_channels;
use super::progress::Progress;
use super::{CalibrateError, Observe};
use crate::model::{Layer, Model, Tensor};
use crate::prune::{Criterion, Matrix, Scores, Subject};
use crate::stats::vectorize::{Kernel, vectorized};
use rayon::prelude::*;

/// Channels of one side of a tile of pairs.
const TILE: usize = 32;
/// Columns that are compared before the next; with those of a tile they stay in the second-level cache.
const STRETCH: usize = 512;
/// Independent sums within a stretch; fixed, so that every machine adds in the same order.
const LANES: usize = 16;
/// Channels that are compared with one at a time.
const ABREAST: usize = 4;

/// Sum of Euclidean distances of each output channel's weights to those of the others (He et al. 2019).
///
/// Channels of a grouped convolution are compared within their group only: those of another group read other inputs,
/// so that neither could stand in for the other. Of a grouped transposed convolution, whose stored channels are one
/// of each group, the distances of all groups are added.
pub(super) fn score(subject: &Subject<'_>, layers: &[&Layer], observe: Observe<'_>) -> Result<Scores, CalibrateError> {
    let matrices: Vec<Matrix> = layers.iter().map(|layer| Matrix::of(layer, &layer.shape)).collect();
    let tiles = |matrix: &Matrix| {
        let side = group_size(matrix).div_ceil(TILE) as u64;
        matrix.groups as u64 * side * (side + 1) / 2
    };
    let mut progress = Progress::new(matrices.iter().map(tiles).sum(), observe);
    let mut scores = Scores::default();
    for (layer, matrix) in layers.iter().zip(&matrices) {
        let found = if group_size(matrix) < 2 {
            progress.advance(tiles(matrix))?;
            Err(match matrix.groups {
                1 => "it has one channel only".to_owned(),
                _ => "each of its channels reads inputs of its own, so that none can stand in for another".to_owned(),
            })
        } else {
            of_channels(distances(subject.model, layer, matrix, &mut progress)?)
        };
        scores.insert(&layer.name, Criterion::GeometricMedian, found);
    }
    Ok(scores)
}

fn group_size(matrix: &Matrix) -> usize {
    matrix.rows.len() / matrix.groups.max(1)
}

/// Sums of distances by stored output channel.
fn distances(
    model: &Model,
    layer: &Layer,
    matrix: &Matrix,
    progress: &mut Progress<'_>,
) -> Result<Vec<f64>, CalibrateError> {
    let mut sums = vec![0.0; layer.channel_count()];
    let Some(weight) = model.tensors.get(&layer.weight).map(Tensor::resident) else { return Ok(sums) };
    let weight = weight.to_f32();
    let size = group_size(matrix);
    for (group, rows) in matrix.rows.chunks(size).enumerate() {
        let channels = Channels::gather(&weight, rows, &matrix.columns);
        let within = channels.distances(progress)?;
        for (place, distance) in within.into_iter().enumerate() {
            let channel = (group * size + place) % sums.len();
            sums[channel] += distance;
        }
    }
    Ok(sums)
}

/// The weights of some channels, each a run of `width`, filled up with zeros.
struct Channels {
    values: Vec<f32>,
    count: usize,
    width: usize,
}

impl Channels {
    fn gather(weight: &[f32], rows: &[usize], columns: &[usize]) -> Self {
        let width = columns.len().next_multiple_of(LANES).max(LANES);
        let mut values = vec![0.0; rows.len() * width];
        values.par_chunks_mut(width).zip(rows).for_each(|(run, row)| {
            run.iter_mut().zip(columns).for_each(|(value, column)| *value = weight[row + column]);
        });
        Self { values, count: rows.len(), width }
    }

    fn row(&self, channel: usize) -> &[f32] {
        &self.values[channel * self.width..][..self.width]
    }

    /// Each pair is looked at once; what it adds to both channels is summed in the order of tiles.
    fn distances(&self, progress: &mut Progress<'_>) -> Result<Vec<f64>, CalibrateError> {
        let mut sums = vec![0.0; self.count];
        let tiles = self.count.div_ceil(TILE);
        for first in 0..tiles {
            let pairs: Vec<Pairs> = (first..tiles)
                .into_par_iter()
                .map(|second| vectorized(Tile { channels: self, first: first * TILE, second: second * TILE }))
                .collect();
            for (second, pairs) in (first..tiles).zip(pairs) {
                sums[first * TILE..].iter_mut().zip(pairs.first).for_each(|(sum, more)| *sum += more);
                if first != second {
                    sums[second * TILE..].iter_mut().zip(pairs.second).for_each(|(sum, more)| *sum += more);
                }
            }
            progress.advance((tiles - first) as u64)?;
        }
        Ok(sums)
    }
}

/// Sums of distances over one tile, for the channels of its two sides.
struct Pairs {
    first: [f64; TILE],
    second: [f64; TILE],
}

struct Tile<'a> {
    channels: &'a Channels,
    first: usize,
    second: usize,
}

impl Kernel for Tile<'_> {
    type Output = Pairs;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> Pairs {
        let Self { channels, first, second } = self;
        let (rows, columns) = (TILE.min(channels.count - first), TILE.min(channels.count - second));
        let mut squares = [[0.0f64; TILE]; TILE];
        let mut start = 0;
        while start < channels.width {
            let end = (start + STRETCH).min(channels.width);
            for (i, squares) in squares.iter_mut().enumerate().take(rows) {
                let x = &channels.row(first + i)[start..end];
                let mut j = 0;
                while j + ABREAST <= columns {
                    let abreast: [&[f32]; ABREAST] = std::array::from_fn(|k| &channels.row(second + j + k)[start..end]);
                    let found = squared(x, abreast);
                    squares[j..j + ABREAST].iter_mut().zip(found).for_each(|(square, more)| *square += more);
                    j += ABREAST;
                }
                while j < columns {
                    squares[j] += squared(x, [&channels.row(second + j)[start..end]])[0];
                    j += 1;
                }
            }
            start = end;
        }
        let mut sums = Pairs { first: [0.0; TILE], second: [0.0; TILE] };
        for (squares, first) in squares.iter().zip(&mut sums.first) {
            for (square, second) in squares.iter().zip(&mut sums.second) {
                let distance = square.sqrt();
                *first += distance;
                *second += distance;
            }
        }
        sums
    }
}

/// Squared distances of `x` to runs of the same length, a multiple of [`LANES`].
#[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
#[inline(always)]
fn squared<const N: usize>(x: &[f32], ys: [&[f32]; N]) -> [f64; N] {
    let mut lanes = [[0.0f32; LANES]; N];
    for (chunk, x) in x.as_chunks::<LANES>().0.iter().enumerate() {
        for (lanes, y) in lanes.iter_mut().zip(&ys) {
            let y = &y.as_chunks::<LANES>().0[chunk];
            for lane in 0..LANES {
                let difference = x[lane] - y[lane];
                lanes[lane] += difference * difference;
            }
        }
    }
    lanes.map(|lanes| lanes.iter().map(|&lane| f64::from(lane)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerKind, layers_of};
    use std::ops::ControlFlow;

    fn scored(
        kind: LayerKind,
        axes: (usize, Option<usize>),
        groups: usize,
        weight: Tensor,
    ) -> Result<Vec<f64>, String> {
        let mut model = Model::default();
        model.tensors.insert("w".into(), weight);
        let layer = layers_of(&model)[0].clone();
        let layers = [Layer { kind, output_axis: axes.0, input_axis: axes.1, groups, ..layer }];
        let subject = Subject::new(&model, &layers);
        let scores = score(&subject, &[&layers[0]], &mut |_, _| ControlFlow::Continue(())).unwrap();
        let found = scores.get("w", Criterion::GeometricMedian).unwrap();
        found.map(|found| found.channels.as_ref().unwrap().to_vec()).map_err(str::to_owned)
    }

    fn tensor(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::from_f32(shape.to_vec(), values).unwrap()
    }

    #[test]
    fn the_channel_in_the_middle_is_the_most_replaceable() {
        let rows = tensor(&[3, 2], vec![0.0, 0.0, 3.0, 4.0, 6.0, 8.0]);
        assert_eq!(scored(LayerKind::Linear, (0, Some(1)), 1, rows), Ok(vec![15.0, 10.0, 15.0]));
        let columns = tensor(&[2, 3], vec![0.0, 3.0, 6.0, 0.0, 4.0, 8.0]);
        assert_eq!(scored(LayerKind::MatMul, (1, Some(0)), 1, columns), Ok(vec![15.0, 10.0, 15.0]));
    }

    #[test]
    fn channels_of_other_groups_do_not_count() {
        let weight = || tensor(&[4, 1, 2], vec![0.0, 0.0, 3.0, 4.0, 100.0, 0.0, 106.0, 8.0]);
        assert_eq!(scored(LayerKind::Conv, (0, Some(1)), 2, weight()), Ok(vec![5.0, 5.0, 10.0, 10.0]));
        let depthwise = scored(LayerKind::Conv, (0, Some(1)), 4, weight()).unwrap_err();
        assert!(depthwise.contains("inputs of its own"), "{depthwise}");
        // Two inputs in two groups of two outputs: each stored channel is one of both groups.
        let transposed =
            scored(LayerKind::ConvTranspose, (1, Some(0)), 2, tensor(&[2, 2, 1], vec![0.0, 3.0, 1.0, 5.0]));
        assert_eq!(transposed, Ok(vec![7.0, 7.0]));
        assert!(scored(LayerKind::Linear, (0, Some(1)), 1, tensor(&[1, 2], vec![1.0, 2.0])).is_err());
    }

    #[test]
    fn tiles_and_stretches_leave_nothing_out() {
        let (rows, columns) = (71, 1100);
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 7919 + i / 13) % 1009) as f32 / 500.0 - 1.0).collect();
        let found = scored(LayerKind::Linear, (0, Some(1)), 1, tensor(&[rows, columns], values.clone())).unwrap();
        for (i, sum) in found.into_iter().enumerate() {
            let row = |r: usize| values[r * columns..][..columns].iter().map(|&v| f64::from(v));
            let distance = |j: usize| row(i).zip(row(j)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let expected: f64 = (0..rows).map(distance).sum();
            assert!((sum - expected).abs() < 1e-6 * expected, "{i}: {sum} and {expected}");
        }
    }

    #[test]
    fn weights_that_are_not_numbers_have_no_distance() {
        let weight = tensor(&[2, 2], vec![0.0, f32::NAN, 1.0, 1.0]);
        assert_eq!(scored(LayerKind::Linear, (0, Some(1)), 1, weight), Err("its scores are not finite".to_owned()));
    }
}
