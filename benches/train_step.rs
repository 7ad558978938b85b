//! One step of stochastic gradient descent at batch 128, on two threads or as many as the argument says.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod nets;

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor as CandleTensor, bail};
use secateur::exec::{BatchNormMode, TrainProgram};
use secateur::model::{Architecture, Model};
use std::time::Instant;

const BATCH: usize = 128;

/// Plain stochastic gradient descent, in place.
struct Descent;

impl InplaceOp2 for Descent {
    fn name(&self) -> &'static str {
        "descent"
    }

    fn cpu_fwd(&self, weights: &mut CpuStorage, _: &Layout, gradient: &CpuStorage, at: &Layout) -> Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(gradient)) = (weights, gradient) else { bail!("f32 expected") };
        weights.iter_mut().zip(&gradient[at.start_offset()..]).for_each(|(w, g)| *w -= 0.01 * g);
        Ok(())
    }
}

fn step(program: &mut TrainProgram, x: &CandleTensor, labels: &CandleTensor) -> [f64; 3] {
    let start = Instant::now();
    let logits = program.forward(std::slice::from_ref(x), BatchNormMode::Batch).expect("model runs").swap_remove(0);
    let forward = start.elapsed().as_secs_f64();
    let loss = candle_nn::loss::cross_entropy(&logits, labels).expect("labels fit");
    let gradients = program.backward(&loss).expect("gradients exist");
    let backward = start.elapsed().as_secs_f64();
    for parameter in program.parameters() {
        let gradient = gradients.get(parameter).expect("every parameter counts");
        parameter.var.inplace_op2(gradient, &Descent).expect("shapes fit");
    }
    [forward, backward - forward, start.elapsed().as_secs_f64()]
}

fn main() {
    let threads = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the pool is new");
    let x = CandleTensor::from_vec(nets::noise(BATCH * 784), (BATCH, 1, 28, 28), &Device::Cpu).expect("shape fits");
    let labels: Vec<u32> = (0..BATCH as u32).map(|i| i * 7 % 10).collect();
    let labels =
        CandleTensor::from_vec(labels, BATCH, &Device::Cpu).and_then(|t| t.to_dtype(DType::U32)).expect("fits");
    let bundled = Architecture::ResNet8.build(1).expect("shapes fit");
    let nets: [(&str, Model); 4] = [
        ("mlp-300-100", nets::mlp()),
        ("lenet-5", nets::lenet5()),
        ("resnet-8", nets::resnet8()),
        ("bundled-resnet-8", bundled),
    ];
    let net = std::env::args().skip(1).find(|a| nets.iter().any(|(name, _)| a == name));
    for (name, model) in nets.iter().filter(|(name, _)| net.as_deref().is_none_or(|net| net == *name)) {
        let mut program = TrainProgram::new(model).expect("model trains");
        let mut runs: Vec<[f64; 3]> = (0..23).map(|_| step(&mut program, &x, &labels)).skip(3).collect();
        runs.sort_by(|a, b| a[2].total_cmp(&b[2]));
        let [forward, backward, all] = runs[runs.len() / 2].map(|s| s * 1e3);
        let least = runs[0][2] * 1e3;
        println!("{name:<16} step {all:8.2} ms (least {least:8.2}): forward {forward:8.2}, backward {backward:8.2}");
    }
}
