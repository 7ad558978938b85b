//! The one pass over a tensor: bucket counts, moments and extremes together.
//!
//! Workers take fixed tasks from a shared counter. Bucket counts are integers, so it does not matter
//! who adds them; moments are floats, so every task's are kept and combined in task order.

use super::float::Float;
use super::grid::Grid;
use super::vectorize::{Kernel, vectorized};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements after which special values and the number of counters are looked at.
const CHUNK: usize = 4096;
/// Elements a worker takes at once.
const TASK: usize = 16 * CHUNK;
/// Tasks below which a second worker costs more than it brings.
const TASKS_WORTH_A_WORKER: usize = 4;
/// Elements whose sums are taken before they are counted. Sums keep the vector units busy and counts
/// the store unit; alternating this often lets the processor overlap them.
const BLOCK: usize = 64;
/// Independent sums, so that additions overlap. Fixed, so that every machine adds in the same order.
const LANES: usize = 16;
/// Counters per code as a rule.
const FEWEST_WAYS: usize = 2;
/// Counters per code for a layer full of zeros, where each increment would wait for the one before it.
const MOST_WAYS: usize = 4;
/// Values of the upper 16 bits, sign included.
const CODES: usize = 1 << 16;
/// Counters from one way to the next, off a power of two so that ways share no cache set.
const STRIDE: usize = CODES + 16;

/// Everything that one pass over the weights yields.
pub struct Scan {
    /// Finite weights by bucket; the first bucket of a grid still holds the zeros.
    pub counts: BucketCounts,
    /// Sums and extremes.
    pub moments: Moments,
}

/// Weights in each bucket of a range that has them all.
#[derive(Clone, Debug, Default)]
pub struct BucketCounts {
    /// First bucket of the range.
    pub first: usize,
    /// One count per bucket.
    pub counts: Vec<u64>,
}

impl BucketCounts {
    fn over(range: Range<usize>) -> Self {
        Self { first: range.start, counts: vec![0; range.len()] }
    }

    /// Adds counts of a range within this one, or of an empty one.
    fn add(&mut self, other: &Self) {
        let skipped = other.first.saturating_sub(self.first);
        for (count, more) in self.counts[skipped..].iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}

/// Sums and extremes of finite weights, and how many are special.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub zeros: u64,
    pub nans: u64,
    pub infinities: u64,
    pub finite: u64,
    pub sum: f64,
    pub sum_abs: f64,
    pub sum_squares: f64,
    /// Meaningless, as is `max`, if nothing is finite.
    pub min: f64,
    pub max: f64,
}

impl Moments {
    /// All weights that were looked at.
    const fn count(&self) -> u64 {
        self.finite + self.infinities + self.nans
    }

    /// Appends the moments of the weights that follow.
    pub fn add(&mut self, next: &Self) {
        if next.finite > 0 {
            self.min = if self.finite > 0 { self.min.min(next.min) } else { next.min };
            self.max = if self.finite > 0 { self.max.max(next.max) } else { next.max };
        }
        self.zeros += next.zeros;
        self.nans += next.nans;
        self.infinities += next.infinities;
        self.finite += next.finite;
        self.sum += next.sum;
        self.sum_abs += next.sum_abs;
        self.sum_squares += next.sum_squares;
    }
}

/// Reads `elements` once.
pub fn scan<F: Float>(elements: &[F::Raw]) -> Scan {
    let tasks: Vec<&[F::Raw]> = elements.chunks(TASK).collect();
    let workers = rayon::current_num_threads().min(tasks.len().div_ceil(TASKS_WORTH_A_WORKER)).max(1);
    let next = AtomicUsize::new(0);
    let parts: Vec<WorkerPart> =
        (0..workers).into_par_iter().with_max_len(1).map(|_| work::<F>(&tasks, &next)).collect();

    let mut ordered = vec![Moments::default(); tasks.len()];
    for &(index, part) in parts.iter().flat_map(|part| &part.moments) {
        ordered[index] = part;
    }
    let mut moments = Moments::default();
    for part in &ordered {
        moments.add(part);
    }
    let mut counts = BucketCounts::over(used_buckets::<F>(&moments));
    for part in &parts {
        counts.add(&part.counts);
    }
    Scan { counts, moments }
}

/// Buckets from the smallest to the largest finite magnitude.
fn used_buckets<F: Float>(moments: &Moments) -> Range<usize> {
    let bucket_of = |magnitude| usize::from(F::bucket(F::first_at_least(magnitude)));
    if moments.finite == 0 { 0..0 } else { bucket_of(moments.min)..bucket_of(moments.max) + 1 }
}

/// What one worker counted, and the moments of the tasks that it took.
struct WorkerPart {
    counts: BucketCounts,
    moments: Vec<(usize, Moments)>,
}

