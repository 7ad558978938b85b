//! Masks held against those of `torch.nn.utils.prune`.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail like the test")]

use secateur::model::{Layer, Model, Tensor, layers_of};
use secateur::prune::{Criterion, Cut, Granularity, LayerPlan, Plan, Subject, global, resolve};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{Cursor, Read};

const CASES: &str = include_str!("fixtures/torch_prune_masks.json");
const ARRAYS: &[u8] = include_bytes!("fixtures/torch_prune_masks.npz");

#[derive(Deserialize)]
struct Case {
    id: usize,
    tensor: String,
    method: String,
    amount: serde_json::Number,
    n: Option<String>,
    dim: Option<usize>,
    #[serde(default)]
    over: Vec<String>,
}

struct Array {
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// Little-endian, C-ordered arrays of an npz file, without a look at their dtype.
fn arrays() -> HashMap<String, Array> {
    let mut archive = zip::ZipArchive::new(Cursor::new(ARRAYS)).unwrap();
    let archive_len = archive.len();
    let read = |index| {
        let mut file = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
        let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
        let shape = shape.split(',').filter_map(|extent| extent.trim().parse().ok()).collect();
        let name = file.name().unwrap().trim_end_matches(".npy").to_owned();
        (name, Array { shape, data: bytes[10 + header_len..].to_vec() })
    };
    (0..archive_len).map(read).collect()
}

fn model_of(names: &[String], arrays: &HashMap<String, Array>) -> (Model, Vec<Layer>) {
    let mut model = Model::default();
    for name in names {
        let Array { shape, data } = &arrays[&format!("w/{name}")];
        let values = data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        model.tensors.insert(name.clone(), Tensor::from_f32(shape.clone(), values).unwrap());
    }
    let layers = layers_of(&model);
    (model, layers)
}

fn cut_of(amount: &serde_json::Number, pieces: usize) -> Cut {
    match amount.as_u64() {
        Some(removed) => Cut::Keep(pieces - removed as usize),
        None => Cut::Sparsity(amount.as_f64().unwrap()),
    }
}

fn plan_of(case: &Case, model: &Model, layers: &[Layer]) -> Plan {
    let granularity = if case.method == "ln_structured" { Granularity::Channel } else { Granularity::Element };
    let criterion = match case.n.as_deref() {
        Some("1") => Criterion::L1,
        Some("inf") => Criterion::Linf,
        _ => Criterion::L2,
    };
    let count = if granularity.by_output() { Layer::channel_count } else { Layer::weight_count };
    let pieces = layers.iter().map(count).sum();
    let cut = cut_of(&case.amount, pieces);
    let cuts = if case.over.is_empty() {
        vec![(case.tensor.clone(), cut)]
    } else {
        let selected: Vec<&Layer> = layers.iter().collect();
        global(&Subject::new(model, layers), &selected, granularity, criterion, cut).unwrap()
    };
    let mut plan = Plan::dense();
    for (layer, cut) in cuts {
        plan.set(&layer, LayerPlan { granularity, criterion, cut, locked: false });
    }
    plan
}

#[test]
fn every_mask_equals_that_of_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    let arrays = arrays();
    for case in &cases {
        let own = [case.tensor.clone()];
        let names = if case.over.is_empty() { &own[..] } else { &case.over };
        let (model, mut layers) = model_of(names, &arrays);
        for layer in &mut layers {
            layer.output_axis = case.dim.unwrap_or(0);
        }
        let plan = plan_of(case, &model, &layers);
        let mask = resolve(&model, &layers, &plan).unwrap();
        let layer = layers.iter().find(|layer| layer.name == case.tensor).unwrap();
        let ours = mask.layer(&case.tensor).unwrap().bits(layer, &model.tensors[&layer.weight]);
        let theirs = arrays[&format!("m/{}", case.id)].data.iter().map(|&byte| byte != 0);
        assert!(ours.iter().eq(theirs), "case {}: {} of {} on {}", case.id, case.method, case.amount, case.tensor);
    }
    assert_eq!(cases.len(), 108);
}
