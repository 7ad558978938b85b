//! Another order of channels, the same results.

use super::net::{Int, Ints, Net};
use super::{distance, group_of, inputs, run, spread};
use secateur::model::{Architecture, Model, ValueId};
use secateur::structure::{CHANNELS_KEY, Orders, Structure, StructureError, reorder};

/// Numbers up to `count` in no order in particular.
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let keys = spread(count, seed);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
    order
}

/// Some order for every group that can have one.
pub fn orders_of(model: &Model, structure: &Structure, seed: u64) -> Orders {
    let free = (0..structure.groups().len()).filter(|&group| structure.reorderable(model, group).is_ok());
    free.map(|group| (group, shuffled(structure.groups()[group].units.len(), seed + group as u64))).collect()
}

/// Reorders all groups that can be, and compares; how many there are.
#[track_caller]
pub fn same_in_any_order(model: &Model, extent: usize) -> usize {
    let structure = Structure::of(model).unwrap();
    let inputs = inputs(model, extent);
    let before = run(model, &inputs);
    let mut count = 0;
    for seed in [3, 4] {
        let orders = orders_of(model, &structure, seed);
        let reordered = reorder(model, &structure, &orders).unwrap();
        for (before, after) in before.iter().zip(&run(&reordered, &inputs)) {
            let apart = distance(before, after);
            assert!(apart < 1e-5, "{apart} apart");
        }
        if !orders.is_empty() {
            assert_ne!(model.tensors, reordered.tensors);
        }
        count = orders.len();
    }
    count
}

#[test]
fn networks_compute_the_same_in_any_order_of_their_channels() {
    for architecture in Architecture::ALL {
        let model = architecture.build(1).unwrap();
        let structure = Structure::of(&model).unwrap();
        assert_eq!(same_in_any_order(&model, 2), structure.groups().len(), "{architecture:?}");
    }
}

/// Channels of a convolution through something, into another convolution; how many groups may be reordered.
#[track_caller]
fn through(f: impl Fn(&mut Net, ValueId) -> ValueId) -> usize {
    let mut net = Net::new();
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = f(&mut net, h);
    let h = net.conv("b", h, [6, 8, 3, 3]);
    same_in_any_order(&net.head(h, 6), 2)
}

#[test]
fn order_passes_depthwise_convolutions_and_squeeze_and_excite() {
    let depthwise = [("group", Int(8)), ("pads", Ints(vec![1; 4]))];
    assert_eq!(through(|net, h| net.conv_with("d", h, &[8, 1, 3, 3], &depthwise)), 2);
    let groups = through(|net, h| {
        let s = net.node("GlobalAveragePool", &[h], &[]);
        let s = net.conv("down", s, [4, 8, 1, 1]);
        let s = net.conv("up", s, [8, 4, 1, 1]);
        let h = net.node("Mul", &[h, s], &[]);
        net.batch_norm("norm", h, 8)
    });
    assert_eq!(groups, 3);
}

#[test]
fn order_passes_flattening_depth_to_space_and_a_concatenation_with_itself() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = net.node("Concat", &[h, h], &[("axis", Int(1))]);
    let flat = net.node("Flatten", &[h], &[]);
    let y = net.linear("out", flat, 3, 256);
    assert_eq!(same_in_any_order(&net.done(y), 2), 1);
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = net.node("DepthToSpace", &[h], &[("blocksize", Int(2))]);
    let h = net.conv("b", h, [6, 2, 3, 3]);
    assert_eq!(same_in_any_order(&net.head(h, 6), 2), 2);
}

#[test]
fn two_groups_side_by_side_each_have_an_order() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let (a, b) = (net.conv("a", x, [5, 3, 3, 3]), net.conv("b", x, [7, 3, 3, 3]));
    let h = net.node("Concat", &[a, b], &[("axis", Int(1))]);
    let h = net.conv("c", h, [4, 12, 3, 3]);
    let model = net.head(h, 4);
    assert_eq!(same_in_any_order(&model, 2), 3);
    let structure = Structure::of(&model).unwrap();
    let along = structure.units_along("c.weight", 1);
    assert_eq!((along[0], along[4], along[5]), (Some((0, 0)), Some((0, 4)), Some((1, 0))));
    let orders: Orders = [(1, vec![6, 5, 4, 3, 2, 1, 0])].into();
    let moved = structure.order_along("c.weight", &orders);
    assert_eq!(moved[1].as_deref(), Some(&[0, 1, 2, 3, 4, 11, 10, 9, 8, 7, 6, 5][..]));
    assert_eq!(moved[0], None);
}

