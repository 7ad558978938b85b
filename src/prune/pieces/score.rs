use super::matrix::Matrix;
use super::tiles::Tiles;
use crate::model::{Layer, Tensor};
use crate::prune::{Criterion, Granularity};
use crate::stats::float::{Float, FloatVisitor, with_float};
use rayon::prelude::*;
use std::ops::Range;

/// Weights that a worker takes at once, unless a single piece has more.
const TASK: usize = 1 << 16;
/// Columns that are at least taken together, so that neighbours in memory are read once.
const NEIGHBOURS: usize = 64;

/// Scores of the pieces of a layer, and what is zero in them already.
///
/// Pieces are counted by output first and by input then; columns over the inputs of all groups. The bytes of the
/// result do not depend on the number of threads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PieceScores {
    /// By piece; infinite where a weight is.
    pub scores: Vec<f64>,
    /// Weights that are zero, by piece.
    pub zeros: Vec<usize>,
}

impl PieceScores {
    /// Reads `weight` once; a criterion that is no norm sums magnitudes. Granularities without pieces of several weights, and integers, have no scores.
    pub fn of(layer: &Layer, weight: &Tensor, granularity: Granularity, criterion: Criterion) -> Self {
        let matrix = Matrix::of(layer, weight.shape());
        match Tiles::of(&matrix, granularity) {
            Some(tiles) => Self::of_tiles(&matrix, &tiles, weight, criterion),
            None => Self::default(),
        }
    }

    pub(super) fn of_tiles(matrix: &Matrix, tiles: &Tiles, weight: &Tensor, criterion: Criterion) -> Self {
        struct Visitor<'a>(&'a Matrix, &'a Tiles, &'a Tensor, Criterion);
        impl FloatVisitor for Visitor<'_> {
            type Output = PieceScores;
            fn visit<F: Float>(self) -> PieceScores {
                scores::<F>(self.0, self.1, F::elements(self.2), self.3)
            }
        }
        let weight = &*weight.resident();
        with_float(weight.dtype(), Visitor(matrix, tiles, weight, criterion)).unwrap_or_default()
    }
}

/// Sums of one piece.
struct Sums<F: Float> {
    abs: f64,
    squares: f64,
    most: F::Key,
    zeros: usize,
}

impl<F: Float> Sums<F> {
    const EMPTY: Self = Self { abs: 0.0, squares: 0.0, most: F::ZERO, zeros: 0 };

    fn add(&mut self, raw: F::Raw) {
        let (key, value) = (F::key(raw), F::value(raw));
        self.abs += value.abs();
        self.squares += value * value;
        self.most = self.most.max(key);
        self.zeros += usize::from(key == F::ZERO);
    }

    fn score(&self, criterion: Criterion) -> f64 {
        if self.most > F::LAST_FINITE {
            // Sums over such weights are not to be trusted.
            return if self.most > F::LAST_NUMBER { f64::NAN } else { f64::INFINITY };
        }
        match criterion {
            Criterion::L2 => self.squares.sqrt(),
            Criterion::Linf => F::magnitude(self.most),
            _ => self.abs,
        }
    }
}

fn scores<F: Float>(matrix: &Matrix, tiles: &Tiles, elements: &[F::Raw], criterion: Criterion) -> PieceScores {
    if elements.is_empty() {
        return PieceScores { scores: vec![0.0; tiles.len()], zeros: vec![0; tiles.len()] };
    }
    let across = tiles.across();
    let high = tiles.rows(0).len().max(1);
    let span = (TASK / high).max(NEIGHBOURS).div_ceil(tiles.width()).clamp(1, across);
    let spans = across.div_ceil(span);
    let tasks: Vec<Vec<Sums<F>>> = (0..tiles.bands() * spans)
        .into_par_iter()
        .with_min_len((TASK / (high * span * tiles.width())).max(1))
        .map(|task| {
            let first = task % spans * span;
            sums::<F>(matrix, tiles, elements, tiles.rows(task / spans), first..(first + span).min(across))
        })
        .collect();
    let all = || tasks.iter().flatten();
    PieceScores { scores: all().map(|sums| sums.score(criterion)).collect(), zeros: all().map(|s| s.zeros).collect() }
}

/// Sums of neighbouring tiles, taken along whichever side lies together in memory.
fn sums<F: Float>(
    matrix: &Matrix,
    tiles: &Tiles,
    elements: &[F::Raw],
    rows: Range<usize>,
    across: Range<usize>,
) -> Vec<Sums<F>> {
    let mut all: Vec<Sums<F>> = across.clone().map(|_| Sums::EMPTY).collect();
    let rows = &matrix.rows[rows];
    if rows.len() > 1 && rows[1] == rows[0] + 1 {
        for (sums, tile) in all.iter_mut().zip(across) {
            for column in &matrix.columns[tiles.columns(tile)] {
                for row in rows {
                    sums.add(elements[row + column]);
                }
            }
        }
        return all;
    }
    for row in rows {
        for (sums, tile) in all.iter_mut().zip(across.clone()) {
            matrix.columns[tiles.columns(tile)].iter().for_each(|column| sums.add(elements[row + column]));
        }
    }
    all
}
