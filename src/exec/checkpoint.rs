use super::bound::{Slots, narrowed};
use super::{Bound, ExecError};
use crate::model::Tensor;
use rayon::prelude::*;

/// A run that has come to a halt before one of its steps: the values that the steps from there on read.
///
/// Made by [`Bound::start`] and carried on by [`Bound::advanced`]; [`Bound::finish`] ends it, as often as needed, with
/// the same results as [`Bound::run`] to the bit. A [rebind](Bound::rebind) of the same program may finish it if it
/// shares all steps before, see [`Bound::first_change`].
#[derive(Clone, Debug)]
pub struct Checkpoint {
    step: usize,
    /// By part of the batch.
    parts: Vec<Slots>,
}

impl Checkpoint {
    /// The step that comes next.
    pub const fn step(&self) -> usize {
        self.step
    }

    pub(super) fn parts(&self) -> &[Slots] {
        &self.parts
    }

    /// Bytes of the values that are kept. What two of them share counts twice.
    pub fn bytes(&self) -> usize {
        let values = self.parts.iter().flatten().flatten();
        values.map(|value| value.elem_count() * value.dtype().size_in_bytes()).sum()
    }
}

impl Bound {
    /// Takes inputs for a run, and halts before its first step.
    ///
    /// # Errors
    /// As [`Bound::run`] for inputs that do not fit the graph.
    pub fn start(&self, inputs: &[Tensor]) -> Result<Checkpoint, ExecError> {
        let inputs = self.program().convert(inputs)?;
        self.program().check(&inputs)?;
        let parts = self.parts(&inputs);
        let slots = match &parts[..] {
            [_] => vec![self.program().slots_with(&inputs)?],
            parts => {
                let slots = |part| self.program().slots_with(&narrowed(&inputs, part)?);
                parts.iter().map(slots).collect::<Result<_, _>>()?
            }
        };
        Ok(Checkpoint { step: 0, parts: slots })
    }

    /// Runs the steps before `step` that have not run yet.
    ///
    /// # Errors
    /// [`ExecError::Node`] if a node fails.
    pub fn advanced(&self, checkpoint: &Checkpoint, step: usize) -> Result<Checkpoint, ExecError> {
        // Once for all steps: each would otherwise wait for the pool to take it over.
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.advanced(checkpoint, step));
        }
        let step = step.min(self.steps());
        let run = |slots: &Slots| {
            let mut slots = slots.clone();
            (checkpoint.step..step).try_for_each(|index| self.advance(index, &mut slots))?;
            Ok(slots)
        };
        let parts = checkpoint.parts.par_iter().map(run).collect::<Result<_, ExecError>>()?;
        Ok(Checkpoint { step: step.max(checkpoint.step), parts })
    }

    /// Runs all steps that are left; results are those of [`Bound::run`] on the same inputs.
    ///
    /// # Errors
    /// [`ExecError::Node`] if a node fails.
    pub fn finish(&self, checkpoint: &Checkpoint) -> Result<Vec<Tensor>, ExecError> {
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.finish(checkpoint));
        }
        let run = |slots: &Slots| self.run_from(checkpoint.step, slots.clone());
        let results = checkpoint.parts.par_iter().map(run).collect::<Result<_, _>>()?;
        self.in_graph_types(&self.joined(results)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{ExampleInputs, Program};
    use crate::model::{Architecture, Model, Sizes};

    fn bound(model: &Model) -> Bound {
        Program::compile(model).unwrap().bind(model).unwrap()
    }

    /// The model with one weight of a tensor changed.
    fn edited(model: &Model, name: &str) -> Model {
        let mut edited = model.clone();
        let tensor = &model.tensors[name];
        let mut values = tensor.to_f32().into_owned();
        values[0] += 1.0;
        edited.tensors.insert(name.to_owned(), Tensor::from_f32(tensor.shape().to_vec(), values).unwrap());
        edited
    }

    fn bits(outputs: &[Tensor]) -> Vec<u8> {
        outputs.iter().flat_map(|t| t.bytes().to_vec()).collect()
    }

    #[test]
    fn an_edited_model_finishes_a_run_from_its_first_change_with_the_same_bits() {
        for architecture in [Architecture::ResNet8, Architecture::LeNet5, Architecture::Mlp300100] {
            let model = architecture.build(3).unwrap();
            let dense = bound(&model);
            // More examples than run together, and not a multiple of them.
            let examples = 3 * dense.program().examples_together().unwrap_or(1).min(40) + 1;
            let inputs = ExampleInputs::new(&model, &Sizes::default(), 5).batch(examples).unwrap();
            let mut checkpoint = dense.start(&inputs).unwrap();
            let weights = crate::model::layers_of(&model).into_iter().map(|layer| layer.weight);
            let mut changed: Vec<(usize, Bound)> = weights
                .map(|name| dense.rebind(&edited(&model, &name)).unwrap())
                .map(|edited| (dense.first_change(&edited), edited))
                .collect();
            changed.sort_by_key(|(step, _)| *step);
            assert!(changed.len() > 2 && changed[0].0 < changed.last().unwrap().0);
            for (step, edited) in changed {
                checkpoint = dense.advanced(&checkpoint, step).unwrap();
                assert_eq!(checkpoint.step(), step);
                let finished = edited.finish(&checkpoint).unwrap();
                assert_eq!(bits(&finished), bits(&edited.run(&inputs).unwrap()), "{architecture:?} from {step}");
                assert_ne!(bits(&finished), bits(&dense.run(&inputs).unwrap()));
            }
        }
    }

    #[test]
    fn a_checkpoint_keeps_only_what_is_still_read() {
        let model = Architecture::LeNet5.build(3).unwrap();
        let dense = bound(&model);
        let inputs = ExampleInputs::new(&model, &Sizes::default(), 5).batch(4).unwrap();
        let start = dense.start(&inputs).unwrap();
        assert_eq!(start.bytes(), 4 * 784 * 4);
        let end = dense.advanced(&start, usize::MAX).unwrap();
        assert_eq!((end.step(), end.bytes()), (dense.steps(), 4 * 10 * 4));
        assert_eq!(dense.first_change(&dense.rebind(&model).unwrap()), dense.steps());
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused_before_the_first_step() {
        let model = Architecture::LeNet5.build(3).unwrap();
        let wrong = Tensor::from_f32(vec![1, 3], vec![0.0; 3]).unwrap();
        assert!(matches!(bound(&model).start(&[wrong]), Err(ExecError::InputShape { .. })));
        assert!(matches!(bound(&model).start(&[]), Err(ExecError::InputCount { .. })));
    }
}
