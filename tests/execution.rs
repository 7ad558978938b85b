//! Programs on whole networks: folding, reproducibility, gradients, errors.

use crate::support::spread;
use candle_core::{DType, Device, Tensor as CandleTensor, Var};
use secateur::exec::{BatchNormMode, Bound, ExecError, Program, TrainProgram};
use secateur::model::{
    Architecture, Attribute, DType as DataType, Dim, GraphBuilder, Model, Tensor, ValueId, known_shape,
};

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_f32(shape.to_vec(), spread(shape.iter().product(), seed)).unwrap()
}

fn candle(tensor: &Tensor) -> CandleTensor {
    CandleTensor::from_slice(&tensor.to_f32(), tensor.shape(), &Device::Cpu).unwrap()
}

fn values(tensor: &CandleTensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn bind(model: &Model) -> Bound {
    Program::compile(model).unwrap().bind(model).unwrap()
}

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// A network whose batch-norm statistics are not those of a fresh one.
fn resnet() -> Model {
    let mut model = Architecture::ResNet8.build(3).unwrap();
    for (seed, (name, tensor)) in model.tensors.iter_mut().enumerate() {
        let positive = name.ends_with("running_var");
        if positive || name.ends_with("running_mean") {
            let values = spread(tensor.len(), seed as u64);
            let values = values.iter().map(|v| if positive { 1.0 + 0.9 * v } else { 0.3 * v }).collect();
            *tensor = Tensor::from_f32(tensor.shape().to_vec(), values).unwrap();
        }
    }
    model
}

#[track_caller]
fn assert_near(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * scale, "{g} against {e} at scale {scale}");
    }
}

#[test]
fn folded_and_fused_networks_equal_the_plain_ones() {
    for model in [resnet(), Architecture::LeNet5.build(1).unwrap(), Architecture::Mlp300100.build(2).unwrap()] {
        let x = tensor(&[5, 1, 28, 28], 9);
        let fused = bind(&model).run(std::slice::from_ref(&x)).unwrap();
        let plain = TrainProgram::new(&model).unwrap().forward(&[candle(&x)], BatchNormMode::Running).unwrap();
        assert_near(&fused[0].to_f32(), &values(&plain[0]), 1e-5);
    }
}

#[test]
fn results_are_the_same_bytes_on_any_number_of_threads_and_in_any_batch() {
    for model in [resnet(), Architecture::LeNet5.build(1).unwrap()] {
        let bound = bind(&model);
        let x = tensor(&[64, 1, 28, 28], 4);
        let whole = on_threads(1, || bound.run(std::slice::from_ref(&x)).unwrap());
        for threads in [2, 5] {
            assert_eq!(whole, on_threads(threads, || bound.run(std::slice::from_ref(&x)).unwrap()));
        }
        let part = |from: usize, to: usize| {
            let values = x.to_f32()[from * 784..to * 784].to_vec();
            bound
                .run(&[Tensor::from_f32(vec![to - from, 1, 28, 28], values).unwrap()])
                .unwrap()
                .remove(0)
                .to_f32()
                .into_owned()
        };
        for cut in [32, 1, 61] {
            assert_eq!([part(0, cut), part(cut, 64)].concat(), whole[0].to_f32().as_ref(), "cut at {cut}");
        }
    }
}

/// Logits' gradients, all parameter gradients and running statistics of one training run.
fn training_run(model: &Model, batch: usize) -> Vec<Vec<f32>> {
    let mut program = TrainProgram::new(model).unwrap();
    let x = candle(&tensor(&[batch, 1, 28, 28], 6));
    let logits = program.forward(&[x], BatchNormMode::Batch).unwrap().remove(0);
    let seed = candle(&tensor(logits.dims(), 8));
    let gradients = program.backward(&logits.mul(&seed).unwrap().sum_all().unwrap()).unwrap();
    let mut all: Vec<Vec<f32>> = program.parameters().iter().map(|p| values(gradients.get(p).unwrap())).collect();
    all.push(values(&logits));
    all.extend(program.write_back(model).unwrap().tensors.values().map(|t| t.to_f32().into_owned()));
    all
}

