use super::evaluate::Scores;
use super::logits::rank;
use super::{EvalError, EvalOptions, Runner};
use crate::data::{Dataset, Feed};
use std::ops::ControlFlow;

/// What a model makes of each example, so that two models can be compared on the same ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Whether the highest score is right, by example in the order of the data.
    pub right: Vec<bool>,
    /// Mean cross-entropy in nats over the examples with finite scores; none without any.
    pub loss: Option<f64>,
}

impl Answers {
    /// Examples whose highest score is right.
    pub fn correct(&self) -> usize {
        self.right.iter().filter(|&&right| right).count()
    }
}

/// Looks at every example of `data` once; [`EvalOptions::limit`] does not count.
///
/// `observe` hears of the examples done after each batch, and breaks to cancel.
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub fn answers(
    runner: &(impl Runner + ?Sized),
    data: &Dataset,
    options: &EvalOptions,
    observe: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Answers, EvalError> {
    let labels = data.labels().ok_or(EvalError::NoLabels)?;
    if data.is_empty() {
        return Err(EvalError::NoExamples);
    }
    let feed = Feed::new(data, runner.inputs())?;
    let all: Vec<usize> = (0..data.len()).collect();
    let mut right = Vec::with_capacity(all.len());
    let (mut loss, mut finite) = (0.0, 0usize);
    for indices in all.chunks(feed.rows(options.batch)) {
        let batch = feed.batch(indices)?;
        let outputs = runner.run(&batch.inputs)?;
        let scores = Scores::of(outputs.first(), batch.rows)?;
        for (row, &index) in scores.rows().zip(indices) {
            let label = labels[index] as usize;
            if label >= scores.classes {
                return Err(EvalError::LabelOutOfRange { index, label: labels[index], classes: scores.classes });
            }
            let counts = row.iter().all(|v| v.is_finite());
            if counts {
                loss += options.output.loss(row, label);
                finite += 1;
            }
            right.push(counts && rank(row, label) == 0);
        }
        if observe(right.len()).is_break() {
            return Err(EvalError::Cancelled);
        }
    }
    Ok(Answers { right, loss: (finite > 0).then(|| loss / finite as f64) })
}
