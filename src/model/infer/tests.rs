use super::*;
use crate::model::{DType, Dim, GraphBuilder, Tensor, ValueId, known_shape};

/// Shape of what `build` returns, given an input `x` of that shape.
fn shape_of(input: &[&str], build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> String {
    let (text, _) = result_of(input, build);
    text
}

fn result_of(input: &[&str], build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> (String, Option<Vec<i64>>) {
    let mut b = GraphBuilder::new("g");
    let dim = |s: &&str| s.parse().map_or_else(|_| Dim::symbol(s), Dim::Known);
    let x = b.input("x", input.iter().map(dim).collect());
    let y = build(&mut b, x);
    b.output(y);
    let graph = b.finish().unwrap().graph.unwrap();
    let fact = &graph.value(graph.outputs[0]).fact;
    let shape = fact.shape.as_ref().map(|s| s.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    (shape.unwrap_or_else(|| "?".to_owned()), fact.constant.as_ref().map(Tensor::to_i64))
}

fn ints(b: &mut GraphBuilder, name: &str, values: &[i64]) -> ValueId {
    b.tensor(name, Tensor::from_i64(vec![values.len()], values).unwrap())
}

fn scalar(b: &mut GraphBuilder, name: &str, value: i64) -> ValueId {
    b.tensor(name, Tensor::from_i64(Vec::new(), &[value]).unwrap())
}

/// x.view(x.size(0), -1), as exporters write it.
fn view(b: &mut GraphBuilder, x: ValueId) -> ValueId {
    let shape = b.node("shape", "Shape", &[x], &[]);
    let zero = scalar(b, "zero", 0);
    let batch = b.node("batch", "Gather", &[shape, zero], &[("axis", Attribute::Int(0))]);
    let axes = ints(b, "axes", &[0]);
    let batch = b.node("batch1", "Unsqueeze", &[batch, axes], &[]);
    let rest = ints(b, "rest", &[-1]);
    let target = b.node("target", "Concat", &[batch, rest], &[("axis", Attribute::Int(0))]);
    b.node("y", "Reshape", &[x, target], &[])
}

#[test]
fn flattening_through_shape_arithmetic_folds_for_fixed_and_named_extents() {
    assert_eq!(shape_of(&["8", "20", "4", "4"], view), "8 320");
    assert_eq!(shape_of(&["n", "20", "4", "4"], view), "n 320");
    assert_eq!(shape_of(&["n", "20", "h", "w"], view), "n 20*h*w");
}

#[test]
fn splitting_heads_and_joining_them_again_gives_the_same_axes() {
    let heads = |b: &mut GraphBuilder, x| {
        let target = ints(b, "heads", &[0, 0, 12, 64]);
        let split = b.node("split", "Reshape", &[x, target], &[]);
        let perm = ("perm", Attribute::Ints(vec![0, 2, 1, 3]));
        let turned = b.node("turned", "Transpose", &[split], std::slice::from_ref(&perm));
        let back = b.node("back", "Transpose", &[turned], &[perm]);
        let joined = ints(b, "joined", &[0, -1, 768]);
        b.node("y", "Reshape", &[back, joined], &[])
    };
    assert_eq!(shape_of(&["batch", "seq", "768"], heads), "batch seq 768");
}

#[test]
fn windows_with_a_stride_divide_named_extents_and_upsampling_multiplies_them() {
    let conv = |b: &mut GraphBuilder, x| {
        let w = b.tensor("w", Tensor::from_f32(vec![8, 3, 3, 3], vec![0.0; 216]).unwrap());
        let h = b.conv("c1", x, w, None, (2, 1, 1));
        let roi = b.tensor("roi", Tensor::from_f32(vec![0], vec![]).unwrap());
        let scales = b.tensor("scales", Tensor::from_f32(vec![4], vec![1.0, 1.0, 2.0, 2.0]).unwrap());
        b.node("y", "Resize", &[h, roi, scales], &[])
    };
    assert_eq!(shape_of(&["n", "3", "h", "224"], conv), "n 8 2*(h + 1)/2 224");
}

#[test]
fn the_size_of_another_tensor_resizes_to_its_extents() {
    let like = |b: &mut GraphBuilder, x| {
        let pooled = b.node("pooled", "GlobalAveragePool", &[x], &[]);
        let shape = b.node("shape", "Shape", &[x], &[]);
        let (start, end, axes) = (ints(b, "s", &[2]), ints(b, "e", &[4]), ints(b, "a", &[0]));
        let spatial = b.node("spatial", "Slice", &[shape, start, end, axes], &[]);
        let small = b.node("small", "Shape", &[pooled], &[]);
        let (zero, two) = (ints(b, "z", &[0]), ints(b, "t", &[2]));
        let outer = b.node("outer", "Slice", &[small, zero, two, axes], &[]);
        let sizes = b.node("sizes", "Concat", &[outer, spatial], &[("axis", Attribute::Int(0))]);
        b.node_with("y", "Resize", vec![Some(pooled), None, None, Some(sizes)], &[])
    };
    assert_eq!(shape_of(&["n", "24", "h", "w"], like), "n 24 h w");
}

#[test]
fn the_pads_that_an_exporter_computes_come_out_as_a_constant() {
    // torch.onnx writes F.pad as: zeros for the axes that are not padded, all pads reversed in pairs.
    let pads = |b: &mut GraphBuilder, x| {
        let given = ints(b, "given", &[1, 2, 3, 4]);
        let missing = ints(b, "missing", &[4]);
        let zeros = b.node(
            "zeros",
            "ConstantOfShape",
            &[missing],
            &[("value", Attribute::Tensor(Tensor::from_i64(vec![1], &[0]).unwrap()))],
        );
        let all = b.node("all", "Concat", &[given, zeros], &[("axis", Attribute::Int(0))]);
        let pairs = ints(b, "pairs", &[-1, 2]);
        let all = b.node("paired", "Reshape", &[all, pairs], &[]);
        let (start, end, axis, step) =
            (ints(b, "s", &[-1]), ints(b, "e", &[i64::MIN + 1]), ints(b, "a", &[0]), ints(b, "st", &[-1]));
        let all = b.node("reversed", "Slice", &[all, start, end, axis, step], &[]);
        let all = b.node("turned", "Transpose", &[all], &[("perm", Attribute::Ints(vec![1, 0]))]);
        let flat = ints(b, "flat", &[-1]);
        let all = b.node("pads", "Reshape", &[all, flat], &[]);
        b.node("y", "Pad", &[x, all], &[])
    };
    assert_eq!(shape_of(&["n", "3", "224", "w"], pads), "n 3 231 w + 3");
}

#[test]
fn masks_over_the_sequence_have_its_length() {
    let mask = |b: &mut GraphBuilder, x| {
        let shape = b.node("shape", "Shape", &[x], &[]);
        let one = scalar(b, "one", 1);
        let length = b.node("length", "Gather", &[shape, one], &[]);
        let zero = scalar(b, "zero", 0);
        b.node("y", "Range", &[zero, length, one], &[])
    };
    assert_eq!(result_of(&["b", "seq"], mask), ("seq".to_owned(), None));
    assert_eq!(result_of(&["b", "3"], mask), ("3".to_owned(), Some(vec![0, 1, 2])));
}

#[test]
fn expanding_to_a_shape_chosen_by_where_keeps_named_extents() {
    // torch's expand: -1 means the extent that is there.
    let expand = |b: &mut GraphBuilder, x| {
        let shape = b.node("shape", "Shape", &[x], &[]);
        let minus = ints(b, "minus", &[-1, -1]);
        let equal = b.node("equal", "Equal", &[shape, minus], &[]);
        let ones = ints(b, "ones", &[1, 1]);
        let target = b.node("target", "Where", &[equal, ones, shape], &[]);
        b.node("y", "Expand", &[x, target], &[])
    };
    assert_eq!(shape_of(&["n", "1"], expand), "n 1");
}

#[test]
fn sizes_computed_as_floating_point_numbers_come_back_whole() {
    let half = |b: &mut GraphBuilder, x| {
        let shape = b.node("shape", "Shape", &[x], &[]);
        let float = b.node("float", "Cast", &[shape], &[("to", Attribute::Int(1))]);
        let two = b.node(
            "two",
            "Constant",
            &[],
            &[("value", Attribute::Tensor(Tensor::from_f32(vec![], vec![2.0]).unwrap()))],
        );
        let scaled = b.node("scaled", "Mul", &[float, two], &[]);
        let floor = b.node("floor", "Floor", &[scaled], &[]);
        let sizes = b.node("sizes", "Cast", &[floor], &[("to", Attribute::Int(7))]);
        b.node("y", "ConstantOfShape", &[sizes], &[])
    };
    assert_eq!(shape_of(&["n", "5"], half), "2*n 10");
}

#[test]
fn products_of_vectors_and_matrices_follow_numpy() {
    let times = |w: &'static [usize]| {
        move |b: &mut GraphBuilder, x| {
            let count = w.iter().product();
            let w = b.tensor("w", Tensor::from_f32(w.to_vec(), vec![0.0; count]).unwrap());
            b.node("y", "MatMul", &[x, w], &[])
        }
    };
    assert_eq!(shape_of(&["n", "t", "4"], times(&[4, 5])), "n t 5");
    assert_eq!(shape_of(&["n", "t", "4"], times(&[4])), "n t");
    assert_eq!(shape_of(&["4"], times(&[7, 4, 5])), "7 5");
}

#[test]
fn several_outputs_get_their_own_facts() {
    let mut b = GraphBuilder::new("g");
    let x = b.input("x", known_shape(&[2, 7]));
    let y = b.node("parts", "Split", &[x], &[("axis", Attribute::Int(1)), ("num_outputs", Attribute::Int(2))]);
    b.output(y);
    let mut model = b.finish().unwrap();
    let graph = model.graph.as_mut().unwrap();
    let second = graph.add_value("second", Fact::default());
    graph.nodes[0].outputs.push(Some(second));
    infer_facts(&mut model).unwrap();
    let graph = model.graph.unwrap();
    assert_eq!(graph.value(y).fact.extents(), Some(vec![2, 4]));
    assert_eq!(graph.value(second).fact.extents(), Some(vec![2, 3]));
}

#[test]
fn floating_point_initializers_are_never_folded() {
    let mut b = GraphBuilder::new("g");
    let w = b.tensor("w", Tensor::from_f32(vec![1], vec![2.0]).unwrap());
    let y = b.node("y", "Neg", &[w], &[]);
    b.output(y);
    let graph = b.finish().unwrap().graph.unwrap();
    let fact = &graph.value(y).fact;
    assert_eq!((fact.dtype, fact.constant.is_none()), (Some(DType::F32), true));
}

#[test]
fn a_contradiction_is_told_and_the_nodes_behind_it_are_still_looked_at() {
    let mut b = GraphBuilder::new("g");
    let x = b.input("x", known_shape(&[2, 3]));
    let w = b.tensor("w", Tensor::from_f32(vec![4, 4], vec![0.0; 16]).unwrap());
    let bad = b.gemm("bad", x, w, None);
    let good = b.node("good", "Relu", &[x], &[]);
    b.output(bad);
    b.output(good);
    let error = b.clone().finish().unwrap_err();
    assert_eq!((error.node.as_str(), error.problem.contains("expects 4")), ("bad", true));
    let mut model = b.unchecked();
    infer_facts(&mut model).unwrap_err();
    assert_eq!(model.graph.unwrap().value(good).fact.extents(), Some(vec![2, 3]));
}