#[test]
fn training_is_the_same_bytes_on_any_number_of_threads() {
    let model = Architecture::ResNet8.build(3).unwrap();
    let alone = on_threads(1, || training_run(&model, 33));
    assert!(alone == on_threads(2, || training_run(&model, 33)));
    assert!(alone == on_threads(7, || training_run(&model, 33)));
}

/// Every differentiable kernel in one small network.
fn varied_network() -> Model {
    let mut b = GraphBuilder::new("varied");
    let mut seed = 20;
    let mut weight = |b: &mut GraphBuilder, name: &str, shape: &[usize]| {
        seed += 1;
        b.tensor(name, tensor(shape, seed))
    };
    let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
    let x = b.input("x", vec![Dim::symbol("batch"), 2.into(), 7.into(), 6.into()]);
    let w = weight(&mut b, "conv.weight", &[4, 2, 3, 3]);
    let bias = weight(&mut b, "conv.bias", &[4]);
    let h = b.conv("conv", x, w, Some(bias), (1, 1, 1));
    let parameters: Vec<ValueId> =
        ["gamma", "beta", "mean"].iter().map(|p| weight(&mut b, &format!("bn.{p}"), &[4])).collect();
    let variance = b.tensor("bn.var", Tensor::from_f32(vec![4], vec![1.0, 0.5, 2.0, 1.5]).unwrap());
    let norm = [h, parameters[0], parameters[1], parameters[2], variance];
    let h = b.node("bn", "BatchNormalization", &norm, &[]);
    let h = b.node("act", "Sigmoid", &[h], &[]);
    let w = weight(&mut b, "depthwise.weight", &[4, 1, 3, 3]);
    let d = b.conv("depthwise", h, w, None, (1, 1, 4));
    let h = b.node("add", "Add", &[h, d], &[]);
    let w = weight(&mut b, "grouped.weight", &[6, 2, 2, 2]);
    let h = b.conv("grouped", h, w, None, (2, 1, 2));
    let pool = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2])), ("pads", ints(&[0, 0, 1, 1]))];
    let m = b.node("max", "MaxPool", &[h], &pool);
    let a = b.node("average", "AveragePool", &[h], &pool);
    let h = b.node("concat", "Concat", &[m, a], &[("axis", Attribute::Int(1))]);
    let slope = weight(&mut b, "prelu.slope", &[12, 1, 1]);
    let h = b.node("prelu", "PRelu", &[h, slope], &[]);
    let scale = weight(&mut b, "scale", &[12, 1, 1]);
    let h = b.node("mul", "Mul", &[h, scale], &[]);
    let h = b.node("global", "GlobalAveragePool", &[h], &[]);
    let h = b.node("flatten", "Flatten", &[h], &[]);
    let w = weight(&mut b, "matmul.weight", &[12, 5]);
    let h = b.node("matmul", "MatMul", &[h, w], &[]);
    let w = weight(&mut b, "fc.weight", &[3, 5]);
    let bias = weight(&mut b, "fc.bias", &[3]);
    let h = b.gemm("fc", h, w, Some(bias));
    let y = b.node("softmax", "LogSoftmax", &[h], &[]);
    b.output(y);
    b.finish().unwrap()
}

#[test]
fn gradients_agree_with_finite_differences_through_every_kernel() {
    let model = varied_network();
    let x = candle(&tensor(&[3, 2, 7, 6], 2));
    let loss_of = |program: &mut TrainProgram| {
        let y = program.forward(std::slice::from_ref(&x), BatchNormMode::Batch).unwrap().remove(0);
        y.mul(&candle(&tensor(&[3, 3], 5))).unwrap().sum_all().unwrap()
    };
    let mut program = TrainProgram::new(&model).unwrap();
    let loss = loss_of(&mut program);
    let gradients = program.backward(&loss).unwrap();
    let names: Vec<String> = program.parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in names {
        let parameter = program.parameter(&name).unwrap().clone();
        let gradient = values(gradients.get(&parameter).unwrap());
        let start = parameter.var.as_detached_tensor().copy().unwrap();
        // Along the gradient itself, where the slope is its squared length.
        let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        let step = 4e-3 / length.max(1e-6);
        let direction = CandleTensor::from_slice(&gradient, start.shape(), &Device::Cpu).unwrap();
        let mut shifted = |by: f32| {
            parameter.var.set(&(&start + (&direction * f64::from(by)).unwrap()).unwrap()).unwrap();
            let loss = loss_of(&mut program).to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
            parameter.var.set(&start).unwrap();
            loss
        };
        let slope = (shifted(step) - shifted(-step)) / (2.0 * f64::from(step));
        let expected = f64::from(length * length);
        assert!((slope - expected).abs() <= 0.03 * expected + 1e-4, "{name}: {slope} against {expected}");
    }
}

