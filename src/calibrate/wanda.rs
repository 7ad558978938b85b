//! Wanda: magnitudes times norms of inputs (Sun et al. 2024).

use super::reading::Reading;
use super::unfold::Unfolded;
use super::watch::{Seen, Values, Watch};
use super::{CalibrateError, Observe};
use crate::exec::ExecError;
use crate::model::{Layer, Model};
use crate::prune::{Criterion, LayerScores, Matrix, Scores};
use rayon::prelude::*;

/// Numbers of unfolded inputs that are looked at together: 16 MiB.
const CHUNK: usize = 1 << 22;
/// Columns that one task adds up.
const BAND: usize = 256;

/// Scores |w| times the Euclidean norm, over all examples and positions, of the input that the weight reads.
///
/// Each place of a convolution's kernel reads an input of its own: the plane as it is shifted there, with zeros
/// where it is padded.
pub(super) fn score(
    model: &Model,
    layers: &[&Layer],
    watch: &Watch<'_>,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
    let (mut scores, mut values, mut read) = (Scores::default(), Values::default(), Vec::new());
    for &layer in layers {
        match Reading::all(model, graph, layer) {
            Ok(readings) => {
                let readings = readings.into_iter().map(|reading| (values.place(reading.value), reading)).collect();
                read.push(Norms { layer, readings, squares: Vec::new(), problem: None });
            }
            Err(reason) => scores.insert(&layer.name, Criterion::Wanda, Err(reason)),
        }
    }
    if read.is_empty() {
        return Ok(scores);
    }
    let examples = watch.examples() as u64;
    watch.run(values.ids(), &mut |seen, done| {
        for norms in &mut read {
            norms.add(seen);
        }
        observe(done as u64, examples)
    })?;
    for norms in read {
        scores.insert(&norms.layer.name, Criterion::Wanda, norms.scores(model));
    }
    Ok(scores)
}

/// A layer whose inputs are being added up.
struct Norms<'a> {
    layer: &'a Layer,
    readings: Vec<(usize, Reading)>,
    /// Sums of squares: [groups, width].
    squares: Vec<f64>,
    problem: Option<String>,
}

impl Norms<'_> {
    fn add(&mut self, seen: &[Seen<'_>]) {
        for (place, reading) in &self.readings {
            let added = Unfolded::of(&reading.vectors, &seen[*place]).and_then(|x| add_squares(&mut self.squares, &x));
            if let Err(problem) = added {
                self.problem.get_or_insert(problem);
            }
        }
    }

    fn scores(self, model: &Model) -> Result<LayerScores, String> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if !self.squares.iter().all(|sum| sum.is_finite()) {
            return Err("what it reads on these examples is not finite".to_owned());
        }
        let weight = model.tensors.get(&self.layer.weight).ok_or("it has no weight")?.resident();
        let matrix = Matrix::of(self.layer, weight.shape());
        let columns = matrix.columns.len();
        // Both directions of a recurrent layer read the same.
        let shared = if self.squares.len() == matrix.groups * columns { 1 } else { matrix.places };
        if self.squares.len() * shared != matrix.groups * columns {
            let (got, takes) = (self.squares.len(), matrix.groups * columns);
            return Err(format!("it reads {got} inputs and has weights for {takes}"));
        }
        let norms: Vec<f64> = self.squares.iter().map(|squares| squares.sqrt()).collect();
        let values = weight.to_f32();
        let per_group = matrix.rows.len() / matrix.groups;
        let mut scores = vec![0.0; values.len()];
        for (row, start) in matrix.rows.iter().enumerate() {
            let norms = &norms[row / per_group.max(1) * columns / shared..];
            for (column, offset) in matrix.columns.iter().enumerate() {
                let at = start + offset;
                scores[at] = (f64::from(values[at].abs()) * norms[column / shared]) as f32;
            }
        }
        Ok(LayerScores::of_weights(self.layer, scores, None))
    }
}

