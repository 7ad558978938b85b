//! Figures that others have published.

use secateur::model::{Model, model_macs};
use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};
use secateur::verify::{ResNet, resnet};

/// Multiply-accumulates, and parameters without the running statistics of normalisations.
fn size(model: &Model) -> (u64, u64) {
    let learned = model.tensors.iter().filter(|(name, _)| !name.contains("running"));
    (model_macs(model).unwrap(), learned.map(|(_, t)| t.len() as u64).sum())
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
    let model = resnet(ResNet::Depth18, 1).unwrap();
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
    let model = resnet(ResNet::Depth50, 1).unwrap();
    let structure = Structure::of(&model).unwrap();
    // The stem by itself, four stages, and two convolutions inside each of sixteen blocks.
    assert_eq!(structure.groups().len(), 1 + 4 + 32);
    let stage = structure.groups().iter().find(|g| g.units.len() == 2048).unwrap();
    assert_eq!(stage.name, "layer4.0.conv3 + 3 more");
    assert_eq!(structure.pinned().len(), 1);
    // No order of a hash table shows in the result.
    let again = Structure::of(&model).unwrap();
    assert_eq!((structure.groups(), structure.units()), (again.groups(), again.units()));
}
