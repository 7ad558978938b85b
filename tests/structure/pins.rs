//! What stays, and the sentence that says why.

use super::net::{Int, Ints, Net};
use super::{group_of, inputs, pinned, prove, share};
use secateur::model::{Model, ValueId};
use secateur::structure::{Border, Removal, ShrinkOptions, Structure, StructureError, shrink};

/// Nodes behind a value.
type Step = dyn Fn(&mut Net, ValueId) -> ValueId;

/// The reasons why channels of a convolution stay before something.
fn before(f: impl Fn(&mut Net, ValueId) -> ValueId) -> (Model, Vec<(Vec<usize>, String)>) {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let y = f(&mut net, h);
    let model = net.done(y);
    let reasons = pinned(&Structure::of(&model).unwrap(), "a");
    (model, reasons)
}

#[test]
fn reasons_name_the_node_and_why() {
    let all = vec![0, 1, 2, 3];
    let cases: [(&str, &Step); 6] = [
        ("pinned: reaches graph output `logits`", &|net, h| net.relu(h)),
        ("pinned: `top` (Softmax) normalises over it, and what is left would have other statistics", &|net, h| {
            let h = net.named("top", "Softmax", &[h], &[("axis", Int(1))]);
            net.conv("b", h, [2, 4, 1, 1])
        }),
        ("pinned: `Mystery` is not an operator that Secateur can shrink through, at `odd`", &|net, h| {
            let h = net.named("odd", "Mystery", &[h], &[]);
            net.relu(h)
        }),
        ("pinned: `join` (Add) joins it with something that cannot be shortened", &|net, h| {
            let image = net.b.input("image", vec![2.into(), 4.into(), 6.into(), 6.into()]);
            let h = net.named("join", "Add", &[h, image], &[]);
            net.conv("b", h, [2, 4, 1, 1])
        }),
        ("pinned: `lrn` (LRN) mixes it with its neighbours", &|net, h| {
            let h = net.named("lrn", "LRN", &[h], &[("size", Int(3))]);
            net.conv("b", h, [2, 4, 1, 1])
        }),
        (
            "pinned: `norm` (LayerNormalization) normalises over it, and what is left would have other statistics",
            &|net, h| {
                let h = net.transpose(h, &[0, 2, 3, 1]);
                let (scale, bias) = (net.data("scale", &[4]), net.data("bias", &[4]));
                let h = net.named("norm", "LayerNormalization", &[h, scale, bias], &[]);
                net.dense("b", h, 2, 4)
            },
        ),
    ];
    for (reason, f) in cases {
        assert_eq!(before(f).1, [(all.clone(), reason.to_owned())]);
    }
}

#[test]
fn an_unknown_operator_pins_what_reaches_it_and_nothing_else() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let free = net.conv("free", h, [6, 4, 3, 3]);
    let free = net.relu(free);
    let free = net.conv("last", free, [4, 6, 3, 3]);
    let odd = net.named("odd", "Mystery", &[free], &[]);
    let model = net.done(odd);
    let structure = Structure::of(&model).unwrap();
    assert_eq!((group_of(&structure, "a").units.len(), group_of(&structure, "free").units.len()), (4, 6));
    assert_eq!(pinned(&structure, "last").len(), 1);
}

#[test]
fn channels_that_the_body_of_a_loop_reads_stay() {
    use secateur::model::{Attribute, DType, Fact, Graph, Node};
    use std::sync::Arc;
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.named_conv("a", x, [4, 3, 3, 3], "features");
    let flag = net.b.input_of("flag", DType::Bool, Vec::new());
    let body = || {
        let mut body = Graph { opset: 21, ..Graph::default() };
        let captured = body.add_value("features", Fact::default());
        let out = body.add_value("inner", Fact::default());
        body.nodes.push(Node {
            op: "Relu".into(),
            inputs: vec![Some(captured)],
            outputs: vec![Some(out)],
            ..Node::default()
        });
        body.outputs.push(out);
        Attribute::Graph(Arc::new(body))
    };
    let y = net.named("choose", "If", &[flag], &[("then_branch", body()), ("else_branch", body())]);
    let z = net.conv("b", h, [2, 4, 1, 1]);
    net.b.output(z);
    let structure = Structure::of(&net.done(y)).unwrap();
    assert_eq!(pinned(&structure, "a")[0].1, "pinned: the body of `choose` (If) reads it");
}

#[test]
fn weights_that_are_no_floats_say_so() {
    use secateur::model::{DType, Tensor};
    let mut net = Net::new();
    let x = net.b.input_of("x", DType::U8, vec![2.into(), 6.into()]);
    let codes = Tensor::new(DType::I8, vec![6, 4], vec![1; 24].into()).unwrap();
    let w = net.b.tensor("codes", codes);
    let y = net.named("product", "MatMulInteger", &[x, w], &[]);
    let structure = Structure::of(&net.done(y)).unwrap();
    assert!(pinned(&structure, "codes")[0].1.contains("stored as i8"));
}

#[test]
fn a_slice_that_takes_some_channels_to_an_output_pins_these_only() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [6, 3, 3, 3]);
    let some = net.slice(h, 1, 1, 3);
    net.b.output(some);
    let h = net.conv("b", h, [2, 6, 3, 3]);
    let model = net.head(h, 2);
    let structure = Structure::of(&model).unwrap();
    assert_eq!(pinned(&structure, "a")[0].0, [1, 2]);
    let removal = share(&structure, 0.6, 3);
    prove(&model, &structure, &removal, &inputs(&model, 2));
}

