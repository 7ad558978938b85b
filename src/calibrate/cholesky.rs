//! Cholesky factors of inverses of large symmetric matrices.

use crate::exec::kernels::matrix::{Matrix, multiply};
use rayon::prelude::*;
use std::ops::ControlFlow;

/// Rows and columns of a block.
const BLOCK: usize = 64;
/// Columns of an inverse that one task computes.
const BAND: usize = 256;

/// Why there is no factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFactor {
    /// The matrix is not positive definite, as far as its numbers tell.
    NotPositiveDefinite,
    /// The observer broke.
    Cancelled,
}

/// The upper triangle U of H^-1 = U^T U, n by n and row-major, of a symmetric positive definite H of which the upper
/// triangle is given; zeros stand below the diagonal.
///
/// No inverse is computed on the way: with rows and columns in reverse order H = L L^T, and U is the inverse of L in
/// reverse order. `observe` hears how many of the `2 n` steps are done.
pub(super) fn inverse_factor(
    hessian: &[f64],
    n: usize,
    observe: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<f64>, NoFactor> {
    let mut a: Vec<f64> = hessian.iter().rev().copied().collect();
    clear_upper(&mut a, n);
    for start in (0..n).step_by(BLOCK) {
        if observe(start).is_break() {
            return Err(NoFactor::Cancelled);
        }
        factor_columns(&mut a, n, start)?;
    }
    for start in (0..n).step_by(BLOCK) {
        if observe(n + start).is_break() {
            return Err(NoFactor::Cancelled);
        }
        invert_rows(&mut a, n, start);
    }
    a.reverse();
    Ok(a)
}

fn clear_upper(a: &mut [f64], n: usize) {
    for (row, values) in a.chunks_exact_mut(n.max(1)).enumerate() {
        values[row + 1..].fill(0.0);
    }
}

/// Makes the lower triangle in the columns from `start` on those of L, given those before.
fn factor_columns(a: &mut [f64], n: usize, start: usize) -> Result<(), NoFactor> {
    let end = n.min(start + BLOCK);
    let width = end - start;
    let whole = Matrix::new(&*a, n, n);
    let known = whole.part(start..end, 0..start);
    let bands: Vec<Vec<f64>> = (start..n)
        .into_par_iter()
        .step_by(BLOCK)
        .map(|row| {
            let rows = row..n.min(row + BLOCK);
            let mut product = vec![0.0; rows.len() * width];
            multiply(&mut product, false, whole.part(rows, 0..start), known.t());
            product
        })
        .collect();
    for (row, product) in a.chunks_exact_mut(n).skip(start).zip(bands.iter().flat_map(|band| band.chunks_exact(width)))
    {
        row[start..end].iter_mut().zip(product).for_each(|(a, p)| *a -= p);
    }
    let mut corner = Vec::with_capacity(width * width);
    a.chunks_exact(n).skip(start).take(width).for_each(|row| corner.extend_from_slice(&row[start..end]));
    factor_corner(&mut corner, width)?;
    clear_upper(&mut corner, width);
    a.par_chunks_exact_mut(n).skip(start).with_min_len(BLOCK).enumerate().for_each(|(i, row)| {
        let row = &mut row[start..end];
        if let Some(done) = corner.chunks_exact(width).nth(i) {
            row.copy_from_slice(done);
            return;
        }
        for (column, of) in corner.chunks_exact(width).enumerate() {
            let sum: f64 = row[..column].iter().zip(of).map(|(a, b)| a * b).sum();
            row[column] = (row[column] - sum) / of[column];
        }
    });
    Ok(())
}

fn factor_corner(corner: &mut [f64], width: usize) -> Result<(), NoFactor> {
    for column in 0..width {
        let (above, below) = corner.split_at_mut((column + 1) * width);
        let of = &mut above[column * width..];
        let pivot = of[column] - of[..column].iter().map(|v| v * v).sum::<f64>();
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(NoFactor::NotPositiveDefinite);
        }
        of[column] = pivot.sqrt();
        for row in below.chunks_exact_mut(width) {
            let sum: f64 = row[..column].iter().zip(&*of).map(|(a, b)| a * b).sum();
            row[column] = (row[column] - sum) / of[column];
        }
    }
    Ok(())
}

