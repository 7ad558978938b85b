//! Rows times a packed weight: the one product behind fully connected layers and channels-last convolution.
//!
//! The weight is stored once in panels of two vectors of outputs. A tile of rows and one panel's outputs then
//! stays in vector registers while the inputs are summed in order. Each result is one chain of fused
//! multiply-adds that starts at its bias, so it does not depend on the batch, the partition or the vector width.

use super::direct::lanes;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Vectors of one panel.
const VECTORS: usize = 2;
/// Rows of a tile with 32 vector registers: 14 x 2 sums, 2 weights and an input.
pub const ROWS: usize = 14;
/// Rows of a tile with 16 vector registers: 6 x 2 sums, 2 weights and an input.
pub const FEW_ROWS: usize = 6;

/// A weight [outputs, depth] and its bias in panels of outputs.
#[derive(Clone, Debug)]
pub struct PanelWeight {
    depth: usize,
    outputs: usize,
    lanes: usize,
    values: Vec<f32>,
    bias: Vec<f32>,
}

/// What each row reads: stretches of `length` elements that start `runs` after the row's base.
#[derive(Clone, Copy, Debug)]
pub struct Reads<'a> {
    /// The inputs of all rows.
    pub values: &'a [f32],
    /// Distances of the stretches from the base of a row.
    pub runs: &'a [usize],
    /// Elements of one stretch; all stretches together are the weight's depth.
    pub length: usize,
    /// First element of each row.
    pub bases: &'a [usize],
}

/// Where results go, and what is done to them on the way.
#[derive(Debug)]
pub struct Target<'a> {
    /// Row-major results.
    pub out: &'a mut [f32],
    /// Elements of one row of `out`.
    pub stride: usize,
    /// Element of a row at which the first output of the first panel goes.
    pub first: usize,
    /// Added to the results; laid out as `out`.
    pub residual: Option<&'a [f32]>,
    /// Results are limited to these.
    pub limits: Option<(f32, f32)>,
}

impl PanelWeight {
    /// Packs the weight whose element for output `o` and input `k` is `element(o, k)`.
    pub fn new(
        outputs: usize,
        depth: usize,
        element: impl Fn(usize, usize) -> f32 + Sync,
        bias: Option<&[f32]>,
    ) -> Self {
        let lanes = lanes();
        let width = VECTORS * lanes;
        let padded = outputs.next_multiple_of(lanes);
        let mut values = vec![0.0; padded * depth];
        values.par_chunks_mut((width * depth).max(1)).enumerate().for_each(|(panel, values)| {
            let width = values.len() / depth;
            let first = panel * VECTORS * lanes;
            let count = width.min(outputs - first);
            for (k, row) in values.chunks_exact_mut(width).enumerate() {
                row[..count].iter_mut().enumerate().for_each(|(o, value)| *value = element(first + o, k));
            }
        });
        let mut padded_bias = vec![0.0; padded];
        padded_bias.iter_mut().zip(bias.unwrap_or(&[])).for_each(|(target, bias)| *target = *bias);
        Self { depth, outputs, lanes, values, bias: padded_bias }
    }

    /// Packs row-major [outputs, inputs].
    pub fn of_rows(weight: &[f32], outputs: usize, inputs: usize, bias: Option<&[f32]>) -> Self {
        Self::new(outputs, inputs, |o, i| weight[o * inputs + i], bias)
    }

    /// Number of outputs.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs of one output.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// Outputs of a full panel.
    pub const fn width(&self) -> usize {
        VECTORS * self.lanes
    }

    /// Number of panels.
    pub const fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width())
    }

    /// Multiplies the rows of `reads` with the outputs of `panels`.
    pub fn multiply(&self, reads: Reads<'_>, panels: Range<usize>, target: Target<'_>) {
        assert_eq!(reads.runs.len() * reads.length, self.depth, "the stretches are the weight's depth");
        pulp::Arch::new().dispatch(Multiply { weight: self, reads, panels, target });
    }
}

