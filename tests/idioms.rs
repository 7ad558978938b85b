//! Activations written as several nodes: recognised where they are what they look like, left alone elsewhere.

use secateur::exec::Program;
use secateur::model::{Attribute, Dim, GraphBuilder, Model, Tensor, ValueId, known_shape};

const COUNT: usize = 64;

fn values() -> Vec<f32> {
    (0..COUNT).map(|i| (i as f32 - 31.5) / 6.0).collect()
}

struct Net(GraphBuilder, usize);

impl Net {
    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.with(op, inputs, &[])
    }

    fn with(&mut self, op: &str, inputs: &[ValueId], attributes: &[(&str, Attribute)]) -> ValueId {
        self.1 += 1;
        self.0.node(&format!("{op}{}", self.1), op, inputs, attributes)
    }

    fn number(&mut self, value: f32) -> ValueId {
        self.1 += 1;
        self.0.tensor(&format!("number{}", self.1), Tensor::from_f32(vec![], vec![value]).unwrap())
    }
}

/// y = f(x), with the operators of its steps.
fn run(body: impl FnOnce(&mut Net, ValueId) -> ValueId) -> (Vec<f32>, Vec<String>) {
    let mut net = Net(GraphBuilder::new("net"), 0);
    let x = net.0.input("x", vec![Dim::symbol("batch"), Dim::Known(COUNT)]);
    let y = body(&mut net, x);
    net.0.output(y);
    let mut model: Model = net.0.finish().unwrap();
    model.graph.as_mut().unwrap().opset = 13;
    let bound = Program::compile(&model).unwrap().bind(&model).unwrap();
    let x = [Tensor::from_f32(vec![1, COUNT], values()).unwrap()];
    let steps = bound.profile(&x, 1).unwrap().into_iter().map(|step| step.op).collect();
    (bound.run(&x).unwrap()[0].to_f32().into_owned(), steps)
}

#[track_caller]
fn assert_one_step(f: impl Fn(f64) -> f64, body: impl FnOnce(&mut Net, ValueId) -> ValueId) {
    let (y, steps) = run(body);
    assert_eq!(steps.len(), 1, "{steps:?}");
    for (x, y) in values().into_iter().zip(y) {
        let expected = f(f64::from(x)) as f32;
        assert!((y - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{y} against {expected} at {x}");
    }
}

fn gelu(x: f64) -> f64 {
    // Abramowitz and Stegun 7.1.26 is too coarse here, so the series.
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
}

#[test]
fn swish_and_mish_are_one_step() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    assert_one_step(
        |x| x * sigmoid(x),
        |net, x| {
            let gate = net.op("Sigmoid", &[x]);
            net.op("Mul", &[gate, x])
        },
    );
    assert_one_step(
        |x| x * x.exp().ln_1p().tanh(),
        |net, x| {
            let soft = net.op("Softplus", &[x]);
            let gate = net.op("Tanh", &[soft]);
            net.op("Mul", &[x, gate])
        },
    );
}

#[test]
fn every_way_to_write_hard_swish_is_one_step() {
    let hard_swish = |x: f64| x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
    let clipped = |net: &mut Net, x| {
        let (three, low, high) = (net.number(3.0), net.number(0.0), net.number(6.0));
        let shifted = net.op("Add", &[three, x]);
        net.op("Clip", &[shifted, low, high])
    };
    assert_one_step(hard_swish, |net, x| {
        let gate = clipped(net, x);
        let product = net.op("Mul", &[x, gate]);
        let six = net.number(6.0);
        net.op("Div", &[product, six])
    });
    assert_one_step(hard_swish, |net, x| {
        let gate = clipped(net, x);
        let sixth = net.number(1.0 / 6.0);
        let gate = net.op("Mul", &[gate, sixth]);
        net.op("Mul", &[gate, x])
    });
    assert_one_step(hard_swish, |net, x| {
        let gate = net.with("HardSigmoid", &[x], &[("alpha", Attribute::Float(1.0 / 6.0))]);
        net.op("Mul", &[x, gate])
    });
}

#[test]
fn both_orders_of_gelu_are_one_step() {
    let gate = |net: &mut Net, x| {
        let root = net.number(std::f32::consts::SQRT_2);
        let scaled = net.op("Div", &[x, root]);
        let erf = net.op("Erf", &[scaled]);
        let one = net.number(1.0);
        net.op("Add", &[erf, one])
    };
    assert_one_step(gelu, |net, x| {
        let gate = gate(net, x);
        let product = net.op("Mul", &[x, gate]);
        let half = net.number(0.5);
        net.op("Mul", &[product, half])
    });
    assert_one_step(gelu, |net, x| {
        let half = net.number(0.5);
        let halved = net.op("Mul", &[half, x]);
        let gate = gate(net, x);
        net.op("Mul", &[halved, gate])
    });
}

#[test]
fn what_only_looks_like_an_activation_is_left_alone() {
    let (y, steps) = run(|net, x| {
        let (two, three) = (net.number(2.0), net.number(3.0));
        let other = net.op("Mul", &[x, two]);
        let gate = net.op("Sigmoid", &[other]);
        let swish = net.op("Mul", &[x, gate]);
        net.op("Add", &[swish, three])
    });
    assert!(steps.len() > 2, "{steps:?}");
    let x = values()[40];
    assert!((y[40] - (x / (1.0 + (-2.0 * x).exp()) + 3.0)).abs() < 1e-5);
    // The gate is also a result, so it has to be computed anyway.
    let mut net = Net(GraphBuilder::new("net"), 0);
    let x = net.0.input("x", known_shape(&[1, COUNT]));
    let gate = net.op("Sigmoid", &[x]);
    let swish = net.op("Mul", &[x, gate]);
    net.0.output(gate);
    net.0.output(swish);
    let model = net.0.finish().unwrap();
    let bound = Program::compile(&model).unwrap().bind(&model).unwrap();
    let outputs = bound.run(&[Tensor::from_f32(vec![1, COUNT], values()).unwrap()]).unwrap();
    let (gate, swish) = (outputs[0].to_f32(), outputs[1].to_f32());
    for ((x, gate), swish) in values().iter().zip(gate.iter()).zip(swish.iter()) {
        assert!((x * gate - swish).abs() < 1e-6);
    }
}
