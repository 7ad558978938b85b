use super::*;
use crate::model::{Architecture, Layer, Model, Tensor, layers_of};
use crate::prune::{Criterion, Granularity, GroupPlan, LayerMask, LayerPlan, Limits, Scoring, resolve};
use crate::structure::Structure;
use proptest::prelude::*;

/// A file without a graph: layers `a`, `b`, `c` and so on.
fn model_of(weights: &[(&[usize], Vec<f32>)]) -> Model {
    let mut model = Model::default();
    for ((shape, values), name) in weights.iter().zip('a'..) {
        let tensor = Tensor::from_f32(shape.to_vec(), values.clone()).unwrap();
        model.tensors.insert(format!("{name}.weight"), tensor);
    }
    model
}

/// Weights of all shapes, each 1, 2, 3 and so on.
fn shaped(shapes: &[&[usize]]) -> Model {
    let values = |shape: &&[usize]| (1..=shape.iter().product()).map(|i: usize| i as f32).collect();
    model_of(&shapes.iter().map(|shape| (*shape, values(shape))).collect::<Vec<_>>())
}

fn request(allocation: Allocation, names: Vec<String>, amount: f64) -> AllocationRequest {
    AllocationRequest {
        allocation,
        targets: Targets::Layers(names),
        granularity: Granularity::Element,
        criterion: Criterion::L2,
        amount,
        curves: None,
    }
}

fn all(layers: &[Layer]) -> Vec<String> {
    layers.iter().map(|layer| layer.name.clone()).collect()
}

fn removed(model: &Model, allocation: Allocation, amount: f64) -> Result<Vec<usize>, PruneError> {
    let layers = layers_of(model);
    let subject = Subject::new(model, &layers);
    let allotted = allocate(&subject, &Plan::dense(), &request(allocation, all(&layers), amount))?;
    Ok(allotted.shares.iter().map(|share| share.removed).collect())
}

#[test]
fn uniform_takes_the_same_share_and_exactly_what_was_asked() {
    let model = shaped(&[&[1, 3], &[1, 5], &[1, 7]]);
    assert_eq!(removed(&model, Allocation::Uniform, 0.5).unwrap(), [2, 2, 4], "8 of 15: halves to the even total");
    assert_eq!(removed(&model, Allocation::Uniform, 1.0).unwrap(), [3, 5, 7]);
    assert_eq!(removed(&model, Allocation::Uniform, 0.0).unwrap(), [0, 0, 0]);
}

#[test]
fn uniform_plus_spares_the_first_convolution_and_a_fifth_of_the_last_layer() {
    let model = shaped(&[&[4, 2, 3, 3], &[10, 20], &[2, 10]]);
    // 146 of the 220 weights that may go.
    assert_eq!(removed(&model, Allocation::UniformPlus, 0.5).unwrap(), [0, 133, 13]);
    // 204 of 220 would be 18.5 of the last 20.
    assert_eq!(removed(&model, Allocation::UniformPlus, 0.7).unwrap(), [0, 188, 16]);
    let refused = removed(&model, Allocation::UniformPlus, 0.75).unwrap_err().to_string();
    assert!(refused.starts_with("Uniform+ cannot share this out") && refused.contains("at most 74.0 %"), "{refused}");
}

#[test]
fn global_takes_the_lowest_of_all_and_lamp_what_is_lowest_beside_the_rest_of_its_layer() {
    let model = model_of(&[(&[1, 2], vec![2.0, 1.0]), (&[1, 2], vec![3.0, -4.0]), (&[1, 4], vec![1.0; 4])]);
    assert_eq!(removed(&model, Allocation::Global, 0.5).unwrap(), [1, 0, 3]);
    // 1/5, 1; 9/25, 1; 1/4, 1/3, 1/2, 1.
    assert_eq!(removed(&model, Allocation::Lamp, 0.5).unwrap(), [1, 1, 2]);
    assert_eq!(removed(&model, Allocation::Lamp, 0.625).unwrap(), [1, 1, 3]);
}

