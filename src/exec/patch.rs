use super::bound::constants_of;
use super::kernels::custom;
use super::program::{Held, Source};
use super::{Bound, Checkpoint, ExecError};
use crate::model::Tensor;
use candle_core::Tensor as CandleTensor;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// What an edit does to the output of the first step that it changes, where that is no more than whole channels which
/// become constant: the others need not be computed again.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    step: usize,
    slot: usize,
    /// Channels, and the value of each at every place of every example.
    channels: Vec<(usize, f32)>,
}

impl Patch {
    /// The step after which the output is as patched.
    pub const fn step(&self) -> usize {
        self.step
    }

    fn apply(&self, output: &CandleTensor) -> candle_core::Result<CandleTensor> {
        // Channels last in memory, so that one pass over the examples does, in the order of the output.
        let axes: Vec<usize> = std::iter::once(0).chain(2..output.rank()).chain([1]).collect();
        let back: Vec<usize> = [0, output.rank() - 1].into_iter().chain(1..output.rank() - 1).collect();
        let width = output.dim(1)?;
        if output.is_contiguous() {
            let mut values = custom::with_elements(output, |values| Ok(values.to_vec()))?;
            let place: usize = output.dims()[2..].iter().product();
            for example in values.chunks_mut(width * place) {
                for &(channel, value) in &self.channels {
                    example[channel * place..(channel + 1) * place].fill(value);
                }
            }
            return custom::tensor(values, output.shape());
        }
        let last = output.permute(axes)?;
        let mut values = custom::with_elements(&last, |values| Ok(values.to_vec()))?;
        for place in values.chunks_mut(width) {
            for &(channel, value) in &self.channels {
                place[channel] = value;
            }
        }
        custom::tensor(values, last.shape())?.permute(back)
    }
}

