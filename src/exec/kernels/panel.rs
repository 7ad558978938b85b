//! Rows times a packed weight: the matrix product of fully connected layers.
//!
//! The weight is stored once in panels of [`WIDTH`] outputs, so that a block of rows and outputs stays in
//! vector registers while the inputs are summed in order. As in [`super::direct`], each result is one
//! chain of fused multiply-adds, whatever the batch and the partition.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Outputs of one panel.
pub const WIDTH: usize = 16;
/// Rows of one register block.
const ROWS: usize = 6;

/// A weight [outputs, inputs] in panels.
#[derive(Clone, Debug)]
pub struct PanelWeight {
    inputs: usize,
    outputs: usize,
    values: Vec<f32>,
}

impl PanelWeight {
    /// Packs row-major [outputs, inputs]; the last panel is filled up with zeros.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut values = vec![0.0; outputs.next_multiple_of(WIDTH) * inputs];
        values.par_chunks_exact_mut((WIDTH * inputs).max(1)).enumerate().for_each(|(p, panel)| {
            let rows: Vec<&[f32]> = weight[p * WIDTH * inputs..].chunks_exact(inputs.max(1)).take(WIDTH).collect();
            for (i, lanes) in panel.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
                lanes.iter_mut().zip(&rows).for_each(|(t, row)| *t = row[i]);
            }
        });
        Self { inputs, outputs, values }
    }

    /// Number of outputs.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Multiplies rows of `x` with the outputs from `first` on, a multiple of [`WIDTH`], into rows of `out`
    /// of `columns` elements.
    pub fn multiply(&self, x: &[f32], first: usize, columns: usize, out: &mut [f32]) {
        pulp::Arch::new().dispatch(Multiply { weight: self, x, first, columns, out });
    }
}

struct Multiply<'a> {
    weight: &'a PanelWeight,
    x: &'a [f32],
    first: usize,
    columns: usize,
    out: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match S::F32_LANES {
            16 => self.panels::<S, 1>(simd),
            8 => self.panels::<S, 2>(simd),
            4 => self.panels::<S, 4>(simd),
            _ => self.panels::<S, WIDTH>(simd),
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn panels<S: Simd, const V: usize>(&mut self, simd: S) {
        let inputs = self.weight.inputs;
        let rows = self.out.len() / self.columns.max(1);
        for from in (0..self.columns).step_by(WIDTH) {
            let panel = &self.weight.values[(self.first + from) * inputs..][..WIDTH * inputs];
            let width = WIDTH.min(self.columns - from);
            let mut row = 0;
            while row < rows {
                let x = &self.x[row * inputs..];
                let out = &mut self.out[row * self.columns + from..];
                macro_rules! sum {
                    ($count:literal) => {
                        sum_inputs::<S, $count, V>(simd, x, panel, inputs, out, (self.columns, width))
                    };
                }
                match rows - row {
                    1 => sum!(1),
                    2 => sum!(2),
                    3 => sum!(3),
                    4 => sum!(4),
                    5 => sum!(5),
                    _ => sum!(6),
                }
                row += ROWS;
            }
        }
    }
}

#[inline(always)]
fn sum_inputs<S: Simd, const M: usize, const V: usize>(
    simd: S,
    x: &[f32],
    panel: &[f32],
    inputs: usize,
    out: &mut [f32],
    (columns, width): (usize, usize),
) {
    let rows: [&[f32]; M] = std::array::from_fn(|m| &x[m * inputs..][..inputs]);
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    for (i, weight) in panel.as_chunks::<WIDTH>().0.iter().take(inputs).enumerate() {
        let weight: [S::f32s; V] =
            std::array::from_fn(|v| S::as_simd_f32s(&weight[v * S::F32_LANES..(v + 1) * S::F32_LANES]).0[0]);
        for m in 0..M {
            let x = simd.splat_f32s(rows[m][i]);
            for v in 0..V {
                sums[m][v] = simd.mul_add_f32s(x, weight[v], sums[m][v]);
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let mut result = [0.0; WIDTH];
        for (v, sum) in sums.iter().enumerate() {
            S::as_mut_simd_f32s(&mut result[v * S::F32_LANES..(v + 1) * S::F32_LANES]).0[0] = *sum;
        }
        out[m * columns..][..width].copy_from_slice(&result[..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn panels_multiply_like_the_textbook(rows in 1usize..14, inputs in 1usize..20, outputs in 1usize..40) {
            let x: Vec<f32> = (0..rows * inputs).map(|i| (i % 7) as f32 - 3.0).collect();
            let w: Vec<f32> = (0..outputs * inputs).map(|i| (i % 5) as f32 - 2.0).collect();
            let packed = PanelWeight::new(&w, outputs, inputs);
            let mut out = vec![f32::NAN; rows * outputs];
            packed.multiply(&x, 0, outputs, &mut out);
            for r in 0..rows {
                for o in 0..outputs {
                    let expected: f32 = (0..inputs).map(|i| x[r * inputs + i] * w[o * inputs + i]).sum();
                    prop_assert_eq!(out[r * outputs + o], expected);
                }
            }
        }
    }
}