#[test]
fn lamp_of_channels_ranks_their_norms() {
    let model = model_of(&[(&[2, 1], vec![2.0, 1.0]), (&[2, 1], vec![3.0, -4.0]), (&[4, 1], vec![1.0; 4])]);
    let layers = layers_of(&model);
    let by_channel =
        AllocationRequest { granularity: Granularity::Channel, ..request(Allocation::Lamp, all(&layers), 0.5) };
    let allotted = allocate(&Subject::new(&model, &layers), &Plan::dense(), &by_channel).unwrap();
    assert_eq!(allotted.shares.iter().map(|s| (s.pieces, s.removed)).collect::<Vec<_>>(), [(2, 1), (2, 1), (4, 2)]);
    assert_eq!(allotted.plan.layer("c").cut, Cut::Keep(2));
}

#[test]
fn erk_follows_the_extents_and_solves_again_where_a_layer_would_be_more_than_dense() {
    // Sums of extents are 30, 12 and 6.
    let model = shaped(&[&[10, 20], &[4, 2, 3, 3], &[2, 4]]);
    // 56 of 280 stay: 56/48 of them.
    assert_eq!(removed(&model, Allocation::Erk, 0.8).unwrap(), [200 - 35, 72 - 14, 8 - 7]);
    // 70 stay: the last would keep 8.75 of 8, so 62 are for the others: 44.29 and 17.71.
    assert_eq!(removed(&model, Allocation::Erk, 0.75).unwrap(), [200 - 44, 72 - 18, 0]);
}

#[test]
fn isomorphic_ranks_within_layers_of_one_kind() {
    let convolution: Vec<f32> = (0..4).map(|i| 100.0 + i as f32).collect();
    let model = model_of(&[(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]), (&[1, 1, 2, 2], convolution), (&[2, 2], vec![5.0; 4])]);
    assert_eq!(removed(&model, Allocation::Global, 0.5).unwrap(), [4, 0, 2]);
    assert_eq!(removed(&model, Allocation::Isomorphic, 0.5).unwrap(), [4, 2, 0]);
}

#[test]
fn sigma_draws_a_line_in_each_layer_by_its_own_deviation() {
    let model =
        model_of(&[(&[1, 2], vec![1.0, -1.0]), (&[1, 4], vec![3.0, -3.0, 1.0, -1.0]), (&[1, 2], vec![9.0, 9.0])]);
    let layers = layers_of(&model);
    let allotted =
        allocate(&Subject::new(&model, &layers), &Plan::dense(), &request(Allocation::Sigma, all(&layers), 1.0))
            .unwrap();
    assert_eq!(allotted.plan.layer("b").cut, Cut::Sigma(1.0));
    assert_eq!(allotted.shares.iter().map(|share| share.removed).collect::<Vec<_>>(), [0, 2, 0]);
    assert!(removed(&model, Allocation::Sigma, -1.0).is_err());
}

#[test]
fn curves_say_how_much_each_can_lose() {
    let model = shaped(&[&[1, 10], &[1, 10], &[1, 20]]);
    let layers = layers_of(&model);
    let curve =
        |target: &str, points: &[(f64, f64)]| LossCurve { target: target.into(), dense: 1.0, points: points.to_vec() };
    // A loss of 0.25 more takes 5, 2.5 and 10 of them.
    let curves = vec![curve("c", &[(1.0, 1.5)]), curve("a", &[(0.5, 1.25), (1.0, 9.0)]), curve("b", &[(1.0, 2.0)])];
    let with =
        AllocationRequest { curves: Some(curves), ..request(Allocation::Sensitivity, all(&layers), 17.0 / 40.0) };
    let subject = Subject::new(&model, &layers);
    let allotted = allocate(&subject, &Plan::dense(), &with).unwrap();
    assert_eq!(allotted.shares.iter().map(|share| share.removed).collect::<Vec<_>>(), [5, 2, 10]);
    let without = allocate(&subject, &Plan::dense(), &request(Allocation::Sensitivity, all(&layers), 0.5)).unwrap_err();
    assert!(without.to_string().contains("no measured curves"), "{without}");
}