thread_local! {
    /// Counters that are all zero. Kept, because asking the system for them anew costs as much as
    /// reading a small layer.
    static SPARE: Cell<Option<Box<Counters>>> = const { Cell::new(None) };
}

fn work<F: Float>(tasks: &[&[F::Raw]], next: &AtomicUsize) -> WorkerPart {
    let mut counters = SPARE.take().unwrap_or_default();
    let mut moments = Vec::new();
    let mut together = Moments::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(&elements) = tasks.get(index) else { break };
        counters.reserve(elements.len());
        let part = vectorized(ScanTask::<F> { elements, counters: &mut counters });
        together.add(&part);
        moments.push((index, part));
    }
    let counts = counters.drain(used_buckets::<F>(&together), together.nans + together.infinities > 0);
    SPARE.set(Some(counters));
    WorkerPart { counts, moments }
}

/// Counters of one worker, by code.
struct Counters {
    narrow: Vec<u32>,
    ways: usize,
    unsaved: usize,
    wide: Vec<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { narrow: vec![0; MOST_WAYS * STRIDE], ways: FEWEST_WAYS, unsaved: 0, wide: Vec::new() }
    }
}

impl Counters {
    /// Makes sure that `count` further weights cannot overflow a counter.
    fn reserve(&mut self, count: usize) {
        if self.unsaved + count > u32::MAX as usize {
            self.wide = self.drain(0..Grid::BUCKETS, true).counts;
        }
        self.unsaved += count;
    }

    /// Takes the counts of `buckets`, and starts again from zero. Nothing else must have been counted,
    /// but `special` values.
    fn drain(&mut self, buckets: Range<usize>, special: bool) -> BucketCounts {
        let mut drained = BucketCounts::over(buckets.clone());
        for way in self.narrow.chunks_exact_mut(STRIDE).take(self.ways) {
            for sign in [0, CODES / 2] {
                let counters = &mut way[sign + buckets.start..sign + buckets.end];
                for (count, counter) in drained.counts.iter_mut().zip(counters) {
                    *count += u64::from(std::mem::take(counter));
                }
            }
            if special {
                way.fill(0);
            }
        }
        for (count, wide) in drained.counts.iter_mut().zip(self.wide.iter().skip(buckets.start)) {
            *count += wide;
        }
        (self.ways, self.unsaved) = (FEWEST_WAYS, 0);
        self.wide.clear();
        drained
    }
}

struct ScanTask<'a, F: Float> {
    elements: &'a [F::Raw],
    counters: &'a mut Counters,
}

impl<F: Float> Kernel for ScanTask<'_, F> {
    type Output = Moments;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> Moments {
        let Counters { narrow, ways, .. } = self.counters;
        let mut lanes = Lanes::<F>::new();
        let (blocks, rest) = self.elements.as_chunks::<BLOCK>();
        // Few elements at the end of a tensor, and those among infinities or NaN.
        let mut careful = careful_moments::<F>(rest);
        for &raw in rest {
            narrow[usize::from(F::code(raw))] += 1;
        }
        let mut many_zeros = false;
        for chunk in blocks.chunks(CHUNK / BLOCK) {
            let next = if many_zeros {
                *ways = MOST_WAYS;
                lanes.after::<MOST_WAYS>(chunk, narrow)
            } else {
                lanes.after::<FEWEST_WAYS>(chunk, narrow)
            };
            if next.most() > F::LAST_FINITE {
                careful.add(&careful_moments::<F>(chunk.as_flattened()));
            } else {
                many_zeros = next.zeros() - lanes.zeros() > CHUNK as u64 / 8;
                lanes = next;
            }
        }
        let finite = self.elements.len() as u64 - careful.count();
        let mut moments = lanes.finish(finite);
        moments.add(&careful);
        moments
    }
}

/// Running sums and extremes, one per lane.
struct Lanes<F: Float> {
    zeros: [u32; LANES],
    least: [F::Key; LANES],
    most: [F::Key; LANES],
    sum: [f64; LANES],
    sum_abs: [f64; LANES],
    sum_squares: [f64; LANES],
}

impl<F: Float> Lanes<F> {
    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn new() -> Self {
        let none = [0.0; LANES];
        Self {
            zeros: [0; LANES],
            least: [F::LAST_NUMBER; LANES],
            most: [F::ZERO; LANES],
            sum: none,
            sum_abs: none,
            sum_squares: none,
        }
    }

