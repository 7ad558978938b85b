//! The one pass over a tensor: bucket counts, moments and extremes together.
//!
//! Workers take fixed tasks from a shared counter. Bucket counts are integers, so it does not matter
//! who adds them; moments are floats, so every task's are kept and combined in task order.

use super::float::Float;
use super::grid::Grid;
use super::vectorize::{Kernel, vectorized};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements whose keys and buckets stay in the first-level cache between the loops over them.
const CHUNK: usize = 4096;
/// Elements a worker takes at once.
const TASK: usize = 64 * CHUNK;
/// Independent sums, so that additions overlap. Fixed, so that every machine adds in the same order.
const LANES: usize = 16;
/// Counters per bucket: neighbouring weights often share a bucket, and an increment that waits for
/// the one before it costs more than all else in the pass.
const WAYS: usize = 4;

/// Everything that one pass over the weights yields.
pub struct Scan {
    /// Weights in each bucket of the format's grid. The first still holds the zeros, infinity's is unset.
    pub counts: Vec<u64>,
    /// Sums and extremes.
    pub moments: Moments,
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
    let workers = rayon::current_num_threads().min(tasks.len()).max(1);
    let next = AtomicUsize::new(0);
    let parts: Vec<(Counters, Vec<(usize, Moments)>)> = (0..workers)
        .into_par_iter()
        .with_max_len(1)
        .map(|_| {
            let mut counters = Counters::new();
            let mut moments = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(&elements) = tasks.get(index) else { break };
                moments.push((index, vectorized(ScanTask::<F> { elements, counters: &mut counters })));
            }
            (counters, moments)
        })
        .collect();

    let mut counts = vec![0u64; Grid::BUCKETS];
    let mut ordered = vec![Moments::default(); tasks.len()];
    for (mut counters, moments) in parts {
        counters.drain_into(&mut counts);
        for (index, part) in moments {
            ordered[index] = part;
        }
    }
    let mut moments = Moments::default();
    for part in &ordered {
        moments.add(part);
    }
    counts[usize::from(F::GRID.infinity())..].fill(0);
    Scan { counts, moments }
}

/// Bucket counters of one worker.
struct Counters {
    narrow: Vec<[u32; WAYS]>,
    wide: Vec<u64>,
    unsaved: usize,
}

impl Counters {
    fn new() -> Self {
        Self { narrow: vec![[0; WAYS]; Grid::BUCKETS], wide: Vec::new(), unsaved: 0 }
    }

    /// Makes sure that `count` further weights cannot overflow a counter.
    fn reserve(&mut self, count: usize) {
        if self.unsaved + count > u32::MAX as usize {
            let mut wide = std::mem::take(&mut self.wide);
            wide.resize(Grid::BUCKETS, 0);
            self.drain_into(&mut wide);
            self.wide = wide;
        }
        self.unsaved += count;
    }

    fn drain_into(&mut self, counts: &mut [u64]) {
        for (total, ways) in counts.iter_mut().zip(&mut self.narrow) {
            *total += std::mem::take(ways).iter().map(|&n| u64::from(n)).sum::<u64>();
        }
        for (total, wide) in counts.iter_mut().zip(&self.wide) {
            *total += wide;
        }
        self.wide.clear();
        self.unsaved = 0;
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
        self.counters.reserve(self.elements.len());
        // Cut to a length the compiler knows, so that the loop below needs no bounds checks.
        let counters = &mut self.counters.narrow[..Grid::BUCKETS];
        let mut lanes = Lanes::<F>::new();
        let mut buckets = [0u16; CHUNK];
        let mut special = Moments::default();
        let mut elsewhere = 0;
        for chunk in self.elements.chunks(CHUNK) {
            let buckets = &mut buckets[..chunk.len()];
            let (mut least, mut most, mut zeros) = (F::LAST_NUMBER, F::ZERO, 0u32);
            for (bucket, &raw) in buckets.iter_mut().zip(chunk) {
                let key = F::key(raw);
                *bucket = F::bucket(key);
                least = least.min(key);
                most = most.max(key);
                zeros += u32::from(key == F::ZERO);
            }
            let (groups, rest) = buckets.as_chunks::<WAYS>();
            for group in groups {
                for (way, &bucket) in group.iter().enumerate() {
                    counters[usize::from(bucket) % Grid::BUCKETS][way] += 1;
                }
            }
            for &bucket in rest {
                counters[usize::from(bucket) % Grid::BUCKETS][0] += 1;
            }
            if most > F::LAST_FINITE {
                special.add(&careful_moments::<F>(chunk));
                elsewhere += chunk.len();
                continue;
            }
            lanes.zeros += u64::from(zeros);
            lanes.least = lanes.least.min(least);
            lanes.most = lanes.most.max(most);
            lanes.add(chunk);
        }
        let mut moments = lanes.finish(self.elements.len() - elsewhere);
        moments.add(&special);
        moments
    }
}

struct Lanes<F: Float> {
    zeros: u64,
    least: F::Key,
    most: F::Key,
    sum: [f64; LANES],
    sum_abs: [f64; LANES],
    sum_squares: [f64; LANES],
}

impl<F: Float> Lanes<F> {
    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn new() -> Self {
        let none = [0.0; LANES];
        Self { zeros: 0, least: F::LAST_NUMBER, most: F::ZERO, sum: none, sum_abs: none, sum_squares: none }
    }

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn add(&mut self, chunk: &[F::Raw]) {
        // Locals, so that the sums stay in registers.
        let (mut sum, mut sum_abs, mut sum_squares) = (self.sum, self.sum_abs, self.sum_squares);
        let (groups, rest) = chunk.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                let value = F::value(group[lane]);
                sum[lane] += value;
                sum_abs[lane] += value.abs();
                sum_squares[lane] += value * value;
            }
        }
        for (lane, &raw) in rest.iter().enumerate() {
            let value = F::value(raw);
            sum[lane] += value;
            sum_abs[lane] += value.abs();
            sum_squares[lane] += value * value;
        }
        (self.sum, self.sum_abs, self.sum_squares) = (sum, sum_abs, sum_squares);
    }

    fn finish(&self, finite: usize) -> Moments {
        Moments {
            zeros: self.zeros,
            nans: 0,
            infinities: 0,
            finite: finite as u64,
            sum: self.sum.iter().sum(),
            sum_abs: self.sum_abs.iter().sum(),
            sum_squares: self.sum_squares.iter().sum(),
            min: F::magnitude(self.least),
            max: F::magnitude(self.most),
        }
    }
}

/// Moments of a chunk that holds infinities or NaN, one element at a time.
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
