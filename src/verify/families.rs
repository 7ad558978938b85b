//! One small network for every family of operators that channels pass through.

use super::net::Net;
use super::{Check, VerifyError, proof};
use crate::model::{Attribute, ValueId};
use crate::structure::Structure;

/// Builds a network and says where it ends.
pub type Family = fn(&mut Net) -> ValueId;

/// All of them by name.
pub const FAMILIES: [(&str, Family); 15] = [
    ("convolutions, batch-norm and padding", convolutions),
    ("one-dimensional convolutions", series),
    ("depthwise convolution", depthwise),
    ("grouped convolution", grouped),
    ("transposed convolution", transposed),
    ("residual sums", residual),
    ("concatenation", concatenation),
    ("split and gate", gate),
    ("squeeze and excite", excite),
    ("channel shuffle", shuffle),
    ("flattened into a linear layer", flattened),
    ("layer normalisation and GELU", mixer),
    ("attention heads", attention),
    ("LSTM", lstm),
    ("GRU", gru),
];

const EXAMPLES: usize = 8;

/// Half of every group of a network, masked against shrunk.
pub fn check(name: &str, family: Family) -> Result<Check, VerifyError> {
    let mut net = Net::new();
    let y = family(&mut net);
    let model = net.done(y)?;
    let structure = Structure::of(&model)?;
    let removal = proof::half(&model, &structure);
    Ok(proof::shrunk(name, &model, &structure, &removal, EXAMPLES)?.1)
}

/// Channels of a convolution through something, into another convolution.
fn through(net: &mut Net, f: impl Fn(&mut Net, ValueId) -> ValueId) -> ValueId {
    let x = net.input(&[3, 6, 6]);
    let h = net.conv("a", x, &[8, 3, 3, 3], 1);
    let h = f(net, h);
    let h = net.conv("b", h, &[6, 8, 3, 3], 1);
    net.head(h, 6)
}

fn convolutions(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let h = net.batch_norm("norm", h, 8);
        net.relu(h)
    })
}

fn series(net: &mut Net) -> ValueId {
    let x = net.input(&[3, 16]);
    let h = net.conv("a", x, &[8, 3, 5], 1);
    let h = net.node("Sigmoid", &[h], &[]);
    let h = net.conv("b", h, &[6, 8, 3], 1);
    net.head(h, 6)
}

fn depthwise(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let h = net.conv("depthwise", h, &[8, 1, 3, 3], 8);
        net.node("HardSwish", &[h], &[])
    })
}

fn grouped(net: &mut Net) -> ValueId {
    through(net, |net, h| net.conv("grouped", h, &[8, 4, 3, 3], 2))
}

fn transposed(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let (w, b) = (net.data("up.weight", &[8, 8, 2, 2], 0.0), net.data("up.bias", &[8], 0.0));
        net.node("ConvTranspose", &[h, w, b], &[("strides", Attribute::Ints(vec![2, 2]))])
    })
}

fn residual(net: &mut Net) -> ValueId {
    let x = net.input(&[3, 6, 6]);
    let mut h = net.conv("stem", x, &[8, 3, 3, 3], 1);
    for name in ["one", "two"] {
        let y = net.conv(&format!("{name}.conv1"), h, &[6, 8, 3, 3], 1);
        let y = net.batch_norm(&format!("{name}.norm"), y, 6);
        let y = net.relu(y);
        let y = net.conv(&format!("{name}.conv2"), y, &[8, 6, 3, 3], 1);
        h = net.node("Add", &[y, h], &[]);
        h = net.relu(h);
    }
    net.head(h, 8)
}

fn concatenation(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let other = net.conv("other", h, &[4, 8, 1, 1], 1);
        let all = net.node("Concat", &[other, h, h], &[("axis", Attribute::Int(1))]);
        net.conv("mix", all, &[8, 20, 3, 3], 1)
    })
}

