use crate::model::{Layer, Tensor};
use crate::prune::pieces::Matrix;
use crate::prune::{BitMask, LayerMask, Selection};
use crate::stats::float::{Float, FloatVisitor, with_float};
use rayon::prelude::*;

/// Weights that a worker takes at once, unless a single output has more.
const TASK: usize = 1 << 16;
/// Stretches up to this length are ranked by comparing every pair.
const SHORT: usize = 16;

/// Chooses the weights of an N:M pattern: the lowest magnitudes go, and of equal ones the lowest input goes first.
pub fn resolve_pattern(layer: &Layer, weight: &Tensor, (kept, of): (u8, u8)) -> LayerMask {
    let weight = &*weight.resident();
    let matrix = Matrix::of(layer, weight.shape());
    let chosen = with_float(weight.dtype(), Choose { matrix: &matrix, weight, pattern: pattern(kept, of) });
    let tasks = chosen.unwrap_or_default();
    let mut bits = BitMask::full(weight.len());
    for (rows, task) in matrix.rows.chunks(task_rows(&matrix)).zip(&tasks) {
        let removed = task.removed.chunks(matrix.columns.len().max(1));
        for (row, removed) in rows.iter().zip(removed) {
            let removed = matrix.columns.iter().zip(removed).filter(|&(_, &removed)| removed);
            removed.for_each(|(column, _)| bits.remove(row + column));
        }
    }
    let removed: usize = tasks.iter().map(|task| task.removed.iter().filter(|&&removed| removed).count()).sum();
    let zeros: usize = tasks.iter().map(|task| task.zeros).sum();
    LayerMask {
        layer: layer.name.clone(),
        weights: weight.len(),
        pieces: weight.len(),
        kept: weight.len() - removed,
        zeros: zeros + removed,
        threshold: 0.0,
        selection: if removed == 0 { Selection::All } else { Selection::Elements(bits) },
    }
}

/// Whether every stretch of `of` inputs has at most `kept` weights that are not zero.
pub fn holds(layer: &Layer, weight: &Tensor, kept: u8, of: u8) -> bool {
    violations(layer, weight, kept, of) == 0
}

/// How many stretches of `of` inputs have more than `kept` weights that are not zero. None in integers.
pub fn violations(layer: &Layer, weight: &Tensor, kept: u8, of: u8) -> usize {
    let weight = &*weight.resident();
    let matrix = Matrix::of(layer, weight.shape());
    with_float(weight.dtype(), Violations { matrix: &matrix, weight, pattern: pattern(kept, of) }).unwrap_or(0)
}

/// The magnitude that a pattern keeps, as [`resolve_pattern`] chooses it.
pub fn kept_magnitude(layer: &Layer, weight: &Tensor, (kept, of): (u8, u8)) -> f64 {
    let weight = &*weight.resident();
    let matrix = Matrix::of(layer, weight.shape());
    with_float(weight.dtype(), Kept { matrix: &matrix, weight, pattern: pattern(kept, of) }).unwrap_or(0.0)
}

fn pattern(kept: u8, of: u8) -> (usize, usize) {
    (usize::from(kept), usize::from(of).max(1))
}

fn task_rows(matrix: &Matrix) -> usize {
    (TASK / matrix.columns.len().max(1)).max(1)
}

/// Calls `f` with the columns of every stretch of a row, in order.
fn for_each_stretch(matrix: &Matrix, of: usize, mut f: impl FnMut(&[usize])) {
    let (inputs, places) = (matrix.inputs(), matrix.places);
    let mut columns = Vec::with_capacity(of);
    for start in (0..inputs).step_by(of) {
        for place in 0..places {
            columns.clear();
            columns.extend((start..inputs.min(start + of)).map(|input| input * places + place));
            f(&columns);
        }
    }
}

/// Marks the weights of a stretch that go; lowest keys first, ties by position.
fn choose<K: Copy + Ord>(keys: &[K], kept: usize, ranked: &mut Vec<(K, usize)>, mut removed: impl FnMut(usize)) {
    let goes = keys.len().saturating_sub(kept);
    if goes == 0 {
        return;
    }
    if keys.len() <= SHORT {
        for (i, &key) in keys.iter().enumerate() {
            let before = keys[..i].iter().filter(|&&other| other <= key).count();
            if before + keys[i + 1..].iter().filter(|&&other| other < key).count() < goes {
                removed(i);
            }
        }
        return;
    }
    ranked.clear();
    ranked.extend(keys.iter().copied().zip(0..));
    ranked.sort_unstable();
    ranked[..goes].iter().for_each(|&(_, i)| removed(i));
}

/// What happens to some rows of a weight.
struct Chosen {
    /// By row and column.
    removed: Vec<bool>,
    /// Zeros among what stays.
    zeros: usize,
}