#[test]
fn locked_layers_and_those_that_were_not_chosen_stay_as_they_are() {
    let model = shaped(&[&[1, 10], &[1, 10], &[1, 10]]);
    let layers = layers_of(&model);
    let mut base = Plan::dense();
    base.set("a", LayerPlan { cut: Cut::Keep(9), locked: true, ..LayerPlan::default() });
    base.set("b", LayerPlan { cut: Cut::Keep(1), ..LayerPlan::default() });
    base.set("c", LayerPlan { cut: Cut::Threshold(0.5), ..LayerPlan::default() });
    let some = request(Allocation::Uniform, vec!["a".into(), "b".into()], 0.5);
    let allotted = allocate(&Subject::new(&model, &layers), &base, &some).unwrap();
    assert_eq!(allotted.shares, [Share { target: "b".into(), pieces: 10, removed: 5 }]);
    assert_eq!((allotted.plan.layer("a"), allotted.plan.layer("c")), (base.layer("a"), base.layer("c")));
}

#[test]
fn patterns_and_names_that_nothing_has_are_refused() {
    let model = shaped(&[&[1, 4]]);
    let layers = layers_of(&model);
    let subject = Subject::new(&model, &layers);
    let of = |request: &AllocationRequest| allocate(&subject, &Plan::dense(), request).unwrap_err();
    let pattern = Granularity::Pattern { kept: 2, of: 4 };
    let text =
        of(&AllocationRequest { granularity: pattern, ..request(Allocation::Erk, all(&layers), 0.5) }).to_string();
    assert_eq!(text, "ERK cannot share this out: 2:4 removes the same share of every layer");
    let unknown = request(Allocation::Erk, vec!["z".into()], 0.5);
    assert_eq!(of(&unknown), PruneError::UnknownLayer { layer: "z".into() });
    assert!(matches!(of(&request(Allocation::Uniform, all(&layers), 1.5)), PruneError::Sparsity { .. }));
}

#[test]
fn groups_lose_units_as_asked_and_keep_what_was_decided_by_hand() {
    let model = Architecture::ResNet8.build(5).unwrap();
    let (layers, structure) = (layers_of(&model), Structure::of(&model).unwrap());
    let subject = Subject { structure: Some(&structure), ..Subject::new(&model, &layers) };
    let names: Vec<String> = structure.groups().iter().map(|group| group.name.clone()).collect();
    let mut base = Plan::dense();
    base.set_group(&names[1], GroupPlan { locked: true, ..GroupPlan::default() });
    base.set_group(&names[2], GroupPlan { keep: [0].into(), ..GroupPlan::default() });
    let free: usize =
        structure.groups().iter().map(|group| group.units.len()).sum::<usize>() - structure.groups()[1].units.len();
    let points = (1..=10).map(|i| (f64::from(i) * 0.1, f64::from(i))).collect::<Vec<_>>();
    let curves =
        names.iter().map(|target| LossCurve { target: target.clone(), dense: 0.0, points: points.clone() }).collect();
    for allocation in Allocation::ALL.into_iter().filter(|allocation| *allocation != Allocation::Sigma) {
        let request = AllocationRequest {
            targets: Targets::Groups(names.clone()),
            curves: Some(Vec::clone(&curves)),
            ..request(allocation, Vec::new(), 0.4)
        };
        let allotted = allocate(&subject, &base, &request).unwrap();
        let asked: usize = allotted
            .shares
            .iter()
            .map(|share| match allotted.plan.group(&share.target).cut {
                Cut::Keep(kept) => share.pieces - kept,
                _ => 0,
            })
            .sum();
        assert_eq!(asked, (0.4 * free as f64).round_ties_even() as usize, "{allocation}");
        assert_eq!(allotted.plan.group(&names[1]), base.group(&names[1]));
        assert_eq!(allotted.plan.group(&names[2]).keep, [0].into());
        let mask = subject.resolve(&allotted.plan).unwrap();
        for share in &allotted.shares {
            let gone = mask.groups.get(&share.target).map_or(0, |group| group.removed.len());
            assert_eq!(gone, share.removed, "{allocation}: {}", share.target);
        }
        if allocation == Allocation::UniformPlus {
            assert_eq!(allotted.shares[0].removed, 0, "the stem is the first convolution");
        }
    }
}

