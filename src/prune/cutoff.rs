use crate::stats::float::Float;
use crate::stats::vectorize::{Kernel, vectorized};
use rayon::prelude::*;

/// Elements a worker takes at once.
pub const TASK: usize = 1 << 16;

/// A magnitude cut in the weight's own format: keys below `before` go up to index `split`, below `after`
/// from there on. Removing some of the ties makes the two differ by one.
pub struct Cutoff<F: Float> {
    pub before: F::Key,
    pub after: F::Key,
    pub split: usize,
}

impl<F: Float> Cutoff<F> {
    /// Removes magnitudes strictly below `threshold`, and the first `ties` that equal it.
    pub fn new(elements: &[F::Raw], threshold: f64, ties: usize) -> Self {
        let after = F::first_at_least(threshold);
        if ties == 0 {
            return Self { before: after, after, split: 0 };
        }
        Self { before: F::key_at(F::index_of(after) + 1), after, split: past_nth::<F>(elements, after, ties) }
    }

    /// The cutoff that holds for the element at `index`.
    pub fn at(&self, index: usize) -> F::Key {
        if index < self.split { self.before } else { self.after }
    }
}

/// Index just past the `n`-th element with this key, or the end if there are fewer.
fn past_nth<F: Float>(elements: &[F::Raw], key: F::Key, n: usize) -> usize {
    let counts: Vec<usize> =
        elements.par_chunks(TASK).map(|elements| vectorized(EqualTask::<F> { elements, key })).collect();
    let mut before = 0;
    for (task, count) in counts.into_iter().enumerate() {
        if before + count >= n {
            let start = task * TASK;
            let matching = elements[start..].iter().enumerate().filter(|&(_, &raw)| F::key(raw) == key);
            return matching.skip(n - before - 1).map(|(i, _)| start + i + 1).next().unwrap_or(elements.len());
        }
        before += count;
    }
    elements.len()
}

struct EqualTask<'a, F: Float> {
    elements: &'a [F::Raw],
    key: F::Key,
}

impl<F: Float> Kernel for EqualTask<'_, F> {
    type Output = usize;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> usize {
        // A task is short enough for 32 bits, which vectorise better than a usize.
        self.elements.iter().map(|&raw| u32::from(F::key(raw) == self.key)).sum::<u32>() as usize
    }
}
