use crate::model::{Layer, LayerKind};

/// A weight as outputs by inputs, whatever order its axes are stored in.
///
/// A row is an output, counted over all groups of a convolution. A column is a place of the kernel of an input, inputs
/// outermost, counted within the row's group. Every row and column meet at one weight, whose index is the sum of
/// two numbers. Where an operand is a stack of matrices, and where a recurrent layer has two directions, the
/// stack counts as places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// What each row adds to the index of a weight.
    pub rows: Vec<usize>,
    /// What each column adds.
    pub columns: Vec<usize>,
    /// Groups of rows, each of which reads inputs of its own.
    pub groups: usize,
    /// Columns of one input.
    pub places: usize,
}

impl Matrix {
    /// The weight of `layer`, stored as `shape`.
    pub fn of(layer: &Layer, shape: &[usize]) -> Self {
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let along = |axis: usize| (0..shape[axis]).map(|i| i * strides[axis]).collect::<Vec<usize>>();
        let output = layer.output_axis.min(shape.len().saturating_sub(1));
        let input = layer.input_axis.filter(|&axis| axis < shape.len() && axis != output);
        let mut rows = if shape.is_empty() { vec![0] } else { along(output) };
        let rest = |skip: Option<usize>| (0..shape.len()).filter(move |&axis| axis != output && Some(axis) != skip);
        let over = |axes: &mut dyn Iterator<Item = usize>| {
            axes.fold(vec![0], |starts, axis| {
                starts.iter().flat_map(|start| along(axis).into_iter().map(move |i| start + i)).collect()
            })
        };
        let (mut inputs, places) = match input {
            Some(axis) => (along(axis), over(&mut rest(input))),
            None => (over(&mut rest(None)), vec![0]),
        };
        let mut groups = layer.groups.max(1);
        if layer.kind == LayerKind::ConvTranspose {
            // Its first axis counts the inputs of all groups, its second the outputs of one.
            groups = if inputs.len().is_multiple_of(groups) { groups } else { 1 };
            let each = inputs.len() / groups;
            let starts: Vec<usize> = inputs.iter().copied().step_by(each.max(1)).collect();
            rows = starts.iter().flat_map(|start| rows.iter().map(move |row| start + row)).collect();
            inputs.truncate(each);
        } else if !rows.len().is_multiple_of(groups) {
            groups = 1;
        }
        let columns = inputs.iter().flat_map(|input| places.iter().map(move |place| input + place)).collect();
        Self { rows, columns, groups, places: places.len() }
    }

    /// Inputs of one group.
    pub const fn inputs(&self) -> usize {
        match self.columns.len().checked_div(self.places) {
            Some(inputs) => inputs,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Tensor, layers_of};

    fn layer(kind: LayerKind, shape: &[usize], axes: (usize, Option<usize>), groups: usize) -> Layer {
        let mut model = Model::default();
        let zeros = vec![0.0; shape.iter().product()];
        model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), zeros).unwrap());
        Layer { kind, output_axis: axes.0, input_axis: axes.1, groups, ..layers_of(&model)[0].clone() }
    }

    fn matrix(kind: LayerKind, shape: &[usize], axes: (usize, Option<usize>), groups: usize) -> Matrix {
        Matrix::of(&layer(kind, shape, axes, groups), shape)
    }

    #[test]
    fn every_weight_is_met_once_in_every_layout() {
        for (kind, shape, axes, groups) in [
            (LayerKind::Conv, &[4, 3, 2, 2][..], (0, Some(1)), 1),
            (LayerKind::Conv, &[6, 2, 3], (0, Some(1)), 3),
            (LayerKind::Conv, &[3, 3, 2, 4], (3, Some(2)), 2),
            (LayerKind::ConvTranspose, &[6, 2, 3, 3], (1, Some(0)), 3),
            (LayerKind::Linear, &[3, 5], (1, Some(0)), 1),
            (LayerKind::MatMul, &[2, 3, 5], (2, Some(1)), 1),
            (LayerKind::Linear, &[4, 3, 2, 2], (0, None), 1),
            (LayerKind::Recurrent, &[2, 12, 4], (1, Some(2)), 1),
        ] {
            let matrix = matrix(kind, shape, axes, groups);
            let mut met: Vec<usize> =
                matrix.rows.iter().flat_map(|row| matrix.columns.iter().map(move |column| row + column)).collect();
            met.sort_unstable();
            assert_eq!(met, (0..shape.iter().product()).collect::<Vec<_>>(), "{kind:?} {shape:?}");
        }
    }

    #[test]
    fn outputs_of_a_grouped_transposed_convolution_are_counted_over_all_groups() {
        // Four inputs in two groups, three outputs each.
        let matrix = matrix(LayerKind::ConvTranspose, &[4, 3, 1], (1, Some(0)), 2);
        assert_eq!((matrix.rows.as_slice(), matrix.columns.as_slice()), (&[0, 1, 2, 6, 7, 8][..], &[0, 3][..]));
    }

    #[test]
    fn inputs_that_are_spread_over_axes_are_counted_in_stored_order() {
        let matrix = matrix(LayerKind::Linear, &[2, 3, 2], (0, None), 1);
        assert_eq!((matrix.inputs(), matrix.places), (6, 1));
        let places = self::matrix(LayerKind::Conv, &[2, 3, 2], (0, Some(1)), 1);
        assert_eq!((places.inputs(), places.places), (3, 2));
    }
}
