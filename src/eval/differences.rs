use super::logits::argmax;
use super::{Agreement, EvalError};
use crate::data::{Batch, Mask};
use crate::model::Tensor;

/// What was found so far of how two models' outputs differ. Sums are over examples in order.
#[derive(Debug)]
pub(super) struct Differences {
    n: usize,
    max_abs_diff: f64,
    largest: f64,
    rows: usize,
    agreeing: usize,
    /// Examples, or batches of outputs that do not count them, with a cosine.
    angles: usize,
    cosines: f64,
    least_cosine: f64,
    masked: usize,
}

impl Default for Differences {
    fn default() -> Self {
        Self {
            n: 0,
            max_abs_diff: 0.0,
            largest: 0.0,
            rows: 0,
            agreeing: 0,
            angles: 0,
            cosines: 0.0,
            least_cosine: 1.0,
            masked: 0,
        }
    }
}

/// Products of two vectors so far.
#[derive(Default)]
struct Angle {
    dot: f64,
    squares: [f64; 2],
    values: usize,
}

impl Angle {
    fn cosine(&self) -> f64 {
        let norm = (self.squares[0] * self.squares[1]).sqrt();
        match (norm > 0.0, self.squares == [0.0; 2]) {
            (true, _) => (self.dot / norm).clamp(-1.0, 1.0),
            (false, both_zero) => f64::from(u8::from(both_zero)),
        }
    }
}

impl Differences {
    /// Takes in the outputs that two models gave for a batch.
    pub fn add(&mut self, a: &[Tensor], b: &[Tensor], batch: &Batch) -> Result<(), EvalError> {
        self.n += batch.examples;
        if a.len() != b.len() {
            return Err(EvalError::Incomparable(vec![a.len()], vec![b.len()]));
        }
        if let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a.shape() != b.shape()) {
            return Err(EvalError::Incomparable(a.shape().to_vec(), b.shape().to_vec()));
        }
        // Outputs that do not count examples are one example's together.
        let counts = a.iter().all(|t| t.shape().first() == Some(&batch.rows));
        let (units, of_them) = if counts { (batch.rows, batch.examples) } else { (1, 1) };
        let mask = batch.mask.as_ref().filter(|_| counts);
        let mut angles: Vec<Angle> = (0..of_them).map(|_| Angle::default()).collect();
        for (index, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, _))| !a.is_empty()) {
            let (x, y) = (a.to_f32(), b.to_f32());
            let size = x.len() / units;
            let mask = mask.filter(|mask| is_of_tokens(a.shape(), mask));
            let width = scores_of(a.shape()).filter(|_| index == 0 && (counts || a.shape().len() == 2));
            for (unit, angle) in angles.iter_mut().enumerate() {
                let range = unit * size..(unit + 1) * size;
                let (x, y) = (&x[range.clone()], &y[range]);
                match mask {
                    None => {
                        self.add_values(x, y, angle);
                        self.add_rows(x, y, width);
                    }
                    Some(mask) => {
                        let counts = &mask.counts[unit * mask.width..(unit + 1) * mask.width];
                        let (x, y) = (kept(x, counts), kept(y, counts));
                        self.add_values(&x, &y, angle);
                        // Scores of the tokens themselves are fewer where tokens are left out.
                        self.add_rows(&x, &y, if a.shape().len() == 2 { Some(x.len()) } else { width });
                    }
                }
            }
        }
        if let Some(mask) = mask {
            self.masked += mask.counts[..batch.examples * mask.width].iter().filter(|&&counts| !counts).count();
        }
        for angle in angles.iter().filter(|angle| angle.values > 0) {
            self.angles += 1;
            self.cosines += angle.cosine();
            self.least_cosine = self.least_cosine.min(angle.cosine());
        }
        Ok(())
    }

    fn add_values(&mut self, x: &[f32], y: &[f32], angle: &mut Angle) {
        angle.values += x.len();
        for (&x, &y) in x.iter().zip(y) {
            let same = x.to_bits() == y.to_bits() || x == y || (x.is_nan() && y.is_nan());
            let (x, y) = (f64::from(x), f64::from(y));
            let difference = if same { 0.0 } else { (x - y).abs() };
            self.max_abs_diff = self.max_abs_diff.max(if difference.is_nan() { f64::INFINITY } else { difference });
            if x.is_finite() && y.is_finite() {
                self.largest = self.largest.max(x.abs());
                angle.dot += x * y;
                angle.squares[0] += x * x;
                angle.squares[1] += y * y;
            }
        }
    }

    fn add_rows(&mut self, x: &[f32], y: &[f32], width: Option<usize>) {
        let Some(width) = width.filter(|&width| width > 1) else { return };
        let rows = x.chunks_exact(width).zip(y.chunks_exact(width));
        self.rows += rows.len();
        self.agreeing += rows.filter(|(x, y)| argmax(x) == argmax(y)).count();
    }

    /// The figures so far.
    pub fn finish(&self) -> Agreement {
        Agreement {
            n: self.n,
            max_abs_diff: self.max_abs_diff,
            max_rel_diff: if self.max_abs_diff == 0.0 { 0.0 } else { self.max_abs_diff / self.largest },
            rows: self.rows,
            argmax_agreement: if self.rows == 0 { 1.0 } else { self.agreeing as f64 / self.rows as f64 },
            cosine: if self.angles == 0 { 1.0 } else { self.cosines / self.angles as f64 },
            least_cosine: self.least_cosine,
            masked: self.masked,
        }
    }
}

