//! Fully connected layers: a batch of rows times a weight of shape [outputs, inputs].

use super::Activation;
use super::matrix::{Matrix, multiply};
use super::parallel;
use super::tile::{FEW_ROWS, PanelWeight, ROWS, Reads, Target};
use rayon::prelude::*;

/// Most rows of one task.
const MAX_ROWS: usize = 168;
/// Most inputs of one task, so that they stay in the cache beside a panel.
const CACHED_INPUTS: usize = 128 << 10;
/// Rows of one task of the gradients.
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
    /// x w^T with the bias that is packed with the weight, plus `residual`, under `activation`.
    pub fn forward(
        &self,
        x: &[f32],
        weight: &PanelWeight,
        residual: Option<&[f32]>,
        activation: Activation,
    ) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        let width = weight.width();
        // The partition does not show in the result, so it may follow the number of threads.
        let tasks = 2 * rayon::current_num_threads();
        let (block, columns) = if rows >= 2 * FEW_ROWS {
            let most = (CACHED_INPUTS / inputs.max(1)).clamp(ROWS, MAX_ROWS);
            let block = rows.div_ceil(rows.div_ceil(most).max(rayon::current_num_threads()));
            (block.next_multiple_of(if block >= ROWS { ROWS } else { FEW_ROWS }), outputs)
        } else {
            (1, outputs.div_ceil(tasks.div_ceil(rows.max(1))).next_multiple_of(width).min(outputs))
        };
        let limits = activation.limits();
        parallel::build_nested(rows * outputs, (block * outputs, block * columns), |index, part, out| {
            let (row, first) = (index * block, part * columns);
            let count = out.len() / columns.min(outputs - first).max(1);
            let stride = out.len() / count.max(1);
            let bases: Vec<usize> = (row..row + count).map(|row| row * inputs).collect();
            let reads = Reads { values: x, runs: &[0], length: inputs, bases: &bases };
            let residual = residual.map(|r| &r[row * outputs + first..]);
            let panels = first / width..(first + stride).div_ceil(width);
            weight.multiply(reads, panels, Target { out, stride, first: 0, residual, limits });
            if limits.is_none() {
                activation.apply(out);
            }
        })
    }

    /// The gradient with respect to x.
    pub fn backward_input(&self, weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let Self { rows, inputs, outputs } = *self;
        parallel::build(rows * inputs, GRADIENT_ROWS * inputs, |index, out| {
            let first = index * GRADIENT_ROWS;
            let count = GRADIENT_ROWS.min(rows - first);
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
