//! Which weights to remove: criteria and allocations at equal sparsity, without any training, on the samples.
//!
//! `cargo bench --bench choosing`; arguments are model files to measure instead of the three samples. Criteria look at
//! 512 calibration images, accuracy is that on the 10,000 test images. Which orderings are expected and which hold is
//! printed as it is.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and stops where it fails")]

use secateur::calibrate;
use secateur::data::{Dataset, Split};
use secateur::eval::{EvalOptions, evaluate};
use secateur::exec::{Bound, Program};
use secateur::formats;
use secateur::model::{Layer, Model, layers_of};
use secateur::prune::{
    Allocation, AllocationRequest, Criterion, Cut, Granularity, LayerPlan, Plan, Subject, Targets, allocate,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

struct Sample {
    model: Model,
    layers: Vec<Layer>,
    dense: Bound,
    test: Dataset,
    calibration: Dataset,
}

impl Sample {
    fn accuracy(&self, plan: &Plan) -> f64 {
        let subject = Subject::new(&self.model, &self.layers);
        let observe = &mut |_, _| ControlFlow::Continue(());
        let scores = calibrate::score_plan(&subject, plan, Some(&self.calibration), observe).unwrap();
        let subject = Subject { scores: &scores, ..subject };
        let masked = subject.masked(&subject.resolve(plan).unwrap()).unwrap();
        let bound = self.dense.rebind(&masked).unwrap();
        let options = EvalOptions::for_data(&self.model, &self.test);
        100.0 * evaluate(&bound, &self.test, &options, &mut |_| ControlFlow::Continue(())).unwrap().top1()
    }

    fn prunable(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.prunability.is_prunable())
    }

    /// Every layer cut alike.
    fn alike(&self, granularity: Granularity, criterion: Criterion, cut: Cut) -> f64 {
        let mut plan = Plan::dense();
        for layer in self.prunable() {
            plan.set(&layer.name, LayerPlan { granularity, criterion, cut, locked: false });
        }
        self.accuracy(&plan)
    }

    /// Single weights by magnitude, shared out.
    fn shared_out(&self, allocation: Allocation, criterion: Criterion, amount: f64) -> f64 {
        let names = self.prunable().map(|layer| layer.name.clone()).collect();
        let request = AllocationRequest {
            allocation,
            targets: Targets::Layers(names),
            granularity: Granularity::Element,
            criterion,
            amount,
            curves: None,
        };
        let subject = Subject::new(&self.model, &self.layers);
        let mut asked = Plan::dense();
        self.prunable().for_each(|layer| asked.set(&layer.name, LayerPlan { criterion, ..LayerPlan::default() }));
        let observe = &mut |_, _| ControlFlow::Continue(());
        let scores = calibrate::score_plan(&subject, &asked, Some(&self.calibration), observe).unwrap();
        let subject = Subject { scores: &scores, ..subject };
        self.accuracy(&allocate(&subject, &Plan::dense(), &request).unwrap().plan)
    }
}

fn holds(name: &str, better: f64, worse: f64) {
    let verdict = if better > worse { "holds" } else { "does NOT hold" };
    println!("    {name}: {verdict} ({better:.2} against {worse:.2} %)");
}

fn criteria(sample: &Sample, title: &str, granularity: Granularity, cut: Cut) {
    println!("  {title}, the same in every layer");
    let measured: Vec<(Criterion, f64)> = Criterion::ALL
        .into_iter()
        .filter(|c| c.ranks(granularity) && (!c.is_norm() || *c == Criterion::L2))
        .map(|criterion| (criterion, sample.alike(granularity, criterion, cut)))
        .collect();
    for (criterion, top1) in &measured {
        println!("    {:16} {top1:6.2} %", if criterion.is_norm() { "magnitude" } else { criterion.name() });
    }
    let of = |wanted| measured.iter().find(|(c, _)| *c == wanted).unwrap().1;
    holds("Wanda above magnitude", of(Criterion::Wanda), of(Criterion::L2));
    holds("SparseGPT above magnitude", of(Criterion::SparseGpt), of(Criterion::L2));
    let rest = measured.iter().filter(|(c, _)| *c != Criterion::Random).map(|m| m.1).fold(f64::INFINITY, f64::min);
    holds("random below all", rest, of(Criterion::Random));
}

fn allocations(sample: &Sample, amount: f64) {
    println!("  {:.0} % of all weights by magnitude", 100.0 * amount);
    let usable = Allocation::ALL.into_iter().filter(|a| !a.needs_curves() && !a.counts_deviations());
    let measured: Vec<(Allocation, f64)> =
        usable.map(|allocation| (allocation, sample.shared_out(allocation, Criterion::L2, amount))).collect();
    for (allocation, top1) in &measured {
        println!("    {:16} {top1:6.2} %", allocation.name());
    }
    let random = sample.shared_out(Allocation::Uniform, Criterion::Random, amount);
    println!("    {:16} {random:6.2} %", "random, uniform");
    let of = |wanted| measured.iter().find(|(a, _)| *a == wanted).unwrap().1;
    holds("LAMP above uniform", of(Allocation::Lamp), of(Allocation::Uniform));
    holds("global above uniform", of(Allocation::Global), of(Allocation::Uniform));
    let least = measured.iter().map(|m| m.1).fold(f64::INFINITY, f64::min);
    holds("random below all", least, random);
}

fn main() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models");
    let folder = samples.join("fashion-mnist");
    let mut files: Vec<PathBuf> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).map(PathBuf::from).collect();
    if files.is_empty() {
        files = ["mlp-300-100", "lenet-5", "resnet-8"].map(|n| samples.join(format!("{n}.safetensors"))).into();
    }
    for file in files {
        let model = formats::open(&file).unwrap();
        let sample = Sample {
            layers: layers_of(&model),
            dense: Program::compile(&model).unwrap().bind(&model).unwrap(),
            test: Dataset::open(&folder, Split::Test).unwrap(),
            calibration: Dataset::open_calibration(&folder).unwrap(),
            model,
        };
        println!("{}: dense {:.2} %", file.file_stem().unwrap().to_string_lossy(), sample.accuracy(&Plan::dense()));
        criteria(&sample, "2:4", Granularity::Pattern { kept: 2, of: 4 }, Cut::None);
        criteria(&sample, "80 % of single weights", Granularity::Element, Cut::Sparsity(0.8));
        allocations(&sample, 0.95);
    }
}
