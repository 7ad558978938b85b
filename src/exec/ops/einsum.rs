use super::linear::integer_matmul;
use super::types::{Carrier, carrier_of};
use super::{Build, Built, Inputs, NodeContext, Operator, Pass};
use candle_core::{Result, Tensor, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("Einsum", Einsum::build)];

/// Labels of an ellipsis' axes, counted from the last one, so that they broadcast.
const ELLIPSIS: u32 = 1 << 24;

/// An axis by its letter.
type Label = u32;

/// Sums of products in Einstein's notation.
#[derive(Debug)]
struct Einsum {
    /// The letters of each operand; `.` stands for an ellipsis.
    operands: Vec<Vec<char>>,
    /// The letters of the result, if they are given.
    result: Option<Vec<char>>,
}

impl Einsum {
    fn build(context: &NodeContext<'_>) -> Built {
        let equation = context.node.string("equation").ok_or("the equation is missing")?;
        let letters = |term: &str| -> std::result::Result<Vec<char>, String> {
            let term = term.replace("...", ".").replace(' ', "");
            let plain = term.chars().all(|c| c.is_ascii_alphabetic() || c == '.');
            if plain { Ok(term.chars().collect()) } else { Err(format!("equation `{equation}` cannot be read")) }
        };
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left, Some(letters(right)?)),
            None => (equation, None),
        };
        let operands = left.split(',').map(letters).collect::<std::result::Result<Vec<_>, _>>()?;
        if operands.len() != context.node.inputs.len() {
            return Err(format!("equation `{equation}` does not fit {} operands", context.node.inputs.len()));
        }
        Ok(Arc::new(Self { operands, result: right }))
    }
}

/// The labels of letters for a tensor of `rank` axes.
fn labels(letters: &[char], rank: usize) -> Result<Vec<Label>> {
    let named = letters.iter().filter(|c| **c != '.').count();
    let Some(hidden) = rank.checked_sub(named) else { bail!("{named} letters do not fit {rank} axes") };
    let mut labels = Vec::with_capacity(rank);
    for &c in letters {
        if c == '.' {
            labels.extend((0..hidden as u32).rev().map(|i| ELLIPSIS + i));
        } else {
            labels.push(u32::from(c));
        }
    }
    if labels.len() != rank {
        bail!("{} letters do not fit {rank} axes", labels.len());
    }
    Ok(labels)
}

/// A tensor with a label on each axis.
struct Term {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Term {
    /// Every repeated label read along its diagonal.
    fn without_repeats(mut self) -> Result<Self> {
        while let Some((first, second)) = repeated(&self.labels) {
            let n = self.tensor.dims()[first];
            if self.tensor.dims()[second] != n {
                bail!("a letter stands for extents {n} and {}", self.tensor.dims()[second]);
            }
            let others: Vec<usize> = (0..self.labels.len()).filter(|&a| a != first && a != second).collect();
            let order = [vec![first, second], others.clone()].concat();
            let moved = self.tensor.permute(order)?.contiguous()?;
            let shape = [vec![n * n], moved.dims()[2..].to_vec()].concat();
            let diagonal: Vec<i64> = (0..n).map(|i| (i * n + i) as i64).collect();
            let diagonal = Tensor::from_vec(diagonal, n, moved.device())?;
            self.labels = std::iter::once(self.labels[first]).chain(others.iter().map(|&a| self.labels[a])).collect();
            self.tensor = moved.reshape(shape)?.index_select(&diagonal, 0)?;
        }
        Ok(self)
    }

    /// Summed over axes whose label is not `needed`.
    fn summed(self, needed: impl Fn(Label) -> bool) -> Result<Self> {
        let gone: Vec<usize> = (0..self.labels.len()).filter(|&a| !needed(self.labels[a])).collect();
        if gone.is_empty() {
            return Ok(self);
        }
        let labels = self.labels.iter().copied().filter(|&l| needed(l)).collect();
        Ok(Self { tensor: self.tensor.sum(gone)?, labels })
    }

