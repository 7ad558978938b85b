use super::columns::Columns;
use crate::stats::vectorize::{Kernel, vectorized};
use rayon::prelude::*;
use std::sync::Arc;

/// Independent sums of a comparison; fixed, so that every machine adds in the same order.
const LANES: usize = 16;
/// Gains below this share of the whole are rounding.
const NOTHING: f64 = 1e-10;

/// How long an order is looked for. The result does not depend on the machine or the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// How often the search leaves an order that no exchange of two inputs betters; not where only some
    /// outputs are looked at.
    pub escapes: usize,
    /// Pairs of magnitudes that are compared at most, for one group. Of large groups only some outputs are looked at.
    pub comparisons: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { escapes: 300, comparisons: 2_000_000_000 }
    }
}

impl Effort {
    /// Every how many rows one is looked at, so that a search over `columns` inputs can end.
    pub fn step(self, columns: usize, rows: usize) -> usize {
        let affordable = self.comparisons / (10 * (columns * columns) as u64).max(1);
        rows.div_ceil(affordable.max(64) as usize).max(1)
    }
}

/// An order of the columns in which more magnitude stays when `kept` of every `of` successive ones do; see Pool and
/// Yu 2021, "Channel Permutations for N:M Sparsity".
///
/// Columns of two stretches change places as long as that gains something, best first; then three columns
/// go round at random, and what does not lead to something better is taken back.
pub fn search(columns: &Columns, kept: usize, of: usize, effort: Effort) -> Vec<usize> {
    let mut best = Search::new(columns, kept, of);
    if best.stretches.len() < 2 || kept == 0 {
        return best.order;
    }
    best.refresh(&(0..best.stretches.len()).collect::<Vec<_>>());
    best.descend(effort.comparisons);
    let mut random = Random(0x5eca_7e04);
    for _ in 0..effort.escapes {
        if best.spent >= effort.comparisons {
            break;
        }
        let mut next = best.clone();
        let touched = next.disturb(&mut random);
        next.refresh(&touched);
        next.descend(effort.comparisons);
        best.spent = next.spent;
        if next.total() > best.total() * (1.0 + NOTHING) {
            best = next;
        }
    }
    best.order
}

/// Neighbouring columns that share a quota.
struct Stretch {
    /// Sum of what stays.
    kept: f64,
    /// By member and row, what a column in the member's place must exceed to stay.
    bars: Vec<f32>,
    /// By member, the sum of what stays whatever column is in its place.
    rest: Vec<f64>,
}

/// The best exchange between two stretches.
#[derive(Clone, Copy, Default)]
struct Exchange {
    gain: f64,
    /// Positions in the order.
    places: (usize, usize),
}

#[derive(Clone)]
struct Search<'a> {
    columns: &'a Columns,
    kept: usize,
    of: usize,
    order: Vec<usize>,
    stretches: Vec<Arc<Stretch>>,
    /// Of stretches a < b at b (b - 1) / 2 + a.
    exchanges: Vec<Exchange>,
    spent: u64,
}

impl<'a> Search<'a> {
    fn new(columns: &'a Columns, kept: usize, of: usize) -> Self {
        let count = columns.count.div_ceil(of);
        let empty = Arc::new(Stretch { kept: 0.0, bars: Vec::new(), rest: Vec::new() });
        Self {
            columns,
            kept,
            of,
            order: (0..columns.count).collect(),
            stretches: vec![empty; count],
            exchanges: vec![Exchange::default(); count * count.saturating_sub(1) / 2],
            spent: 0,
        }
    }

    fn total(&self) -> f64 {
        self.stretches.iter().map(|stretch| stretch.kept).sum()
    }

    fn members(&self, stretch: usize) -> &[usize] {
        &self.order[stretch * self.of..self.order.len().min((stretch + 1) * self.of)]
    }

