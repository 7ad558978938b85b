use crate::model::{Layer, Tensor};
use crate::prune::pieces::Matrix;
use crate::stats::float::{Float, FloatVisitor, with_float};
use rayon::prelude::*;

/// Magnitudes by input: for each of `count` inputs those of all outputs, places and layers that read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    pub count: usize,
    pub rows: usize,
    /// Column by column.
    pub magnitudes: Vec<f32>,
}

impl Columns {
    /// Reads what `layer` makes of each of `count` inputs, which it lists once or several times over. Of all rows every
    /// `step`-th is taken.
    pub fn of(layer: &Layer, weight: &Tensor, count: usize, step: usize) -> Self {
        struct Visitor<'a>(&'a Tensor, &'a [usize], &'a [Vec<usize>]);
        impl FloatVisitor for Visitor<'_> {
            type Output = Vec<f32>;
            fn visit<F: Float>(self) -> Vec<f32> {
                let elements = F::elements(self.0);
                // What is no number cannot be summed up; it goes last all the same.
                let magnitude = |raw| match F::key(raw) {
                    key if key > F::LAST_FINITE => f32::MAX,
                    key => (F::magnitude(key) as f32).min(f32::MAX),
                };
                let columns: Vec<Vec<f32>> = self
                    .2
                    .par_iter()
                    .map(|column| {
                        let at = self.1.iter().flat_map(|row| column.iter().map(move |place| row + place));
                        at.map(|index| magnitude(elements[index])).collect()
                    })
                    .collect();
                columns.concat()
            }
        }
        let weight = &*weight.resident();
        let matrix = Matrix::of(layer, weight.shape());
        let rows: Vec<usize> = matrix.rows.iter().copied().step_by(step.max(1)).collect();
        let places = matrix.places;
        let columns: Vec<Vec<usize>> = (0..count)
            .map(|column| {
                let inputs = (column..matrix.inputs()).step_by(count);
                inputs.flat_map(|input| matrix.columns[input * places..][..places].iter().copied()).collect()
            })
            .collect();
        let magnitudes = with_float(weight.dtype(), Visitor(weight, &rows, &columns)).unwrap_or_default();
        Self { count, rows: magnitudes.len() / count.max(1), magnitudes }
    }

    /// All rows of several, one below the other.
    pub fn stacked(parts: &[Self]) -> Self {
        let count = parts.first().map_or(0, |part| part.count);
        let mut magnitudes = Vec::with_capacity(parts.iter().map(|part| part.magnitudes.len()).sum());
        for column in 0..count {
            for part in parts {
                magnitudes.extend_from_slice(part.column(column));
            }
        }
        Self { count, rows: magnitudes.len() / count.max(1), magnitudes }
    }

    pub fn column(&self, column: usize) -> &[f32] {
        &self.magnitudes[column * self.rows..][..self.rows]
    }
}
