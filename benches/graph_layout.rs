//! How long the drawing of a graph takes to be worked out: `cargo bench --bench graph_layout`.
//!
//! Further arguments are model files to draw as well. Opening, weights and what goes together are not in it.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and stops where it fails")]

use secateur::app::GraphLayout;
use secateur::formats;
use secateur::model::{Model, layers_of};
use secateur::verify::{ResNet, resnet};
use std::path::Path;
use std::time::Instant;

const RUNS: usize = 15;

fn look_at(name: &str, model: &Model) {
    let layers = layers_of(model);
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            drop(GraphLayout::of(model, &layers));
            1e3 * start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let Some(layout) = GraphLayout::of(model, &layers) else { return println!("{name}: nothing to draw") };
    let nodes = model.graph.as_ref().map_or(0, |graph| graph.nodes.len());
    println!(
        "{name:60} {nodes:5} nodes in {:4} boxes and {:4} edges, {:5.0}x{:<5.0} points: median {:6.2} ms, worst {:6.2} ms",
        layout.boxes.len(),
        layout.edges.len(),
        layout.size[0],
        layout.size[1],
        times[RUNS / 2],
        times[RUNS - 1]
    );
}

fn main() {
    look_at("ResNet-50", &resnet(ResNet::Depth50, 0).unwrap());
    for path in std::env::args().skip(1).filter(|arg| !arg.starts_with("--")) {
        look_at(&path, &formats::open(Path::new(&path)).unwrap());
    }
}
