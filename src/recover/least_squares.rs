//! The weights that make the outputs of a pruned layer nearest to what they were.

use super::moments::Group;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// How often ten times as much damping is tried where a system has no solution.
const RETRIES: usize = 5;
/// Lanes of a sum, so that it runs in vectors.
const LANES: usize = 8;

/// Rows of a weight that read the same inputs, [rows, width] each.
pub(super) struct Rows<'a> {
    /// Before pruning.
    pub before: &'a [f64],
    /// After it; zeros stay.
    pub pruned: &'a [f64],
    pub width: usize,
}

/// Moments about zero, or about the means where a bias takes up the difference.
pub(super) struct Centred {
    xx: Vec<f64>,
    xz: Vec<f64>,
    zz: Vec<f64>,
    width: usize,
}

impl Centred {
    pub fn of(group: &Group, count: f64, by_means: bool) -> Self {
        let width = group.x.len();
        let centred = |sums: &[f64], a: &[f64], b: &[f64]| {
            let mut moments = sums.to_vec();
            if by_means && count > 0.0 {
                for (row, a) in moments.chunks_exact_mut(width.max(1)).zip(a) {
                    row.iter_mut().zip(b).for_each(|(value, b)| *value -= a * b / count);
                }
            }
            moments
        };
        let (xx, xz) = (centred(&group.xx, &group.x, &group.x), centred(&group.xz, &group.x, &group.z));
        Self { xx, xz, zz: centred(&group.zz, &group.z, &group.z), width }
    }