#[test]
fn nothing_is_ever_removed_down_to_nothing() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let h = net.conv("b", h, [2, 4, 3, 3]);
    let model = net.head(h, 2);
    let structure = Structure::of(&model).unwrap();
    let all = Removal::of_channels(&structure, "a", &[0, 1, 2, 3]).unwrap();
    assert!(matches!(structure.check(&all), Err(StructureError::Emptied(_))));
    let scores = [3.0, 1.0, 2.0, 1.0];
    let a = structure.groups().iter().position(|g| g.name == "a").unwrap();
    let lowest = structure.lowest(a, &scores, 4);
    assert_eq!(lowest.len(), 3, "one stays, whatever is asked");
    let channels: Vec<usize> = lowest.iter().map(|u| structure.units()[u.0 as usize].channels[0].1).collect();
    assert_eq!(channels, [1, 2, 3]);
}

#[test]
fn a_ratio_is_what_goes_and_ties_go_by_index() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [10, 3, 3, 3]);
    let model = net.head(h, 10);
    let structure = Structure::of(&model).unwrap();
    let lowest = structure.lowest(0, &[1.0; 10], 3);
    let channels: Vec<usize> = lowest.iter().map(|u| structure.units()[u.0 as usize].channels[0].1).collect();
    assert_eq!(channels, [0, 1, 2], "three of ten asked, three of ten gone, though all are equal");
}

#[test]
fn channels_that_go_with_others_of_the_same_layer_must_be_named_together() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = net.node("DepthToSpace", &[h], &[("blocksize", Int(2))]);
    let h = net.conv("b", h, [2, 2, 3, 3]);
    let model = net.head(h, 2);
    let structure = Structure::of(&model).unwrap();
    let alone = Removal::of_channels(&structure, "a", &[0]);
    assert_eq!(alone, Err(StructureError::Coupled { layer: "a".to_owned(), channel: 2 }));
    assert!(Removal::of_channels(&structure, "a", &[0, 2, 4, 6]).is_ok());
}

#[test]
fn a_model_of_another_graph_is_refused() {
    let build = |channels: usize, extra: bool| {
        let mut net = Net::new();
        let x = net.input(&[3, 6, 6]);
        let h = net.conv("a", x, [channels, 3, 3, 3]);
        let h = if extra { net.relu(h) } else { h };
        net.head(h, channels)
    };
    let model = build(4, false);
    let structure = Structure::of(&model).unwrap();
    let removal = Removal::of_channels(&structure, "a", &[0]).unwrap();
    for other in [build(4, true), build(6, false)] {
        let shrunk = shrink(&other, &structure, &removal, ShrinkOptions::default());
        assert!(matches!(shrunk, Err(StructureError::OtherModel(_))));
    }
    assert!(matches!(Structure::of(&Model::default()), Err(StructureError::NoGraph)));
}

#[test]
fn what_goes_into_a_bias_instead_of_the_border_is_reported() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let h = net.named("b", "Sigmoid", &[h], &[]);
    let w = net.data("c.weight", &[2, 4, 3, 3]);
    let h = net.named("c", "Conv", &[h, w], &[("pads", Ints(vec![1; 4]))]);
    let model = net.head(h, 2);
    let structure = Structure::of(&model).unwrap();
    let removal = Removal::of_channels(&structure, "a", &[1]).unwrap();
    let shrunk = shrink(&model, &structure, &removal, ShrinkOptions { border: Border::Interior }).unwrap();
    assert_eq!(shrunk.inexact.len(), 1);
    assert_eq!(shrunk.inexact[0].node, "c");
    assert_eq!(shrunk.model.graph.as_ref().unwrap().nodes.len(), model.graph.as_ref().unwrap().nodes.len());
}

/// Folder of the ONNX project's node tests, as Debian's `libonnx-testdata` has it.
const NODE_TESTS: &str = "/usr/share/libonnx-testdata/data/node";

#[test]
fn no_operator_of_the_onnx_project_aborts_the_walk() {
    let Ok(folder) = std::fs::read_dir(NODE_TESTS) else { return };
    for case in folder {
        let path = case.unwrap().path().join("model.onnx");
        let Ok(mut model) = secateur::formats::open(&path) else { continue };
        Structure::of(&model).unwrap();
        // Once more with all but the first input as stored data, so that weights are weights.
        let graph = model.graph.as_mut().unwrap();
        for input in graph.inputs.split_off(1.min(graph.inputs.len())) {
            let value = graph.value(input);
            let shape = value.fact.extents().unwrap_or_default();
            let bytes = shape.iter().product::<usize>() * value.fact.dtype.map_or(4, secateur::model::DType::size);
            let dtype = value.fact.dtype.unwrap_or(secateur::model::DType::F32);
            let tensor = secateur::model::Tensor::new(dtype, shape, vec![0; bytes].into()).unwrap();
            model.tensors.insert(value.name.clone(), tensor);
        }
        if secateur::model::infer_facts(&mut model).is_ok() {
            let structure = Structure::of(&model).unwrap();
            assert_eq!(structure.check(&Removal::default()), Ok(()), "{}", path.display());
        }
    }
}
