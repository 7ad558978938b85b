//! Random networks of everything that channels pass through.

use super::net::{Int, Ints, Net};
use super::reorder::same_in_any_order;
use super::{inputs, prove, share};
use proptest::prelude::*;
use secateur::model::{Model, ValueId};
use secateur::structure::Structure;

/// A feature map that later steps may read.
#[derive(Clone, Copy)]
struct Map {
    value: ValueId,
    channels: usize,
}

/// One step: what it does, and which maps it reads.
type Step = (u8, usize, usize);

fn build(steps: &[Step]) -> Model {
    let mut net = Net::new();
    let x = net.input(&[3, 4, 4]);
    let first = net.conv("stem", x, [8, 3, 3, 3]);
    let mut maps = vec![Map { value: first, channels: 8 }];
    for (index, &(kind, a, b)) in steps.iter().enumerate() {
        let (a, b) = (maps[a % maps.len()], maps[b % maps.len()]);
        let name = format!("s{index}");
        let c = a.channels;
        let (value, channels) = match kind % 16 {
            0 => (net.conv(&name, a.value, [8, c, 3, 3]), 8),
            1 => (net.conv(&name, a.value, [12, c, 1, 1]), 12),
            2 => {
                let h = net.conv(&name, a.value, [8, c, 3, 3]);
                let h = net.batch_norm(&format!("{name}.norm"), h, 8);
                (net.relu(h), 8)
            }
            3 => (
                net.conv_with(&name, a.value, &[c, 1, 3, 3], &[("group", Int(c as i64)), ("pads", Ints(vec![1; 4]))]),
                c,
            ),
            4 if c.is_multiple_of(4) => {
                (net.conv_with(&name, a.value, &[8, c / 4, 3, 3], &[("group", Int(4)), ("pads", Ints(vec![1; 4]))]), 8)
            }
            5 if c == b.channels => (net.node("Add", &[a.value, b.value], &[]), c),
            6 if c + b.channels <= 32 => (net.node("Concat", &[a.value, b.value], &[("axis", Int(1))]), c + b.channels),
            7 if c > 4 => (net.slice(a.value, 1, 1, c as i64 - 2), c - 3),
            8 if c.is_multiple_of(2) => {
                let h = net.reshape(a.value, &[0, 2, c as i64 / 2, 4, 4]);
                let h = net.transpose(h, &[0, 2, 1, 3, 4]);
                (net.reshape(h, &[0, c as i64, 4, 4]), c)
            }
            9 => {
                let s = net.node("GlobalAveragePool", &[a.value], &[]);
                let s = net.conv(&format!("{name}.down"), s, [4, c, 1, 1]);
                let s = net.relu(s);
                let s = net.conv(&format!("{name}.up"), s, [c, 4, 1, 1]);
                let s = net.node("Sigmoid", &[s], &[]);
                (net.node("Mul", &[a.value, s], &[]), c)
            }
            10 => (net.node("Tanh", &[a.value], &[]), c),
            11 => {
                let slope = net.data(&format!("{name}.slope"), &[c, 1, 1]);
                (net.node("PRelu", &[a.value, slope], &[]), c)
            }
            12 => {
                let window = [("kernel_shape", Ints(vec![3; 2])), ("pads", Ints(vec![1; 4]))];
                (net.node(if b.channels.is_multiple_of(2) { "MaxPool" } else { "AveragePool" }, &[a.value], &window), c)
            }
            13 if c <= 12 => {
                let pads = net.ints(&[0, 2, 0, 0, 0, 2, 0, 0]);
                (net.node("Pad", &[a.value, pads], &[]), c + 4)
            }
            14 => {
                let w = net.data(&format!("{name}.weight"), &[c, 8, 3, 3]);
                (net.named(&name, "ConvTranspose", &[a.value, w], &[("pads", Ints(vec![1; 4]))]), 8)
            }
            15 if c == b.channels => (net.node("Mul", &[a.value, b.value], &[]), c),
            _ => (net.node("Sigmoid", &[a.value], &[]), c),
        };
        maps.push(Map { value, channels });
    }
    let last = maps[maps.len() - 1];
    // Bounded, so that products of products stay numbers.
    let h = net.node("Tanh", &[last.value], &[]);
    let flat = net.node("Flatten", &[h], &[]);
    let y = net.linear("head", flat, 3, last.channels * 16);
    net.done(y)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_masked_is_shrunk(
        steps in proptest::collection::vec((any::<u8>(), 0usize..64, 0usize..64), 1..12),
        ratio in 0.1f64..0.9,
        seed in 0u64..1000,
    ) {
        let model = build(&steps);
        let structure = Structure::of(&model).unwrap();
        let removal = share(&structure, ratio, seed);
        prove(&model, &structure, &removal, &inputs(&model, 2));
    }

    #[test]
    fn whatever_the_network_channels_that_may_change_places_can(
        steps in proptest::collection::vec((any::<u8>(), 0usize..64, 0usize..64), 1..12),
    ) {
        same_in_any_order(&build(&steps), 2);
    }
}
