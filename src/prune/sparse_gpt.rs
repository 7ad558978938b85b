//! SparseGPT: weights go column by column, and those that are still to come make up for them.

use super::pieces::Matrix;
use super::{BitMask, InverseHessian, Selection};
use crate::model::{Layer, Tensor};
use bytes::Bytes;
use rayon::prelude::*;
use std::ops::Range;

/// Columns among which weights are chosen together.
const BLOCK: usize = 128;
/// Outputs that are updated together, so that a row of the inverse Hessian is read once for all of them.
const ROWS: usize = 16;

/// How much of a layer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Exactly so many weights.
    Count(usize),
    /// All but `kept` of every `of` successive inputs of an output, at each place of a kernel.
    Pattern { kept: usize, of: usize },
}

/// Removes weights of a layer as Frantar and Alistarh 2023 do, and updates those that stay.
///
/// Columns are walked from left to right. In a block of 128 the weights with the lowest w^2 / U_jj^2 are chosen, with w
/// as updated so far; in a pattern, those of each stretch when its first column is reached. Each removed weight's
/// error w / U_jj is spread over the columns after it, by row j of U.
///
/// A number of weights is divided over the blocks in proportion to what they hold, rounded down to the running total,
/// so that exactly that many go; of equal scores the lower index goes first. Weights that make no difference, zeros
/// first and those of inputs that are always zero then, go before all others and are not counted as held; if
/// they suffice, nothing is updated. What was zero stays zero.
///
/// Returns `None` if updated weights are too large for the element type of the layer, or the factors are of another.
pub(super) fn sweep(layer: &Layer, weight: &Tensor, inverse: &InverseHessian, goal: Goal) -> Option<Selection> {
    let weight = &*weight.resident();
    let matrix = Matrix::of(layer, weight.shape());
    let before = weight.to_f32();
    let columns = matrix.columns.len();
    if inverse.columns != columns || inverse.factors.len() != matrix.groups || columns == 0 {
        return None;
    }
    let mut values = Vec::with_capacity(before.len());
    for row in &matrix.rows {
        values.extend(matrix.columns.iter().map(|column| before[row + column]));
    }
    let mut sweep = Sweep { matrix: &matrix, inverse, removed: vec![false; values.len()], values };
    match goal {
        Goal::Count(count) => sweep.remove_count(count),
        Goal::Pattern { kept, of } => sweep.remove_pattern(kept, of.max(1)),
    }
    let mut bits = BitMask::full(before.len());
    let mut after = before.to_vec();
    for (row, (values, removed)) in
        matrix.rows.iter().zip(sweep.values.chunks_exact(columns).zip(sweep.removed.chunks_exact(columns)))
    {
        for ((column, &value), &removed) in matrix.columns.iter().zip(values).zip(removed) {
            after[row + column] = value;
            if removed {
                bits.remove(row + column);
            }
        }
    }
    if !after.iter().all(|value| value.is_finite()) {
        return None;
    }
    Some(Selection::Rewritten { kept: bits, weight: in_its_own_type(weight, &before, after)? })
}

/// The updated weight; elements that are as they were keep their bytes.
fn in_its_own_type(weight: &Tensor, before: &[f32], after: Vec<f32>) -> Option<Tensor> {
    let same: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a.to_bits() == b.to_bits()).collect();
    let rounded = Tensor::from_f32(weight.shape().to_vec(), after).ok()?.cast(weight.dtype()).ok()?;
    let size = weight.dtype().size();
    let elements = rounded.bytes().chunks_exact(size).zip(weight.bytes().chunks_exact(size)).zip(&same);
    let bytes: Vec<u8> = elements.flat_map(|((new, old), &same)| if same { old } else { new }).copied().collect();
    Tensor::new(weight.dtype(), weight.shape().to_vec(), Bytes::from(bytes)).ok()
}

struct Sweep<'a> {
    matrix: &'a Matrix,
    inverse: &'a InverseHessian,
    /// Outputs by columns.
    values: Vec<f32>,
    /// Which of them are removed.
    removed: Vec<bool>,
}

