use super::logits::rank;
use super::{ClassAccuracy, EvalError, EvalOptions, Evaluation, Runner};
use crate::data::{Dataset, Feed};
use crate::model::Tensor;
use std::ops::ControlFlow;
use std::time::Instant;

/// Seed of the order in which examples are seen, the same everywhere so that partial results compare.
const ORDER_SEED: u64 = 0;

/// Measures a model on labelled examples, a batch at a time in stratified order, so that every partial
/// result is already a fair estimate.
///
/// `observe` sees the result so far after each batch, the last one included, and breaks to cancel.
///
/// # Errors
/// [`EvalError::Cancelled`] if `observe` broke (it has seen the partial result); other [`EvalError`]s if
/// data and model do not fit together or the graph cannot be run.
pub fn evaluate(
    runner: &(impl Runner + ?Sized),
    data: &Dataset,
    options: &EvalOptions,
    observe: &mut dyn FnMut(&Evaluation) -> ControlFlow<()>,
) -> Result<Evaluation, EvalError> {
    let mut tally = Tally::new(data, options)?;
    let feed = Feed::new(data, runner.inputs())?;
    let order = order_of(data, options);
    for indices in order.chunks(feed.rows(options.batch)) {
        let batch = feed.batch(indices)?;
        tally.add(&runner.run(&batch.inputs)?, batch.rows, indices)?;
        if observe(&tally.result).is_break() {
            return Err(EvalError::Cancelled);
        }
    }
    Ok(tally.result)
}

/// The examples that are measured, in the order in which they are seen.
pub(super) fn order_of(data: &Dataset, options: &EvalOptions) -> Vec<usize> {
    let mut order = data.stratified_order(ORDER_SEED);
    order.truncate(options.limit.unwrap_or(usize::MAX));
    order
}

/// Counts what is right, batch by batch.
pub(super) struct Tally<'a> {
    data: &'a Dataset,
    labels: &'a [u32],
    options: &'a EvalOptions,
    start: Instant,
    pub result: Evaluation,
}

impl<'a> Tally<'a> {
    /// # Errors
    /// [`EvalError::NoLabels`] or [`EvalError::NoExamples`] where there is nothing to count.
    pub fn new(data: &'a Dataset, options: &'a EvalOptions) -> Result<Self, EvalError> {
        let labels = data.labels().ok_or(EvalError::NoLabels)?;
        if data.is_empty() {
            return Err(EvalError::NoExamples);
        }
        let total = options.limit.map_or(data.len(), |limit| limit.min(data.len()));
        Ok(Self { data, labels, options, start: Instant::now(), result: Evaluation { total, ..Evaluation::default() } })
    }

    /// Counts the results of a run on the examples at `indices`, of `rows` examples in all.
    ///
    /// # Errors
    /// [`EvalError::OutputShape`] and [`EvalError::LabelOutOfRange`].
    pub fn add(&mut self, outputs: &[Tensor], rows: usize, indices: &[usize]) -> Result<(), EvalError> {
        let scores = Scores::of(outputs.first(), rows)?;
        if self.result.per_class.is_empty() {
            self.result.per_class = classes(self.data, scores.classes);
        }
        for (row, &index) in scores.rows().zip(indices) {
            let label = self.labels[index] as usize;
            if label >= scores.classes {
                return Err(EvalError::LabelOutOfRange { index, label: self.labels[index], classes: scores.classes });
            }
            count(&mut self.result, row, label, self.options);
        }
        self.result.seconds = self.start.elapsed().as_secs_f64();
        Ok(())
    }
}

fn count(result: &mut Evaluation, row: &[f32], label: usize, options: &EvalOptions) {
    result.n += 1;
    result.per_class[label].n += 1;
    if row.iter().any(|v| !v.is_finite()) {
        result.non_finite += 1;
        return;
    }
    let rank = rank(row, label);
    result.correct1 += usize::from(rank == 0);
    result.correct5 += usize::from(rank < 5);
    result.per_class[label].correct += usize::from(rank == 0);
    result.loss_sum += options.output.loss(row, label);
}

fn classes(data: &Dataset, count: usize) -> Vec<ClassAccuracy> {
    let names = data.class_names();
    (0..count)
        .map(|i| ClassAccuracy {
            name: names.get(i).cloned().unwrap_or_else(|| format!("class {i}")),
            n: 0,
            correct: 0,
        })
        .collect()
}

/// The first output as one row of scores per example.
pub(super) struct Scores {
    values: Vec<f32>,
    pub classes: usize,
}