fn gate(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let wide = net.conv("wide", h, &[16, 8, 1, 1], 1);
        let (value, gate) = (net.channels(wide, 0, 8), net.channels(wide, 8, 16));
        let gate = net.node("Sigmoid", &[gate], &[]);
        net.node("Mul", &[value, gate], &[])
    })
}

fn excite(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let s = net.node("GlobalAveragePool", &[h], &[]);
        let s = net.conv("reduce", s, &[4, 8, 1, 1], 1);
        let s = net.relu(s);
        let s = net.conv("expand", s, &[8, 4, 1, 1], 1);
        let s = net.node("HardSigmoid", &[s], &[]);
        net.node("Mul", &[h, s], &[])
    })
}

fn shuffle(net: &mut Net) -> ValueId {
    through(net, |net, h| {
        let h = net.reshape(h, &[0, 2, 4, 6, 6]);
        let h = net.transpose(h, &[0, 2, 1, 3, 4]);
        net.reshape(h, &[0, 8, 6, 6])
    })
}

fn flattened(net: &mut Net) -> ValueId {
    let x = net.input(&[3, 4, 4]);
    let h = net.conv("a", x, &[6, 3, 3, 3], 1);
    let h = net.relu(h);
    let h = net.node("Flatten", &[h], &[]);
    let h = net.dense("fc", h, (96, 8));
    let h = net.relu(h);
    net.dense("last", h, (8, 3))
}

fn mixer(net: &mut Net) -> ValueId {
    let x = net.input(&[5, 6]);
    let h = net.dense("stem", x, (6, 8));
    let (scale, shift) = (net.data("norm.weight", &[8], 1.0), net.data("norm.bias", &[8], 0.0));
    let y = net.node("LayerNormalization", &[h, scale, shift], &[]);
    let y = net.dense("up", y, (8, 12));
    let y = net.node("Gelu", &[y], &[]);
    let y = net.dense("down", y, (12, 8));
    let h = net.node("Add", &[h, y], &[]);
    net.dense("head", h, (8, 3))
}

fn attention(net: &mut Net) -> ValueId {
    let x = net.input(&[5, 8]);
    let [q, k, v] = ["q", "k", "v"].map(|name| {
        let h = net.dense(name, x, (8, 16));
        let h = net.reshape(h, &[0, 0, 4, 4]);
        net.transpose(h, if name == "k" { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] })
    });
    let scores = net.node("MatMul", &[q, k], &[]);
    let scores = net.node("Softmax", &[scores], &[]);
    let mixed = net.node("MatMul", &[scores, v], &[]);
    let mixed = net.transpose(mixed, &[0, 2, 1, 3]);
    let mixed = net.reshape(mixed, &[0, 0, 16]);
    let out = net.dense("out", mixed, (16, 8));
    net.node("Add", &[x, out], &[])
}

fn lstm(net: &mut Net) -> ValueId {
    recurrent(net, "LSTM", 4)
}

fn gru(net: &mut Net) -> ValueId {
    recurrent(net, "GRU", 3)
}

fn recurrent(net: &mut Net, op: &str, gates: usize) -> ValueId {
    let x = net.input(&[4, 7]);
    let h = net.conv("features", x, &[6, 4, 3], 1);
    let h = net.node("Sigmoid", &[h], &[]);
    let h = net.transpose(h, &[2, 0, 1]);
    let parts = [("w", vec![1, gates * 6, 6]), ("r", vec![1, gates * 6, 6]), ("b", vec![1, gates * 12])];
    let [w, r, b] = parts.map(|(part, shape)| net.data(&format!("rnn.{part}"), &shape, 0.0));
    let h = net.node(op, &[h, w, r, b], &[("hidden_size", Attribute::Int(6))]);
    let h = net.transpose(h, &[2, 0, 1, 3]);
    let h = net.reshape(h, &[0, 0, 6]);
    net.dense("out", h, (6, 3))
}
