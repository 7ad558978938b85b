//! One-pass statistics against a plain parallel sum over the same weights, in one run.
//!
//! `cargo bench --no-default-features --bench distribution [-- MILLIONS_OF_WEIGHTS]`

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use rayon::prelude::*;
use secateur::model::{Model, Tensor, layers_of};
use secateur::prune::{Cut, LayerPlan, Plan, Subject, apply, resolve_with};
use secateur::stats::{ChannelScores, Distribution, Statistics, split_at_rank};
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

    let sparse: Vec<f32> =
        values.par_iter().enumerate().map(|(i, &v)| if hash(i as u64).is_multiple_of(10) { v } else { 0.0 }).collect();
    report("distribution, 90 % zeros", repeated(|| Distribution::of_f32(&sparse)));
    drop(sparse);

    let size = count / LAYERS;
    let mut model = Model::default();
    for (index, weights) in values.chunks_exact(size).enumerate() {
        let Ok(weight) = Tensor::from_f32(vec![size / 100, 100], weights.to_vec()) else { return };
        model.tensors.insert(format!("{index}.weight"), weight);
    }
    let layers: Vec<&Tensor> = model.tensors.values().collect();
    let measure = || layers.par_iter().map(|tensor| Distribution::of_tensor(tensor)).collect::<Vec<_>>();
    report("1,000 layers, one pass", repeated(measure));
    let distributions = measure();

    let query = || distributions.iter().map(|d| d.count_below(black_box(0.017)).at_least).sum::<usize>();
    println!("threshold, 1,000 layers     {:9.4} ms", repeated(query));

    let rows = layers_of(&model);
    let statistics = Statistics::of_model(&model, &rows);
    let mut plan = Plan::dense();
    for layer in &rows {
        let cut = Cut::Threshold(distributions[0].snap(0.017));
        plan.set(&layer.name, LayerPlan { cut, ..LayerPlan::default() });
    }
    let subject = Subject { statistics: &statistics, ..Subject::new(&model, &rows) };
    let resolved = || resolve_with(&subject, &plan);
    println!("resolve, 1,000 layers       {:9.4} ms", repeated(resolved));
    if let Ok(mask) = resolved() {
        report("apply, 1,000 layers", repeated(|| apply(&model, &rows, &mask)));
    }

    let parts: Vec<(&Tensor, &Distribution)> = layers.iter().copied().zip(&distributions).collect();
    let rank = count / 10 * 9;
    report("exact global rank, cached", repeated(|| split_at_rank(&parts, rank)));
    let whole = || {
        let distributions: Vec<Distribution> =
            layers.par_iter().map(|tensor| Distribution::of_tensor(tensor)).collect();
        let parts: Vec<(&Tensor, &Distribution)> = layers.iter().copied().zip(&distributions).collect();
        split_at_rank(&parts, rank)
    };
    report("exact global rank, in all", repeated(whole));
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

fn repeated<T>(work: impl Fn() -> T) -> f64 {
    median((0..ROUNDS).map(|_| milliseconds(&work)).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Box-Muller over a counter-based generator, so that the values do not depend on the thread count.
fn normal_values(count: usize, std: f32) -> Vec<f32> {
    let uniform = |i: u64| (hash(i) >> 40) as f32 / (1u32 << 24) as f32;
    (0..count as u64)
        .into_par_iter()
        .map(|i| {
            let radius = (-2.0 * (uniform(2 * i) + 1e-9).ln()).sqrt();
            std * radius * (std::f32::consts::TAU * uniform(2 * i + 1)).cos()
        })
        .collect()
}

fn hash(i: u64) -> u64 {
    let mut x = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