#[test]
fn gradients_from_those_of_the_outputs_equal_gradients_of_a_loss() {
    let model = Architecture::ResNet8.build(3).unwrap();
    let expected = training_run(&model, 5);
    let mut program = TrainProgram::new(&model).unwrap();
    let logits = program.forward(&[candle(&tensor(&[5, 1, 28, 28], 6))], BatchNormMode::Batch).unwrap().remove(0);
    let seed = candle(&tensor(logits.dims(), 8));
    let gradients = program.backward_from(std::slice::from_ref(&seed)).unwrap();
    for (parameter, expected) in program.parameters().iter().zip(&expected) {
        assert_eq!(values(gradients.get(parameter).unwrap()), *expected, "{}", parameter.name);
    }
    assert!(matches!(program.backward_from(std::slice::from_ref(&seed)), Err(ExecError::NothingRecorded)));
    program.forward(&[candle(&tensor(&[4, 1, 28, 28], 6))], BatchNormMode::Batch).unwrap();
    assert!(matches!(program.backward_from(&[seed]), Err(ExecError::Candle(_))));
}

#[test]
fn gradients_reach_an_input_that_is_a_variable() {
    let model = varied_network();
    let mut program = TrainProgram::new(&model).unwrap();
    let x = Var::from_tensor(&candle(&tensor(&[3, 2, 7, 6], 2))).unwrap();
    let y = program.forward(&[x.as_tensor().clone()], BatchNormMode::Running).unwrap().remove(0);
    let gradients = program.backward(&y.sum_all().unwrap()).unwrap();
    assert_eq!(gradients.input(0).unwrap().dims(), x.dims());
    assert!(matches!(program.backward(&y.sum_all().unwrap()), Err(ExecError::NothingRecorded)));
}

#[test]
fn written_back_parameters_evaluate_as_trained() {
    let model = Architecture::ResNet8.build(3).unwrap();
    let mut program = TrainProgram::new(&model).unwrap();
    let x = tensor(&[8, 1, 28, 28], 1);
    for parameter in program.parameters() {
        parameter.var.set(&(parameter.var.as_tensor() * 1.1).unwrap()).unwrap();
    }
    program.forward(&[candle(&x)], BatchNormMode::Batch).unwrap();
    let trained = program.write_back(&model).unwrap();
    let plain = program.forward(&[candle(&x)], BatchNormMode::Running).unwrap();
    assert_near(&bind(&trained).run(&[x]).unwrap()[0].to_f32(), &values(&plain[0]), 1e-5);
    let mut again = TrainProgram::new(&model).unwrap();
    again.load(&trained).unwrap();
    assert_eq!(again.write_back(&model).unwrap().tensors, trained.tensors);
}

#[test]
fn masked_weights_stay_exactly_zero_when_batch_norm_is_folded_in() {
    let mut model = resnet();
    let (name, shape) = model.tensors.get_index(0).map(|(n, t)| (n.clone(), t.shape().to_vec())).unwrap();
    let zeros = Tensor::from_f32(shape.clone(), vec![0.0; shape.iter().product()]).unwrap();
    model.tensors.insert(name, zeros);
    // With all weights of the first layer zero the input cannot matter.
    let bound = bind(&model);
    let a = bound.run(&[tensor(&[2, 1, 28, 28], 1)]).unwrap();
    let b = bound.run(&[tensor(&[2, 1, 28, 28], 2)]).unwrap();
    assert_eq!(a, b);
}

