//! Hidden units of recurrent layers.

use super::net::{Int, Net};
use super::{group_of, inputs, pinned, prove, share};
use secateur::model::{Attribute, Dim, Model, ValueId};
use secateur::structure::{Removal, Structure, UnitKind};

const GATES: [(&str, usize); 3] = [("LSTM", 4), ("GRU", 3), ("RNN", 1)];

/// Features of a convolution, a recurrent layer of five units over seven steps, a linear layer on all steps.
fn net(op: &str, gates: usize, both: bool, state: impl Fn(&mut Net) -> Option<ValueId>) -> Model {
    let mut net = Net::new();
    let x = net.input(&[4, 7]);
    let h = net.conv_with("features", x, &[6, 4, 3], &[("pads", Attribute::Ints(vec![1, 1]))]);
    let h = net.node("Sigmoid", &[h], &[]);
    let h = net.transpose(h, &[2, 0, 1]);
    let directions = 1 + usize::from(both);
    let w = net.data("rnn.w", &[directions, gates * 5, 6]);
    let r = net.data("rnn.r", &[directions, gates * 5, 5]);
    let b = net.data("rnn.b", &[directions, gates * 10]);
    let state = state(&mut net);
    let mut attributes = vec![("hidden_size", Int(5))];
    if both {
        attributes.push(("direction", Attribute::String(b"bidirectional".to_vec())));
    }
    let inputs = vec![Some(h), Some(w), Some(r), Some(b), None, state];
    let h = net.b.node_with("rnn", op, inputs, &attributes);
    let h = net.transpose(h, &[2, 0, 1, 3]);
    let h = net.reshape(h, &[0, 0, 5 * directions as i64]);
    let y = net.dense("out", h, 3, 5 * directions);
    net.done(y)
}

#[test]
fn hidden_units_go_with_their_rows_of_every_gate_and_their_columns() {
    for (op, gates) in GATES {
        for both in [false, true] {
            let model = net(op, gates, both, |_| None);
            let structure = Structure::of(&model).unwrap();
            let inputs = inputs(&model, 2);
            for ratio in [0.2, 0.4, 0.8] {
                prove(&model, &structure, &share(&structure, ratio, 4), &inputs);
            }
            let group = group_of(&structure, "rnn.w");
            assert_eq!(
                (group.kind, group.units.len(), group.blocks.len()),
                (UnitKind::Hidden, if both { 10 } else { 5 }, 1 + usize::from(both))
            );
            let slices = structure.slices(group.units[1]);
            let count =
                |tensor: &str, axis: usize| slices.iter().filter(|s| s.tensor == tensor && s.axis == axis).count();
            assert_eq!(
                [count("rnn.w", 1), count("rnn.r", 1), count("rnn.r", 2), count("rnn.b", 1)],
                [gates, gates, 1, 2 * gates]
            );
            // Constant features become part of the bias.
            let features = group_of(&structure, "features").units[0];
            let shrunk = prove(&model, &structure, &Removal::of([features]), &inputs);
            assert_eq!(shrunk.model.tensors["rnn.w"].shape()[2], 5);
        }
    }
}

#[test]
fn a_first_state_of_zeros_follows_and_a_given_one_pins() {
    let zeros = |net: &mut Net| {
        let shape = net.ints(&[1, 2, 5]);
        Some(net.node("ConstantOfShape", &[shape], &[]))
    };
    let model = net("GRU", 3, false, zeros);
    let structure = Structure::of(&model).unwrap();
    prove(&model, &structure, &share(&structure, 0.4, 4), &inputs(&model, 2));
    let given = |net: &mut Net| Some(net.b.input("state", vec![1.into(), Dim::symbol("batch"), 5.into()]));
    let structure = Structure::of(&net("GRU", 3, false, given)).unwrap();
    assert_eq!(
        pinned(&structure, "rnn.w")[0].1,
        "pinned: `rnn` (GRU) joins it with something that cannot be shortened"
    );
}
