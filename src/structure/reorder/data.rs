use crate::model::{Tensor, TensorError};
use bytes::Bytes;

/// A tensor of which the slice at `order[i]` of an axis stands at `i`.
pub fn with_order(tensor: &Tensor, axis: usize, order: &[usize]) -> Result<Tensor, TensorError> {
    let tensor = &*tensor.resident();
    let shape = tensor.shape().to_vec();
    let block: usize = shape[axis + 1..].iter().product::<usize>() * tensor.dtype().size();
    let row = (block * shape[axis]).max(1);
    let mut bytes = Vec::with_capacity(tensor.byte_len());
    for from in tensor.bytes().chunks_exact(row) {
        for &old in order {
            bytes.extend_from_slice(&from[old * block..(old + 1) * block]);
        }
    }
    Tensor::new(tensor.dtype(), shape, Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_any_axis_take_their_new_places() {
        let tensor = Tensor::from_f32(vec![2, 3, 2], (0..12u8).map(f32::from).collect()).unwrap();
        let middle = with_order(&tensor, 1, &[2, 0, 1]).unwrap();
        assert_eq!(middle.to_f32()[..6], [4.0, 5.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(with_order(&tensor, 0, &[1, 0]).unwrap().to_f32()[..2], [6.0, 7.0]);
        assert_eq!(with_order(&tensor, 2, &[1, 0]).unwrap().to_f32()[..4], [1.0, 0.0, 3.0, 2.0]);
    }
}
