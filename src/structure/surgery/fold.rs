//! Constants of removed channels, added to the bias of what read them.

use super::super::error::StructureError;
use super::super::rule::Rule;
use super::edit::Edit;
use super::stored::{Numbers, tensor_of};
use super::{Border, Inexact};
use crate::model::{Attribute, Node, NodeId, ValueId};

fn lost(node: &Node) -> StructureError {
    StructureError::Remainder(node.label().to_owned())
}

/// Operators to put behind a node.
pub type Steps = Vec<(&'static str, ValueId)>;

impl Edit<'_> {
    /// What a weight contributes for each of its outputs that stay.
    pub fn fold(&mut self, id: NodeId, node: &mut Node, rule: &Rule) -> Result<Steps, StructureError> {
        match rule {
            Rule::Conv { groups, transposed } => self.fold_conv(id, node, *groups, *transposed),
            Rule::Gemm { turned } => self.fold_gemm(node, *turned),
            Rule::MatMul => self.fold_product(id, node),
            Rule::Recurrent { .. } => self.fold_recurrent(node).map(|()| Steps::new()),
            _ => Ok(Steps::new()),
        }
    }

    fn fold_conv(
        &mut self,
        id: NodeId,
        node: &mut Node,
        groups: usize,
        transposed: bool,
    ) -> Result<Steps, StructureError> {
        let Some(constants) = self.constants(node.input(0), 1) else { return Ok(Steps::new()) };
        let (Some(weight), Some(output)) = (node.input(1).and_then(|w| self.numbers(w)), node.output()) else {
            return Err(lost(node));
        };
        let taps = contributions(&weight, &constants, groups, transposed);
        let kept = self.kept_rows(output, 1).into_iter().next();
        let kept: Vec<usize> = kept.unwrap_or_else(|| (0..taps.len()).collect());
        let taps: Vec<Vec<f64>> = kept.into_iter().map(|o| taps[o].clone()).collect();
        if taps.iter().flatten().all(|&t| t == 0.0) {
            return Ok(Steps::new());
        }
        let padded = node.ints("pads").is_some_and(|pads| pads.iter().any(|&p| p != 0))
            || node.string("auto_pad").is_some_and(|pad| pad.starts_with("SAME"));
        if (padded || transposed) && self.options.border == Border::Exact {
            return self.add_border(id, node, &weight, &taps, transposed);
        }
        if padded || transposed {
            self.inexact.push(Inexact {
                node: node.label().to_owned(),
                reason: "a removed channel was constant, and beyond the padded border it was zero".to_owned(),
            });
        }
        let sums: Vec<f64> = taps.iter().map(|taps| taps.iter().sum()).collect();
        self.add_to_bias(node, 2, &sums, &weight)
    }

    /// Adds to a bias of one number for each output, which may not be there yet.
    fn add_to_bias(
        &mut self,
        node: &mut Node,
        input: usize,
        sums: &[f64],
        like: &Numbers,
    ) -> Result<Steps, StructureError> {
        let Some(bias) = node.input(input) else {
            let tensor = tensor_of(like.dtype, vec![sums.len()], sums)?;
            let stem = self.stem(node);
            let value = self.data(&format!("{stem}.bias"), tensor);
            node.inputs.resize(node.inputs.len().max(input + 1), None);
            node.inputs[input] = Some(value);
            return Ok(Steps::new());
        };
        let name = &self.view.graph.value(bias).name;
        let Some(old) = self.model.tensors.get(name) else {
            let rank = node.output().and_then(|o| self.view.shape(o)).map_or(2, Vec::len);
            let shape = [vec![sums.len()], vec![1; rank.saturating_sub(2)]].concat();
            let stem = self.stem(node);
            let value = self.data(&format!("{stem}.constant"), tensor_of(like.dtype, shape, sums)?);
            return Ok(vec![("Add", value)]);
        };
        let values: Vec<f64> = old.to_f32().iter().zip(sums).map(|(&b, s)| f64::from(b) + s).collect();
        let tensor = tensor_of(old.dtype(), old.shape().to_vec(), &values)?;
        node.inputs[input] = Some(self.replace(bias, tensor));
        Ok(Steps::new())
    }

    /// What names of new data begin with.
    pub fn stem(&self, node: &Node) -> String {
        let weight = node.inputs.iter().flatten().find_map(|&v| {
            let name = &self.view.graph.value(v).name;
            self.view.model.tensors.contains_key(name).then_some(name)
        });
        weight.map_or_else(|| node.label().to_owned(), |name| name.strip_suffix(".weight").unwrap_or(name).to_owned())
    }

    fn fold_gemm(&mut self, node: &mut Node, turned: [bool; 2]) -> Result<Steps, StructureError> {
        let stored = |input: usize| node.input(input).is_some_and(|v| self.structure.analysis.stored[v.0 as usize]);
        let right = stored(1);
        let (data, weight) = if right { (0, 1) } else { (1, 0) };
        let inner = [usize::from(!turned[0]), usize::from(turned[1])];
        let Some(constants) = self.constants(node.input(data), inner[data]) else { return Ok(Steps::new()) };
        let (Some(numbers), Some(output)) = (node.input(weight).and_then(|w| self.numbers(w)), node.output()) else {
            return Err(lost(node));
        };
        let alpha = f64::from(node.float("alpha", 1.0));
        let axis = usize::from(right);
        let sums = self.kept_sums(output, axis, &dot(&numbers, inner[weight], &constants), alpha);
        if !right {
            let tensor = tensor_of(numbers.dtype, vec![sums.len(), 1], &sums)?;
            let stem = self.stem(node);
            return Ok(vec![("Add", self.data(&format!("{stem}.constant"), tensor))]);
        }
        let beta = f64::from(node.float("beta", 1.0));
        let own = node.input(2).map(|bias| {
            self.view.shape(bias).is_some_and(|s| s.len() == 1 && s[0].known() == Some(numbers_out(&numbers, inner[1])))
        });
        match own {
            Some(true) if beta != 0.0 => {
                let scaled: Vec<f64> = sums.iter().map(|s| s / beta).collect();
                self.add_to_bias(node, 2, &scaled, &numbers)
            }
            None => {
                node.attributes.remove("beta");
                self.add_to_bias(node, 2, &sums, &numbers)
            }
            _ => {
                let stem = self.stem(node);
                let tensor = tensor_of(numbers.dtype, vec![sums.len()], &sums)?;
                Ok(vec![("Add", self.data(&format!("{stem}.constant"), tensor))])
            }
        }
    }

    fn kept_sums(&self, output: ValueId, axis: usize, sums: &[f64], factor: f64) -> Vec<f64> {
        let kept = self.kept_rows(output, axis).into_iter().next();
        let kept = kept.unwrap_or_else(|| (0..sums.len()).collect());
        kept.into_iter().map(|i| sums[i] * factor).collect()
    }

    fn fold_product(&mut self, id: NodeId, node: &Node) -> Result<Steps, StructureError> {
        let rank = |input: usize| self.view.shape_of(node, input).map_or(0, Vec::len);
        let (p, q) = (rank(0), rank(1));
        let stored = |input: usize| node.input(input).is_some_and(|v| self.structure.analysis.stored[v.0 as usize]);
        let right = stored(1);
        if !right && !stored(0) {
            return Ok(Steps::new());
        }
        let (data, weight, inner) = if right { (0, 1, p.saturating_sub(1)) } else { (1, 0, q.saturating_sub(2)) };
        let Some(constants) = self.constants(node.input(data), inner) else { return Ok(Steps::new()) };
        let (Some(numbers), Some(output)) = (node.input(weight).and_then(|w| self.numbers(w)), node.output()) else {
            return Err(lost(node));
        };
        if numbers.shape.len() > 2 {
            return Err(lost(node));
        }
        let along = if right { 0 } else { numbers.shape.len() - 1 };
        let out_rank = self.view.shape(output).map_or(0, Vec::len);
        let axis = if right { out_rank.saturating_sub(1) } else { out_rank.saturating_sub(1 + usize::from(q > 1)) };
        let sums = self.kept_sums(output, axis, &dot(&numbers, along, &constants), 1.0);
        if sums.iter().all(|&s| s == 0.0) {
            return Ok(Steps::new());
        }
        let shape = match (numbers.shape.len(), right) {
            (1, _) => Vec::new(),
            (_, false) if q > 1 => vec![sums.len(), 1],
            _ => vec![sums.len()],
        };
        if right && self.add_to_next(id, &sums)? {
            return Ok(Steps::new());
        }
        let stem = self.stem(node);
        Ok(vec![("Add", self.data(&format!("{stem}.constant"), tensor_of(numbers.dtype, shape, &sums)?))])
    }

    /// Adds to the bias that the only reader of a product adds, if it has one of its own.
    fn add_to_next(&mut self, id: NodeId, sums: &[f64]) -> Result<bool, StructureError> {
        let Some(output) = self.view.graph.node(id).output() else { return Ok(false) };
        let &[next] = self.readers[output.0 as usize].as_slice() else { return Ok(false) };
        let next = self.view.graph.node(next);
        if next.op != "Add" || self.view.graph.outputs.contains(&output) {
            return Ok(false);
        }
        let Some(bias) = next.inputs.iter().flatten().copied().find(|&v| v != output && self.is_own(v)) else {
            return Ok(false);
        };
        let name = self.view.graph.value(bias).name.clone();
        let Some(old) = self.model.tensors.get(&name).filter(|t| t.shape() == [sums.len()]) else { return Ok(false) };
        let values: Vec<f64> = old.to_f32().iter().zip(sums).map(|(&b, s)| f64::from(b) + s).collect();
        let tensor = tensor_of(old.dtype(), old.shape().to_vec(), &values)?;
        self.model.tensors.insert(name, tensor);
        Ok(true)
    }

    /// Constant features of a recurrent layer become part of its input bias.
    fn fold_recurrent(&mut self, node: &mut Node) -> Result<(), StructureError> {
        let Some(constants) = self.constants(node.input(0), 2) else { return Ok(()) };
        let Some((weight, numbers)) = node.input(1).and_then(|w| Some((w, self.numbers(w)?))) else {
            return Err(lost(node));
        };
        let &[directions, rows, features] = numbers.shape.as_slice() else { return Err(lost(node)) };
        let kept = match self.places(Some(weight), 1) {
            Some(places) => places.rows().map(|row| self.gone.kept(row)).collect(),
            None => vec![(0..rows).collect::<Vec<_>>()],
        };
        let mut sums = Vec::new();
        for direction in 0..directions {
            let kept = &kept[direction.min(kept.len() - 1)];
            sums.push(
                kept.iter()
                    .map(|row| {
                        let weights = &numbers.values[(direction * rows + row) * features..][..features];
                        weights.iter().zip(&constants).map(|(&w, c)| f64::from(w) * c).sum::<f64>()
                    })
                    .collect::<Vec<f64>>(),
            );
        }
        let count = sums[0].len();
        let bias = node.input(3);
        let old = match bias {
            Some(bias) => {
                let name = &self.view.graph.value(bias).name;
                match self.model.tensors.get(name) {
                    Some(tensor) => tensor.to_f32().into_owned(),
                    None => return Err(lost(node)),
                }
            }
            None => vec![0.0; 2 * count * directions],
        };
        let mut values: Vec<f64> = old.into_iter().map(f64::from).collect();
        for (direction, sums) in sums.iter().enumerate() {
            for (value, sum) in values[direction * 2 * count..].iter_mut().zip(sums) {
                *value += sum;
            }
        }
        let tensor = tensor_of(numbers.dtype, vec![directions, 2 * count], &values)?;
        let value = if let Some(bias) = bias {
            self.replace(bias, tensor)
        } else {
            let stem = self.stem(node);
            self.data(&format!("{stem}.bias"), tensor)
        };
        node.inputs.resize(node.inputs.len().max(4), None);
        node.inputs[3] = Some(value);
        Ok(())
    }

    /// What a reduction over removed places needs: the old count, and what they added.
    pub fn fold_reduction(&mut self, node: &Node, axes: &[usize], mean: bool) -> Result<Steps, StructureError> {
        let Some(value) = node.input(0) else { return Ok(Steps::new()) };
        let shape = self.view.shape(value).cloned().unwrap_or_default();
        let dtype = self.view.graph.value(value).fact.dtype.unwrap_or(crate::model::DType::F32);
        let (mut share, mut total, mut added) = (1.0, 1.0, 0.0);
        for &axis in axes.iter().filter(|&&axis| self.places(Some(value), axis).is_some()) {
            let (Some(before), Some(after)) = (shape[axis].known(), self.extent_after(value, axis)) else { continue };
            share *= after as f64 / before as f64;
            total *= before as f64;
            added += self.constants(Some(value), axis).map_or(0.0, |c| c.iter().sum::<f64>());
        }
        if share == 1.0 {
            return Ok(Steps::new());
        }
        let stem = node.label().to_owned();
        let mut steps = Steps::new();
        if mean {
            steps.push(("Mul", self.constant(&format!("{stem}_share"), tensor_of(dtype, Vec::new(), &[share])?)));
            added /= total;
        } else if added != 0.0 {
            // Each constant counts once for every place of the other axes.
            let others = axes.iter().filter(|&&a| self.places(Some(value), a).is_none());
            let count = others.map(|&a| shape[a].known()).try_fold(1usize, |n, d| Some(n * d?));
            added *= count.ok_or_else(|| lost(node))? as f64;
        }
        if added != 0.0 {
            steps.push(("Add", self.constant(&format!("{stem}_rest"), tensor_of(dtype, Vec::new(), &[added])?)));
        }
        Ok(steps)
    }
}

