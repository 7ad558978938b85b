use crate::calibrate::Unfolded;
use crate::exec::kernels::matrix::{Matrix, multiply};
use rayon::prelude::*;

/// Numbers of unfolded inputs that are multiplied at once: 16 MiB.
const CHUNK: usize = 1 << 22;
/// Rows of a product that one task adds to.
const BAND: usize = 128;

/// Second moments of what a layer reads in the pruned model (x) and in the one before (z), group by group.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub width: usize,
    /// Vectors seen.
    pub count: f64,
    pub groups: Vec<Group>,
}

/// The moments of one group of inputs.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Sums of x x^T.
    pub xx: Vec<f64>,
    /// Sums of x z^T.
    pub xz: Vec<f64>,
    /// Sums of z z^T.
    pub zz: Vec<f64>,
    /// Sums of x.
    pub x: Vec<f64>,
    /// Sums of z.
    pub z: Vec<f64>,
}

impl Moments {
    /// Numbers that the moments of a layer take.
    pub const fn numbers(width: usize, groups: usize) -> usize {
        width.saturating_mul(width).saturating_mul(groups).saturating_mul(3)
    }

    pub fn new(width: usize, groups: usize) -> Self {
        let (square, line) = (vec![0.0; width * width], vec![0.0; width]);
        let group = Group { xx: square.clone(), xz: square.clone(), zz: square, x: line.clone(), z: line };
        Self { width, count: 0.0, groups: vec![group; groups] }
    }

    /// Adds the vectors of a batch.
    pub fn add(&mut self, pruned: &Unfolded<'_>, before: &Unfolded<'_>) {
        let (width, groups) = (self.width, self.groups.len());
        let most = (CHUNK / (groups * width).max(1)).max(1);
        let (mut x, mut z) = (Vec::new(), Vec::new());
        for start in (0..pruned.rows).step_by(most) {
            let rows = start..pruned.rows.min(start + most);
            let count = rows.len();
            x.resize(groups * width * count, 0.0);
            z.resize(groups * width * count, 0.0);
            pruned.fill(rows.clone(), &mut x);
            before.fill(rows, &mut z);
            let parts = x.chunks_exact((width * count).max(1)).zip(z.chunks_exact((width * count).max(1)));
            for (group, (x, z)) in self.groups.iter_mut().zip(parts) {
                add_product(&mut group.xx, x, x, count, width);
                add_product(&mut group.xz, x, z, count, width);
                add_product(&mut group.zz, z, z, count, width);
                add_sums(&mut group.x, x);
                add_sums(&mut group.z, z);
            }
            self.count += count as f64;
        }
    }
}

/// Adds a^T b of two matrices [count, width].
fn add_product(sums: &mut [f64], a: &[f32], b: &[f32], count: usize, width: usize) {
    let (a, b) = (Matrix::new(a, count, width), Matrix::new(b, count, width));
    sums.par_chunks_mut(BAND * width).enumerate().for_each(|(band, sums)| {
        let first = band * BAND;
        let height = sums.len() / width;
        let mut added = vec![0.0f32; height * width];
        multiply(&mut added, false, a.part(0..count, first..first + height).t(), b);
        sums.iter_mut().zip(&added).for_each(|(sum, &v)| *sum += f64::from(v));
    });
}

fn add_sums(sums: &mut [f64], vectors: &[f32]) {
    for vector in vectors.chunks_exact(sums.len().max(1)) {
        sums.iter_mut().zip(vector).for_each(|(sum, &v)| *sum += f64::from(v));
    }
}
