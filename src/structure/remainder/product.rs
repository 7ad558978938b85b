//! Constants into and out of products.

use super::{Pass, Remainder};
use crate::model::{Node, NodeId};

impl Pass<'_> {
    /// The output of a layer whose weights are zeroed: its bias.
    pub(super) fn weighted(&self, id: NodeId, node: &Node, axis: usize) -> Option<Remainder> {
        if !self.producers.nodes.contains_key(&id) {
            return None;
        }
        let output = node.output()?;
        // Where something else shrinks as well, a place may also have gone that way.
        let alone =
            self.shrinking(output).iter().all(|&a| a == axis) || self.operand(node, 0).is_some_and(Remainder::is_zero);
        let bias = node.input(2).map(|_| self.operand(node, 2).filter(|r| r.exact));
        self.table(Some(output), false, |at| match bias {
            _ if !alone => f64::NAN,
            None => 0.0,
            Some(None) => f64::NAN,
            Some(Some(bias)) => bias.at(|_| at(axis)),
        })
    }

    pub(super) fn gemm(&mut self, id: NodeId, node: &Node, turned: [bool; 2]) -> Option<Remainder> {
        let stored = |input: usize| node.input(input).is_some_and(|v| self.analysis.stored[v.0 as usize]);
        let (left, right) = (stored(0), stored(1));
        let inner = [usize::from(!turned[0]), usize::from(turned[1])];
        match (left, right) {
            (_, true) => self.folds(id, node, 0, inner[0]),
            (true, false) => self.folds(id, node, 1, inner[1]),
            (false, false) => self.meets(id, node, inner),
        }
        if !self.producers.nodes.contains_key(&id) {
            return None;
        }
        let axis = usize::from(right);
        let output = node.output()?;
        let alone = self.shrinking(output).iter().all(|&a| a == axis);
        let beta = f64::from(node.float("beta", 1.0));
        let offset = 2usize.saturating_sub(self.rank(node, 2));
        let bias = node.input(2).map(|_| self.operand(node, 2).filter(|r| r.exact));
        self.table(Some(output), false, |at| match bias {
            _ if !alone => f64::NAN,
            None => 0.0,
            Some(None) => f64::NAN,
            // A bias that differs along the other axis is no constant; without atoms there it does not show here.
            Some(Some(bias)) => beta * bias.at(|a| at(a + offset)),
        })
    }

    pub(super) fn mat_mul(&mut self, id: NodeId, node: &Node) -> Option<Remainder> {
        let stored = |input: usize| node.input(input).is_some_and(|v| self.analysis.stored[v.0 as usize]);
        let (left, right) = (stored(0), stored(1));
        let (p, q) = (self.rank(node, 0), self.rank(node, 1));
        let inner = [p.checked_sub(1)?, q.saturating_sub(2)];
        let output = node.output()?;
        let rank = self.view.shape(output)?.len();
        if right && p >= 1 {
            self.folds(id, node, 0, inner[0]);
            return self.weighted_product(id, node, rank.checked_sub(1)?, 0);
        }
        if left {
            self.folds(id, node, 1, inner[1]);
            return self.weighted_product(id, node, rank.checked_sub(usize::from(q > 1) + 1)?, 1);
        }
        self.meets(id, node, inner);
        self.mixture(node, rank, (p, q))
    }

    fn weighted_product(&self, id: NodeId, node: &Node, axis: usize, other: usize) -> Option<Remainder> {
        if !self.producers.nodes.contains_key(&id) {
            let zero = self.operand(node, other).is_some_and(Remainder::is_zero);
            return self.table(node.output(), false, |_| if zero { 0.0 } else { f64::NAN });
        }
        let output = node.output()?;
        let alone = self.shrinking(output).iter().all(|&a| a == axis)
            || self.operand(node, other).is_some_and(Remainder::is_zero);
        self.table(Some(output), false, |_| if alone { 0.0 } else { f64::NAN })
    }

    /// The inner places of a product of two computed values must be zero on one side.
    fn meets(&mut self, id: NodeId, node: &Node, inner: [usize; 2]) {
        let operands = [0, 1].map(|input| self.operand(node, input).cloned());
        for (input, other) in [(0, 1), (1, 0)] {
            let whole = operands[other].as_ref().is_some_and(|r| !r.exact && r.is_zero());
            let same_heads = self.rank(node, 0) == self.rank(node, 1);
            let axes = inner;
            let operands = &operands;
            self.check(id, node, (input, inner[input]), None, move |at, v| {
                let across = || {
                    operands[other].as_ref().is_some_and(|r| {
                        r.at(|axis| if axis == axes[other] { at(axes[input]) } else { at(axis) }) == 0.0
                    })
                };
                v == 0.0 || whole || (same_heads && across())
            });
        }
    }

    /// Values mixed with weights that add up to one stay what they are where all of them are the same.
    fn mixture(&self, node: &Node, rank: usize, (p, q): (usize, usize)) -> Option<Remainder> {
        let weights = self.sums_to_one(node, 0);
        let (a, b) = (self.operand(node, 0), self.operand(node, 1));
        let batch = rank.saturating_sub(2);
        let covered = [
            self.covers(node, 0, batch.saturating_sub(p.saturating_sub(2))),
            self.covers(node, 1, batch.saturating_sub(q.saturating_sub(2))),
        ];
        self.table(node.output(), false, |at| {
            let offset = |r: usize| batch.saturating_sub(r.saturating_sub(2));
            let zero = |x: Option<&Remainder>, r: usize, covered: bool| {
                covered && x.is_some_and(|x| along_inner(x, r, |axis| at(axis + offset(r))).all(|v| v == 0.0))
            };
            let left_zero = covered[0] && p == rank && a.is_some_and(|x| zero_rows(x, p, at));
            if left_zero || zero(b, q, covered[1]) {
                return 0.0;
            }
            match b {
                Some(b) if weights && covered[1] && q >= 2 => {
                    let mut values = along_inner(b, q, |axis| at(axis + offset(q)));
                    let first = values.next().unwrap_or(f64::NAN);
                    if values.all(|v| v == first) { first } else { f64::NAN }
                }
                _ => f64::NAN,
            }
        })
    }
}

/// The constants of a right operand along its inner axis.
fn along_inner<'a>(x: &'a Remainder, rank: usize, at: impl Fn(usize) -> usize + 'a) -> impl Iterator<Item = f64> + 'a {
    let inner = rank.saturating_sub(2);
    let count = x.axes.iter().find(|&&(axis, _)| axis == inner).map_or(1, |&(_, n)| n);
    (0..count).map(move |k| x.at(|axis| if axis == inner { k } else { at(axis) }))
}

/// Whether a left operand is zero along its inner axis.
fn zero_rows(x: &Remainder, rank: usize, at: impl Fn(usize) -> usize) -> bool {
    let inner = rank.saturating_sub(1);
    let count = x.axes.iter().find(|&&(axis, _)| axis == inner).map_or(1, |&(_, n)| n);
    (0..count).all(|k| x.at(|axis| if axis == inner { k } else { at(axis) }) == 0.0)
}
