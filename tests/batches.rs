//! Batches in parts: whatever is run apart gives what it gives together.

use candle_core::{Device, Tensor as CandleTensor};
use secateur::exec::{BatchNormMode, Program, TrainProgram};
use secateur::model::{Attribute, Dim, GraphBuilder, Model, Tensor, ValueId};

const BATCH: usize = 700;

fn spread(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.618_034).fract() * 2.0 - 1.0).collect()
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_i64(vec![values.len()], values).unwrap()
}

/// A network on examples of `shape`.
fn network(shape: &[usize], body: impl FnOnce(&mut GraphBuilder, ValueId) -> ValueId) -> Model {
    let mut b = GraphBuilder::new("net");
    let dims = std::iter::once(Dim::symbol("batch")).chain(shape.iter().map(|&n| Dim::Known(n))).collect();
    let x = b.input("x", dims);
    let y = body(&mut b, x);
    b.output(y);
    let mut model = b.finish().unwrap();
    model.graph.as_mut().unwrap().opset = 17;
    model
}

/// The result on a large batch, which must be that of a run that never divides one; and whether it was divided.
#[track_caller]
fn divides(model: &Model, shape: &[usize]) -> bool {
    let program = Program::compile(model).unwrap();
    let shape: Vec<usize> = std::iter::once(BATCH).chain(shape.iter().copied()).collect();
    let values = spread(shape.iter().product());
    let x = Tensor::from_f32(shape.clone(), values.clone()).unwrap();
    let divided = program.bind(model).unwrap().run(&[x]).unwrap().remove(0);
    let x = CandleTensor::from_vec(values, shape, &Device::Cpu).unwrap();
    let whole = TrainProgram::new(model).unwrap().forward(&[x], BatchNormMode::Running).unwrap().remove(0);
    assert_eq!(divided.shape(), whole.dims());
    let whole = whole.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (a, b) in divided.to_f32().iter().zip(&whole) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} against {b}");
    }
    program.examples_together().is_some_and(|together| together < BATCH)
}

fn int(name: &'static str, value: i64) -> (&'static str, Attribute) {
    (name, Attribute::Int(value))
}

#[test]
fn a_network_that_keeps_examples_apart_is_run_in_parts() {
    let model = network(&[2, 9, 9], |b, x| {
        let w = b.tensor("w", Tensor::from_f32(vec![3, 2, 3, 3], spread(54)).unwrap());
        let y = b.node("conv", "Conv", &[x, w], &[("pads", Attribute::Ints(vec![1; 4]))]);
        let y = b.node("relu", "Relu", &[y], &[]);
        let shape = b.node("shape", "Shape", &[y], &[]);
        let first = b.tensor("first", ints(&[0]));
        let batch = b.node("batch", "Gather", &[shape, first], &[int("axis", 0)]);
        let rest = b.tensor("rest", ints(&[-1]));
        let target = b.node("target", "Concat", &[batch, rest], &[int("axis", 0)]);
        let y = b.node("flat", "Reshape", &[y, target], &[]);
        b.node("softmax", "Softmax", &[y], &[int("axis", 1)])
    });
    assert!(divides(&model, &[2, 9, 9]));
}

#[test]
fn networks_that_mix_examples_are_run_whole() {
    let wide = [4usize, 400];
    let mean = network(&wide, |b, x| {
        let mean = b.node("mean", "ReduceMean", &[x], &[("axes", Attribute::Ints(vec![0]))]);
        b.node("centred", "Sub", &[x, mean], &[])
    });
    let softmax = network(&wide, |b, x| b.node("softmax", "Softmax", &[x], &[int("axis", 0)]));
    let turned = network(&wide, |b, x| {
        let turn = |b: &mut GraphBuilder, name: &str, x| {
            b.node(name, "Transpose", &[x], &[("perm", Attribute::Ints(vec![1, 0, 2]))])
        };
        let x = turn(b, "there", x);
        let x = b.node("softmax", "Softmax", &[x], &[int("axis", 1)]);
        turn(b, "back", x)
    });
    let shifted = network(&wide, |b, x| {
        let indices: Vec<i64> = (0..BATCH as i64).rev().collect();
        let reversed = b.tensor("reversed", ints(&indices));
        let other = b.node("other", "Gather", &[x, reversed], &[int("axis", 0)]);
        b.node("sum", "Add", &[x, other], &[])
    });
    let counted = network(&wide, |b, x| {
        let shape = b.node("shape", "Shape", &[x], &[]);
        let first = b.tensor("first", ints(&[0]));
        let batch = b.node("batch", "Gather", &[shape, first], &[int("axis", 0)]);
        let batch = b.node("float", "Cast", &[batch], &[int("to", 1)]);
        b.node("share", "Div", &[x, batch], &[])
    });
    for (name, model) in
        [("mean", mean), ("softmax", softmax), ("turned", turned), ("shifted", shifted), ("counted", counted)]
    {
        assert!(!divides(&model, &wide), "{name}");
    }
}

#[test]
fn zeros_added_before_a_convolution_become_its_padding() {
    let padded = |value: f32| {
        network(&[8, 7, 6], |b, x| {
            let pads = b.tensor("pads", ints(&[0, 0, 0, 1, 0, 0, 1, 2]));
            let value = b.tensor("value", Tensor::from_f32(vec![], vec![value]).unwrap());
            let w = b.tensor("w", Tensor::from_f32(vec![12, 8, 3, 3], spread(864)).unwrap());
            let x = b.node("pad", "Pad", &[x, pads, value], &[]);
            b.node("conv", "Conv", &[x, w], &[("strides", Attribute::Ints(vec![2, 2]))])
        })
    };
    let model = padded(0.0);
    divides(&model, &[8, 7, 6]);
    let bound = Program::compile(&model).unwrap().bind(&model).unwrap();
    let x = [Tensor::from_f32(vec![1, 8, 7, 6], spread(336)).unwrap()];
    let steps: Vec<String> = bound.profile(&x, 1).unwrap().into_iter().map(|step| step.op).collect();
    assert_eq!(steps, ["Conv"]);
    let other = padded(1.0);
    divides(&other, &[8, 7, 6]);
    let bound = Program::compile(&other).unwrap().bind(&other).unwrap();
    assert_eq!(bound.profile(&x, 1).unwrap().len(), 2);
}
