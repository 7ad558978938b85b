use super::*;
use crate::model::{DType, LayerKind, Model, layers_of};
use crate::prune::score::deviation_of;
use crate::prune::{Criterion, Cut, Plan, Subject, apply, global, resolve};
use proptest::prelude::*;

fn model_of(shape: &[usize], values: &[f32]) -> Model {
    let mut model = Model::default();
    model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap());
    model
}

fn layer_of(model: &Model, kind: LayerKind, axes: [usize; 2], groups: usize) -> Layer {
    let layer = layers_of(model)[0].clone();
    Layer { kind, output_axis: axes[0], input_axis: Some(axes[1]), groups, ..layer }
}

fn masked(model: &Model, layer: &Layer, granularity: &str, cut: Cut) -> (LayerMask, Vec<f32>) {
    let mut plan = Plan::dense();
    let granularity = granularity.parse().unwrap();
    plan.set("w", LayerPlan { granularity, criterion: Criterion::L1, cut, locked: false });
    let layers = [layer.clone()];
    let mask = resolve(model, &layers, &plan).unwrap();
    let values = apply(model, &layers, &mask).tensors["w"].to_f32().to_vec();
    (mask.layers[0].clone(), values)
}

fn scores(model: &Model, layer: &Layer, granularity: &str) -> Vec<f64> {
    PieceScores::of(layer, &model.tensors["w"], granularity.parse().unwrap(), Criterion::L1).scores
}

#[test]
fn a_column_is_what_reads_one_input_whichever_axis_counts_outputs() {
    let model = model_of(&[2, 3], &[1.0, -5.0, 3.0, 2.0, 7.0, -1.0]);
    let layer = layer_of(&model, LayerKind::Linear, [0, 1], 1);
    assert_eq!(scores(&model, &layer, "column"), [3.0, 12.0, 4.0]);
    let (mask, values) = masked(&model, &layer, "column", Cut::Keep(1));
    assert_eq!(values, [0.0, -5.0, 0.0, 0.0, 7.0, 0.0]);
    assert_eq!((mask.pieces, mask.kept, mask.zeros, mask.threshold, mask.weights), (3, 1, 4, 12.0, 6));
    let turned = layer_of(&model, LayerKind::MatMul, [1, 0], 1);
    assert_eq!(scores(&model, &turned, "column"), [9.0, 10.0]);
    assert_eq!(masked(&model, &turned, "column", Cut::Keep(1)).1, [0.0, 0.0, 0.0, 2.0, 7.0, -1.0]);
}

#[test]
fn each_group_of_a_convolution_has_columns_of_its_own() {
    // Four outputs and four inputs in two groups, kernels of two.
    let values: Vec<f32> = (1..=16u8).map(f32::from).collect();
    let model = model_of(&[4, 2, 2], &values);
    let layer = layer_of(&model, LayerKind::Conv, [0, 1], 2);
    assert_eq!(scores(&model, &layer, "column"), [14.0, 22.0, 46.0, 54.0]);
    let (_, kept) = masked(&model, &layer, "column", Cut::Keep(3));
    assert_eq!(kept[..8], [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 7.0, 8.0]);
    assert_eq!(kept[8..], values[8..]);
    // The same numbers as a transposed convolution: four inputs, two outputs in each of two groups.
    let turned = layer_of(&model, LayerKind::ConvTranspose, [1, 0], 2);
    assert_eq!(scores(&model, &turned, "column"), [10.0, 26.0, 42.0, 58.0]);
    // Kernels by output, then input: outputs 0 and 1 read inputs 0 and 1.
    assert_eq!(scores(&model, &turned, "kernel"), [3.0, 11.0, 7.0, 15.0, 19.0, 27.0, 23.0, 31.0]);
}

#[test]
fn a_kernel_lies_between_one_input_and_one_output() {
    let model = model_of(&[2, 2, 2], &[1.0, 1.0, 2.0, 2.0, 0.0, 1.0, 4.0, 4.0]);
    let layer = layer_of(&model, LayerKind::Conv, [0, 1], 1);
    assert_eq!(scores(&model, &layer, "kernel"), [2.0, 4.0, 1.0, 8.0]);
    let (mask, values) = masked(&model, &layer, "kernel", Cut::Threshold(2.0));
    assert_eq!(values, [1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 4.0, 4.0]);
    assert_eq!((mask.kept, mask.zeros, mask.threshold), (3, 2, 2.0));
    // Without kernels it is a single weight.
    let model = model_of(&[2, 2], &[1.0, -2.0, 3.0, 0.5]);
    assert_eq!(scores(&model, &layer_of(&model, LayerKind::Linear, [0, 1], 1), "kernel"), [1.0, 2.0, 3.0, 0.5]);
}

