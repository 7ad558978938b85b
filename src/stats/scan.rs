//! The one pass over a tensor: bucket counts, moments and extremes together.
//!
//! Workers take fixed tasks from a shared counter. Bucket counts are integers, so it does not matter
//! who adds them; moments are floats, so every task's are kept and combined in task order.

use super::float::Float;
use super::grid::Grid;
use super::vectorize::{Kernel, vectorized};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements after which special values and the number of counters are looked at.
const CHUNK: usize = 4096;
/// Elements a worker takes at once.
const TASK: usize = 16 * CHUNK;
/// Elements whose sums are taken before they are counted. Sums keep the vector units busy and counts
/// the store unit; alternating this often lets the processor overlap them.
const BLOCK: usize = 64;
/// Independent sums, so that additions overlap. Fixed, so that every machine adds in the same order.
const LANES: usize = 16;
/// Counters per code for a layer full of zeros, where each increment would wait for the one before it.
const MOST_WAYS: usize = 4;
/// Values of the upper 16 bits, sign included.
const CODES: usize = 1 << 16;
/// Counters from one way to the next, off a power of two so that ways share no cache set.
const STRIDE: usize = CODES + 16;

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

    let mut ordered = vec![Moments::default(); tasks.len()];
    for &(index, part) in parts.iter().flat_map(|(_, moments)| moments) {
        ordered[index] = part;
    }
    let mut moments = Moments::default();
    for part in &ordered {
        moments.add(part);
    }
    let bucket_of = |magnitude| usize::from(F::bucket(F::first_at_least(magnitude)));
    let used = bucket_of(moments.min)..bucket_of(moments.max) + 1;
    let mut counts = vec![0u64; Grid::BUCKETS];
    for (mut counters, _) in parts {
        counters.drain_into::<F>(&mut counts, used.clone());
    }
    counts[usize::from(F::GRID.infinity())..].fill(0);
    Scan { counts, moments }
}

/// Counters of one worker, by code. Unused memory is never touched.
struct Counters {
    narrow: Vec<u32>,
    unsaved: usize,
    wide: Vec<u64>,
}

impl Counters {
    fn new() -> Self {
        Self { narrow: vec![0; MOST_WAYS * STRIDE], unsaved: 0, wide: Vec::new() }
    }

    /// Makes sure that `count` further weights cannot overflow a counter.
    fn reserve<F: Float>(&mut self, count: usize) {
        if self.unsaved + count > u32::MAX as usize {
            let mut wide = std::mem::take(&mut self.wide);
            wide.resize(Grid::BUCKETS, 0);
            self.drain_into::<F>(&mut wide, 0..Grid::BUCKETS);
            self.wide = wide;
        }
        self.unsaved += count;
    }

    /// Adds what was counted in `buckets`, and starts again from zero.
    fn drain_into<F: Float>(&mut self, counts: &mut [u64], buckets: Range<usize>) {
        for bucket in buckets {
            for code in F::codes(bucket as u16).into_iter().flatten() {
                for way in 0..MOST_WAYS {
                    counts[bucket] += u64::from(std::mem::take(&mut self.narrow[way * STRIDE + usize::from(code)]));
                }
            }
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
        self.counters.reserve::<F>(self.elements.len());
        let counters = &mut self.counters.narrow[..];
        let mut lanes = Lanes::<F>::new();
        let mut special = Moments::default();
        let mut elsewhere = 0;
        let mut many_zeros = false;
        for chunk in self.elements.chunks(CHUNK) {
            let next =
                if many_zeros { lanes.after::<MOST_WAYS>(chunk, counters) } else { lanes.after::<2>(chunk, counters) };
            let zeros = next.zeros() - lanes.zeros();
            many_zeros = zeros > chunk.len() as u64 / 8;
            if next.most() > F::LAST_FINITE {
                special.add(&careful_moments::<F>(chunk));
                elsewhere += chunk.len();
            } else {
                lanes = next;
            }
        }
        let mut moments = lanes.finish(self.elements.len() - elsewhere);
        moments.add(&special);
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
    fn after<const WAYS: usize>(&self, chunk: &[F::Raw], counters: &mut [u32]) -> Self {
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
        let (blocks, rest) = chunk.as_chunks::<BLOCK>();
        for block in blocks {
            block.as_chunks::<LANES>().0.iter().for_each(&mut add);
            for (index, &raw) in block.iter().enumerate() {
                counters[index % WAYS * STRIDE + usize::from(F::code(raw))] += 1;
            }
        }
        for (index, &raw) in rest.iter().enumerate() {
            let (key, value, lane) = (F::key(raw), F::value(raw), index % LANES);
            sum[lane] += value;
            sum_abs[lane] += value.abs();
            sum_squares[lane] += value * value;
            zeros[lane] += u32::from(key == F::ZERO);
            least[lane] = least[lane].min(key);
            most[lane] = most[lane].max(key);
            counters[usize::from(F::code(raw))] += 1;
        }
        Self { zeros, least, most, sum, sum_abs, sum_squares }
    }

    fn zeros(&self) -> u64 {
        self.zeros.iter().map(|&zeros| u64::from(zeros)).sum()
    }

    fn most(&self) -> F::Key {
        self.most.iter().fold(F::ZERO, |most, &key| most.max(key))
    }

    fn finish(&self, finite: usize) -> Moments {
        Moments {
            zeros: self.zeros(),
            nans: 0,
            infinities: 0,
            finite: finite as u64,
            sum: self.sum.iter().sum(),
            sum_abs: self.sum_abs.iter().sum(),
            sum_squares: self.sum_squares.iter().sum(),
            min: F::magnitude(self.least.iter().fold(F::LAST_NUMBER, |least, &key| least.min(key))),
            max: F::magnitude(self.most()),
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