    /// Works out afresh what has to do with some stretches, given in ascending order.
    fn refresh(&mut self, touched: &[usize]) {
        let stretches: Vec<Arc<Stretch>> = touched.par_iter().map(|&s| Arc::new(self.stretch(s))).collect();
        for (&at, stretch) in touched.iter().zip(stretches) {
            self.stretches[at] = stretch;
        }
        let mut is_touched = vec![false; self.stretches.len()];
        for &stretch in touched {
            is_touched[stretch] = true;
        }
        let others = |a: usize| {
            let is_touched = &is_touched;
            (0..is_touched.len())
                .filter(move |&b| b != a && !(is_touched[b] && b < a))
                .map(move |b| (a.min(b), a.max(b)))
        };
        let pairs: Vec<(usize, usize)> = touched.iter().flat_map(|&a| others(a)).collect();
        let found: Vec<Exchange> = pairs.par_iter().map(|&(a, b)| self.exchange(a, b)).collect();
        for (&(a, b), exchange) in pairs.iter().zip(found) {
            self.exchanges[b * (b - 1) / 2 + a] = exchange;
            let compared = 2 * self.members(a).len() * self.members(b).len() * self.columns.rows;
            self.spent += compared as u64;
        }
    }

    fn stretch(&self, stretch: usize) -> Stretch {
        let (members, rows) = (self.members(stretch), self.columns.rows);
        let columns: Vec<&[f32]> = members.iter().map(|&column| self.columns.column(column)).collect();
        let mut found = Stretch { kept: 0.0, bars: vec![0.0; members.len() * rows], rest: vec![0.0; members.len()] };
        let mut sorted = Vec::with_capacity(members.len());
        for row in 0..rows {
            sorted.clear();
            sorted.extend(columns.iter().map(|column| column[row]));
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let kept: f64 = sorted.iter().take(self.kept).map(|&v| f64::from(v)).sum();
            let at = |rank: usize| sorted.get(rank).copied().unwrap_or(0.0);
            let (last, next) = (at(self.kept - 1), at(self.kept));
            found.kept += kept;
            for (member, column) in columns.iter().enumerate() {
                // What stays without this column: one more takes its place if it was among those that stay.
                let stays = column[row] >= last;
                found.bars[member * rows + row] = if stays { next } else { last };
                found.rest[member] += kept - f64::from(if stays { column[row] } else { last });
            }
        }
        found
    }

    fn exchange(&self, a: usize, b: usize) -> Exchange {
        let rows = self.columns.rows;
        let (left, right) = (&self.stretches[a], &self.stretches[b]);
        let as_is = left.kept + right.kept;
        let mut best = Exchange::default();
        for (i, &x) in self.members(a).iter().enumerate() {
            for (j, &y) in self.members(b).iter().enumerate() {
                let with_y = left.rest[i] + sum_of_larger(&left.bars[i * rows..][..rows], self.columns.column(y));
                let with_x = right.rest[j] + sum_of_larger(&right.bars[j * rows..][..rows], self.columns.column(x));
                let gain = with_y + with_x - as_is;
                if gain > best.gain {
                    best = Exchange { gain, places: (a * self.of + i, b * self.of + j) };
                }
            }
        }
        best
    }

    /// Exchanges columns until no exchange gains anything, or until enough was compared.
    fn descend(&mut self, comparisons: u64) {
        while self.spent < comparisons {
            let least = self.total() * NOTHING;
            let mut candidates: Vec<Exchange> = self.exchanges.iter().filter(|e| e.gain > least).copied().collect();
            candidates.sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.places.cmp(&b.places)));
            // Exchanges between other stretches gain what they gain, whatever happens here.
            let mut touched = vec![false; self.stretches.len()];
            for Exchange { places: (i, j), .. } in candidates {
                if !touched[i / self.of] && !touched[j / self.of] {
                    (touched[i / self.of], touched[j / self.of]) = (true, true);
                    self.order.swap(i, j);
                }
            }
            let touched: Vec<usize> = (0..touched.len()).filter(|&stretch| touched[stretch]).collect();
            if touched.is_empty() {
                return;
            }
            self.refresh(&touched);
        }
    }

    /// Lets columns of three stretches go round, or of two change places.
    fn disturb(&mut self, random: &mut Random) -> Vec<usize> {
        let mut stretches = Vec::new();
        let wanted = self.stretches.len().min(3);
        while stretches.len() < wanted {
            let stretch = random.below(self.stretches.len());
            if !stretches.contains(&stretch) {
                stretches.push(stretch);
            }
        }
        let places: Vec<usize> = stretches.iter().map(|&s| s * self.of + random.below(self.members(s).len())).collect();
        for pair in places.windows(2) {
            self.order.swap(pair[0], pair[1]);
        }
        stretches.sort_unstable();
        stretches
    }
}

