//! Scans of the residual sample: steps before an edit run once, against every point from the input.
//!
//! `cargo bench --bench sensitivity`; further arguments are model files of 28 x 28 images. All figures are ratios
//! within one run, of times that are taken in turn, the least of them.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and stops where it fails")]

use secateur::data::{Dataset, Split};
use secateur::eval::{EvalOptions, evaluate};
use secateur::exec::{Bound, Program};
use secateur::formats;
use secateur::model::{Model, layers_of};
use secateur::prune::{Granularity, Plan, Subject};
use secateur::search::sensitivity::{ScanOptions, ScanRequest, scan, targets_of};
use secateur::search::{Measured, Sensitivity, Target};
use secateur::stats::Statistics;
use secateur::structure::Structure;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 3;

/// Drops of accuracy at which curves end; 0.1 unless it is asked for otherwise.
const DROPS: [f64; 3] = [0.2, 0.1, 0.05];

/// Every point of the ladder as a plan of its own, evaluated from the input.
fn from_input(request: &ScanRequest<'_>) -> Vec<(Target, Vec<Measured>)> {
    let ScanRequest { subject, dense, data, settings, options, .. } = *request;
    let eval = EvalOptions { limit: options.limit, ..EvalOptions::for_data(subject.model, data) };
    let point = |target: &Target, ratio: f64| {
        let plan = target.plan(settings, options.granularity, options.criterion, ratio);
        let masked = subject.masked(&subject.resolve(&plan).unwrap()).unwrap();
        let bound = dense.rebind(&masked).unwrap();
        Measured::from(&evaluate(&bound, data, &eval, &mut |_| ControlFlow::Continue(())).unwrap())
    };
    let curve = |target: &Target| (target.clone(), options.ratios.iter().map(|&ratio| point(target, ratio)).collect());
    request.targets.iter().map(curve).collect()
}

fn scanned(request: &ScanRequest<'_>) -> Sensitivity {
    scan(request, &mut |_, _| ControlFlow::Continue(()), &mut |_, _| {}).unwrap().sensitivity
}

fn seconds<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = f();
    (start.elapsed().as_secs_f64(), result)
}

fn look_at(name: &str, model: &Model, data: &Dataset) {
    let dense: Bound = Program::compile(model).unwrap().bind(model).unwrap();
    let (layers, structure) = (layers_of(model), Structure::of(model).unwrap());
    let statistics = Statistics::of_model(model, &layers);
    let subject = Subject { structure: Some(&structure), statistics: &statistics, ..Subject::new(model, &layers) };
    let settings = Plan::dense();
    for (what, groups, granularity) in [
        ("weights of layers", false, Granularity::Element),
        ("channels of layers", false, Granularity::Channel),
        ("groups", true, Granularity::Channel),
    ] {
        let targets = targets_of(&subject, &settings, groups, &[] as &[&str], &[] as &[&str]).unwrap();
        let whole = ScanOptions { granularity, max_drop: None, limit: Some(500), ..ScanOptions::default() };
        let request = |options| ScanRequest {
            subject,
            dense: &dense,
            data,
            settings: &settings,
            targets: &targets,
            options,
            cache: None,
            calibrated_on: None,
        };
        let ending = DROPS.map(|drop| ScanOptions { max_drop: Some(drop), ..whole.clone() });
        let mut least = [f64::INFINITY; 2 + DROPS.len()];
        let mut left = [0; DROPS.len()];
        for _ in 0..ROUNDS {
            let (time, expected) = seconds(|| from_input(&request(&whole)));
            least[0] = least[0].min(time);
            let (time, found) = seconds(|| scanned(&request(&whole)));
            least[1] = least[1].min(time);
            let points = |s: &Sensitivity| -> Vec<(Target, Vec<Measured>)> {
                s.curves.iter().map(|c| (c.target.clone(), c.points.iter().map(|p| p.measured).collect())).collect()
            };
            assert_eq!(points(&found), expected, "every point has to be the same to the bit");
            for (index, options) in ending.iter().enumerate() {
                let (time, found) = seconds(|| scanned(&request(options)));
                least[2 + index] = least[2 + index].min(time);
                left[index] = found.rows().count();
            }
        }
        let [input, reused, ended @ ..] = least;
        let points = targets.len() * whole.ratios.len();
        println!("{name}, {what}: {points} points from the input in {:.0} ms", input * 1e3);
        println!("  all of them, re-using activations        {:.2} times as fast", input / reused);
        for ((drop, ended), left) in DROPS.iter().zip(ended).zip(left) {
            let drop = drop * 100.0;
            println!("  curves ended at {drop:>2} points lost, {left:3} left   {:.2} times as fast", input / ended);
        }
    }
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    let data = Dataset::open(&root.join("fashion-mnist"), Split::Test).unwrap();
    let mut paths: Vec<PathBuf> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).map(Into::into).collect();
    paths.insert(0, root.join("resnet-8.safetensors"));
    for path in paths {
        let model = formats::open(&path).unwrap();
        look_at(&model.display_name(), &model, &data);
    }
}