/// For every output and tap of a convolution, the sum over constant inputs.
fn contributions(weight: &Numbers, constants: &[f64], groups: usize, transposed: bool) -> Vec<Vec<f64>> {
    let (first, second) = (weight.shape[0], weight.shape[1]);
    let area: usize = weight.shape[2..].iter().product();
    let outputs = if transposed { second * groups } else { first };
    let mut taps = vec![vec![0.0; area]; outputs];
    for (output, taps) in taps.iter_mut().enumerate() {
        let group = output / (outputs / groups);
        let inputs = constants.len() / groups;
        for input in 0..inputs {
            let constant = constants[group * inputs + input];
            if constant == 0.0 {
                continue;
            }
            let start = if transposed {
                ((group * inputs + input) * second + output % second) * area
            } else {
                (output * second + input) * area
            };
            for (tap, &w) in taps.iter_mut().zip(&weight.values[start..start + area]) {
                *tap += constant * f64::from(w);
            }
        }
    }
    taps
}

/// Columns of a matrix whose inner axis is not 0, rows otherwise.
fn numbers_out(numbers: &Numbers, inner: usize) -> usize {
    numbers.shape[1 - inner]
}

/// The product of a matrix with a vector along one of its axes.
fn dot(matrix: &Numbers, inner: usize, vector: &[f64]) -> Vec<f64> {
    let &[rows, columns] = matrix.shape.as_slice() else {
        return vec![matrix.values.iter().zip(vector).map(|(&w, c)| f64::from(w) * c).sum()];
    };
    let at = |row: usize, column: usize| f64::from(matrix.values[row * columns + column]);
    if inner == 0 {
        let mut sums = vec![0.0; columns];
        for (row, &c) in vector.iter().enumerate().filter(|&(_, &c)| c != 0.0) {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum += at(row, column) * c;
            }
        }
        sums
    } else {
        (0..rows).map(|row| vector.iter().enumerate().map(|(column, c)| at(row, column) * c).sum()).collect()
    }
}

/// An attribute with an integer.
pub fn int(value: usize) -> Attribute {
    Attribute::Int(value as i64)
}
