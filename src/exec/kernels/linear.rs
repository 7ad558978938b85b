//! Fully connected layers: a batch of rows times a weight of shape [outputs, inputs].

use super::conv::Epilogue;
use super::matrix::{Matrix, multiply};
use super::panel::{PanelWeight, WIDTH};
use super::parallel;
use rayon::prelude::*;

/// Rows of one task of the input gradient.
const ROWS: usize = 64;
/// Fewest rows worth a task of their own.
const MIN_ROWS: usize = 6;
/// Most rows of one task, so that they stay in the cache beside a panel.
const MAX_ROWS: usize = 96;
/// Output rows of the weight gradient of one task.
const GRADIENT_ROWS: usize = 64;

/// Extents of y = x w^T.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Rows of x.
    pub rows: usize,
    /// Features of x.
    pub inputs: usize,
    /// Features of y.
    pub outputs: usize,
}

impl Linear {
    /// x w^T followed by `epilogue`, whose pooling does not apply.
    pub fn forward(&self, x: &[f32], weight: &PanelWeight, epilogue: &Epilogue<'_>) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        // The partition does not show in the result, so it may follow the number of threads.
        let tasks = 2 * rayon::current_num_threads();
        let (block, columns) = if rows >= 2 * MIN_ROWS {
            (rows.div_ceil(tasks).next_multiple_of(MIN_ROWS).min(MAX_ROWS), outputs)
        } else {
            (1, outputs.div_ceil(tasks.div_ceil(rows.max(1))).next_multiple_of(WIDTH).min(outputs))
        };
        parallel::build_nested(rows * outputs, (block * outputs, block * columns), |index, part, out| {
            let (row, first) = (index * block, part * columns);
            let count = out.len() / columns.min(outputs - first).max(1);
            let columns = out.len() / count.max(1);
            weight.multiply(&x[row * inputs..(row + count) * inputs], first, columns, out);
            if let Some(bias) = epilogue.bias {
                for row in out.chunks_exact_mut(columns) {
                    row.iter_mut().zip(&bias[first..]).for_each(|(v, b)| *v += b);
                }
            }
            if let Some(residual) = epilogue.residual {
                out.iter_mut().zip(&residual[row * outputs + first..]).for_each(|(v, r)| *v += r);
            }
            epilogue.activation.apply(out);
        })
    }

    /// The gradient with respect to x.
    pub fn backward_input(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        parallel::build(rows * inputs, ROWS * inputs, |index, out| {
            let first = index * ROWS;
            let count = ROWS.min(rows - first);
            let grad = Matrix::new(&grad[first * outputs..(first + count) * outputs], count, outputs);
            multiply(out, false, grad, Matrix::new(weight, outputs, inputs));
        })
    }

    /// The gradient with respect to the weight.
    pub fn backward_weight(&self, x: &[f32], grad: &[f32]) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        let mut transposed = vec![0.0; rows * outputs];
        transposed.par_chunks_mut(rows.max(1)).enumerate().for_each(|(o, row)| {
            row.iter_mut().enumerate().for_each(|(r, t)| *t = grad[r * outputs + o]);
        });
        parallel::build(outputs * inputs, GRADIENT_ROWS * inputs, |index, out| {
            let first = index * GRADIENT_ROWS;
            let count = GRADIENT_ROWS.min(outputs - first);
            let grad = Matrix::new(&transposed[first * rows..(first + count) * rows], count, rows);
            multiply(out, false, grad, Matrix::new(x, rows, inputs));
        })
    }
}
