//! Finding groups, taking half of every one out, and what that gains on the residual sample.
//!
//! `cargo bench --bench structure`; further arguments are model files to look at as well. Times of one
//! machine; the last figure is a ratio within one run.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and stops where it fails")]

use secateur::exec::{Bound, Program};
use secateur::formats;
use secateur::model::{Model, Tensor};
use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};
use secateur::verify::{ResNet, resnet};
use std::path::Path;
use std::time::Instant;

const BATCH: usize = 256;

/// Median of some runs, in milliseconds.
fn median(runs: usize, mut f: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            1e3 * start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn half(structure: &Structure) -> Removal {
    let groups = structure.groups().iter().enumerate();
    Removal::of(
        groups.flat_map(|(index, group)| structure.lowest(index, &vec![0.0; group.units.len()], group.units.len() / 2)),
    )
}

fn look_at(name: &str, model: &Model) {
    let structure = Structure::of(model).unwrap();
    let removal = half(&structure);
    let of = median(9, || drop(Structure::of(model).unwrap()));
    let choose = median(5, || drop(half(&structure)));
    let shrink = median(5, || drop(shrink(model, &structure, &removal, ShrinkOptions::default()).unwrap()));
    // What one step of a drag through a group's scores takes, the other groups being cut in half.
    let widest = (0..structure.groups().len()).max_by_key(|&i| structure.groups()[i].units.len()).unwrap_or(0);
    let units = structure.groups().get(widest).map_or(0, |group| group.units.len());
    let drag = median(9, || {
        drop(structure.lowest(widest, &vec![0.0; units], units / 3));
        structure.check(&removal).unwrap();
        drop(structure.shapes_after(&removal).unwrap());
    });
    println!(
        "{name:32} {:4} groups  found in {of:7.2} ms  half chosen in {choose:7.2} ms  taken out in {shrink:7.1} ms  one \
         step of a drag {drag:.2} ms",
        structure.groups().len()
    );
}

fn bind(model: &Model) -> Bound {
    Program::compile(model).unwrap().bind(model).unwrap()
}

fn main() {
    look_at("ResNet-50", &resnet(ResNet::Depth50, 0).unwrap());
    for path in std::env::args().skip(1).filter(|arg| !arg.starts_with("--")) {
        look_at(&path, &formats::open(Path::new(&path)).unwrap());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/resnet-8.safetensors");
    let model = formats::open(&path).unwrap();
    let structure = Structure::of(&model).unwrap();
    let shrunk = shrink(&model, &structure, &half(&structure), ShrinkOptions::default()).unwrap().model;
    let values = (0..BATCH * 784).map(|i| (i * 7919 % 255) as f32 / 255.0).collect();
    let x = [Tensor::from_f32(vec![BATCH, 1, 28, 28], values).unwrap()];
    let (whole, half) = (bind(&model), bind(&shrunk));
    // In alternation, so that a busy moment hits both.
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..31 {
        for (bound, times) in [&whole, &half].into_iter().zip(&mut times) {
            times.push(median(1, || drop(bound.run(&x).unwrap())));
        }
    }
    let [before, after] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "residual sample, {BATCH} images   {before:.1} ms before, {after:.1} ms after: {:.2} times as fast",
        before / after
    );
}