struct Multiply<'a> {
    weight: &'a PanelWeight,
    reads: Reads<'a>,
    panels: Range<usize>,
    target: Target<'a>,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        assert_eq!(S::F32_LANES, self.weight.lanes, "the weight was packed for this machine");
        let width = self.weight.width();
        for panel in self.panels.clone() {
            let outputs = width.min(self.weight.outputs - panel * width);
            if outputs > S::F32_LANES {
                self.panel::<S, VECTORS>(simd, panel, outputs);
            } else {
                self.panel::<S, 1>(simd, panel, outputs);
            }
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn panel<S: Simd, const V: usize>(&mut self, simd: S, panel: usize, outputs: usize) {
        let (rows, mut row) = (self.reads.bases.len(), 0);
        if S::REGISTER_COUNT >= 32 {
            while row + ROWS <= rows {
                self.tile::<S, ROWS, V>(simd, panel, outputs, row);
                row += ROWS;
            }
        }
        while row + FEW_ROWS <= rows {
            self.tile::<S, FEW_ROWS, V>(simd, panel, outputs, row);
            row += FEW_ROWS;
        }
        while row + 3 <= rows {
            self.tile::<S, 3, V>(simd, panel, outputs, row);
            row += 3;
        }
        while row < rows {
            self.tile::<S, 1, V>(simd, panel, outputs, row);
            row += 1;
        }
    }

    /// `R` rows from `row` on with `V` vectors of outputs.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, panel: usize, outputs: usize, row: usize) {
        let Self { weight, reads: Reads { values, runs, length, bases }, .. } = *self;
        let first = panel * weight.width();
        let packed = &weight.values[first * weight.depth..][..V * S::F32_LANES * weight.depth];
        let packed: &[[S::f32s; V]] = S::as_simd_f32s(packed).0.as_chunks().0;
        let bias = S::as_simd_f32s(&weight.bias[first..]).0;
        let bases: &[usize; R] = bases[row..].first_chunk().unwrap_or(&[0; R]);
        let mut sums: [[S::f32s; V]; R] = [std::array::from_fn(|v| bias[v]); R];
        for (run, packed) in runs.iter().zip(packed.chunks_exact(length.max(1))) {
            let rows: [&[f32]; R] = std::array::from_fn(|r| &values[bases[r] + run..][..packed.len()]);
            // Slices as long as the weight's, so that the loop needs no checks and the sums no memory.
            for (i, weight) in packed.iter().enumerate() {
                for r in 0..R {
                    let x = simd.splat_f32s(rows[r][i]);
                    for v in 0..V {
                        sums[r][v] = simd.mul_add_f32s(x, weight[v], sums[r][v]);
                    }
                }
            }
        }
        // Their addresses are taken below; those of the sums above must not be.
        let sums: [[S::f32s; V]; R] = std::array::from_fn(|r| sums[r]);
        let target = &mut self.target;
        for (r, sums) in sums.iter().enumerate() {
            let at = (row + r) * target.stride + target.first + (panel - self.panels.start) * weight.width();
            let residual = target.residual.map(|residual| &residual[at..][..outputs]);
            let out = &mut target.out[at..][..outputs];
            for (v, &sum) in sums.iter().enumerate() {
                let (from, to) = (v * S::F32_LANES, outputs.min((v + 1) * S::F32_LANES));
                let mut sum = sum;
                if let Some(residual) = residual {
                    sum = simd.add_f32s(sum, load(simd, &residual[from..to]));
                }
                if let Some((low, high)) = target.limits {
                    sum = limit(simd, sum, low, high);
                }
                store(simd, &mut out[from..to], sum);
            }
        }
    }
}

/// A vector of at most as many elements as it has lanes; the other lanes are 0.
#[inline(always)]
pub fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    S::as_simd_f32s(values).0.first().copied().unwrap_or_else(|| simd.partial_load_f32s(values))
}

/// Stores the first lanes, as many as there is room for.
#[inline(always)]
pub fn store<S: Simd>(simd: S, out: &mut [f32], values: S::f32s) {
    match S::as_mut_simd_f32s(out).0.first_mut() {
        Some(out) => *out = values,
        // Masked stores are slow, so only where they must be.
        None => simd.partial_store_f32s(out, values),
    }
}

/// Limits to `low`..=`high`; what is not a number stays so.
#[inline(always)]
pub fn limit<S: Simd>(simd: S, x: S::f32s, low: f32, high: f32) -> S::f32s {
    let (low, high) = (simd.splat_f32s(low), simd.splat_f32s(high));
    if S::F32_LANES == 1 {
        let x = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
        return simd.select_f32s(simd.less_than_f32s(high, x), high, x);
    }
    // The vector instructions give the second operand where either is not a number, or that which is not.
    simd.min_f32s(high, simd.max_f32s(low, x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn panels_multiply_like_the_textbook(
            rows in 1usize..40, runs in 1usize..4, length in 1usize..9, outputs in 1usize..70, plain in any::<bool>(),
        ) {
            let inputs = runs * length;
            // The stretches of a row lie two elements apart.
            let offsets: Vec<usize> = (0..runs).map(|r| r * (length + 2)).collect();
            let bases: Vec<usize> = (0..rows).map(|r| r * 3).collect();
            let x: Vec<f32> = (0..3 * rows + runs * (length + 2)).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let w: Vec<f32> = (0..outputs * inputs).map(|i| (i % 5) as f32 - 2.0).collect();
            let bias: Vec<f32> = (0..outputs).map(|i| i as f32).collect();
            let residual: Vec<f32> = (0..rows * outputs).map(|i| (i % 3) as f32).collect();
            let packed = PanelWeight::of_rows(&w, outputs, inputs, Some(&bias));
            let mut out = vec![f32::NAN; rows * outputs];
            let reads = Reads { values: &x, runs: &offsets, length, bases: &bases };
            let target = Target {
                out: &mut out,
                stride: outputs,
                first: 0,
                residual: (!plain).then_some(&residual[..]),
                limits: (!plain).then_some((-8.0, 40.0)),
            };
            packed.multiply(reads, 0..packed.panels(), target);
            for r in 0..rows {
                for o in 0..outputs {
                    let read = |i: usize| x[bases[r] + offsets[i / length] + i % length];
                    let sum = bias[o] + (0..inputs).map(|i| read(i) * w[o * inputs + i]).sum::<f32>();
                    let expected = if plain { sum } else { (sum + residual[r * outputs + o]).clamp(-8.0, 40.0) };
                    prop_assert_eq!(out[r * outputs + o], expected);
                }
            }
        }
    }

    #[test]
    fn limits_leave_what_is_not_a_number() {
        let weight = PanelWeight::of_rows(&[f32::NAN, 1.0], 2, 1, None);
        let mut out = [0.0; 2];
        let reads = Reads { values: &[2.0], runs: &[0], length: 1, bases: &[0] };
        let target = Target { out: &mut out, stride: 2, first: 0, residual: None, limits: Some((0.0, 1.0)) };
        weight.multiply(reads, 0..1, target);
        assert!(out[0].is_nan() && out[1] == 1.0, "{out:?}");
    }
}