/// Replaces the rows of L from `start` on by those of its inverse, given those before.
fn invert_rows(a: &mut [f64], n: usize, start: usize) {
    let end = n.min(start + BLOCK);
    let height = end - start;
    let whole = Matrix::new(&*a, n, n);
    let bands: Vec<Vec<f64>> = (0..end)
        .into_par_iter()
        .step_by(BAND)
        .map(|first| {
            let columns = first..end.min(first + BAND);
            let width = columns.len();
            let mut band = vec![0.0; height * width];
            let left = first.min(start)..start;
            let before = columns.start..columns.end.min(start).max(columns.start);
            if !before.is_empty() {
                let mut product = vec![0.0; height * before.len()];
                let inverse = whole.part(left.clone(), before.clone());
                multiply(&mut product, false, whole.part(start..end, left), inverse);
                for (row, product) in band.chunks_exact_mut(width).zip(product.chunks_exact(before.len())) {
                    row.iter_mut().zip(product).for_each(|(b, p)| *b = -p);
                }
            }
            for i in 0..height {
                if let Some(diagonal) = (start + i).checked_sub(first).filter(|&at| at < width) {
                    band[i * width + diagonal] += 1.0;
                }
                let (done, rest) = band.split_at_mut(i * width);
                let row = &mut rest[..width];
                let of = &a[(start + i) * n + start..][..=i];
                for (above, &factor) in done.chunks_exact(width).zip(of) {
                    row.iter_mut().zip(above).for_each(|(r, v)| *r -= factor * v);
                }
                for r in row.iter_mut() {
                    *r /= of[i];
                }
            }
            band
        })
        .collect();
    for (index, band) in bands.iter().enumerate() {
        let first = index * BAND;
        let width = band.len() / height;
        for (row, band) in a.chunks_exact_mut(n).skip(start).zip(band.chunks_exact(width)) {
            row[first..first + width].copy_from_slice(band);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    fn quiet(_: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// X^T X + 0.1 I of random numbers.
    fn positive_definite(n: usize) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(n as u64);
        let x: Vec<f64> = (0..n * n).map(|_| random.random_range(-1.0..1.0)).collect();
        let mut h = vec![0.0; n * n];
        multiply(&mut h, false, Matrix::new(&x, n, n).t(), Matrix::new(&x, n, n));
        (0..n).for_each(|i| h[i * n + i] += 0.1);
        h
    }

    #[test]
    fn the_factor_squared_is_the_inverse() {
        for n in [1, 2, 63, 64, 65, 300, 333] {
            let h = positive_definite(n);
            let mut upper = h.clone();
            (0..n).for_each(|i| upper[i * n..i * n + i].fill(f64::NAN));
            let u = inverse_factor(&upper, n, &mut quiet).unwrap();
            for i in 0..n {
                assert!(u[i * n + i] > 0.0 && u[i * n..i * n + i].iter().all(|&v| v == 0.0));
            }
            let (mut inverse, mut identity) = (vec![0.0; n * n], vec![0.0; n * n]);
            multiply(&mut inverse, false, Matrix::new(&u, n, n).t(), Matrix::new(&u, n, n));
            multiply(&mut identity, false, Matrix::new(&inverse, n, n), Matrix::new(&h, n, n));
            for (i, v) in identity.iter().enumerate() {
                let expected = f64::from(u8::from(i / n == i % n));
                assert!((v - expected).abs() < 1e-8, "{n}: {v} at {} {}", i / n, i % n);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let h = positive_definite(333);
        let factors = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| inverse_factor(&h, 333, &mut quiet).unwrap())
        });
        assert_eq!(factors[0], factors[1]);
    }

    #[test]
    fn what_is_not_positive_definite_is_told() {
        let mut h = positive_definite(100);
        h[37 * 100 + 37] = -1.0;
        assert_eq!(inverse_factor(&h, 100, &mut quiet), Err(NoFactor::NotPositiveDefinite));
        h[37 * 100 + 37] = f64::NAN;
        assert_eq!(inverse_factor(&h, 100, &mut quiet), Err(NoFactor::NotPositiveDefinite));
        assert_eq!(inverse_factor(&h, 100, &mut |_| ControlFlow::Break(())), Err(NoFactor::Cancelled));
    }
}
