//! Constant channels in front of zero padding: a convolution of ones tells what they contributed.

use super::super::error::StructureError;
use super::edit::Edit;
use super::fold::{Steps, int};
use super::stored::{Numbers, tensor_of};
use crate::model::{Attribute, Dim, Node, NodeId, Tensor, ValueId};

impl Edit<'_> {
    /// Adds the contribution of constant channels, worked out by the same convolution of a plane of ones.
    pub(super) fn add_border(
        &mut self,
        id: NodeId,
        node: &Node,
        weight: &Numbers,
        taps: &[Vec<f64>],
        transposed: bool,
    ) -> Result<Steps, StructureError> {
        let stem = self.stem(node);
        let norm = self.norm_after(id);
        let factors = norm.and_then(|norm| self.factors(norm));
        let scaled: Vec<f64> = taps
            .iter()
            .enumerate()
            .flat_map(|(o, taps)| {
                let factor = factors.as_ref().map_or(1.0, |f| f[o]);
                taps.iter().map(move |t| t * factor)
            })
            .collect();
        let channels = if transposed { vec![1, taps.len()] } else { vec![taps.len(), 1] };
        let shape = [channels.as_slice(), &weight.shape[2..]].concat();
        let kernel = self.data(&format!("{stem}.border"), tensor_of(weight.dtype, shape, &scaled)?);
        let ones = self.ones(node, weight)?;
        let mut attributes: Vec<(&str, Attribute)> = node
            .attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .filter(|(k, _)| *k != "group")
            .collect();
        attributes.push(("group", int(1)));
        let label = format!("{}_border", node.label());
        let border = self.insert(&label, &node.op, vec![Some(ones), Some(kernel)], &attributes);
        match (norm, factors) {
            (Some(norm), Some(_)) => {
                self.pending.entry(norm).or_default().push(border);
                Ok(Steps::new())
            }
            _ => Ok(vec![("Add", border)]),
        }
    }

    /// The batch normalisation that alone reads a node, so that both can still become one.
    fn norm_after(&self, id: NodeId) -> Option<NodeId> {
        let output = self.view.graph.node(id).output()?;
        let &[next] = self.readers[output.0 as usize].as_slice() else { return None };
        let node = self.view.graph.node(next);
        let single = node.outputs.iter().skip(1).all(Option::is_none);
        let plain = node.op == "BatchNormalization" && node.int("training_mode", 0) == 0 && single;
        (plain && node.input(0) == Some(output) && !self.view.graph.outputs.contains(&output)).then_some(next)
    }

    /// What a batch normalisation multiplies each remaining channel with.
    fn factors(&self, norm: NodeId) -> Option<Vec<f64>> {
        let node = self.view.graph.node(norm);
        let numbers = |input: usize| node.input(input).and_then(|v| self.numbers(v));
        let (scale, variance) = (numbers(1)?, numbers(4)?);
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let all: Vec<f64> = scale
            .values
            .iter()
            .zip(&variance.values)
            .map(|(&s, &v)| f64::from(s) / (f64::from(v) + epsilon).sqrt())
            .collect();
        let kept = node.output().and_then(|o| self.kept_rows(o, 1).into_iter().next());
        let kept = kept.unwrap_or_else(|| (0..all.len()).collect());
        Some(kept.into_iter().map(|i| all[i]).collect())
    }

    /// A plane of ones in the extents of the node's input.
    fn ones(&mut self, node: &Node, weight: &Numbers) -> Result<ValueId, StructureError> {
        let label = node.label().to_owned();
        let space = self.view.shape_of(node, 0).map_or(&[][..], |s| &s[2..]);
        let known: Option<Vec<usize>> = space.iter().map(Dim::known).collect();
        let shape = if let Some(space) = known {
            let extents: Vec<i64> = [1, 1].into_iter().chain(space.into_iter().map(|n| n as i64)).collect();
            self.constant(&format!("{label}_plane"), Tensor::from_i64(vec![extents.len()], &extents)?)
        } else {
            let lead = self.constant(&format!("{label}_lead"), Tensor::from_i64(vec![2], &[1, 1])?);
            let space =
                self.insert(&format!("{label}_space"), "Shape", vec![node.input(0)], &[("start", Attribute::Int(2))]);
            self.insert(
                &format!("{label}_plane"),
                "Concat",
                vec![Some(lead), Some(space)],
                &[("axis", Attribute::Int(0))],
            )
        };
        let one = Attribute::Tensor(tensor_of(weight.dtype, vec![1], &[1.0])?);
        Ok(self.insert(&format!("{label}_ones"), "ConstantOfShape", vec![Some(shape)], &[("value", one)]))
    }
}
