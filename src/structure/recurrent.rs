//! LSTM, GRU and RNN: hidden units, each with its row of every gate.

use super::atoms::{Atom, Level};
use super::contract::{Term, contract};
use super::labels::{Axis, Labels};
use super::reason::Obstacle;
use super::rule::Barrier;
use super::walk::Walk;
use crate::model::{Attribute, Dim, Node};

/// Operands by position.
const W: usize = 1;
const R: usize = 2;
const B: usize = 3;
const LENGTHS: usize = 4;
const FIRST_STATE: usize = 5;
const PEEPHOLES: usize = 7;

/// Atoms of the results: one for each hidden unit of each direction.
pub fn recurrent(walk: &mut Walk<'_>, node: &Node, gates: usize) -> Result<Vec<Labels>, Barrier> {
    let (x, shape) = walk.operand(node, 0)?;
    let w = walk.shape(node, W)?;
    let [directions, hidden] =
        [walk.shape(node, R)?.first(), walk.shape(node, R)?.last()].map(|d| d.and_then(Dim::known));
    let (Some(directions), Some(hidden)) = (directions, hidden) else { return Err(Barrier::Dynamic) };
    if hidden == 0 || directions == 0 || shape.len() != 3 || w.len() != 3 || w[1].known() != Some(gates * hidden) {
        return Err(Barrier::Dynamic);
    }
    walk.pin_axes(&x, [0, 1], Obstacle::Mixed);
    let units: Vec<Atom> = (0..directions * hidden).map(|_| walk.atoms.fresh(Level::Channel)).collect();
    if !rests_at_zero(node) {
        let why = walk.because(Obstacle::Remainder);
        for &unit in &units {
            walk.atoms.pin(unit, why);
        }
    }
    let over = |axis: usize, times: usize| {
        let atoms = units.chunks_exact(hidden).flat_map(|row| row.iter().copied().cycle().take(row.len() * times));
        Axis::over(vec![(axis, directions)], hidden * times, atoms.collect())
    };
    let rows = |times: usize| vec![(1, over(0, times))];
    let all =
        [(W, rows(gates)), (R, vec![(1, over(0, gates)), (2, over(0, 1))]), (B, rows(2 * gates)), (PEEPHOLES, rows(3))];
    for (input, axes) in all {
        if let Some(value) = node.input(input) {
            walk.relabel(value, axes);
            let labels = walk.of(value);
            walk.pin_axes(&labels, [0], Obstacle::Mixed);
        }
    }
    let (w, w_shape) = walk.operand(node, W)?;
    let features = [
        Term { labels: vec![x[2].clone()], shape: &shape[2..].to_vec(), at: vec![0] },
        Term { labels: vec![w[2].clone()], shape: &w_shape[2..].to_vec(), at: vec![0] },
    ];
    contract(walk, &features, &[]);
    let batch_first = node.int("layout", 0) != 0;
    for state in [FIRST_STATE, FIRST_STATE + 1] {
        let Some(value) = node.input(state) else { continue };
        let labels = walk.of(value);
        walk.pin_axes(&labels, [0, 1], Obstacle::Mixed);
        if let Some(Some(_)) = labels.get(2) {
            walk.relabel(value, [(2, over(usize::from(batch_first), 1))]);
        } else {
            let why = walk.because(Obstacle::Joined);
            for &unit in &units {
                walk.atoms.pin(unit, why);
            }
        }
    }
    if let Some(lengths) = node.input(LENGTHS) {
        let labels = walk.of(lengths);
        walk.pin_axes(&labels, [0], Obstacle::Operator);
    }
    let all = vec![None, None, None, Some(over(if batch_first { 2 } else { 1 }, 1))];
    let last = vec![None, None, Some(over(usize::from(batch_first), 1))];
    Ok(vec![all, last.clone(), last])
}

/// Whether a unit without weights and biases stays at zero: its functions must take zero to zero.
fn rests_at_zero(node: &Node) -> bool {
    let Some(Attribute::Strings(names)) = node.attributes.get("activations") else { return true };
    let gates: &[usize] = match node.op.as_str() {
        "LSTM" => &[1, 2],
        "GRU" => &[1],
        _ => &[0],
    };
    let functions = match node.op.as_str() {
        "LSTM" => 3,
        "GRU" => 2,
        _ => 1,
    };
    let odd = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        matches!(name.as_str(), "tanh" | "relu" | "leakyrelu" | "softsign" | "elu" | "scaledtanh" | "thresholdedrelu")
    };
    names.chunks(functions).all(|direction| gates.iter().all(|&gate| direction.get(gate).is_none_or(|name| odd(name))))
}