struct Choose<'a> {
    matrix: &'a Matrix,
    weight: &'a Tensor,
    pattern: (usize, usize),
}

impl FloatVisitor for Choose<'_> {
    type Output = Vec<Chosen>;

    fn visit<F: Float>(self) -> Vec<Chosen> {
        let elements = F::elements(self.weight);
        let (kept, of) = self.pattern;
        let width = self.matrix.columns.len();
        let task = |rows: &[usize]| {
            let mut chosen = Chosen { removed: vec![false; rows.len() * width], zeros: 0 };
            let (mut keys, mut ranked) = (Vec::with_capacity(of), Vec::new());
            for (row, removed) in rows.iter().zip(chosen.removed.chunks_mut(width.max(1))) {
                for_each_stretch(self.matrix, of, |columns| {
                    keys.clear();
                    keys.extend(columns.iter().map(|&column| F::key(elements[row + self.matrix.columns[column]])));
                    chosen.zeros += keys.iter().filter(|&&key| key == F::ZERO).count();
                    choose(&keys, kept, &mut ranked, |i| {
                        removed[columns[i]] = true;
                        chosen.zeros -= usize::from(keys[i] == F::ZERO);
                    });
                });
            }
            chosen
        };
        self.matrix.rows.par_chunks(task_rows(self.matrix)).map(task).collect()
    }
}

struct Violations<'a> {
    matrix: &'a Matrix,
    weight: &'a Tensor,
    pattern: (usize, usize),
}

impl FloatVisitor for Violations<'_> {
    type Output = usize;

    fn visit<F: Float>(self) -> usize {
        let elements = F::elements(self.weight);
        let (kept, of) = self.pattern;
        let count = |row: &usize| {
            let mut count = 0;
            for_each_stretch(self.matrix, of, |columns| {
                let numbers = columns.iter().filter(|&&c| F::key(elements[row + self.matrix.columns[c]]) != F::ZERO);
                count += usize::from(numbers.count() > kept);
            });
            count
        };
        self.matrix.rows.par_iter().with_min_len(task_rows(self.matrix)).map(count).sum()
    }
}

struct Kept<'a> {
    matrix: &'a Matrix,
    weight: &'a Tensor,
    pattern: (usize, usize),
}

