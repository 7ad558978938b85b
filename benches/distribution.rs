//! One-pass statistics against a plain parallel sum over the same weights, in one run.
//!
//! `cargo bench --no-default-features --bench distribution [-- MILLIONS_OF_WEIGHTS]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use rayon::prelude::*;
use secateur::model::Tensor;
use secateur::stats::{ChannelScores, Distribution, split_at_rank};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 9;
const LAYERS: usize = 1000;

fn main() {
    let millions = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100);
    let count = millions * 1_000_000;
    let Ok(tensor) = Tensor::from_f32(vec![count / 1000, 1000], normal_values(count, 0.02)) else { return };
    let values = tensor.to_f32();
    println!("{millions} M f32, normal(0, 0.02), {} threads, median of {ROUNDS}", rayon::current_num_threads());

    // Interleaved, so that a change of clock or a busy neighbour meets all of them alike.
    let [mut sums, mut passes, mut rows, mut columns] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        sums.push(milliseconds(|| parallel_sum(&values)));
        passes.push(milliseconds(|| Distribution::of_tensor(&tensor)));
        rows.push(milliseconds(|| ChannelScores::of_tensor(&tensor, 0)));
        columns.push(milliseconds(|| ChannelScores::of_tensor(&tensor, 1)));
    }
    let sum = median(sums);
    println!("parallel sum                {sum:9.2} ms   {:.1} GB/s", count as f64 * 4e-6 / sum);
    let report = |what: &str, time: f64| println!("{what:<27} {time:9.2} ms   {:.2} x the sum", time / sum);
    report("distribution, one pass", median(passes));
    report("channel norms, rows", median(rows));
    report("channel norms, columns", median(columns));

    let size = count / LAYERS;
    let layers: Vec<Tensor> =
        values.chunks_exact(size).filter_map(|layer| Tensor::from_f32(vec![size], layer.to_vec()).ok()).collect();
    let measure = || layers.iter().map(Distribution::of_tensor).collect::<Vec<_>>();
    report("1,000 layers, one pass", median((0..ROUNDS).map(|_| milliseconds(measure)).collect()));
    let distributions = measure();

    let query = || distributions.iter().map(|d| d.count_below(black_box(0.017)).at_least).sum::<usize>();
    println!("threshold, 1,000 layers     {:9.4} ms", median((0..ROUNDS).map(|_| milliseconds(query)).collect()));

    let parts: Vec<(&Tensor, &Distribution)> = layers.iter().zip(&distributions).collect();
    let rank = count / 10 * 9;
    report(
        "exact global rank, cached",
        median((0..ROUNDS).map(|_| milliseconds(|| split_at_rank(&parts, rank))).collect()),
    );
    let whole = || {
        let distributions: Vec<Distribution> = layers.iter().map(Distribution::of_tensor).collect();
        let parts: Vec<(&Tensor, &Distribution)> = layers.iter().zip(&distributions).collect();
        split_at_rank(&parts, rank)
    };
    report("exact global rank, in all", median((0..ROUNDS).map(|_| milliseconds(whole)).collect()));
}

fn parallel_sum(values: &[f32]) -> f32 {
    let chunk = |values: &[f32]| {
        let mut lanes = [0f32; 64];
        for group in values.as_chunks::<64>().0 {
            lanes.iter_mut().zip(group).for_each(|(lane, value)| *lane += value);
        }
        lanes.iter().sum::<f32>()
    };
    values.par_chunks(1 << 18).map(chunk).sum()
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Box-Muller over a counter-based generator, so that the values do not depend on the thread count.
fn normal_values(count: usize, std: f32) -> Vec<f32> {
    let uniform = |i: u64| {
        let mut x = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    };
    (0..count as u64)
        .into_par_iter()
        .map(|i| {
            let radius = (-2.0 * (uniform(2 * i) + 1e-9).ln()).sqrt();
            std * radius * (std::f32::consts::TAU * uniform(2 * i + 1)).cos()
        })
        .collect()
}
