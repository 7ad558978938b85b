use crate::model::Model;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For some tensors, by name, which of their values may move; the others are exactly zero after every step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    keep: BTreeMap<String, Arc<[bool]>>,
}

impl Masks {
    /// Keeps every value that is exactly zero in a float tensor of two or more axes at zero.
    pub fn of_zeros(model: &Model) -> Self {
        let mut masks = Self::default();
        for (name, tensor) in &model.tensors {
            if tensor.dtype().is_float() && tensor.shape().len() >= 2 {
                let keep: Vec<bool> = tensor.to_f32().iter().map(|&v| v != 0.0).collect();
                if keep.contains(&false) {
                    masks.insert(name, keep);
                }
            }
        }
        masks
    }

    /// Sets the mask of one tensor, in row-major order; `true` may move.
    pub fn insert(&mut self, tensor: &str, keep: impl Into<Arc<[bool]>>) {
        self.keep.insert(tensor.to_owned(), keep.into());
    }

    /// The mask of one tensor.
    pub fn get(&self, tensor: &str) -> Option<&[bool]> {
        self.keep.get(tensor).map(|keep| &**keep)
    }

    pub(super) fn get_shared(&self, tensor: &str) -> Option<Arc<[bool]>> {
        self.keep.get(tensor).map(Arc::clone)
    }

    /// Whether no tensor is masked.
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty()
    }

    /// Tensor names and masks, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[bool])> {
        self.keep.iter().map(|(name, keep)| (name.as_str(), &**keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tensor;

    #[test]
    fn zeros_of_weights_are_masked_and_biases_are_not() {
        let mut model = Model::default();
        let weight = Tensor::from_f32(vec![1, 3], vec![0.0, 2.0, -0.0]).unwrap();
        model.tensors.insert("w".into(), weight);
        model.tensors.insert("dense".into(), Tensor::from_f32(vec![1, 2], vec![1.0, 2.0]).unwrap());
        model.tensors.insert("b".into(), Tensor::from_f32(vec![2], vec![0.0, 1.0]).unwrap());
        let masks = Masks::of_zeros(&model);
        assert_eq!(masks.iter().collect::<Vec<_>>(), [("w", &[false, true, false][..])]);
    }
}
