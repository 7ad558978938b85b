//! Constants through normalisations, pooling and other functions of several places.

use super::layout::over_all;
use super::{Failure, Pass, Remainder};
use crate::model::{Node, NodeId};
use crate::structure::rule::Norm;

impl Pass<'_> {
    /// Pooling, resizing and the like: a constant plane stays one, unless padding shows at its border.
    pub(super) fn mixed(&self, node: &Node, axes: &[usize]) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let padded = node.ints("pads").is_some_and(|pads| pads.iter().any(|&p| p != 0))
            || node.string("auto_pad").is_some_and(|pad| pad.starts_with("SAME"));
        let constant = match node.op.as_str() {
            "MaxPool" | "GlobalMaxPool" | "GlobalAveragePool" => true,
            "AveragePool" => !padded || node.int("count_include_pad", 0) == 0,
            "Resize" => node.string("coordinate_transformation_mode") != Some("tf_crop_and_resize"),
            _ => false,
        };
        self.table(node.output(), x.exact && constant, |at| {
            let value = over_all(x, |axis| (!axes.contains(&axis)).then(|| at(axis)));
            if constant || value == 0.0 { value } else { f64::NAN }
        })
    }

    pub(super) fn normalize(&mut self, id: NodeId, node: &Node, norm: Norm, axes: &[usize]) -> Option<Remainder> {
        if norm != Norm::Whole {
            for &axis in axes {
                self.vanishes(id, node, 0, axis);
            }
        }
        let x = self.operand(node, 0)?;
        let safe = norm != Norm::Whole;
        self.table(node.output(), false, |at| if safe && x.at(at) == 0.0 { 0.0 } else { f64::NAN })
    }

    /// Scale and shift along axis 1, after statistics that are stored or taken over space.
    pub(super) fn channelwise(&self, node: &Node, over_space: bool) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let parameter = |input: usize, at: &dyn Fn(usize) -> usize| {
            self.operand(node, input).filter(|r| r.exact).map_or(f64::NAN, |r| r.at(|_| at(1)))
        };
        self.table(node.output(), false, |at| {
            let (scale, shift) = (parameter(1, at), parameter(2, at));
            if scale == 0.0 {
                return shift;
            }
            if over_space {
                // A constant plane is its own mean.
                let plane = over_all(x, |axis| (axis < 2).then(|| at(axis)));
                return if plane.is_nan() { plane } else { shift };
            }
            let value = x.at(at);
            (value - parameter(3, at)) / (parameter(4, at) + epsilon).sqrt() * scale + shift
        })
    }

    /// As `channelwise`, with statistics over groups of channels.
    pub(super) fn grouped(&self, node: &Node, groups: usize) -> Option<Remainder> {
        let x = self.operand(node, 0)?;
        let channels = self.view.shape_of(node, 0)?.get(1)?.known()?;
        let size = channels.checked_div(groups).filter(|&n| n > 0)?;
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let parameter = |input: usize, channel: usize| {
            let Some(r) = self.operand(node, input).filter(|r| r.exact) else { return f64::NAN };
            let count = r.values.len();
            if count == channels { r.values[channel] } else { r.at(|_| channel / size) }
        };
        self.table(node.output(), false, |at| {
            let group = at(1) / size;
            let of_group = |c: usize| x.at(|axis| if axis == 1 { group * size + c } else { at(axis) });
            let mean = (0..size).map(of_group).sum::<f64>() / size as f64;
            let variance = (0..size).map(|c| (of_group(c) - mean).powi(2)).sum::<f64>() / size as f64;
            let scale = parameter(1, at(1));
            if scale == 0.0 {
                return parameter(2, at(1));
            }
            (x.at(at) - mean) / (variance + epsilon).sqrt() * scale + parameter(2, at(1))
        })
    }

    /// A hidden unit without weights and biases stays at zero; with biases it is on its way somewhere.
    pub(super) fn recurrent(&mut self, id: NodeId, node: &Node) -> Vec<Option<Remainder>> {
        self.folds(id, node, 0, 2);
        let Some(hidden) = self.view.shape_of(node, 2).and_then(|s| s.last()?.known()) else { return Vec::new() };
        let quiet = |direction: usize, unit: usize| {
            let bias = node.input(3).is_none_or(|_| {
                self.operand(node, 3).is_some_and(|b| {
                    let gates = b.axes.last().map_or(0, |&(_, n)| n / hidden);
                    (0..gates).all(|gate| b.at(|axis| if axis == 0 { direction } else { gate * hidden + unit }) == 0.0)
                })
            });
            let batch_first = node.int("layout", 0) != 0;
            let rests = |input: usize| {
                node.input(input).is_none_or(|_| {
                    self.operand(node, input).is_some_and(|s| {
                        s.at(|axis| match axis {
                            2 => unit,
                            a if a == usize::from(batch_first) => direction,
                            _ => 0,
                        }) == 0.0
                            && (s.exact || self.rank(node, input) == 3)
                    })
                })
            };
            bias && rests(5) && rests(6)
        };
        let Some(weight) = node.input(2) else { return Vec::new() };
        let mut failed = Vec::new();
        if let Some(Some(places)) = self.analysis.values[weight.0 as usize].get(2) {
            for (direction, row) in places.rows().enumerate() {
                for (unit, &set) in row.iter().enumerate() {
                    if self.analysis.can_go(set) && !quiet(direction, unit) {
                        failed.push(Failure { set, all: vec![set], node: id, weight: None });
                    }
                }
            }
        }
        let results = node.outputs.iter().map(|&output| self.table(output, false, |_| 0.0)).collect();
        self.failures.append(&mut failed);
        results
    }

    /// Values that are the same at every key come out as they are, whatever the weights of the keys.
    pub(super) fn attention(&mut self, id: NodeId, node: &Node) -> Option<Remainder> {
        let (queries, keys) = (self.operand(node, 0).cloned(), self.operand(node, 1).cloned());
        let axis = self.rank(node, 0).checked_sub(1)?;
        let zero = |r: &Option<Remainder>, at: &dyn Fn(usize) -> usize| r.as_ref().is_some_and(|r| r.at(at) == 0.0);
        let same = |input: usize| {
            self.view.shape_of(node, input).and_then(|s| s.get(1)) == self.view.shape_of(node, 0).and_then(|s| s.get(1))
        };
        let single =
            self.view.shape_of(node, 0).and_then(|s| s.last()) == self.view.shape_of(node, 1).and_then(|s| s.last());
        // With shared heads the places of queries and keys do not lie side by side.
        let aligned = if axis == 3 { same(1) } else { single };
        self.check(id, node, (0, axis), None, |at, v| v == 0.0 || (aligned && zero(&keys, at)));
        self.check(id, node, (1, axis), None, |at, v| v == 0.0 || (aligned && zero(&queries, at)));
        let values = self.operand(node, 2)?;
        self.table(node.output(), false, |at| {
            if values.is_zero() {
                0.0
            } else if aligned {
                values.at(at)
            } else {
                f64::NAN
            }
        })
    }

    /// Whether the rows of a value along its last axis add up to one.
    pub(super) fn sums_to_one(&self, node: &Node, input: usize) -> bool {
        let Some(mut value) = node.input(input) else { return false };
        let producer = |value| self.view.graph.nodes.iter().rev().find(|n| n.outputs.contains(&Some(value)));
        for _ in 0..4 {
            let Some(node) = producer(value) else { return false };
            match (node.op.as_str(), node.input(0)) {
                ("Softmax", Some(x)) => {
                    let rank = self.view.shape(x).map_or(0, Vec::len) as i64;
                    let axis = node.int("axis", -1);
                    return axis == -1 || axis == rank - 1;
                }
                ("Identity" | "Dropout" | "Cast", Some(x)) => value = x,
                _ => return false,
            }
        }
        false
    }
}