    /// Axes in the order of `labels`, joined into three.
    fn as_matrices(&self, groups: [&[Label]; 3], extents: &BTreeMap<Label, usize>) -> Result<Tensor> {
        let mut order = Vec::new();
        let mut shape = Vec::new();
        let mut tensor = self.tensor.clone();
        for group in groups {
            for label in group {
                if let Some(axis) = self.labels.iter().position(|l| l == label) {
                    order.push(axis);
                } else {
                    // An ellipsis' axis that only the other operand has.
                    tensor = tensor.unsqueeze(tensor.rank())?;
                    order.push(tensor.rank() - 1);
                }
                shape.push(extents[label]);
            }
        }
        let tensor = tensor.permute(order)?.broadcast_as(shape)?.contiguous()?;
        let size = |group: &[Label]| group.iter().map(|l| extents[l]).product::<usize>();
        tensor.reshape((size(groups[0]), size(groups[1]), size(groups[2])))
    }

    fn times(&self, other: &Self, needed: impl Fn(Label) -> bool) -> Result<Self> {
        let mut extents: BTreeMap<Label, usize> = BTreeMap::new();
        for (term, axis) in [self, other].into_iter().flat_map(|t| (0..t.labels.len()).map(move |a| (t, a))) {
            let (label, n) = (term.labels[axis], term.tensor.dims()[axis]);
            let present = extents.entry(label).or_insert(n);
            if *present != n && *present != 1 && n != 1 {
                bail!("a letter stands for extents {present} and {n}");
            }
            *present = n.max(*present);
        }
        let has = |term: &Self, label: &Label| term.labels.contains(label);
        let of = |f: &dyn Fn(&Label) -> bool| extents.keys().copied().filter(|l| f(l)).collect::<Vec<Label>>();
        let batch = of(&|l| has(self, l) && has(other, l) && needed(*l));
        let inner = of(&|l| has(self, l) && has(other, l) && !needed(*l));
        let rows = of(&|l| has(self, l) && !has(other, l));
        let columns = of(&|l| !has(self, l) && has(other, l));
        let a = self.as_matrices([&batch, &rows, &inner], &extents)?;
        let b = other.as_matrices([&batch, &inner, &columns], &extents)?;
        let product = if carrier_of(&a) == Carrier::Integer { integer_matmul(&a, &b)? } else { a.matmul(&b)? };
        let labels = [batch, rows, columns].concat();
        let shape: Vec<usize> = labels.iter().map(|l| extents[l]).collect();
        Ok(Self { tensor: product.reshape(shape)?, labels })
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    let second = (1..labels.len()).find(|&i| labels[..i].contains(&labels[i]))?;
    Some((labels.iter().position(|l| *l == labels[second])?, second))
}

impl Operator for Einsum {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let tensors = inputs.all()?;
        let mut terms = Vec::with_capacity(tensors.len());
        for (letters, tensor) in self.operands.iter().zip(&tensors) {
            let term = Term { tensor: (*tensor).clone(), labels: labels(letters, tensor.rank())? };
            terms.push(term.without_repeats()?);
        }
        let widest = terms.iter().flat_map(|t| &t.labels).filter(|l| **l >= ELLIPSIS).max();
        let hidden = widest.map_or(0, |l| (l - ELLIPSIS + 1) as usize);
        let result = if let Some(letters) = &self.result {
            let named = letters.iter().filter(|c| **c != '.').count();
            labels(letters, if named == letters.len() { named } else { named + hidden })?
        } else {
            // Without one: the ellipsis, then letters that occur once, in alphabetical order.
            let mut letters: Vec<char> = self.operands.iter().flatten().copied().filter(|c| *c != '.').collect();
            letters.sort_unstable();
            let once = letters.iter().filter(|c| letters.iter().filter(|d| d == c).count() == 1);
            let ellipsis = (0..hidden as u32).rev().map(|i| ELLIPSIS + i);
            ellipsis.chain(once.map(|&c| u32::from(c))).collect()
        };
        let mut rest = terms.into_iter();
        let Some(mut product) = rest.next() else { bail!("it has no operand") };
        let mut later: Vec<Term> = rest.collect();
        while !later.is_empty() {
            let next = later.remove(0);
            let needed = |l: Label| result.contains(&l) || later.iter().any(|t| t.labels.contains(&l));
            let first = product.summed(|l| needed(l) || next.labels.contains(&l))?;
            let second = next.summed(|l| needed(l) || first.labels.contains(&l))?;
            product = first.times(&second, needed)?;
        }
        let product = product.summed(|l| result.contains(&l))?;
        let axis = |l: &Label| product.labels.iter().position(|own| own == l);
        let Some(order) = result.iter().map(axis).collect::<Option<Vec<usize>>>() else {
            bail!("a letter of the result stands on no operand");
        };
        Ok(vec![product.tensor.permute(order)?.contiguous()?])
    }
}