/// Scores in a row: [n, scores], the same with trailing axes of extent 1, or [n, tokens, scores].
fn scores_of(shape: &[usize]) -> Option<usize> {
    match shape {
        [_, scores, rest @ ..] if *scores > 1 && rest.iter().all(|&d| d == 1) => Some(*scores),
        [_, _, scores] if *scores > 1 => Some(*scores),
        _ => None,
    }
}

/// Whether an output counts the tokens that a mask is about on its second axis.
fn is_of_tokens(shape: &[usize], mask: &Mask) -> bool {
    matches!(shape, [_, tokens] | [_, tokens, _] if *tokens == mask.width)
}

/// The values of the tokens that count.
fn kept(values: &[f32], counts: &[bool]) -> Vec<f32> {
    let each = values.len() / counts.len().max(1);
    let tokens = values.chunks_exact(each.max(1)).zip(counts);
    tokens.filter(|(_, counts)| **counts).flat_map(|(token, _)| token.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: usize, examples: usize, mask: Option<(usize, &[u8])>) -> Batch {
        let mask = mask.map(|(width, counts)| Mask { width, counts: counts.iter().map(|&c| c == 1).collect() });
        Batch { inputs: Vec::new(), examples, rows, mask }
    }

    fn found(shape: &[usize], (a, b): (&[f32], &[f32]), batch: &Batch) -> Agreement {
        let tensor = |values: &[f32]| [Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap()];
        let mut differences = Differences::default();
        differences.add(&tensor(a), &tensor(b), batch).unwrap();
        differences.finish()
    }

    #[test]
    fn cosines_are_those_of_examples_and_their_mean_and_least_are_told() {
        let agreement = found(&[2, 2], (&[1.0, 0.0, 100.0, 0.0], &[0.0, 1.0, 100.0, 0.0]), &batch(2, 2, None));
        assert_eq!((agreement.cosine, agreement.least_cosine), (0.5, 0.0), "a large example does not hide a small one");
        assert_eq!((agreement.rows, agreement.argmax_agreement, agreement.max_abs_diff), (2, 0.5, 1.0));
    }

    #[test]
    fn every_token_has_a_row_and_those_that_are_masked_do_not_count() {
        let shape = [1, 3, 2];
        let values = (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..], &[1.0, 2.0, 4.0, 3.0, 60.0, 5.0][..]);
        let all = found(&shape, values, &batch(1, 1, None));
        assert_eq!((all.rows, all.argmax_agreement, all.max_abs_diff), (3, 1.0 / 3.0, 55.0));
        let masked = found(&shape, values, &batch(1, 1, Some((3, &[1, 1, 0]))));
        assert_eq!((masked.rows, masked.argmax_agreement, masked.max_abs_diff, masked.masked), (2, 0.5, 1.0, 1));
        let scores = found(&[1, 3], (&[1.0, 2.0, 9.0], &[1.0, 2.0, -9.0]), &batch(1, 1, Some((3, &[1, 1, 0]))));
        assert_eq!((scores.rows, scores.argmax_agreement, scores.max_abs_diff), (1, 1.0, 0.0));
    }

    #[test]
    fn repeated_examples_of_a_fixed_batch_do_not_count() {
        let agreement =
            found(&[3, 2], (&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), &batch(3, 2, None));
        assert_eq!((agreement.n, agreement.rows, agreement.argmax_agreement, agreement.max_abs_diff), (2, 2, 1.0, 0.0));
    }

    #[test]
    fn outputs_that_do_not_count_examples_are_compared_as_a_whole() {
        let agreement = found(&[3], (&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.5]), &batch(2, 2, None));
        assert_eq!((agreement.n, agreement.rows, agreement.max_abs_diff), (2, 0, 0.5));
    }
}