impl Bound {
    /// How the output of the first step that `edited`, a [rebind](Self::rebind) of this one, changes follows from the
    /// output here. `one` are inputs of a single example.
    ///
    /// `None` unless that step is a convolution to which nothing is added and the edit sets whole output channels to
    /// zero. Their constants are read off a run, so that normalisation and activation are in them.
    ///
    /// # Errors
    /// As [`Bound::run`] on `one`.
    pub fn patch(&self, edited: &Self, one: &[Tensor]) -> Result<Option<Patch>, ExecError> {
        let step = self.first_change(edited);
        let Some((slot, channels)) = self.zeroed_channels(edited, step) else { return Ok(None) };
        let after = edited.advanced(&edited.start(one)?, step + 1)?;
        let [part] = after.parts() else { return Ok(None) };
        let Some(output) = part[slot].as_ref().filter(|output| output.rank() >= 3) else { return Ok(None) };
        let mut constants = Vec::with_capacity(channels.len());
        for channel in channels {
            let values = output.narrow(1, channel, 1)?.flatten_all()?.to_vec1::<f32>()?;
            match values.first() {
                Some(first) if values.iter().all(|v| v.to_bits() == first.to_bits()) => {
                    constants.push((channel, *first));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(Patch { step, slot, channels: constants }))
    }

    /// The slot of the step's output, and the channels that the edit sets to zero if it does nothing else.
    fn zeroed_channels(&self, edited: &Self, step: usize) -> Option<(usize, BTreeSet<usize>)> {
        let step = self.program().0.steps.get(step)?;
        let call = &self.program().0.calls[step.call];
        let (&[Some(slot)], None, "Conv") = (&step.outputs[..], step.residual, call.op.as_str()) else { return None };
        let Some(&Source::Constant(weight)) = call.inputs.get(1) else { return None };
        let mut zeroed = BTreeSet::new();
        let mut changed = BTreeSet::new();
        let width = self.given(weight)?.shape().first().copied()?;
        for index in constants_of(self.program(), step) {
            let (before, after) = (self.given(index)?, edited.given(index)?);
            if before.shape() != after.shape() || before.shape().first() != Some(&width) {
                return None;
            }
            let (before, after) = (before.to_f32(), after.to_f32());
            let rows = before.chunks(before.len() / width).zip(after.chunks(after.len() / width));
            for (row, (_, after)) in rows.enumerate().filter(|(_, (before, after))| before != after) {
                changed.insert(row);
                zeroed.extend((index == weight && after.iter().all(|v| *v == 0.0)).then_some(row));
            }
        }
        // What changes in any other way has to be computed.
        (!zeroed.is_empty() && changed.is_subset(&zeroed)).then_some((slot, zeroed))
    }

    fn given(&self, constant: usize) -> Option<&Tensor> {
        match self.constant(constant) {
            Held::Given(tensor) => Some(tensor),
            Held::Computed(_) => None,
        }
    }

    /// As [`Bound::finish`] from a run of the dense program that halted right after the patched step.
    ///
    /// # Errors
    /// [`ExecError::Node`] if a node fails.
    pub fn finish_patched(&self, checkpoint: &Checkpoint, patch: &Patch) -> Result<Vec<Tensor>, ExecError> {
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.finish_patched(checkpoint, patch));
        }
        let run = |slots: &super::bound::Slots| {
            let mut slots = slots.clone();
            if let Some(output) = &mut slots[patch.slot] {
                *output = patch.apply(output)?;
            }
            self.run_from(checkpoint.step(), slots)
        };
        let results = checkpoint.parts().par_iter().map(run).collect::<Result<_, ExecError>>()?;
        self.in_graph_types(&self.joined(results)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{ExampleInputs, Program};
    use crate::model::{Architecture, Model, Sizes};

    /// The model with these output channels of a weight zeroed, but for one value of the last of them if `nearly`.
    fn without(model: &Model, weight: &str, channels: &[usize], nearly: bool) -> Model {
        let mut edited = model.clone();
        let tensor = &model.tensors[weight];
        let mut values = tensor.to_f32().into_owned();
        let row = values.len() / tensor.shape()[0];
        for &channel in channels {
            values[channel * row..(channel + 1) * row].fill(0.0);
        }
        if let (true, Some(last)) = (nearly, channels.last()) {
            values[last * row] = 0.5;
        }
        edited.tensors.insert(weight.to_owned(), Tensor::from_f32(tensor.shape().to_vec(), values).unwrap());
        edited
    }

    fn bits(outputs: &[Tensor]) -> Vec<u8> {
        outputs.iter().flat_map(|t| t.bytes().to_vec()).collect()
    }

    #[test]
    fn whole_channels_that_go_are_patched_into_the_dense_output_with_the_same_bits() {
        for (architecture, weights) in [
            (Architecture::ResNet8, &["stage1.depthwise.weight", "stage2.conv1.weight", "stage3.conv1.weight"][..]),
            (Architecture::LeNet5, &["conv1.weight", "conv2.weight"]),
        ] {
            let model = architecture.build(3).unwrap();
            let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
            let sizes = Sizes::default();
            let mut examples = ExampleInputs::new(&model, &sizes, 5);
            let (inputs, one) = (examples.batch(19).unwrap(), examples.batch(1).unwrap());
            for weight in weights {
                let edited = dense.rebind(&without(&model, weight, &[1, 4, 5], false)).unwrap();
                let patch = dense.patch(&edited, &one).unwrap().expect("only whole channels go");
                let after = dense.advanced(&dense.start(&inputs).unwrap(), patch.step() + 1).unwrap();
                let found = edited.finish_patched(&after, &patch).unwrap();
                assert_eq!(bits(&found), bits(&edited.run(&inputs).unwrap()), "{weight}");
                assert_ne!(bits(&found), bits(&dense.run(&inputs).unwrap()), "{weight}");
            }
        }
    }

    #[test]
    fn an_edit_of_single_weights_or_before_an_addition_is_no_patch() {
        let model = Architecture::ResNet8.build(3).unwrap();
        let dense = Program::compile(&model).unwrap().bind(&model).unwrap();
        let one = ExampleInputs::new(&model, &Sizes::default(), 5).batch(1).unwrap();
        let patch = |edited: &Model| dense.patch(&dense.rebind(edited).unwrap(), &one).unwrap();
        assert_eq!(patch(&without(&model, "stage2.conv1.weight", &[1, 4], true)), None);
        assert_eq!(patch(&without(&model, "stage2.conv2.weight", &[1, 4], false)), None);
        assert_eq!(patch(&without(&model, "fc.weight", &[1], false)), None);
        assert_eq!(patch(&model), None);
    }
}