    fn row<'a>(&self, matrix: &'a [f64], index: usize) -> &'a [f64] {
        &matrix[index * self.width..(index + 1) * self.width]
    }

    /// Sum of the squared outputs before pruning, and of their differences from those of `pruned`.
    fn errors(&self, before: &[f64], pruned: &[f64]) -> (f64, f64) {
        let quadratic = |matrix: &[f64], left: &[f64], right: &[f64]| {
            let live = left.iter().enumerate().filter(|(_, value)| **value != 0.0);
            live.map(|(i, value)| value * dot(self.row(matrix, i), right)).sum::<f64>()
        };
        let whole = quadratic(&self.zz, before, before);
        let lost = whole - 2.0 * quadratic(&self.xz, pruned, before) + quadratic(&self.xx, pruned, pruned);
        (whole, lost.max(0.0))
    }

    /// Sums over rows of [`Centred::errors`].
    pub fn error(&self, rows: &Rows<'_>) -> (f64, f64) {
        let pairs = rows.before.par_chunks_exact(rows.width).zip(rows.pruned.par_chunks_exact(rows.width));
        let each: Vec<(f64, f64)> = pairs.map(|(before, pruned)| self.errors(before, pruned)).collect();
        each.iter().fold((0.0, 0.0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    }

    /// The rows that minimise the squared difference of outputs plus `damping` times the mean of the diagonal of the
    /// moments times the squared change, zeros of `pruned` staying zero. `goes_on` is asked between systems.
    ///
    /// None if it said no.
    pub fn solve(&self, rows: &Rows<'_>, damping: f64, goes_on: &mut dyn FnMut(f64) -> bool) -> Option<Vec<f64>> {
        let mut by_support: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (row, pruned) in rows.pruned.chunks_exact(rows.width).enumerate() {
            let support: Vec<usize> = (0..rows.width).filter(|&i| pruned[i] != 0.0).collect();
            if !support.is_empty() {
                by_support.entry(support).or_default().push(row);
            }
        }
        let systems: Vec<(Vec<usize>, Vec<usize>)> = by_support.into_iter().collect();
        let mut solved = rows.pruned.to_vec();
        let at_once = 4 * rayon::current_num_threads();
        for (index, chunk) in systems.chunks(at_once).enumerate() {
            if !goes_on((index * at_once) as f64 / systems.len() as f64) {
                return None;
            }
            let found: Vec<Vec<(usize, Vec<f64>)>> = chunk
                .par_iter()
                .map(|(support, members)| self.solve_support(rows, support, members, damping))
                .collect();
            for ((support, _), found) in chunk.iter().zip(found) {
                for (row, values) in found {
                    let target = &mut solved[row * rows.width..(row + 1) * rows.width];
                    support.iter().zip(values).for_each(|(&i, value)| target[i] = value);
                }
            }
        }
        Some(solved)
    }

    /// New values of the rows of one support; none where the system has no solution.
    fn solve_support(
        &self,
        rows: &Rows<'_>,
        support: &[usize],
        members: &[usize],
        damping: f64,
    ) -> Vec<(usize, Vec<f64>)> {
        let n = support.len();
        let mean = (0..self.width).map(|i| self.xx[i * self.width + i]).sum::<f64>() / self.width as f64;
        let mut strength = (damping * mean).max(f64::MIN_POSITIVE);
        for _ in 0..=RETRIES {
            let mut factor = Vec::with_capacity(n * n);
            for (i, &from) in support.iter().enumerate() {
                let row = self.row(&self.xx, from);
                factor.extend(support.iter().map(|&to| row[to]));
                factor[i * n + i] += strength;
            }
            if factorise(&mut factor, n) {
                let solve = |&row: &usize| {
                    let (before, pruned) = (
                        &rows.before[row * rows.width..][..rows.width],
                        &rows.pruned[row * rows.width..][..rows.width],
                    );
                    let wanted = |&i: &usize| dot(self.row(&self.xz, i), before) + strength * pruned[i];
                    let mut values: Vec<f64> = support.iter().map(wanted).collect();
                    substitute(&factor, n, &mut values);
                    (row, values)
                };
                return members.iter().map(solve).filter(|(_, v)| v.iter().all(|v| v.is_finite())).collect();
            }
            strength *= 10.0;
        }
        Vec::new()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// The lower triangle of `a`, symmetric n by n, becomes L of a = L L^T. False if there is none.
fn factorise(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (done, rest) = a.split_at_mut(i * n);
        let row = &mut rest[..n];
        for j in 0..i {
            let other = &done[j * n..=j * n + j];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

/// Solves L L^T x = b in place.
fn substitute(factor: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let row = &factor[i * n..=i * n + i];
        b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
    }
    for i in (0..n).rev() {
        b[i] /= factor[i * n + i];
        let (value, row) = (b[i], &factor[i * n..i * n + i]);
        b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments of two inputs that are alike but for a little, in both models the same.
    fn alike() -> Group {
        let vectors = [[1.0, 1.1], [2.0, 1.9], [-1.0, -1.0], [0.5, 0.4]];
        let mut square = vec![0.0; 4];
        let mut sum = vec![0.0; 2];
        for v in vectors {
            for i in 0..2 {
                sum[i] += v[i];
                for j in 0..2 {
                    square[i * 2 + j] += v[i] * v[j];
                }
            }
        }
        Group { xx: square.clone(), xz: square.clone(), zz: square, x: sum.clone(), z: sum }
    }

    #[test]
    fn a_weight_takes_over_what_the_removed_one_of_a_like_input_did() {
        let moments = Centred::of(&alike(), 4.0, false);
        let rows = Rows { before: &[1.0, 2.0], pruned: &[0.0, 2.0], width: 2 };
        let solved = moments.solve(&rows, 0.0, &mut |_| true).unwrap();
        // By hand: w = (xx[1][0] * 1 + xx[1][1] * 2) / xx[1][1] with sums 6.1 and 5.98.
        assert!((solved[1] - (6.1 + 2.0 * 5.98) / 5.98).abs() < 1e-9 && solved[0] == 0.0, "{solved:?}");
        let (whole, before) = moments.error(&rows);
        let (_, after) = moments.error(&Rows { pruned: &solved, ..rows });
        assert!((whole - (6.25 + 4.0 * 6.1 + 4.0 * 5.98)).abs() < 1e-9, "w^T zz w: {whole}");
        assert!((before - 6.25).abs() < 1e-9 && after < 0.05, "{before} {after}");
    }

    #[test]
    fn damping_holds_on_to_the_pruned_weights_and_empty_rows_stay_empty() {
        let moments = Centred::of(&alike(), 4.0, false);
        let rows = Rows { before: &[1.0, 2.0, 3.0, 4.0], pruned: &[0.0, 2.0, 0.0, 0.0], width: 2 };
        let held = moments.solve(&rows, 1e9, &mut |_| true).unwrap();
        assert!((held[1] - 2.0).abs() < 1e-6);
        assert_eq!(held[2..], [0.0, 0.0]);
        assert!(moments.solve(&rows, 0.1, &mut |_| false).is_none());
    }

    #[test]
    fn about_the_means_a_constant_input_counts_for_nothing() {
        let group = Group { xx: vec![8.0], xz: vec![8.0], zz: vec![8.0], x: vec![4.0], z: vec![4.0] };
        // Twice the value 2: all of it is mean.
        let (whole, lost) = Centred::of(&group, 2.0, true).error(&Rows { before: &[3.0], pruned: &[0.0], width: 1 });
        assert_eq!((whole, lost), (0.0, 0.0));
        let (whole, lost) = Centred::of(&group, 2.0, false).error(&Rows { before: &[3.0], pruned: &[0.0], width: 1 });
        assert_eq!((whole, lost), (72.0, 72.0));
    }

    #[test]
    fn factors_and_substitution_solve_systems_of_many_sizes() {
        for n in [1, 2, 7, 33] {
            let a: Vec<f64> = (0..n * n)
                .map(|i| if i / n == i % n { n as f64 + 1.0 } else { 1.0 / (1 + i / n + i % n) as f64 })
                .collect();
            let x: Vec<f64> = (0..n).map(|i| i as f64 - 2.5).collect();
            let mut b: Vec<f64> = a.chunks(n).map(|row| dot(row, &x)).collect();
            let mut factor = a.clone();
            assert!(factorise(&mut factor, n));
            substitute(&factor, n, &mut b);
            assert!(b.iter().zip(&x).all(|(b, x)| (b - x).abs() < 1e-9), "{n}: {b:?}");
        }
        assert!(!factorise(&mut [1.0, 2.0, 2.0, 1.0], 2), "not positive definite");
    }
}
