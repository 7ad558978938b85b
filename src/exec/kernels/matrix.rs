//! A bounds-checked front of the `gemm` crate.

use std::ops::Range;

/// Numbers that matrices are made of.
pub trait Element: Copy + 'static {
    /// The number one.
    const ONE: Self;
}

impl Element for f32 {
    const ONE: Self = 1.0;
}

impl Element for f64 {
    const ONE: Self = 1.0;
}

/// A strided view of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Element> Matrix<'a, T> {
    /// The first `rows` x `columns` elements of row-major `data`.
    pub const fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The part of some rows and columns.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "the part lies inside");
        let start = rows.start * self.row_stride + columns.start * self.column_stride;
        Self { data: self.data.get(start..).unwrap_or(&[]), rows: rows.len(), columns: columns.len(), ..self }
    }

    /// The transposed view.
    #[must_use]
    pub const fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// `target = a b`, or `target += a b` if `accumulate`; `target` is row-major and dense.
///
/// Runs on the calling thread.
///
/// # Panics
/// If the extents do not fit together or the data is too short.
pub fn multiply<T: Element>(target: &mut [T], accumulate: bool, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(a.columns == b.rows && a.fits() && b.fits() && target.len() >= m * n, "matrix extents fit");
    if m == 0 || n == 0 {
        return;
    }
    call_gemm(target, accumulate, a, b, (m, n, k));
}

#[expect(unsafe_code, reason = "the gemm crate takes raw pointers")]
fn call_gemm<T: Element>(
    target: &mut [T],
    accumulate: bool,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, n, k): (usize, usize, usize),
) {
    // SAFETY: `multiply` checked that every index of the three strided views lies inside its slice, and
    // `target` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_views_multiply_like_the_textbook() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, -1.0, 2.0, 1.0, 0.5];
        let mut product = [10.0; 4];
        multiply(&mut product, true, Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3).t());
        assert_eq!(product, [8.0, 15.5, 8.0, 26.0]);
        let mut inner = [0.0; 9];
        multiply(&mut inner, false, Matrix::new(&a, 2, 3).t(), Matrix::new(&b, 2, 3));
        assert_eq!(inner, [9.0, 4.0, 1.0, 12.0, 5.0, 0.5, 15.0, 6.0, 0.0]);
    }

    #[test]
    fn parts_of_wide_numbers_multiply_like_the_textbook() {
        let a = [1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let whole = Matrix::new(&a, 3, 3);
        let mut product = [0.0; 4];
        multiply(&mut product, false, whole.part(1..3, 0..2), whole.part(0..2, 1..3));
        assert_eq!(product, [33.0, 42.0, 54.0, 69.0]);
        multiply(&mut product, false, whole.part(1..3, 0..2).t(), whole.part(1..3, 0..2));
        assert_eq!(product, [65.0, 76.0, 76.0, 89.0]);
    }

    #[test]
    #[should_panic(expected = "matrix extents fit")]
    fn a_view_that_is_larger_than_its_data_is_refused() {
        multiply(&mut [0.0; 4], false, Matrix::new(&[1.0; 3], 2, 2), Matrix::new(&[1.0; 4], 2, 2));
    }
}