#[test]
fn rebinding_prepares_only_what_changed_and_equals_a_fresh_binding() {
    let model = Architecture::LeNet5.build(1).unwrap();
    let bound = bind(&model);
    let mut edited = model.clone();
    let weight = &model.tensors["conv2.weight"];
    edited.tensors.insert("conv2.weight".into(), tensor(weight.shape(), 77));
    let rebound = bound.rebind(&edited).unwrap();
    let (shared, steps) = rebound.shared_steps(&bound);
    assert_eq!(shared, steps - 1);
    let x = tensor(&[3, 1, 28, 28], 1);
    let fresh = bind(&edited).run(std::slice::from_ref(&x)).unwrap();
    assert_eq!(rebound.run(std::slice::from_ref(&x)).unwrap(), fresh);
    assert_ne!(bound.run(&[x]).unwrap(), fresh);
}

#[test]
fn activations_pools_and_residual_sums_become_part_of_the_layers_before_them() {
    let model = Architecture::LeNet5.build(1).unwrap();
    // conv1 + pool1, conv2 + pool2, flatten, fc1 + relu, fc2.
    assert_eq!(bind(&model).shared_steps(&bind(&model)).1, 5);
}

#[test]
fn every_unsupported_node_is_listed_at_once() {
    let mut b = GraphBuilder::new("odd");
    let x = b.input("x", known_shape(&[1, 2]));
    let y = b.node("first", "TfIdfVectorizer", &[x], &[]);
    let y = b.node("fine", "Relu", &[y], &[]);
    let y = b.node("second", "StringNormalizer", &[y], &[]);
    b.output(y);
    let model = b.finish().unwrap();
    let Err(ExecError::Unsupported(nodes)) = Program::compile(&model) else { panic!("it must be refused") };
    let found: Vec<_> = nodes.iter().map(|n| (n.op.as_str(), n.node.as_str())).collect();
    assert_eq!(found, [("TfIdfVectorizer", "first"), ("StringNormalizer", "second")]);
    assert!(matches!(Program::compile(&Model::default()), Err(ExecError::NoGraph)));
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_their_name() {
    let bound = bind(&Architecture::LeNet5.build(1).unwrap());
    assert!(matches!(bound.run(&[]), Err(ExecError::InputCount { expected: 1, actual: 0 })));
    let message = bound.run(&[tensor(&[2, 3, 28, 28], 1)]).unwrap_err().to_string();
    assert!(message.contains("`x`") && message.contains("[2, 3, 28, 28]"), "{message}");
    let integers = Tensor::from_i64(vec![1, 1, 28, 28], &[0; 784]).unwrap();
    assert!(matches!(bound.run(&[integers]), Err(ExecError::InputType { .. })));
    let mut model = Architecture::LeNet5.build(1).unwrap();
    model.tensors.shift_remove("fc2.bias");
    assert!(matches!(bound.rebind(&model), Err(ExecError::MissingTensor(name)) if name == "fc2.bias"));
}

/// One node on constant or given operands, evaluated.
fn evaluate(op: &str, x: Tensor, constants: &[Tensor], attributes: &[(&str, Attribute)], opset: i64) -> Tensor {
    let mut b = GraphBuilder::new(op);
    let mut inputs = vec![b.input("x", known_shape(x.shape()))];
    inputs.extend(constants.iter().enumerate().map(|(i, c)| b.tensor(&format!("c{i}"), c.clone())));
    let y = b.node("node", op, &inputs, attributes);
    b.output(y);
    let mut model = b.finish().unwrap();
    model.graph.as_mut().unwrap().opset = opset;
    bind(&model).run(&[x]).unwrap().remove(0)
}

#[test]
fn layout_and_reduction_operators_follow_onnx() {
    let x = || Tensor::from_f32(vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let ints = |v: &[i64]| Tensor::from_i64(vec![v.len()], v).unwrap();
    let list = |v: &[i64]| Attribute::Ints(v.to_vec());
    let check = |y: Tensor, shape: &[usize], expected: &[f32]| {
        assert_eq!(y.shape(), shape);
        assert_near(&y.to_f32(), expected, 1e-6);
    };
    check(evaluate("Reshape", x(), &[ints(&[0, -1, 1])], &[], 21), &[2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    check(evaluate("Transpose", x(), &[], &[], 21), &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    check(evaluate("Unsqueeze", x(), &[ints(&[0, -1])], &[], 21), &[1, 2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    check(
        evaluate("ReduceMean", x(), &[], &[("axes", list(&[1])), ("keepdims", Attribute::Int(0))], 13),
        &[2],
        &[2.0, 5.0],
    );
    check(evaluate("ReduceSum", x(), &[ints(&[0])], &[], 13), &[1, 3], &[5.0, 7.0, 9.0]);
    let one = Tensor::from_f32(vec![], vec![9.0]).unwrap();
    check(evaluate("Pad", x(), &[ints(&[0, 1, 0, -1]), one], &[], 21), &[2, 3], &[9.0, 1.0, 2.0, 9.0, 4.0, 5.0]);
    let limits = [Tensor::from_f32(vec![], vec![2.0]).unwrap(), Tensor::from_f32(vec![], vec![5.0]).unwrap()];
    check(evaluate("Clip", x(), &limits, &[], 21), &[2, 3], &[2.0, 2.0, 3.0, 4.0, 5.0, 5.0]);
    let row = |a: f32| [a.exp(), (a + 1.0).exp(), (a + 2.0).exp()];
    let total: f32 = row(0.0).iter().sum();
    let expected: Vec<f32> = [row(0.0), row(0.0)].concat().iter().map(|v| v / total).collect();
    check(evaluate("Softmax", x(), &[], &[], 21), &[2, 3], &expected);
    let total: f32 = row(0.0).iter().chain(&row(3.0)).sum();
    let expected: Vec<f32> = [row(0.0), row(3.0)].concat().iter().map(|v| v / total).collect();
    check(evaluate("Softmax", x(), &[], &[("axis", Attribute::Int(0))], 11), &[2, 3], &expected);
}

#[test]
fn products_go_over_any_number_of_batch_axes() {
    let (a, b) = (tensor(&[1, 2, 3, 4, 5], 1), tensor(&[2, 1, 5, 6], 2));
    let y = evaluate("MatMul", a.clone(), std::slice::from_ref(&b), &[], 17);
    assert_eq!(y.shape(), [1, 2, 3, 4, 6]);
    let (x, w, y) = (a.to_f32(), b.to_f32(), y.to_f32());
    let expected: Vec<f32> = (0..2 * 3 * 4 * 6)
        .map(|i| {
            let (group, row, column) = (i / 72, i / 6, i % 6);
            (0..5).map(|k| x[row * 5 + k] * w[(group * 5 + k) * 6 + column]).sum()
        })
        .collect();
    assert_near(&y, &expected, 1e-6);
}

#[test]
fn gemm_follows_its_attributes() {
    let x = Tensor::from_f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let w = Tensor::from_f32(vec![2, 3], vec![1.0, 0.0, 2.0, -1.0, 1.0, 0.5]).unwrap();
    let c = Tensor::from_f32(vec![1], vec![10.0]).unwrap();
    let scaled = [("alpha", Attribute::Float(2.0)), ("beta", Attribute::Float(0.5))];
    let y = evaluate("Gemm", x.clone(), &[w.clone(), c.clone()], &scaled, 21);
    assert_near(&y.to_f32(), &[3.0, 9.0, 11.0, 3.0, 13.0, 21.0], 1e-6);
    let turned = [("transA", Attribute::Int(1))];
    let y = evaluate("Gemm", x, &[w, c], &turned, 21);
    assert_near(&y.to_f32(), &[8.0, 13.0, 13.5, 8.0, 14.0, 16.0], 1e-6);
}

#[test]
fn an_output_that_is_also_read_inside_survives_fusion() {
    let mut b = GraphBuilder::new("two outputs");
    let x = b.input("x", vec![Dim::symbol("batch"), 2.into()]);
    let w = b.tensor("w", Tensor::from_f32(vec![1, 2], vec![1.0, -3.0]).unwrap());
    let h = b.gemm("fc", x, w, None);
    let y = b.node("relu", "Relu", &[h], &[]);
    b.output(h);
    b.output(y);
    let outputs = bind(&b.finish().unwrap()).run(&[Tensor::from_f32(vec![1, 2], vec![1.0, 1.0]).unwrap()]).unwrap();
    assert_eq!((outputs[0].to_f32()[0], outputs[1].to_f32()[0]), (-2.0, 0.0));
}

/// rows x weight^T + bias, times a scale, as older exporters write it.
fn transposed_weight() -> Model {
    let mut b = GraphBuilder::new("transposed weight");
    let x = b.input("x", vec![Dim::symbol("batch"), 3.into(), 4.into()]);
    let w = b.tensor("w", tensor(&[5, 4], 1));
    let turned = b.node("turn", "Transpose", &[w], &[]);
    let h = b.node("matmul", "MatMul", &[x, turned], &[]);
    let bias = b.tensor("bias", tensor(&[5], 2));
    let h = b.node("add", "Add", &[bias, h], &[]);
    let scale = b.tensor("scale", tensor(&[1, 1, 5], 3));
    let h = b.node("mul", "Mul", &[h, scale], &[]);
    let y = b.node("gelu", "Gelu", &[h], &[]);
    b.output(y);
    b.finish().unwrap()
}

#[test]
fn constants_per_channel_become_part_of_the_product_before_them() {
    let model = transposed_weight();
    let bound = bind(&model);
    assert_eq!(bound.shared_steps(&bound).1, 1, "transposition, product, bias, scale and activation are one step");
    let x = tensor(&[2, 3, 4], 5);
    let plain = TrainProgram::new(&model).unwrap().forward(&[candle(&x)], BatchNormMode::Running).unwrap();
    assert_near(&bound.run(&[x]).unwrap()[0].to_f32(), &values(&plain[0]), 1e-5);
}

#[test]
fn a_constant_along_another_axis_is_not_taken_for_one_per_channel() {
    let mut b = GraphBuilder::new("rows");
    let x = b.input("x", vec![3.into(), 4.into()]);
    let w = b.tensor("w", tensor(&[4, 3], 1));
    let h = b.node("matmul", "MatMul", &[x, w], &[]);
    let rows = b.tensor("rows", tensor(&[3, 1], 2));
    let y = b.node("add", "Add", &[h, rows], &[]);
    b.output(y);
    let model = b.finish().unwrap();
    let x = tensor(&[3, 4], 5);
    let plain = TrainProgram::new(&model).unwrap().forward(&[candle(&x)], BatchNormMode::Running).unwrap();
    assert_near(&bind(&model).run(&[x]).unwrap()[0].to_f32(), &values(&plain[0]), 1e-6);
}

#[test]
fn a_weight_behind_a_transposition_trains_and_rebinds() {
    let model = transposed_weight();
    let mut program = TrainProgram::new(&model).unwrap();
    let names: Vec<&str> = program.parameters().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["w", "bias", "scale"]);
    let y = program.forward(&[candle(&tensor(&[2, 3, 4], 5))], BatchNormMode::Batch).unwrap().remove(0);
    let gradients = program.backward(&y.sum_all().unwrap()).unwrap();
    assert_eq!(gradients.get(program.parameter("w").unwrap()).unwrap().dims(), [5, 4]);
    let mut edited = model.clone();
    edited.tensors.insert("w".into(), tensor(&[5, 4], 9));
    let x = tensor(&[1, 3, 4], 7);
    let rebound = bind(&model).rebind(&edited).unwrap();
    assert_eq!(rebound.run(std::slice::from_ref(&x)).unwrap(), bind(&edited).run(&[x]).unwrap());
}

#[test]
fn integers_wrap_around_and_come_back_in_their_own_type() {
    let bytes = |values: &[u8]| Tensor::new(DataType::U8, vec![values.len()], values.to_vec().into()).unwrap();
    let mut b = GraphBuilder::new("bytes");
    let x = b.input("x", known_shape(&[2]));
    let c = b.tensor("c", bytes(&[200, 1]));
    let y = b.node("add", "Add", &[x, c], &[]);
    b.output(y);
    let mut model = b.finish().unwrap();
    let graph = model.graph.as_mut().unwrap();
    for value in &mut graph.values {
        value.fact.dtype = Some(DataType::U8);
    }
    assert_eq!(bind(&model).run(&[bytes(&[100, 1])]).unwrap()[0], bytes(&[44, 2]));
}
