//! Figures that others have published.

use indexmap::IndexMap;
use secateur::model::{Model, Tensor, layer_macs, layers_of, recognize};
use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};

/// ResNet-18 or ResNet-50 for ImageNet (He et al. 2016), with weights of zero and plain normalisations.
pub fn resnet(depth: usize) -> Model {
    let mut tensors: IndexMap<String, Tensor> = IndexMap::new();
    let mut add = |name: &str, shape: &[usize], value: f32| {
        let tensor = Tensor::from_f32(shape.to_vec(), vec![value; shape.iter().product()]).unwrap();
        tensors.insert(name.to_owned(), tensor);
    };
    let mut conv = |conv: &str, norm: &str, shape: [usize; 4]| {
        add(&format!("{conv}.weight"), &shape, 0.0);
        for (part, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            add(&format!("{norm}.{part}"), &shape[..1], value);
        }
    };
    conv("conv1", "bn1", [64, 3, 7, 7]);
    let (counts, wide) = if depth == 18 { ([2, 2, 2, 2], 1) } else { ([3, 4, 6, 3], 4) };
    let mut inputs = 64;
    for (stage, count) in counts.into_iter().enumerate() {
        let width = 64 << stage;
        for block in 0..count {
            let at = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let outputs = width * wide;
            if wide == 1 {
                conv(&at("conv1"), &at("bn1"), [width, inputs, 3, 3]);
                conv(&at("conv2"), &at("bn2"), [width, width, 3, 3]);
            } else {
                conv(&at("conv1"), &at("bn1"), [width, inputs, 1, 1]);
                conv(&at("conv2"), &at("bn2"), [width, width, 3, 3]);
                conv(&at("conv3"), &at("bn3"), [outputs, width, 1, 1]);
            }
            if block == 0 && (stage > 0 || wide > 1) {
                conv(&at("downsample.0"), &at("downsample.1"), [outputs, inputs, 1, 1]);
            }
            inputs = outputs;
        }
    }
    add("fc.weight", &[1000, inputs], 0.0);
    add("fc.bias", &[1000], 0.0);
    let graph = recognize(&tensors, None).unwrap().graph;
    Model { tensors, graph: Some(graph), ..Model::default() }
}

/// Multiply-accumulates, and parameters without the running statistics of normalisations.
fn size(model: &Model) -> (u64, u64) {
    let macs = layers_of(model).iter().map(|layer| layer_macs(model, layer).unwrap()).sum();
    let learned = model.tensors.iter().filter(|(name, _)| !name.contains("running"));
    (macs, learned.map(|(_, t)| t.len() as u64).sum())
}

/// Half of every group.
fn half(structure: &Structure) -> Removal {
    let groups = structure.groups().iter().enumerate();
    Removal::of(
        groups.flat_map(|(index, group)| structure.lowest(index, &vec![0.0; group.units.len()], group.units.len() / 2)),
    )
}

#[test]
fn resnet18_at_half_its_channels_has_the_published_size() {
    // Torch-Pruning reports 1.82 to 0.487 billion multiply-accumulates, 11.69 to 3.06 million parameters.
    let model = resnet(18);
    let (macs, parameters) = size(&model);
    assert_eq!((macs / 1_000_000, parameters), (1814, 11_689_512));
    let structure = Structure::of(&model).unwrap();
    let shrunk = shrink(&model, &structure, &half(&structure), ShrinkOptions::default()).unwrap();
    let (macs, parameters) = size(&shrunk.model);
    assert!((macs as f64 / 0.487e9 - 1.0).abs() < 0.01, "{macs}");
    assert!((parameters as f64 / 3.06e6 - 1.0).abs() < 0.005, "{parameters}");
}

#[test]
fn a_residual_stage_is_one_group() {
    let structure = Structure::of(&resnet(50)).unwrap();
    // The stem by itself, four stages, and two convolutions inside each of sixteen blocks.
    assert_eq!(structure.groups().len(), 1 + 4 + 32);
    let stage = structure.groups().iter().find(|g| g.units.len() == 2048).unwrap();
    assert_eq!(stage.name, "layer4.0.conv3 + 3 more");
    assert_eq!(structure.pinned().len(), 1);
}