impl Scores {
    /// Accepts [n, classes] and the same with trailing axes of extent 1.
    pub fn of(output: Option<&Tensor>, n: usize) -> Result<Self, EvalError> {
        let output = output.ok_or_else(|| EvalError::OutputShape(Vec::new()))?;
        let shape = output.shape();
        let fits = shape.len() >= 2 && shape[0] == n && shape[1] > 0 && shape[2..].iter().all(|&d| d == 1);
        if !fits {
            return Err(EvalError::OutputShape(shape.to_vec()));
        }
        Ok(Self { values: output.to_f32().into_owned(), classes: shape[1] })
    }

    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use std::path::Path;

    /// Ten examples of two values; the label is 1 where the second is larger, apart from the last one.
    fn data() -> Dataset {
        let values: Vec<f32> = (0..10).flat_map(|i| if i % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let mut labels: Vec<u32> = (0..10).map(|i| i % 2).collect();
        labels[9] = 0;
        labelled(values, Some(labels))
    }

    fn labelled(values: Vec<f32>, labels: Option<Vec<u32>>) -> Dataset {
        let shape = [values.len() / 2, 1, 1, 2];
        let path = Path::new("memory");
        Dataset::new(Examples::F32(values), &shape, labels, Preprocess::default(), Split::Test, path).unwrap()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature is that of a runner")]
    fn echo(inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        let n = inputs[0].shape()[0];
        Ok(vec![inputs[0].reshaped(vec![n, 2]).unwrap()])
    }

    fn all(options: &EvalOptions) -> Evaluation {
        evaluate(&echo, &data(), options, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn hits_losses_and_classes_are_counted() {
        let result = all(&EvalOptions::default());
        assert_eq!((result.n, result.total, result.correct1, result.correct5), (10, 10, 9, 10));
        let (right, wrong) = ((-1.0f64).exp().ln_1p(), 1.0f64.exp().ln_1p());
        assert!((result.loss_sum - (9.0 * right + wrong)).abs() < 1e-9);
        let classes: Vec<_> = result.per_class.iter().map(|c| (c.n, c.correct)).collect();
        assert_eq!(classes, [(6, 5), (4, 4)]);
        assert!(result.is_complete());
    }

    #[test]
    fn batches_do_not_change_the_result() {
        let whole = all(&EvalOptions::default());
        for batch in [0, 1, 3, 10] {
            let other = all(&EvalOptions { batch, ..EvalOptions::default() });
            assert_eq!(Evaluation { seconds: whole.seconds, ..other }, whole);
        }
    }

    #[test]
    fn the_observer_sees_every_batch_and_can_cancel() {
        let mut seen = Vec::new();
        let options = EvalOptions { batch: 4, limit: Some(9), ..EvalOptions::default() };
        let outcome = evaluate(&echo, &data(), &options, &mut |e| {
            seen.push((e.n, e.total));
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(outcome, Err(EvalError::Cancelled)));
        assert_eq!(seen, [(4, 9), (8, 9)]);
    }

    #[test]
    fn non_finite_scores_count_as_wrong_and_never_panic() {
        let nan = |inputs: &[Tensor]| -> Result<Vec<Tensor>, EvalError> {
            let n = inputs[0].shape()[0];
            Ok(vec![Tensor::from_f32(vec![n, 2], [f32::NAN, f32::INFINITY].repeat(n)).unwrap()])
        };
        let result = evaluate(&nan, &data(), &EvalOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((result.n, result.non_finite, result.correct1, result.loss()), (10, 10, 0, None));
    }

    #[test]
    fn labels_that_the_model_cannot_tell_apart_are_named() {
        let data = labelled(vec![0.0; 6], Some(vec![0, 1, 7]));
        let error = evaluate(&echo, &data, &EvalOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, EvalError::LabelOutOfRange { index: 2, label: 7, classes: 2 }));
    }

    #[test]
    fn missing_labels_and_outputs_without_scores_are_refused() {
        let run = |runner: &dyn Runner, data: &Dataset| {
            evaluate(runner, data, &EvalOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap_err()
        };
        assert!(matches!(run(&echo, &labelled(vec![0.0; 6], None)), EvalError::NoLabels));
        let flat = |inputs: &[Tensor]| -> Result<Vec<Tensor>, EvalError> {
            Ok(vec![inputs[0].reshaped(vec![inputs[0].len()]).unwrap()])
        };
        assert!(matches!(run(&flat, &data()), EvalError::OutputShape(shape) if shape == [20]));
        let none = |_: &[Tensor]| -> Result<Vec<Tensor>, EvalError> { Ok(Vec::new()) };
        assert!(matches!(run(&none, &data()), EvalError::OutputShape(_)));
    }
}