#[test]
fn constants_inside_the_graph_move_along_and_the_channel_map_tells() {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let scale = secateur::model::Tensor::from_f32(vec![4, 1, 1], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let scale = net.node("Constant", &[], &[("value", secateur::model::Attribute::Tensor(scale))]);
    let h = net.node("Mul", &[h, scale], &[]);
    let model = net.head(h, 4);
    assert_eq!(same_in_any_order(&model, 2), 1);
    let structure = Structure::of(&model).unwrap();
    let orders: Orders = [(0, vec![2, 0, 3, 1])].into();
    let once = reorder(&model, &structure, &orders).unwrap();
    assert_eq!(once.metadata[CHANNELS_KEY], "{\"a\":[2,0,3,1]}");
    let twice = reorder(&once, &structure, &orders).unwrap();
    assert_eq!(twice.metadata[CHANNELS_KEY], "{\"a\":[3,2,1,0]}");
}

#[test]
fn hidden_units_take_their_rows_of_every_gate_along() {
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let mut net = Net::new();
        let x = net.input(&[4, 7]);
        let h = net.transpose(x, &[2, 0, 1]);
        let w = net.data("rnn.w", &[1, gates * 5, 4]);
        let r = net.data("rnn.r", &[1, gates * 5, 5]);
        let b = net.data("rnn.b", &[1, gates * 10]);
        let h = net.b.node_with("rnn", op, vec![Some(h), Some(w), Some(r), Some(b)], &[("hidden_size", Int(5))]);
        let h = net.transpose(h, &[2, 0, 1, 3]);
        let h = net.reshape(h, &[0, 0, 5]);
        let y = net.dense("out", h, 3, 5);
        assert_eq!(same_in_any_order(&net.done(y), 2), 1, "{op}");
    }
}

#[track_caller]
fn refused(model: &Model, layer: &str) -> String {
    let structure = Structure::of(model).unwrap();
    let name = &group_of(&structure, layer).name;
    let group = structure.groups().iter().position(|g| &g.name == name).unwrap();
    let units = structure.groups()[group].units.len();
    same_in_any_order(model, 2);
    match reorder(model, &structure, &[(group, shuffled(units, 1))].into()) {
        Err(StructureError::NotReorderable { reason, .. }) => reason,
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn channels_whose_order_counts_stay_and_it_is_said_why() {
    // A part of them goes another way.
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let part = net.slice(h, 1, 2, 6);
    let part = net.conv("b", part, [6, 4, 3, 3]);
    let all = net.conv("c", h, [6, 8, 3, 3]);
    let h = net.node("Add", &[part, all], &[]);
    let reason = refused(&net.head(h, 6), "a");
    assert!(reason.starts_with("not all of its units are there equally often at"), "{reason}");
    // Groups keep their channels.
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let h = net.conv_with("g", h, &[8, 4, 3, 3], &[("group", Int(2)), ("pads", Ints(vec![1; 4]))]);
    assert_eq!(refused(&net.head(h, 8), "a"), "its units are bound to 2 blocks");
}

#[test]
fn places_that_are_exchanged_unevenly_are_found_out() {
    // Channels 0 and 1 go together by one exchange, 2 and 3 by another: the first of a pair is not the first everywhere.
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [4, 3, 3, 3]);
    let mut mixed = h;
    for order in [[1, 0, 2, 3], [0, 1, 3, 2]] {
        let indices = net.ints(&order);
        let turned = net.node("Gather", &[mixed, indices], &[("axis", Int(1))]);
        mixed = net.node("Add", &[mixed, turned], &[]);
    }
    let h = net.conv("b", mixed, [6, 4, 3, 3]);
    let reason = refused(&net.head(h, 6), "a");
    assert!(reason.ends_with("(Gather) counts on their order"), "{reason}");
    // Evenly exchanged, a new order is carried on.
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, [8, 3, 3, 3]);
    let indices = net.ints(&[4, 5, 6, 7, 0, 1, 2, 3]);
    let turned = net.node("Gather", &[h, indices], &[("axis", Int(1))]);
    let h = net.node("Add", &[h, turned], &[]);
    let h = net.conv("b", h, [6, 8, 3, 3]);
    assert_eq!(same_in_any_order(&net.head(h, 6), 2), 2);
}

#[test]
fn orders_that_name_units_twice_or_groups_that_are_not_there_are_refused() {
    let model = Architecture::ALL[0].build(1).unwrap();
    let structure = Structure::of(&model).unwrap();
    let count = structure.groups()[0].units.len();
    for orders in [[(0, vec![0; count])], [(0, vec![0])], [(99, Vec::new())]] {
        assert!(matches!(reorder(&model, &structure, &orders.into()), Err(StructureError::Order(_))));
    }
    let other = Net::new();
    let mut other = other;
    let x = other.input(&[3, 4, 4]);
    let other = other.head(x, 3);
    assert!(matches!(reorder(&other, &structure, &Orders::new()), Err(StructureError::OtherModel(_))));
}
