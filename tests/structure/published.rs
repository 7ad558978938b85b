//! Figures that others have published.

use super::resnet::resnet;
use secateur::model::{Model, layer_macs, layers_of};
use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};

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
    // No order of a hash table shows in the result.
    let again = Structure::of(&resnet(50)).unwrap();
    assert_eq!((structure.groups(), structure.units()), (again.groups(), again.units()));
}
