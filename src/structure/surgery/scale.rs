//! Root mean square and attention: numbers that were counts of what is now smaller.

use super::super::error::StructureError;
use super::edit::Edit;
use super::fold::{Steps, int};
use super::stored::tensor_of;
use crate::model::{Attribute, DType, Dim, Node};

impl Edit<'_> {
    /// The mean square was over all places, of which those removed were zero: with `n` of `m` left,
    /// x / sqrt(s/m + e) = sqrt(m/n) x / sqrt(s/n + e m/n).
    pub fn keep_mean_square(&mut self, node: &mut Node, axes: &[usize]) -> Result<Steps, StructureError> {
        let Some(value) = node.input(0) else { return Ok(Steps::new()) };
        let shape = self.view.shape(value).cloned().unwrap_or_default();
        let mut ratio = 1.0;
        for &axis in axes.iter().filter(|&&axis| self.places(Some(value), axis).is_some()) {
            if let (Some(before), Some(after)) = (shape[axis].known(), self.extent_after(value, axis)) {
                ratio *= before as f64 / after as f64;
            }
        }
        if ratio == 1.0 {
            return Ok(Steps::new());
        }
        let epsilon = f64::from(node.float("epsilon", 1e-5)) * ratio;
        node.attributes.insert("epsilon".to_owned(), Attribute::Float(epsilon as f32));
        if let Some(scale) = node.input(1)
            && let Some(tensor) = self.model.tensors.get(&self.view.graph.value(scale).name)
        {
            let values: Vec<f64> = tensor.to_f32().iter().map(|&v| f64::from(v) * ratio.sqrt()).collect();
            let scaled = tensor_of(tensor.dtype(), tensor.shape().to_vec(), &values)?;
            node.inputs[1] = Some(self.replace(scale, scaled));
            return Ok(Steps::new());
        }
        let dtype = self.view.graph.value(value).fact.dtype.unwrap_or(DType::F32);
        let factor = self.constant(&format!("{}_share", node.label()), tensor_of(dtype, Vec::new(), &[ratio.sqrt()])?);
        Ok(vec![("Mul", factor)])
    }

    /// Head counts, and the scale of scores that otherwise follows from the size of a head.
    pub fn keep_attention(&self, node: &mut Node, heads: Option<(usize, usize)>) {
        let size = |input: usize, heads: usize| {
            let shape = self.view.shape_of(node, input)?;
            shape.last().and_then(Dim::known)?.checked_div(heads)
        };
        let counts = heads.unwrap_or((1, 1));
        let before = size(0, counts.0);
        let after = |input: usize, heads: usize| {
            let value = node.input(input)?;
            let axis = self.view.shape(value)?.len() - 1;
            let kept = self.kept_rows(value, axis).into_iter().next()?;
            let size = self.view.shape(value)?.last()?.known()?.checked_div(heads)?;
            // A head is there as long as one of its places is.
            let mut blocks: Vec<usize> = kept.iter().map(|place| place / size.max(1)).collect();
            blocks.dedup();
            Some((blocks.len(), kept.len().checked_div(blocks.len())?))
        };
        let (queries, keys) = (after(0, counts.0), after(1, counts.1));
        if let (Some((queries, size)), Some(before)) = (queries, before)
            && size != before
            && !node.attributes.contains_key("scale")
        {
            let scale = 1.0 / (before as f64).sqrt();
            node.attributes.insert("scale".to_owned(), Attribute::Float(scale as f32));
            debug_assert!(queries > 0);
        }
        if heads.is_some() {
            for (name, count) in [("q_num_heads", queries), ("kv_num_heads", keys)] {
                if let Some((count, _)) = count {
                    node.attributes.insert(name.to_owned(), int(count));
                }
            }
        }
    }
}