impl Sweep<'_> {
    fn columns(&self) -> usize {
        self.matrix.columns.len()
    }

    /// Outputs that share a factor.
    fn group_rows(&self) -> usize {
        (self.matrix.rows.len() / self.matrix.groups).max(1)
    }

    /// U_jj of the factor that belongs to an output.
    fn pivot(&self, row: usize, column: usize) -> f32 {
        self.inverse.factors[row / self.group_rows()][column * self.columns() + column]
    }

    /// Index in the tensor.
    fn index(&self, row: usize, column: usize) -> usize {
        self.matrix.rows[row] + self.matrix.columns[column]
    }

    fn remove_count(&mut self, count: usize) {
        let columns = self.columns();
        let places = |sweep: &Self, wanted: &dyn Fn(f32, f32) -> bool| {
            let all = (0..sweep.values.len()).map(|i| (i / columns, i % columns));
            let mut found: Vec<(usize, usize)> = all
                .filter(|&(row, column)| wanted(sweep.values[row * columns + column], sweep.pivot(row, column)))
                .map(|(row, column)| (sweep.index(row, column), row * columns + column))
                .collect();
            found.sort_unstable();
            found
        };
        let mut free = places(self, &|value, _| value == 0.0);
        free.extend(places(self, &|value, pivot| value != 0.0 && pivot.is_infinite()));
        for &(_, at) in free.iter().take(count) {
            self.removed[at] = true;
        }
        if count <= free.len() {
            self.values.iter_mut().zip(&self.removed).filter(|(_, removed)| **removed).for_each(|(v, _)| *v = 0.0);
            return;
        }
        let (goes, held) = (count - free.len(), self.values.len() - free.len());
        let (mut seen, mut gone) = (0, 0);
        for start in (0..columns).step_by(BLOCK) {
            let block = start..columns.min(start + BLOCK);
            let mut candidates = self.candidates(block.clone());
            seen += candidates.len();
            let until = (goes as u128 * seen as u128 / held.max(1) as u128) as usize;
            let quota = until - gone;
            gone = until;
            if quota > 0 && quota < candidates.len() {
                candidates.select_nth_unstable(quota);
            }
            for &(_, _, at) in &candidates[..quota] {
                self.removed[at] = true;
            }
            self.walk(block, None);
        }
    }

    /// Weights of a block that are not removed yet: score, index in the tensor, place in `values`.
    fn candidates(&self, block: Range<usize>) -> Vec<(u64, usize, usize)> {
        let columns = self.columns();
        let of_row = |row: usize| {
            let left = block.clone().filter(move |column| !self.removed[row * columns + column]);
            left.map(move |column| {
                let at = row * columns + column;
                let score = f64::from(self.values[at]) / f64::from(self.pivot(row, column));
                // Squares are not negative, so their bits order like they do.
                ((score * score).to_bits(), self.index(row, column), at)
            })
        };
        let rows: Vec<Vec<_>> = (0..self.matrix.rows.len()).into_par_iter().map(|row| of_row(row).collect()).collect();
        rows.concat()
    }

    fn remove_pattern(&mut self, kept: usize, of: usize) {
        self.walk(0..self.columns(), Some((kept, of)));
    }

    /// Removes what is to go in some columns, from left to right, and spreads its error over all columns after it;
    /// with a pattern chooses it on the way.
    fn walk(&mut self, block: Range<usize>, pattern: Option<(usize, usize)>) {
        let (columns, group_rows) = (self.columns(), self.group_rows());
        let (matrix, factors) = (self.matrix, &self.inverse.factors);
        let groups =
            self.values.par_chunks_mut(group_rows * columns).zip(self.removed.par_chunks_mut(group_rows * columns));
        groups.zip(factors).for_each(|((values, removed), factor)| {
            let chunks = values.par_chunks_mut(ROWS * columns).zip(removed.par_chunks_mut(ROWS * columns));
            chunks.for_each(|(values, removed)| Band { matrix, factor, values, removed }.walk(block.clone(), pattern));
        });
    }
}