/// A sequence without pattern: SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % count as u64) as usize
    }
}

/// Sum of the larger of each pair.
fn sum_of_larger(a: &[f32], b: &[f32]) -> f64 {
    vectorized(SumOfLarger { a, b })
}

struct SumOfLarger<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Kernel for SumOfLarger<'_> {
    type Output = f64;

    #[expect(clippy::inline_always, reason = "must be compiled into each vector width's caller")]
    #[inline(always)]
    fn run(self) -> f64 {
        let larger = |a: f32, b: f32| f64::from(if a > b { a } else { b });
        let mut sums = [0.0; LANES];
        let ((a, last_a), (b, last_b)) = (self.a.as_chunks::<LANES>(), self.b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                sums[lane] += larger(a[lane], b[lane]);
            }
        }
        let rest: f64 = last_a.iter().zip(last_b).map(|(&a, &b)| larger(a, b)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn columns(count: usize, rows: usize, seed: u64) -> Columns {
        let mut random = Random(seed);
        // Few values, so that ties are common.
        let magnitudes = (0..count * rows).map(|_| random.below(9) as f32 * 0.25).collect();
        Columns { count, rows, magnitudes }
    }

    fn kept(columns: &Columns, order: &[usize], kept: usize, of: usize) -> f64 {
        let mut sum = 0.0;
        for row in 0..columns.rows {
            for stretch in order.chunks(of) {
                let mut values: Vec<f32> = stretch.iter().map(|&c| columns.column(c)[row]).collect();
                values.sort_by(|a, b| b.total_cmp(a));
                sum += values.iter().take(kept).map(|&v| f64::from(v)).sum::<f64>();
            }
        }
        sum
    }

    #[test]
    fn columns_that_stand_in_each_others_way_are_parted() {
        // Large ones side by side: the best order has one of them in each stretch of two.
        let magnitudes = [[5.0, 5.0], [5.0, 4.0], [1.0, 0.0], [0.0, 1.0]].concat();
        let columns = Columns { count: 4, rows: 2, magnitudes };
        let order = search(&columns, 1, 2, Effort::default());
        assert_eq!(kept(&columns, &order, 1, 2), 19.0);
    }

    #[test]
    fn any_number_of_threads_finds_the_same_order() {
        let columns = columns(33, 50, 3);
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| search(&columns, 2, 4, Effort { escapes: 10, comparisons: 1_000_000 }))
        };
        assert_eq!(with_threads(1), with_threads(3));
    }

    proptest! {
        #[test]
        fn every_column_has_one_place_and_no_less_stays(
            count in 1usize..20,
            rows in 0usize..40,
            n in 1usize..4,
            more in 1usize..4,
            seed in any::<u64>(),
        ) {
            let (columns, of) = (columns(count, rows, seed), n + more);
            let order = search(&columns, n, of, Effort { escapes: 5, ..Effort::default() });
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&sorted, &(0..count).collect::<Vec<_>>());
            prop_assert!(kept(&columns, &order, n, of) >= kept(&columns, &sorted, n, of));
        }

        #[test]
        fn what_an_exchange_gains_is_what_stays_more(seed in any::<u64>(), n in 1usize..4, more in 1usize..3) {
            let (columns, of) = (columns(11, 9, seed), n + more);
            let mut search = Search::new(&columns, n, of);
            let before = kept(&columns, &search.order, n, of);
            search.refresh(&(0..search.stretches.len()).collect::<Vec<_>>());
            prop_assert!((search.total() - before).abs() < 1e-9);
            for exchange in search.exchanges.iter().filter(|e| e.gain > 0.0) {
                let mut order = search.order.clone();
                order.swap(exchange.places.0, exchange.places.1);
                prop_assert!((kept(&columns, &order, n, of) - before - exchange.gain).abs() < 1e-9);
            }
        }
    }
}