#[test]
fn blocks_at_the_edge_are_smaller() {
    let model = model_of(&[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let layer = layer_of(&model, LayerKind::Linear, [0, 1], 1);
    assert_eq!(scores(&model, &layer, "block:2x2"), [12.0, 9.0, 15.0, 9.0]);
    // Of equal scores the lowest index goes first.
    let (mask, values) = masked(&model, &layer, "block:2x2", Cut::Keep(3));
    assert_eq!(values, [1.0, 2.0, 0.0, 4.0, 5.0, 0.0, 7.0, 8.0, 9.0]);
    assert_eq!((mask.pieces, mask.zeros), (4, 2));
    // Outputs along the other axis: a block of one output and all inputs is a stored column.
    let turned = layer_of(&model, LayerKind::Linear, [1, 0], 1);
    assert_eq!(scores(&model, &turned, "block:1x9"), [12.0, 15.0, 18.0]);
}

#[test]
fn blocks_count_places_of_kernels_and_stay_in_their_group() {
    let values: Vec<f32> = (1..=8u8).map(f32::from).collect();
    let model = model_of(&[4, 1, 2], &values);
    let layer = layer_of(&model, LayerKind::Conv, [0, 1], 2);
    assert_eq!(scores(&model, &layer, "block:4x1"), [4.0, 6.0, 12.0, 14.0]);
    assert_eq!(scores(&model, &layer, "block:1x2"), [3.0, 7.0, 11.0, 15.0]);
}

#[test]
fn stored_zeros_of_every_format_are_counted_and_criteria_differ() {
    let halves: Vec<u8> =
        [3.0f32, -4.0, 0.0, -0.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let mut model = model_of(&[1, 1], &[0.0]);
    model.tensors.insert("w".into(), Tensor::new(DType::F16, vec![2, 2], halves.into()).unwrap());
    let layer = layer_of(&model, LayerKind::Linear, [0, 1], 1);
    let of = |criterion| PieceScores::of(&layer, &model.tensors["w"], Granularity::Row, criterion);
    assert_eq!(of(Criterion::L1), PieceScores { scores: vec![7.0, 0.0], zeros: vec![0, 2] });
    assert_eq!((of(Criterion::L2).scores[0], of(Criterion::Linf).scores[0]), (5.0, 4.0));
    assert_eq!(deviation_of(&scores(&model, &layer, "row")), 3.5);
    assert_eq!(masked(&model, &layer, "column", Cut::Keep(2)).0.zeros, 2);
    assert_eq!(masked(&model, &layer, "column", Cut::Keep(1)).0.zeros, 3);
}

#[test]
fn pieces_of_all_layers_are_ranked_together() {
    let mut model = model_of(&[2, 2], &[1.0, 5.0, 1.0, 5.0]);
    model.tensors.insert("v".into(), Tensor::from_f32(vec![1, 3], vec![9.0, 2.0, 3.0]).unwrap());
    let layers = layers_of(&model);
    let selected: Vec<&Layer> = layers.iter().collect();
    let global = |granularity: &str, cut| {
        let granularity = granularity.parse().unwrap();
        global(&Subject::new(&model, &layers), &selected, granularity, Criterion::L1, cut).unwrap()
    };
    let cuts = |found: Vec<(String, Cut)>| found.into_iter().map(|(_, cut)| cut).collect::<Vec<_>>();
    // Columns score 2 and 10, then 9, 2 and 3.
    assert_eq!(cuts(global("column", Cut::Keep(4))), [Cut::Keep(1), Cut::Keep(3)]);
    assert_eq!(cuts(global("column", Cut::Keep(2))), [Cut::Keep(1), Cut::Keep(1)]);
    assert_eq!(cuts(global("block:1x1", Cut::Sparsity(2.0 / 7.0))), [Cut::Keep(2), Cut::Keep(3)]);
    assert_eq!(cuts(global("2:4", Cut::Keep(1))), [Cut::None, Cut::None]);
}

/// Any layout of a small weight.
fn layouts() -> impl Strategy<Value = (Vec<usize>, LayerKind, [usize; 2], usize)> {
    prop_oneof![
        (1usize..4, 1usize..4, 1usize..4, 1usize..4, 1usize..3).prop_map(|(o, i, k, l, g)| (
            vec![o * g, i, k, l],
            LayerKind::Conv,
            [0, 1],
            g
        )),
        (1usize..4, 1usize..4, 1usize..4, 1usize..3).prop_map(|(o, i, k, g)| (
            vec![i * g, o, k],
            LayerKind::ConvTranspose,
            [1, 0],
            g
        )),
        (1usize..40, 1usize..40).prop_map(|(o, i)| (vec![o, i], LayerKind::Linear, [0, 1], 1)),
        (1usize..40, 1usize..40).prop_map(|(o, i)| (vec![i, o], LayerKind::MatMul, [1, 0], 1)),
    ]
}

proptest! {
    #[test]
    fn counts_are_exact_and_pieces_go_whole(
        (shape, kind, axes, groups) in layouts(),
        granularity in prop_oneof![Just("column"), Just("kernel"), Just("block:2x3"), Just("block:4x1")],
        share in 0.0f64..=1.0,
        seed in 0usize..7,
    ) {
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| ((i * 37 + seed * 11) % 23) as f32 - 11.0).collect();
        let model = model_of(&shape, &values);
        let layer = layer_of(&model, kind, axes, groups);
        let scores = scores(&model, &layer, granularity);
        let keep = (share * scores.len() as f64) as usize;
        let (mask, kept) = masked(&model, &layer, granularity, Cut::Keep(keep));
        prop_assert_eq!((mask.pieces, mask.kept, mask.weights), (scores.len(), keep, len));
        prop_assert_eq!(mask.zeros, kept.iter().filter(|&&v| v == 0.0).count());
        // All weights are in some piece, and what stays is what the highest pieces hold.
        let total: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
        prop_assert!((scores.iter().sum::<f64>() - total).abs() < 1e-9);
        let mut sorted = scores.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let stays: f64 = kept.iter().map(|v| f64::from(v.abs())).sum();
        prop_assert!((sorted[..keep].iter().sum::<f64>() - stays).abs() < 1e-9);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_scores() {
    let values: Vec<f32> = (0..600_000).map(|i| (i as f32 * 0.01).sin()).collect();
    let model = model_of(&[2000, 300], &values);
    for axes in [[0, 1], [1, 0]] {
        let layer = layer_of(&model, LayerKind::Linear, axes, 1);
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (scores(&model, &layer, "column"), scores(&model, &layer, "block:16x16")))
        };
        assert_eq!(with_threads(1), with_threads(3));
    }
}