fn add_squares(sums: &mut Vec<f64>, x: &Unfolded<'_>) -> Result<(), String> {
    let (width, total) = (x.width, x.groups * x.width);
    if sums.is_empty() {
        sums.resize(total, 0.0);
    }
    if sums.len() != total {
        return Err("its uses read different numbers of inputs".to_owned());
    }
    let most = (CHUNK / total.max(1)).max(1);
    let mut chunk = Vec::new();
    for start in (0..x.rows).step_by(most) {
        let rows = start..x.rows.min(start + most);
        let count = rows.len();
        chunk.resize(total * count, 0.0);
        x.fill(rows, &mut chunk);
        sums.par_chunks_mut(width.max(1)).zip(chunk.par_chunks((width * count).max(1))).for_each(|(sums, chunk)| {
            sums.par_chunks_mut(BAND).enumerate().for_each(|(band, sums)| {
                for row in chunk.chunks_exact(width) {
                    let values = &row[band * BAND..][..sums.len()];
                    sums.iter_mut().zip(values).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
                }
            });
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::{dataset, net_of};
    use super::*;
    use crate::model::{Attribute, Tensor, layers_of};
    use crate::prune::Calibration;
    use std::ops::ControlFlow;

    fn scores(model: &Model, data: &crate::data::Dataset) -> Vec<f32> {
        let layers = layers_of(model);
        let watch = Watch::new(model, data, Calibration::default());
        let found = score(model, &[&layers[0]], &watch, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let found = found.get(&layers[0].name, Criterion::Wanda).unwrap().unwrap();
        found.weights.as_ref().unwrap().to_f32().into_owned()
    }

    #[test]
    fn a_dense_layer_by_hand() {
        let model = net_of(&[2], |b, x| {
            let w = b.tensor("w", Tensor::from_f32(vec![2, 2], vec![1.0, -2.0, -0.5, 0.0]).unwrap());
            b.gemm("fc", x, w, None)
        });
        // Norms of the inputs: 5 and 2.
        let data = dataset(&[3, 2], &[3.0, 0.0, 4.0, 2.0, 0.0, 0.0]);
        assert_eq!(scores(&model, &data), [5.0, 4.0, 2.5, 0.0]);
    }

    #[test]
    fn a_padded_strided_grouped_convolution_by_hand() {
        let model = net_of(&[2, 1, 3], |b, x| {
            let w = Tensor::from_f32(vec![2, 1, 1, 3], vec![1.0, 1.0, -1.0, 2.0, 1.0, 1.0]).unwrap();
            let w = b.tensor("w", w);
            use Attribute::{Int, Ints};
            let attributes = [("strides", Ints(vec![1, 2])), ("pads", Ints(vec![0, 1, 0, 1])), ("group", Int(2))];
            b.node("conv", "Conv", &[x, w], &attributes)
        });
        // Windows of the first channel: (0 3 4) and (4 12 0); of the second: (0 1 2) and (2 2 0).
        let data = dataset(&[1, 2, 1, 3], &[3.0, 4.0, 12.0, 1.0, 2.0, 2.0]);
        let norms = [4.0, 153f32.sqrt(), 4.0, 2.0, 5f32.sqrt(), 2.0];
        let weights = [1.0, 1.0, 1.0, 2.0, 1.0, 1.0];
        let expected: Vec<f32> = norms.iter().zip(weights).map(|(norm, weight)| norm * weight).collect();
        assert_eq!(scores(&model, &data), expected);
    }

    #[test]
    fn two_directions_of_a_recurrent_layer_read_the_same() {
        let model = net_of(&[1, 2], |b, x| {
            let w = b.tensor("w", Tensor::from_f32(vec![2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap());
            let r = b.tensor("r", Tensor::from_f32(vec![2, 1, 1], vec![1.0; 2]).unwrap());
            let direction = Attribute::String(b"bidirectional".to_vec());
            b.node("rnn", "RNN", &[x, w, r], &[("hidden_size", Attribute::Int(1)), ("direction", direction)])
        });
        let data = dataset(&[2, 1, 2], &[3.0, 1.0, 4.0, 0.0]);
        assert_eq!(scores(&model, &data), [5.0, 2.0, 15.0, 4.0]);
    }
}