#[test]
fn limits_of_groups_hold_for_what_is_shared_out() {
    let model = Architecture::ResNet8.build(5).unwrap();
    let (layers, structure) = (layers_of(&model), Structure::of(&model).unwrap());
    let subject = Subject { structure: Some(&structure), ..Subject::new(&model, &layers) };
    let names: Vec<String> = structure.groups().iter().map(|group| group.name.clone()).collect();
    let base = Plan { limits: Limits { max_ratio: 0.25, ..Limits::default() }, ..Plan::dense() };
    let all = AllocationRequest { targets: Targets::Groups(names), ..request(Allocation::Global, Vec::new(), 0.9) };
    let allotted = allocate(&subject, &base, &all).unwrap();
    assert!(allotted.shares.iter().all(|share| share.removed * 4 <= share.pieces) && allotted.removed() > 0);
}

#[test]
fn a_network_collapses_where_the_least_of_the_highest_scores_lies() {
    let model = model_of(&[(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]), (&[2, 2], vec![0.5, -0.75, 0.25, 0.0])]);
    let layers = layers_of(&model);
    let subject = Subject::new(&model, &layers);
    let targets = Targets::Layers(all(&layers));
    let line =
        |granularity| collapse_threshold(&subject, &targets, granularity, Criterion::L1, Scoring::default()).unwrap();
    assert_eq!(line(Granularity::Element), Some(Collapse { threshold: 0.75, target: "b".into() }));
    assert_eq!(line(Granularity::Channel).unwrap().threshold, 1.25);
    assert_eq!(line(Granularity::Pattern { kept: 2, of: 4 }), None);
    let plan_at = |threshold| {
        let mut plan = Plan::dense();
        for layer in &layers {
            plan.set(&layer.name, LayerPlan { cut: Cut::Threshold(threshold), ..LayerPlan::default() });
        }
        resolve(&model, &layers, &plan).unwrap()
    };
    assert!(emptied(&plan_at(0.75)).is_empty());
    assert_eq!(emptied(&plan_at(0.75f64.next_up())), ["b"]);
}

proptest! {
    #[test]
    fn what_is_asked_for_is_what_is_removed(
        rows in prop::collection::vec(prop::collection::vec((-9i32..9).prop_map(|i| i as f32 * 0.25), 1..40), 1..6),
        share in 0.0f64..=1.0,
        which in 0usize..6,
        channels in any::<bool>(),
    ) {
        let shapes: Vec<[usize; 2]> = rows.iter().map(|row| if channels { [row.len(), 1] } else { [1, row.len()] }).collect();
        let model = model_of(&shapes.iter().zip(&rows).map(|(shape, row)| (&shape[..], row.clone())).collect::<Vec<_>>());
        let layers = layers_of(&model);
        let measured = [(0.3, 1.0), (0.6, 1.0), (0.9, 5.0)];
        let curve = |(at, layer): (usize, &Layer)| LossCurve {
            target: layer.name.clone(),
            dense: 0.5,
            points: measured[..=at % 3].iter().map(|&(ratio, loss)| (ratio, loss * (1 + at) as f64)).collect(),
        };
        let curves = layers.iter().enumerate().map(curve).collect();
        let allocation = [Allocation::Uniform, Allocation::Global, Allocation::Lamp, Allocation::Erk,
            Allocation::Isomorphic, Allocation::Sensitivity][which];
        let granularity = if channels { Granularity::Channel } else { Granularity::Element };
        let request = AllocationRequest { granularity, curves: Some(curves), ..request(allocation, all(&layers), share) };
        let allotted = allocate(&Subject::new(&model, &layers), &Plan::dense(), &request).unwrap();
        let pieces: usize = rows.iter().map(Vec::len).sum();
        prop_assert_eq!(allotted.removed(), (share * pieces as f64).round_ties_even() as usize);
        let mask = resolve(&model, &layers, &allotted.plan).unwrap();
        for share in &allotted.shares {
            let gone = mask.layer(&share.target).map_or(0, LayerMask::removed);
            prop_assert_eq!(gone, share.removed);
        }
    }
}