/// Some outputs of one group.
struct Band<'a> {
    matrix: &'a Matrix,
    factor: &'a [f32],
    values: &'a mut [f32],
    removed: &'a mut [bool],
}

impl Band<'_> {
    fn walk(&mut self, block: Range<usize>, pattern: Option<(usize, usize)>) {
        let columns = self.matrix.columns.len();
        let mut zero: Vec<bool> = Vec::new();
        if let Some((_, of)) = pattern {
            // What was zero stays so, chosen or not.
            zero.extend(self.values.iter().map(|&v| v == 0.0));
            debug_assert!(block.start.is_multiple_of(of * self.matrix.places), "stretches are not cut");
        }
        for column in block {
            if let Some((kept, of)) = pattern.filter(|(_, of)| column.is_multiple_of(of * self.matrix.places)) {
                self.choose(column, (kept, of), &zero);
            }
            let factor = &self.factor[column * columns + column..][..columns - column];
            for (row, values) in self.values.chunks_exact_mut(columns).enumerate() {
                let at = row * columns + column;
                let was_zero = zero.get(at).is_some_and(|&zero| zero);
                if !self.removed[at] && !was_zero {
                    continue;
                }
                let error = values[column] / factor[0];
                if error != 0.0 {
                    let after = values[column + 1..].iter_mut().zip(&factor[1..]);
                    after.for_each(|(value, u)| *value -= error * u);
                }
                values[column] = 0.0;
            }
        }
    }

    /// Chooses what goes in the stretches of `of` inputs that begin at a column.
    fn choose(&mut self, start: usize, (kept, of): (usize, usize), zero: &[bool]) {
        let (columns, places) = (self.matrix.columns.len(), self.matrix.places);
        let end = columns.min(start + of * places);
        let mut ranked: Vec<(u64, usize)> = Vec::with_capacity(of);
        let rows = self.values.chunks_exact(columns).zip(zero.chunks_exact(columns));
        for ((values, zero), removed) in rows.zip(self.removed.chunks_exact_mut(columns)) {
            for place in 0..places {
                ranked.clear();
                ranked.extend((start + place..end).step_by(places).map(|column| {
                    let value = if zero[column] { 0.0 } else { f64::from(values[column]) };
                    let score = value / f64::from(self.factor[column * columns + column]);
                    ((score * score).to_bits(), column)
                }));
                ranked.sort_unstable();
                let goes = ranked.len().saturating_sub(kept);
                ranked[..goes].iter().for_each(|&(_, column)| removed[column] = true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, LayerKind, Model, layers_of};
    use crate::prune::holds;
    use std::sync::Arc;

    fn layer_of(shape: &[usize], values: &[f32]) -> (Layer, Tensor) {
        let mut model = Model::default();
        let weight = Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap();
        model.tensors.insert("w".into(), weight.clone());
        (layers_of(&model)[0].clone(), weight)
    }

    /// A well conditioned, correlated Hessian.
    fn hessian(n: usize) -> Vec<f64> {
        (0..n * n)
            .map(|i| 0.7f64.powi((i / n).abs_diff(i % n) as i32) * (1.0 + ((i / n) * (i % n) % 3) as f64 * 0.05))
            .collect()
    }

    /// Solves by elimination, for positive definite matrices.
    fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
        let n = b.len();
        for column in 0..n {
            for row in 0..n {
                if row != column {
                    let factor = a[row * n + column] / a[column * n + column];
                    (0..n).for_each(|k| a[row * n + k] -= factor * a[column * n + k]);
                    b[row] -= factor * b[column];
                }
            }
        }
        (0..n).map(|i| b[i] / a[i * n + i]).collect()
    }

    /// U of H^-1 = U^T U: row j is the first of the inverse of what remains from j on, over the root of its corner.
    fn inverse(hessian: &[f64], n: usize) -> InverseHessian {
        let mut factor = vec![0.0f32; n * n];
        for j in 0..n {
            let rest = n - j;
            let remaining = (0..rest * rest).map(|i| hessian[(j + i / rest) * n + j + i % rest]).collect();
            let unit = (0..rest).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
            let row = solve(remaining, unit);
            (0..rest).for_each(|k| factor[j * n + j + k] = (row[k] / row[0].sqrt()) as f32);
        }
        InverseHessian { columns: n, factors: vec![factor.into()] }
    }

    fn swept(layer: &Layer, weight: &Tensor, inverse: &InverseHessian, goal: Goal) -> (BitMask, Tensor) {
        match sweep(layer, weight, inverse, goal).unwrap() {
            Selection::Rewritten { kept, weight } => (kept, weight),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_removed_weight_is_made_up_for_as_least_squares_says() {
        let (n, h) = (6, hessian(6));
        for j in 0..n {
            let mut values: Vec<f32> = (0..n).map(|i| 1.0 + i as f32 * 0.25).collect();
            values[j] = -0.05;
            let (layer, weight) = layer_of(&[1, n], &values);
            let (kept, weight) = swept(&layer, &weight, &inverse(&h, n), Goal::Count(1));
            assert!(!kept.keeps(j) && kept.kept() == n - 1);
            // Columns before j stay; those after it minimise the error of the output.
            let rest = n - j - 1;
            let after = (0..rest * rest).map(|i| h[(j + 1 + i / rest) * n + j + 1 + i % rest]).collect();
            let coupled = (0..rest).map(|i| h[(j + 1 + i) * n + j] * f64::from(values[j])).collect();
            let update = solve(after, coupled);
            for (i, got) in weight.to_f32().iter().enumerate() {
                let expected = match i {
                    _ if i < j => f64::from(values[i]),
                    _ if i == j => 0.0,
                    _ => f64::from(values[i]) + update[i - j - 1],
                };
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{j}, {i}: {got} instead of {expected}");
            }
        }
    }

    fn values(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + 11) % 23) as f32 / 8.0 - 1.4).collect()
    }

    #[test]
    fn counts_are_exact_whatever_the_blocks_and_nothing_is_left_at_the_ends() {
        let n = 150;
        let inverse = inverse(&hessian(n), n);
        let (layer, weight) = layer_of(&[3, n], &values(3 * n));
        for count in [1, 7, 225, 449, 450] {
            let (kept, rewritten) = swept(&layer, &weight, &inverse, Goal::Count(count));
            assert_eq!(kept.kept(), 3 * n - count);
            assert!(rewritten.to_f32().iter().zip(kept.iter()).all(|(&v, kept)| kept || v == 0.0));
        }
        let (kept, rewritten) = swept(&layer, &weight, &inverse, Goal::Count(0));
        assert_eq!((kept.kept(), &rewritten), (3 * n, &weight));
        // Both blocks lose the same share: 128 and 22 columns.
        let (kept, _) = swept(&layer, &weight, &inverse, Goal::Count(225));
        let first = kept.iter().enumerate().filter(|(i, kept)| i % n < BLOCK && *kept).count();
        assert_eq!(first, 3 * BLOCK - 225 * 3 * BLOCK / (3 * n));
    }

    #[test]
    fn weights_that_make_no_difference_go_first_and_change_nothing() {
        let n = 5;
        let mut inverse = inverse(&hessian(n), n);
        // Column 1 reads nothing but zeros.
        let factor: Vec<f32> = inverse.factors[0]
            .iter()
            .enumerate()
            .map(|(i, &u)| {
                if i == n + 1 {
                    f32::INFINITY
                } else if i % n == 1 || i / n == 1 {
                    0.0
                } else {
                    u
                }
            })
            .collect();
        inverse.factors = vec![Arc::from(factor)];
        let original = [0.5, 9.0, 0.0, 1.0, 2.0, 0.25, 8.0, 3.0, 4.0, 0.0];
        let (layer, weight) = layer_of(&[2, n], &original);
        let removed = |count| {
            let (kept, weight) = swept(&layer, &weight, &inverse, Goal::Count(count));
            let gone: Vec<usize> = (0..10).filter(|&i| !kept.keeps(i)).collect();
            (gone, weight.to_f32().into_owned())
        };
        assert_eq!(removed(1), (vec![2], original.to_vec()));
        assert_eq!(removed(3), (vec![1, 2, 9], vec![0.5, 0.0, 0.0, 1.0, 2.0, 0.25, 8.0, 3.0, 4.0, 0.0]));
        let (gone, after) = removed(5);
        assert_eq!(gone.len(), 5);
        assert_eq!([after[1], after[2], after[6], after[9]], [0.0; 4]);
        assert!(after.iter().zip(&original).any(|(a, b)| *a != 0.0 && a != b), "others make up for it");
    }

    #[test]
    fn patterns_hold_at_each_place_of_a_kernel_and_zeros_stay() {
        // Two outputs, five inputs, two places; in groups of their own the second time.
        let mut original = values(20);
        for zero in [0, 2, 4, 17] {
            original[zero] = 0.0;
        }
        let (layer, weight) = layer_of(&[2, 5, 2], &original);
        let layer = Layer { kind: LayerKind::Conv, ..layer };
        for groups in [1, 2] {
            let layer = Layer { groups, ..layer.clone() };
            let inverse = InverseHessian {
                factors: vec![Arc::clone(&inverse(&hessian(10), 10).factors[0]); groups],
                columns: 10,
            };
            for (kept, of) in [(1, 2), (2, 4), (1, 4)] {
                let goal = Goal::Pattern { kept, of };
                let (bits, rewritten) = swept(&layer, &weight, &inverse, goal);
                assert!(holds(&layer, &rewritten, kept as u8, of as u8));
                let per_place: usize = [0, 1, 2, 3, 4].chunks(of).map(|stretch| stretch.len().min(kept)).sum();
                assert_eq!(bits.kept(), 4 * per_place);
                for (i, value) in rewritten.to_f32().iter().enumerate() {
                    assert!(*value == 0.0 || (bits.keeps(i) && original[i] != 0.0), "{i}");
                }
            }
        }
    }

    #[test]
    fn a_layer_keeps_its_element_type_and_what_is_not_changed_its_bytes() {
        let n = 4;
        let wide: Vec<u8> = [0.1f64, 1.0, 1.3, 1.7].iter().flat_map(|v| v.to_le_bytes()).collect();
        let weight = Tensor::new(DType::F64, vec![1, n], wide.clone().into()).unwrap();
        let (layer, _) = layer_of(&[1, n], &[0.0; 4]);
        let diagonal = (0..16).map(|i| f64::from(u8::from(i % 5 == 0))).collect::<Vec<_>>();
        let (_, after) = swept(&layer, &weight, &inverse(&diagonal, n), Goal::Count(1));
        assert_eq!(&after.bytes()[8..], &wide[8..]);
        let half =
            Tensor::from_f32(vec![1, n], vec![1.0, 65504.0, 65504.0, 65504.0]).unwrap().cast(DType::F16).unwrap();
        assert_eq!(swept(&layer, &half, &inverse(&diagonal, n), Goal::Count(2)).1.dtype(), DType::F16);
        let coupled: Vec<f64> = (0..16).map(|i| if i % 5 == 0 { 1.0 } else { 0.9 }).collect();
        assert_eq!(sweep(&layer, &half, &inverse(&coupled, n), Goal::Count(2)), None, "no half is that large");
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let n = 200;
        let inverse = inverse(&hessian(n), n);
        let (layer, weight) = layer_of(&[40, n], &values(40 * n));
        for goal in [Goal::Count(6000), Goal::Pattern { kept: 2, of: 4 }] {
            let results = [1, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| sweep(&layer, &weight, &inverse, goal))
            });
            assert_eq!(results[0], results[1]);
        }
    }
}
