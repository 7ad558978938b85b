use super::evaluate::{Tally, order_of};
use super::{EvalError, EvalOptions, Evaluation};
use crate::data::{Dataset, Feed};
use crate::exec::{Bound, Checkpoint, ExecError, Patch};
use std::ops::{ControlFlow, Range};

/// Evaluations of models that differ from one another only from some step on: what the steps before have computed
/// is kept and not computed again.
///
/// What is kept is bounded. Batches for which there is no room keep what they had at an earlier step, or nothing, and
/// run from there or from the input. Results are those of [`evaluate`](super::evaluate) to the bit in any case.
#[derive(Debug)]
pub struct Replay<'a> {
    dense: Bound,
    data: &'a Dataset,
    feed: Feed<'a>,
    options: EvalOptions,
    order: Vec<usize>,
    /// By batch, what has been computed of it.
    kept: Vec<Option<Checkpoint>>,
    budget: usize,
}

impl<'a> Replay<'a> {
    /// Bytes of intermediate values that may be kept where the caller has no other wish.
    pub const BUDGET: usize = 1 << 30;

    /// Prepares evaluations of rebinds of `dense`, that keep at most `budget` bytes.
    ///
    /// # Errors
    /// [`EvalError`] if there is nothing to measure, or the data does not fit the model.
    pub fn new(dense: &Bound, data: &'a Dataset, options: &EvalOptions, budget: usize) -> Result<Self, EvalError> {
        Tally::new(data, options)?;
        let feed = Feed::new(data, dense.program().inputs())?;
        let order = order_of(data, options);
        let batches = order.len().div_ceil(feed.rows(options.batch));
        Ok(Self { dense: dense.clone(), data, feed, options: *options, order, kept: vec![None; batches], budget })
    }

    /// Examples that are measured.
    pub const fn examples(&self) -> usize {
        self.order.len()
    }

    /// Bytes of intermediate values that are kept.
    pub fn bytes(&self) -> usize {
        self.kept.iter().flatten().map(Checkpoint::bytes).sum()
    }

    /// Computes what the steps before `step` compute, and keeps as much of it as there is room for. Steps only go
    /// up: earlier ones are of no use to a model that changes in one of them.
    ///
    /// # Errors
    /// [`EvalError::Cancelled`] if `observe` broke, which is asked before every batch; as [`super::evaluate`].
    pub fn advance(&mut self, step: usize, observe: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), EvalError> {
        let mut total = self.bytes();
        let mut each: Option<usize> = None;
        for index in 0..self.kept.len() {
            if observe().is_break() {
                return Err(EvalError::Cancelled);
            }
            let before = self.kept[index].as_ref().map_or(0, Checkpoint::bytes);
            let examples = self.batch(index).len();
            let fits = |bytes: usize| total - before + bytes <= self.budget;
            // What the batch before took says whether it is worth the time.
            let worth = each.is_none_or(|each| fits(each * examples));
            if !worth || self.kept[index].as_ref().is_some_and(|kept| kept.step() >= step) {
                continue;
            }
            let start = match &self.kept[index] {
                Some(kept) => kept.clone(),
                None => self.start(index)?,
            };
            let advanced = self.dense.advanced(&start, step).map_err(failed)?;
            let bytes = advanced.bytes();
            each = Some(bytes / examples.max(1));
            if fits(bytes) {
                total = total - before + bytes;
                self.kept[index] = Some(advanced);
            }
        }
        Ok(())
    }

    /// Measures a rebind of the dense program; `observe` sees the result so far after each batch, and breaks to
    /// cancel.
    ///
    /// # Errors
    /// As [`super::evaluate`].
    pub fn measure(
        &self,
        bound: &Bound,
        observe: &mut dyn FnMut(&Evaluation) -> ControlFlow<()>,
    ) -> Result<Evaluation, EvalError> {
        let first = self.dense.first_change(bound);
        let patch =
            if self.kept.iter().flatten().any(|kept| kept.step() == first + 1) { self.patch(bound)? } else { None };
        let mut tally = Tally::new(self.data, &self.options)?;
        for (index, kept) in self.kept.iter().enumerate() {
            let outputs = match (kept, &patch) {
                (Some(kept), _) if kept.step() <= first => bound.finish(kept),
                (Some(kept), Some(patch)) if kept.step() == first + 1 => bound.finish_patched(kept, patch),
                _ => bound.finish(&self.start(index)?),
            };
            let indices = &self.order[self.batch(index)];
            tally.add(&outputs.map_err(failed)?, self.feed.rows(indices.len()).max(indices.len()), indices)?;
            if observe(&tally.result).is_break() {
                return Err(EvalError::Cancelled);
            }
        }
        Ok(tally.result)
    }