impl FloatVisitor for Kept<'_> {
    type Output = f64;

    fn visit<F: Float>(self) -> f64 {
        let elements = F::elements(self.weight);
        let (kept, of) = self.pattern;
        let sum = |row: &usize| {
            let (mut keys, mut ranked, mut sum) = (Vec::with_capacity(of), Vec::new(), 0.0);
            for_each_stretch(self.matrix, of, |columns| {
                keys.clear();
                keys.extend(columns.iter().map(|&column| F::key(elements[row + self.matrix.columns[column]])));
                let mut goes = 0.0;
                sum += keys.iter().map(|&key| F::magnitude(key)).sum::<f64>();
                choose(&keys, kept, &mut ranked, |i| goes += F::magnitude(keys[i]));
                sum -= goes;
            });
            sum
        };
        // Collected first: sums are taken in the order of the rows.
        let rows: Vec<f64> = self.matrix.rows.par_iter().with_min_len(task_rows(self.matrix)).map(sum).collect();
        rows.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LayerKind, Model, layers_of};
    use crate::prune::{Granularity, LayerPlan, Mask, Plan, apply, resolve};
    use proptest::prelude::*;

    fn weight_of(shape: &[usize], values: &[f32]) -> (Model, Layer) {
        let mut model = Model::default();
        model.tensors.insert("w".into(), Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap());
        let layer = layers_of(&model)[0].clone();
        (model, layer)
    }

    fn pruned(model: &Model, layer: &Layer, pattern: (u8, u8)) -> (LayerMask, Tensor) {
        let mut plan = Plan::dense();
        let granularity = Granularity::Pattern { kept: pattern.0, of: pattern.1 };
        plan.set("w", LayerPlan { granularity, ..LayerPlan::default() });
        let layers = [layer.clone()];
        let mask: Mask = resolve(model, &layers, &plan).unwrap();
        (mask.layers[0].clone(), apply(model, &layers, &mask).tensors["w"].clone())
    }

    #[test]
    fn the_largest_of_every_stretch_stay_and_of_equal_ones_the_last() {
        let (model, layer) = weight_of(&[1, 8], &[1.0, -3.0, 2.0, 0.5, 4.0, -4.0, 4.0, 4.0]);
        let (mask, weight) = pruned(&model, &layer, (2, 4));
        assert_eq!(weight.to_f32().as_ref(), [0.0, -3.0, 2.0, 0.0, 0.0, 0.0, 4.0, 4.0]);
        assert_eq!((mask.weights, mask.pieces, mask.kept, mask.zeros), (8, 8, 4, 4));
        assert!(holds(&layer, &weight, 2, 4) && !holds(&layer, &weight, 1, 4));
        assert_eq!(violations(&layer, &model.tensors["w"], 2, 4), 2);
    }

    #[test]
    fn a_last_shorter_stretch_keeps_as_many() {
        let (model, layer) = weight_of(&[1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(pruned(&model, &layer, (2, 4)).1.to_f32().as_ref(), [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(pruned(&model, &layer, (1, 4)).1.to_f32().as_ref(), [0.0, 0.0, 0.0, 4.0, 0.0, 6.0]);
        assert_eq!(pruned(&model, &layer, (6, 7)).0.selection, Selection::All);
    }

    #[test]
    fn stretches_run_along_the_inputs_of_every_place_of_a_kernel() {
        // One output, four inputs, two places.
        let (model, layer) = weight_of(&[1, 4, 2], &[1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]);
        let layer = Layer { kind: LayerKind::Conv, ..layer };
        assert_eq!(pruned(&model, &layer, (1, 2)).1.to_f32().as_ref(), [0.0, 8.0, 2.0, 0.0, 0.0, 6.0, 4.0, 0.0]);
        // Two outputs along the second axis, four inputs along the first.
        let layer = Layer { kind: LayerKind::MatMul, output_axis: 1, input_axis: Some(0), ..layer };
        let (model, _) = weight_of(&[4, 2], &[1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]);
        assert_eq!(pruned(&model, &layer, (1, 4)).1.to_f32().as_ref(), [0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn stretches_stay_in_their_group() {
        // Depthwise: every output has one input.
        let (model, layer) = weight_of(&[4, 1, 2], &[1.0; 8]);
        let layer = Layer { kind: LayerKind::Conv, groups: 4, ..layer };
        assert_eq!(pruned(&model, &layer, (1, 4)).0.zeros, 0);
        // Four inputs in two groups, two outputs of each.
        let (model, layer) = weight_of(&[4, 2, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let layer = Layer { kind: LayerKind::ConvTranspose, output_axis: 1, input_axis: Some(0), groups: 2, ..layer };
        assert_eq!(pruned(&model, &layer, (1, 4)).1.to_f32().as_ref(), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 7.0, 8.0]);
    }

    #[test]
    fn zeros_that_were_there_count_and_go_first() {
        let (model, layer) = weight_of(&[1, 5], &[0.0, -0.0, 0.0, 2.0, 0.0]);
        let (mask, weight) = pruned(&model, &layer, (2, 4));
        assert_eq!((mask.kept, mask.zeros), (3, 4));
        assert_eq!(weight.to_f32()[3], 2.0);
        assert_eq!(kept_magnitude(&layer, &model.tensors["w"], (1, 5)), 2.0);
    }

    proptest! {
        #[test]
        fn whatever_the_pattern_it_holds_and_keeps_the_largest(
            rows in 1usize..6,
            inputs in 1usize..50,
            places in 1usize..3,
            n in 1u8..5,
            more in 1u8..25,
            seed in 0usize..100,
        ) {
            let (of, len) = (n + more, rows * inputs * places);
            let values: Vec<f32> = (0..len).map(|i| ((i * 37 + seed * 11) % 19) as f32 - 9.0).collect();
            let (model, layer) = weight_of(&[rows, inputs, places], &values);
            let (mask, weight) = pruned(&model, &layer, (n, of));
            prop_assert!(holds(&layer, &weight, n, of));
            let kept = weight.to_f32();
            prop_assert_eq!(mask.zeros, kept.iter().filter(|&&v| v == 0.0).count());
            let per_row: usize = (0..inputs).step_by(of.into()).map(|s| (inputs - s).min(of.into()).min(n.into())).sum();
            prop_assert_eq!(mask.kept, rows * places * per_row);
            let mut sum = 0.0;
            for row in 0..rows * places {
                let at = |input: usize| (row / places * inputs + input) * places + row % places;
                for stretch in (0..inputs).collect::<Vec<_>>().chunks(of.into()) {
                    let mut sorted: Vec<f32> = stretch.iter().map(|&i| values[at(i)].abs()).collect();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    sorted.truncate(n.into());
                    let stays: Vec<f32> = stretch.iter().map(|&i| kept[at(i)].abs()).collect();
                    sum += sorted.iter().map(|&v| f64::from(v)).sum::<f64>();
                    prop_assert_eq!(stays.iter().sum::<f32>(), sorted.iter().sum::<f32>());
                }
            }
            prop_assert!((kept_magnitude(&layer, &model.tensors["w"], (n, of)) - sum).abs() < 1e-9);
        }
    }
}
