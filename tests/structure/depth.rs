//! Whole residual branches.

use super::net::Net;
use super::{inputs, prove, share};
use secateur::formats;
use secateur::model::Model;
use secateur::structure::{Removal, Structure, StructureError};
use std::path::Path;

fn resnet() -> Model {
    formats::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_models/resnet-8.safetensors")).unwrap()
}

fn without(names: &[&str]) -> Removal {
    Removal { blocks: names.iter().map(|n| (*n).to_owned()).collect(), ..Removal::default() }
}

#[test]
fn every_residual_branch_of_the_sample_can_be_left_out() {
    let model = resnet();
    let structure = Structure::of(&model).unwrap();
    let blocks = structure.blocks(&model);
    let layers =
        |block: usize| blocks[block].layers.iter().map(|&l| structure.layers()[l].name.as_str()).collect::<Vec<_>>();
    assert_eq!(blocks.len(), 3);
    assert_eq!(layers(0), ["stage1.depthwise", "stage1.pointwise"]);
    assert_eq!(layers(1), ["stage2.conv1", "stage2.conv2"], "the shortcut stays");
    let inputs = inputs(&model, 2);
    for block in &blocks {
        assert_eq!(block.reason, "");
        let shrunk = prove(&model, &structure, &without(&[&block.name]), &inputs);
        for &layer in &block.layers {
            assert!(!shrunk.model.tensors.contains_key(&structure.layers()[layer].weight));
        }
    }
    let all: Vec<&str> = blocks.iter().map(|b| b.name.as_str()).collect();
    prove(&model, &structure, &without(&all), &inputs);
}

#[test]
fn a_gate_that_still_passes_its_input_on_without_its_weights_stays() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let x = net.conv("first", x, [8, 3, 3, 3]);
    let pooled = net.node("GlobalAveragePool", &[x], &[]);
    let squeezed = net.conv_with("squeeze", pooled, &[4, 8, 1, 1], &[]);
    let squeezed = net.relu(squeezed);
    let excited = net.conv_with("excite", squeezed, &[8, 4, 1, 1], &[]);
    let gate = net.node("HardSigmoid", &[excited], &[]);
    let gated = net.node("Mul", &[x, gate], &[]);
    let sum = net.node("Add", &[x, gated], &[]);
    let sum = net.relu(sum);
    let model = net.head(sum, 8);
    let structure = Structure::of(&model).unwrap();
    let blocks = structure.blocks(&model);
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].reason, "without its last weights the branch still passes on what it reads");
}

#[test]
fn branches_and_channels_go_in_one_removal() {
    let model = resnet();
    let structure = Structure::of(&model).unwrap();
    let mut removal = share(&structure, 0.5, 3);
    removal.blocks.insert(structure.blocks(&model)[1].name.clone());
    prove(&model, &structure, &removal, &inputs(&model, 2));
}

#[test]
fn a_branch_that_normalises_first_leaves_its_bias() {
    let mut net = Net::new();
    let x = net.input(&[5, 6]);
    let mut h = net.dense("stem", x, 8, 6);
    for name in ["one", "two"] {
        let (scale, bias) = (net.positive(&format!("{name}.scale"), &[8]), net.data(&format!("{name}.shift"), &[8]));
        let y = net.node("LayerNormalization", &[h, scale, bias], &[]);
        let y = net.dense(&format!("{name}.up"), y, 12, 8);
        let y = net.node("Gelu", &[y], &[]);
        let y = net.dense(&format!("{name}.down"), y, 8, 12);
        h = net.named(&format!("{name}.sum"), "Add", &[h, y], &[]);
    }
    let y = net.dense("head", h, 3, 8);
    let model = net.done(y);
    let structure = Structure::of(&model).unwrap();
    let inputs = inputs(&model, 2);
    let names: Vec<String> = structure.blocks(&model).into_iter().map(|b| b.name).collect();
    assert_eq!(names, ["one.sum_out", "two.sum_out"]);
    for name in &names {
        let shrunk = prove(&model, &structure, &without(&[name]), &inputs);
        assert_eq!(shrunk.model.tensors[&format!("{name}.constant")].shape(), [1, 1, 8]);
    }
    prove(&model, &structure, &without(&[&names[0], &names[1]]), &inputs);
    let asked = secateur::structure::shrink(
        &model,
        &structure,
        &without(&["three"]),
        secateur::structure::ShrinkOptions::default(),
    );
    assert_eq!(asked.err(), Some(StructureError::UnknownBlock("three".to_owned())));
}

#[test]
fn a_branch_that_something_else_reads_is_no_block() {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("stem", x, [4, 3, 3, 3]);
    let y = net.conv("branch", h, [4, 4, 3, 3]);
    let sum = net.node("Add", &[h, y], &[]);
    let both = net.node("Mul", &[sum, y], &[]);
    let model = net.head(both, 4);
    assert_eq!(Structure::of(&model).unwrap().blocks(&model), []);
}