    /// How the output of the first step that `bound` changes follows from that of the dense program, where it does.
    /// Then a run may have been [advanced](Self::advance) to after that step.
    ///
    /// # Errors
    /// As [`super::evaluate`].
    pub fn patch(&self, bound: &Bound) -> Result<Option<Patch>, EvalError> {
        let batch = self.feed.batch(&self.order[..self.order.len().min(1)])?;
        self.dense.patch(bound, &batch.inputs).map_err(failed)
    }

    fn start(&self, index: usize) -> Result<Checkpoint, EvalError> {
        let batch = self.feed.batch(&self.order[self.batch(index)])?;
        self.dense.start(&batch.inputs).map_err(failed)
    }

    /// Places in the order of the examples of a batch.
    fn batch(&self, index: usize) -> Range<usize> {
        let rows = self.feed.rows(self.options.batch);
        index * rows..((index + 1) * rows).min(self.order.len())
    }
}

fn failed(error: ExecError) -> EvalError {
    EvalError::Run(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use crate::eval::evaluate;
    use crate::exec::Program;
    use crate::model::{Architecture, Model, Tensor, layers_of};
    use std::path::Path;

    fn data(examples: usize) -> Dataset {
        let bytes = (0..examples * 784).map(|i| (i * 7919 % 251) as u8).collect();
        let labels = (0..examples as u32).map(|i| i % 10).collect();
        let preprocess = Preprocess { scale: Some(1.0 / 255.0), ..Preprocess::default() };
        Dataset::new(Examples::U8(bytes), &[examples, 1, 28, 28], Some(labels), preprocess, Split::Test, Path::new("m"))
            .unwrap()
    }

    fn go_on(_: &Evaluation) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// The model with half of a weight's values set to zero, bound.
    fn halved(model: &Model, dense: &Bound, name: &str) -> Bound {
        let mut edited = model.clone();
        let tensor = &model.tensors[name];
        let values = tensor.to_f32().iter().enumerate().map(|(i, v)| if i % 2 == 0 { *v } else { 0.0 }).collect();
        edited.tensors.insert(name.to_owned(), Tensor::from_f32(tensor.shape().to_vec(), values).unwrap());
        dense.rebind(&edited).unwrap()
    }

    #[test]
    fn whatever_is_kept_results_are_those_of_running_from_the_input() {
        let model = Architecture::ResNet8.build(3).unwrap();
        let (data, options) = (data(50), EvalOptions { batch: 16, limit: Some(45), ..EvalOptions::default() });
        let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
        let mut edits: Vec<Bound> = layers_of(&model).iter().map(|l| halved(&model, &dense, &l.weight)).collect();
        edits.sort_by_key(|edited| dense.first_change(edited));
        // All of it, two batches of three, one batch, nothing.
        let whole = {
            let mut replay = Replay::new(&dense, &data, &options, usize::MAX).unwrap();
            replay.advance(1, &mut || ControlFlow::Continue(())).unwrap();
            replay.bytes()
        };
        for budget in [usize::MAX, whole * 3 / 4, whole * 2 / 5, 0] {
            let mut replay = Replay::new(&dense, &data, &options, budget).unwrap();
            for edited in &edits {
                replay.advance(dense.first_change(edited), &mut || ControlFlow::Continue(())).unwrap();
                assert!(replay.bytes() <= budget);
                let found = replay.measure(edited, &mut go_on).unwrap();
                let expected = evaluate(edited, &data, &options, &mut go_on).unwrap();
                assert_eq!(found.loss_sum.to_bits(), expected.loss_sum.to_bits());
                assert_eq!(Evaluation { seconds: expected.seconds, ..found }, expected);
            }
        }
    }

    #[test]
    fn a_model_that_changes_before_what_is_kept_runs_from_the_input() {
        let model = Architecture::LeNet5.build(3).unwrap();
        let (data, options) = (data(20), EvalOptions { batch: 8, ..EvalOptions::default() });
        let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
        let first = halved(&model, &dense, "conv1.weight");
        let mut replay = Replay::new(&dense, &data, &options, usize::MAX).unwrap();
        replay.advance(dense.steps(), &mut || ControlFlow::Continue(())).unwrap();
        let found = replay.measure(&first, &mut go_on).unwrap();
        let expected = evaluate(&first, &data, &options, &mut go_on).unwrap();
        assert_eq!(Evaluation { seconds: expected.seconds, ..found }, expected);
    }

    #[test]
    fn both_stages_can_be_cancelled() {
        let model = Architecture::Mlp300100.build(3).unwrap();
        let (data, options) = (data(20), EvalOptions { batch: 8, ..EvalOptions::default() });
        let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
        let mut replay = Replay::new(&dense, &data, &options, usize::MAX).unwrap();
        assert!(matches!(replay.advance(1, &mut || ControlFlow::Break(())), Err(EvalError::Cancelled)));
        assert!(matches!(replay.measure(&dense, &mut |_| ControlFlow::Break(())), Err(EvalError::Cancelled)));
        assert!(matches!(Replay::new(&dense, &data.subset(&[]), &options, 0).map(|_| ()), Err(EvalError::NoExamples)));
    }
}
