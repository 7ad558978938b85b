//! N:M patterns on whole networks, with and without another order of channels.

use crate::structure::net::{Int, Net};
use crate::structure::{distance, inputs, run};
use secateur::model::{Architecture, Layer, Model, layers_of};
use secateur::prune::{Effort, Granularity, LayerPlan, Mask, Plan, apply, holds, orders, pattern_masks, resolve};
use secateur::structure::{Structure, reorder};

fn plan_of(layers: &[Layer], kept: u8, of: u8) -> Plan {
    let mut plan = Plan::dense();
    for layer in layers {
        let granularity = Granularity::Pattern { kept, of };
        plan.set(&layer.name, LayerPlan { granularity, ..LayerPlan::default() });
    }
    plan
}

/// Sum of magnitudes of the layers' weights.
fn magnitude(model: &Model, layers: &[Layer]) -> f64 {
    layers.iter().flat_map(|l| model.tensors[&l.weight].to_f32().into_owned()).map(|v| f64::from(v.abs())).sum()
}

/// Prunes in a better order; how many groups have another one.
#[track_caller]
fn holds_in_another_order(model: &Model, (kept, of): (u8, u8)) -> usize {
    let layers = layers_of(model);
    let plan = plan_of(&layers, kept, of);
    let structure = Structure::of(model).unwrap();
    let found = orders(model, &layers, &plan, &structure, Effort { escapes: 3, ..Effort::default() }).unwrap();
    let in_file_order = apply(model, &layers, &resolve(model, &layers, &plan).unwrap());
    assert!((magnitude(&in_file_order, &layers) / found.kept_before - 1.0).abs() < 1e-9);
    assert!((magnitude(model, &layers) / found.magnitude - 1.0).abs() < 1e-9);

    let masks = pattern_masks(model, &layers, &plan, &structure, &found.orders).unwrap();
    let mask = Mask { layers: masks.into_iter().map(|mask| (mask.layer.clone(), mask)).collect(), ..Mask::default() };
    let masked = apply(model, &layers, &mask);
    let magnitude = magnitude(&masked, &layers);
    assert!((magnitude / found.kept_after - 1.0).abs() < 1e-9 && found.kept_after >= found.kept_before);
    for mask in mask.layers.values() {
        let weight = &layers.iter().find(|l| l.name == mask.layer).unwrap().weight;
        assert_eq!(mask.zeros, masked.tensors[weight].to_f32().iter().filter(|&&v| v == 0.0).count());
    }
    let reordered = reorder(&masked, &structure, &found.orders).unwrap();
    for layer in &layers {
        assert!(holds(layer, &reordered.tensors[&layer.weight], kept, of), "{}", layer.name);
    }
    let inputs = inputs(model, 2);
    for (masked, reordered) in run(&masked, &inputs).iter().zip(&run(&reordered, &inputs)) {
        let apart = distance(masked, reordered);
        assert!(apart < 1e-5, "{apart} apart");
    }
    found.orders.len()
}

#[test]
fn sample_networks_lose_less_in_another_order_and_hold_their_pattern() {
    for architecture in Architecture::ALL {
        let model = architecture.build(1).unwrap();
        for pattern in [(2, 4), (1, 3)] {
            assert!(holds_in_another_order(&model, pattern) > 0, "{architecture:?} {pattern:?}");
        }
    }
}

#[test]
fn readers_of_one_group_share_its_order_and_others_follow() {
    // `c` reads two groups side by side and has no say, but its inputs move with those of `d`.
    let mut net = Net::new();
    let x = net.input(&[4, 4, 4]);
    let (a, b) = (net.conv("a", x, [8, 4, 3, 3]), net.conv("b", x, [6, 4, 3, 3]));
    let both = net.node("Concat", &[a, b], &[("axis", Int(1))]);
    let c = net.conv("c", both, [5, 14, 3, 3]);
    let d = net.conv("d", a, [5, 8, 3, 3]);
    let h = net.node("Add", &[c, d], &[]);
    let model = net.head(h, 5);
    assert!(holds_in_another_order(&model, (2, 4)) > 0);
    let layers = layers_of(&model);
    let structure = Structure::of(&model).unwrap();
    let mut plan = plan_of(&layers, 2, 4);
    plan.set("d", LayerPlan::default());
    plan.set("head", LayerPlan::default());
    let found = orders(&model, &layers, &plan, &structure, Effort::default()).unwrap();
    assert_eq!((found.candidates, found.orders.len()), (0, 0));
    assert_eq!(found.to_string(), "0 of 0 groups reordered, 0.0 % less magnitude lost to patterns");
}

#[test]
fn inputs_that_a_flattening_spreads_are_followed() {
    // Twelve places of three channels: stretches of five lie across channels.
    let mut net = Net::new();
    let x = net.input(&[3, 2, 2]);
    let h = net.conv("a", x, [6, 3, 3, 3]);
    let other = net.conv("b", h, [6, 6, 3, 3]);
    let other = net.node("Flatten", &[other], &[]);
    let flat = net.node("Flatten", &[h], &[]);
    let y = net.linear("out", flat, 24, 24);
    let y = net.node("Add", &[y, other], &[]);
    let y = net.linear("last", y, 3, 24);
    holds_in_another_order(&net.done(y), (2, 5));
}
