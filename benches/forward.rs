//! Evaluation of 10,000 images on two threads, beside plain Candle in the same run.
//!
//! `cargo bench --bench forward -- [--ours] [--threads N] [NET]` leaves out plain Candle, takes another
//! number of threads, or runs one network.
//!
//! Only the ratios carry from one machine to another. For a figure of ONNX Runtime, export the same
//! network and time `InferenceSession.run` on batches of 256 with `intra_op_num_threads = 2`.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod nets;

use candle_core::{Device, Tensor as CandleTensor};
use secateur::exec::{Bound, Program};
use secateur::model::{Dim, GraphBuilder, Model, Tensor};
use std::time::Instant;

const IMAGES: usize = 10_000;
const BATCH: usize = 256;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn timed(f: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// What to run, from the command line.
struct Choice {
    ours_only: bool,
    threads: usize,
    net: Option<String>,
}

impl Choice {
    fn from_args() -> Self {
        let mut choice = Self { ours_only: false, threads: 2, net: None };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--ours" => choice.ours_only = true,
                "--threads" => choice.threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(2),
                "--bench" => {}
                net => choice.net = Some(net.to_owned()),
            }
        }
        choice
    }

    /// Medians of both, in alternation, so that a busy moment hits both.
    fn compare(&self, name: &str, runs: usize, ours: &mut dyn FnMut(), plain: &mut dyn FnMut()) {
        timed(ours);
        let seconds: Vec<(f64, f64)> =
            (0..runs).map(|_| (timed(ours), if self.ours_only { f64::NAN } else { timed(plain) })).collect();
        let (ours, plain): (Vec<_>, Vec<_>) = seconds.into_iter().unzip();
        let least = ours.iter().copied().fold(f64::INFINITY, f64::min);
        let (ours, plain) = (median(ours), median(plain));
        println!("{name:<34} {:9.2} ms (least {:9.2})", ours * 1e3, least * 1e3);
        if !self.ours_only {
            println!("{:<34} {:9.2} ms, ratio {:.3}", "  plain Candle", plain * 1e3, ours / plain);
        }
    }
}

fn batches() -> Vec<Tensor> {
    (0..IMAGES)
        .step_by(BATCH)
        .map(|first| {
            let count = BATCH.min(IMAGES - first);
            Tensor::from_f32(vec![count, 1, 28, 28], nets::noise(count * 784)).expect("shape fits")
        })
        .collect()
}

fn candle(tensor: &Tensor) -> CandleTensor {
    CandleTensor::from_slice(&tensor.to_f32(), tensor.shape(), &Device::Cpu).expect("data converts")
}

fn weight(model: &Model, name: &str) -> CandleTensor {
    candle(&model.tensors[name])
}

fn plain_linear(model: &Model, name: &str, x: &CandleTensor) -> candle_core::Result<CandleTensor> {
    x.matmul(&weight(model, &format!("{name}.weight")).t()?)?.broadcast_add(&weight(model, &format!("{name}.bias")))
}

fn plain_lenet5(model: &Model, x: &CandleTensor) -> candle_core::Result<CandleTensor> {
    let conv = |name: &str, x: &CandleTensor| {
        let y = x.conv2d(&weight(model, &format!("{name}.weight")), 0, 1, 1, 1)?;
        let bias = weight(model, &format!("{name}.bias"));
        y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)?.max_pool2d(2)
    };
    let x = conv("conv2", &conv("conv1", x)?)?.flatten_from(1)?;
    plain_linear(model, "fc2", &plain_linear(model, "fc1", &x)?.relu()?)
}

fn plain_mlp(model: &Model, x: &CandleTensor) -> candle_core::Result<CandleTensor> {
    let x = plain_linear(model, "fc1", &x.flatten_from(1)?)?.relu()?;
    plain_linear(model, "fc3", &plain_linear(model, "fc2", &x)?.relu()?)
}

/// Batch-norm of the random network is the identity but for its epsilon, so plain Candle may leave it out.
fn plain_resnet8(model: &Model, x: &CandleTensor) -> candle_core::Result<CandleTensor> {
    let conv = |name: &str, x: &CandleTensor, padding: usize, stride: usize| {
        x.conv2d(&weight(model, &format!("{name}.weight")), padding, stride, 1, 1)
    };
    let mut x = conv("stem", x, 1, 1)?.relu()?;
    for (name, stride) in [("block1", 1), ("block2", 2), ("block3", 2)] {
        let a = conv(&format!("{name}.conv1"), &x, 1, stride)?.relu()?;
        let a = conv(&format!("{name}.conv2"), &a, 1, 1)?;
        let shortcut = if stride == 1 { x } else { conv(&format!("{name}.shortcut"), &x, 0, stride)? };
        x = (a + shortcut)?.relu()?;
    }
    plain_linear(model, "fc", &x.mean((2, 3))?)
}

type Plain = fn(&Model, &CandleTensor) -> candle_core::Result<CandleTensor>;

fn bind(model: &Model) -> Bound {
    Program::compile(model).and_then(|p| p.bind(model)).expect("model runs")
}

/// One depthwise 3x3 convolution of 64 channels on 56x56.
fn depthwise() -> Model {
    let mut b = GraphBuilder::new("depthwise");
    let x = b.input("x", vec![Dim::symbol("batch"), 64.into(), 56.into(), 56.into()]);
    let w = b.tensor("conv.weight", Tensor::from_f32(vec![64, 1, 3, 3], nets::noise(64 * 9)).expect("shape fits"));
    let y = b.conv("conv", x, w, None, (1, 1, 64));
    b.output(y);
    b.finish().expect("shapes fit")
}

fn main() {
    let choice = Choice::from_args();
    rayon::ThreadPoolBuilder::new().num_threads(choice.threads).build_global().expect("the pool is new");
    let chosen = |name: &str| choice.net.as_deref().is_none_or(|net| net == name);
    let batches = batches();
    let nets: [(&str, Model, Plain); 3] = [
        ("mlp-300-100", nets::mlp(), plain_mlp),
        ("lenet-5", nets::lenet5(), plain_lenet5),
        ("resnet-8", nets::resnet8(), plain_resnet8),
    ];
    for (name, model, plain) in nets.iter().filter(|(name, ..)| chosen(name)) {
        let bound = bind(model);
        let first = &batches[0];
        let mut ours = || drop(bound.run(std::slice::from_ref(first)).expect("model runs"));
        let mut other = || drop(plain(model, &candle(first)).expect("model runs"));
        choice.compare(&format!("{name}, first 256 images"), 9, &mut ours, &mut other);
        let mut ours = || batches.iter().for_each(|b| drop(bound.run(std::slice::from_ref(b)).expect("model runs")));
        let mut other = || batches.iter().for_each(|b| drop(plain(model, &candle(b)).expect("model runs")));
        choice.compare(&format!("{name}, 10,000 images"), 3, &mut ours, &mut other);
    }
    if chosen("depthwise") {
        let model = depthwise();
        let bound = bind(&model);
        let x = Tensor::from_f32(vec![32, 64, 56, 56], nets::noise(32 * 64 * 56 * 56)).expect("shape fits");
        let (input, w) = (candle(&x), weight(&model, "conv.weight"));
        let mut ours = || drop(bound.run_candle(std::slice::from_ref(&input)).expect("model runs"));
        let mut other = || drop(input.conv2d(&w, 1, 1, 1, 64).expect("model runs"));
        choice.compare("depthwise 64 3x3, 32x64x56x56", 7, &mut ours, &mut other);
    }
}