    /// Counts the elements of `chunk` and returns the lanes with them added.
    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn after<const WAYS: usize>(&self, chunk: &[[F::Raw; BLOCK]], counters: &mut [u32]) -> Self {
        // Cut to a length the compiler knows, so that counting needs no bounds checks.
        let counters = &mut counters[..MOST_WAYS * STRIDE];
        // Locals, so that the sums stay in registers.
        let Self { mut zeros, mut least, mut most, mut sum, mut sum_abs, mut sum_squares } = *self;
        let mut add = |group: &[F::Raw; LANES]| {
            for lane in 0..LANES {
                let (key, value) = (F::key(group[lane]), F::value(group[lane]));
                sum[lane] += value;
                sum_abs[lane] += value.abs();
                sum_squares[lane] += value * value;
                zeros[lane] += u32::from(key == F::ZERO);
                least[lane] = least[lane].min(key);
                most[lane] = most[lane].max(key);
            }
        };
        for block in chunk {
            block.as_chunks::<LANES>().0.iter().for_each(&mut add);
            for (index, &raw) in block.iter().enumerate() {
                counters[index % WAYS * STRIDE + usize::from(F::code(raw))] += 1;
            }
        }
        Self { zeros, least, most, sum, sum_abs, sum_squares }
    }

    fn zeros(&self) -> u64 {
        self.zeros.iter().map(|&zeros| u64::from(zeros)).sum()
    }

    fn most(&self) -> F::Key {
        self.most.iter().fold(F::ZERO, |most, &key| most.max(key))
    }

    fn finish(&self, finite: u64) -> Moments {
        Moments {
            zeros: self.zeros(),
            nans: 0,
            infinities: 0,
            finite,
            sum: self.sum.iter().sum(),
            sum_abs: self.sum_abs.iter().sum(),
            sum_squares: self.sum_squares.iter().sum(),
            min: F::magnitude(self.least.iter().fold(F::LAST_NUMBER, |least, &key| least.min(key))),
            max: F::magnitude(self.most()),
        }
    }
}

/// Moments, one element at a time.
#[cold]
fn careful_moments<F: Float>(chunk: &[F::Raw]) -> Moments {
    let mut moments = Moments::default();
    for &raw in chunk {
        let key = F::key(raw);
        let one = if key > F::LAST_NUMBER {
            Moments { nans: 1, ..Moments::default() }
        } else if key > F::LAST_FINITE {
            Moments { infinities: 1, ..Moments::default() }
        } else {
            let (value, magnitude) = (F::value(raw), F::magnitude(key));
            Moments {
                zeros: u64::from(key == F::ZERO),
                finite: 1,
                sum: value,
                sum_abs: magnitude,
                sum_squares: magnitude * magnitude,
                min: magnitude,
                max: magnitude,
                ..Moments::default()
            }
        };
        moments.add(&one);
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::float::Single;

    fn scan_of(values: &[f32]) -> Scan {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| scan::<Single>(bytemuck::cast_slice(values)))
    }

    fn counted(scan: &Scan) -> Vec<(usize, u64)> {
        let used = scan.counts.counts.iter().enumerate().filter(|&(_, &n)| n > 0);
        used.map(|(i, &n)| (scan.counts.first + i, n)).collect()
    }

    #[test]
    fn layers_full_of_zeros_are_counted_like_any_other() {
        let values: Vec<f32> = (0..200_000).map(|i| if i % 10 == 3 { i as f32 } else { 0.0 }).collect();
        let scan = scan_of(&values);
        assert_eq!(scan.moments.zeros, 180_000);
        assert_eq!(counted(&scan)[0], (0, 180_000));
        assert_eq!(scan.counts.counts.iter().sum::<u64>(), 200_000);
    }

    #[test]
    fn nothing_is_left_behind_for_the_next_tensor() {
        let mut values: Vec<f32> = (0..20_000).map(|i| (i as f32 - 1e4) * 1e-3).collect();
        let clean = counted(&scan_of(&values));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let scan = |values: &[f32]| scan::<Single>(bytemuck::cast_slice(values));
            for (i, special) in [f32::NAN, f32::NEG_INFINITY, 1e38, 0.0, -f32::NAN].into_iter().enumerate() {
                values[i * 3000] = special;
                scan(&values);
                scan(&[special; 300]);
            }
            let values: Vec<f32> = (0..20_000).map(|i| (i as f32 - 1e4) * 1e-3).collect();
            assert_eq!(counted(&scan(&values)), clean);
        });
    }

    #[test]
    fn counters_are_saved_before_they_overflow() {
        let mut counters = Counters { unsaved: u32::MAX as usize - 5, ..Counters::default() };
        counters.narrow[7] = u32::MAX - 5;
        counters.narrow[STRIDE + CODES / 2 + 7] = 2;
        counters.reserve(10);
        assert_eq!((counters.narrow[7], counters.unsaved), (0, 10));
        counters.narrow[7] = 10;
        let drained = counters.drain(5..9, false);
        assert_eq!((drained.first, drained.counts), (5, vec![0, 0, u64::from(u32::MAX) + 7, 0]));
    }
}
