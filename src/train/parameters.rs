use super::checkpoint::Memory;
use super::optimizer::{Moments, zero_unkept};
use super::{Optimizer, TrainError, TrainOptions};
use crate::exec::{Gradients, Parameter};
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// The variables of a run with what the optimizer remembers of each.
pub(super) struct Parameters {
    rule: Optimizer,
    clip: Option<f32>,
    slots: Vec<Slot>,
}

struct Slot {
    parameter: Parameter,
    decayed: bool,
    keep: Option<Arc<[bool]>>,
    moments: Mutex<Moments>,
}

impl Parameters {
    /// Takes the variables by tensor name and sets what `options` mask to zero.
    ///
    /// # Errors
    /// [`TrainError::Mask`] if a mask has another length than its variable. What does not train keeps its zeros anyway.
    pub fn new(parameters: &[Parameter], options: &TrainOptions) -> Result<Self, TrainError> {
        let unfit = options
            .masks
            .iter()
            .find(|(name, keep)| parameters.iter().any(|p| p.name == *name && p.var.elem_count() != keep.len()));
        if let Some((name, _)) = unfit {
            return Err(TrainError::Mask(name.to_owned()));
        }
        let rule = options.optimizer;
        let slots = parameters.iter().map(|parameter| Slot {
            parameter: parameter.clone(),
            decayed: parameter.var.dims().len() >= 2,
            keep: options.masks.get_shared(&parameter.name),
            moments: Mutex::new(Moments::new(rule, parameter.var.elem_count())),
        });
        let parameters = Self { rule, clip: options.clip, slots: slots.collect() };
        for slot in &parameters.slots {
            let Some(keep) = &slot.keep else { continue };
            let var = &slot.parameter.var;
            let mut values = var.flatten_all()?.to_vec1::<f32>()?;
            zero_unkept(&mut values, keep);
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
        Ok(parameters)
    }

    /// Moves every variable that has a gradient.
    pub fn step(&self, gradients: &Gradients, rate: f64) -> Result<(), TrainError> {
        let mut found = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            if let Some(gradient) = gradients.get(&slot.parameter) {
                found.push((slot, gradient.contiguous()?));
            }
        }
        if let Some(most) = self.clip {
            let norm = found.iter().map(|(slot, gradient)| slot.squared(gradient)).sum::<Result<f64, _>>()?.sqrt();
            if norm > f64::from(most) {
                for (_, gradient) in &mut found {
                    *gradient = gradient.affine(f64::from(most) / norm, 0.0)?;
                }
            }
        }
        for (slot, gradient) in found {
            slot.parameter.var.inplace_op2(&gradient, &Update { slot, rule: self.rule, rate: rate as f32 })?;
        }
        Ok(())
    }

    /// Weights that are masked, all of them exactly zero.
    ///
    /// # Errors
    /// [`TrainError::ZeroLost`] if one is not.
    pub fn zeros(&self) -> Result<usize, TrainError> {
        let mut zeros = 0;
        for slot in &self.slots {
            let Some(keep) = &slot.keep else { continue };
            let values = slot.parameter.var.flatten_all()?.to_vec1::<f32>()?;
            let lost = values.iter().zip(keep.iter()).filter(|(value, keep)| !**keep && **value != 0.0).count();
            if lost > 0 {
                return Err(TrainError::ZeroLost { name: slot.parameter.name.clone(), found: lost });
            }
            zeros += keep.iter().filter(|keep| !**keep).count();
        }
        Ok(zeros)
    }

    /// In every masked tensor, frees the masked weights with the steepest gradients and masks as many of the smallest
    /// others: `share` of those that are left (Evci et al. 2020, RigL). What is freed starts from zero.
    pub fn regrow(&mut self, gradients: &Gradients, share: f64) -> Result<(), TrainError> {
        for slot in &mut self.slots {
            let (Some(keep), Some(gradient)) = (&slot.keep, gradients.get(&slot.parameter)) else { continue };
            let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
            let weights = slot.parameter.var.flatten_all()?.to_vec1::<f32>()?;
            let (mut kept, mut masked): (Vec<usize>, Vec<usize>) = (0..keep.len()).partition(|&i| keep[i]);
            let count = ((kept.len() as f64 * share) as usize).min(masked.len());
            kept.sort_by(|&a, &b| weights[a].abs().total_cmp(&weights[b].abs()));
            masked.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
            let mut next = keep.to_vec();
            let mut moments = slot.moments.lock().unwrap_or_else(PoisonError::into_inner);
            for (&dropped, &grown) in kept[..count].iter().zip(&masked) {
                (next[dropped], next[grown]) = (false, true);
                for place in [dropped, grown] {
                    moments.first[place] = 0.0;
                    moments.second.get_mut(place).into_iter().for_each(|value| *value = 0.0);
                }
            }
            drop(moments);
            slot.keep = Some(next.into());
        }
        Ok(())
    }

    /// What the optimizer remembers.
    pub fn memory(&self) -> Vec<Memory> {
        let memory = |slot: &Slot| {
            let Moments { first, second, steps } = slot.moments.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let keep = slot.keep.as_deref().map_or_else(Vec::new, <[bool]>::to_vec);
            Memory { name: slot.parameter.name.clone(), first, second, steps, keep }
        };
        self.slots.iter().map(memory).collect()
    }

    /// Takes back what [`Parameters::memory`] gave out.
    pub fn remember(&mut self, memory: &[Memory]) {
        for slot in &mut self.slots {
            let Some(old) = memory.iter().find(|memory| memory.name == slot.parameter.name) else { continue };
            if slot.keep.as_ref().is_some_and(|keep| keep.len() == old.keep.len()) {
                slot.keep = Some(Arc::from(&old.keep[..]));
            }
            let (first, second, steps) = (old.first.clone(), old.second.clone(), old.steps);
            *slot.moments.lock().unwrap_or_else(PoisonError::into_inner) = Moments { first, second, steps };
        }
    }
}

impl Slot {
    /// The sum of the squares of a gradient, without what is masked.
    fn squared(&self, gradient: &Tensor) -> Result<f64, TrainError> {
        let values = gradient.flatten_all()?.to_vec1::<f32>()?;
        let square = |value: &f32| f64::from(*value).powi(2);
        Ok(match &self.keep {
            Some(keep) => values.iter().zip(keep.iter()).filter(|(_, keep)| **keep).map(|(v, _)| square(v)).sum(),
            None => values.iter().map(square).sum(),
        })
    }
}

/// One optimizer step as an in-place operation, so that nothing is allocated.
struct Update<'a> {
    slot: &'a Slot,
    rule: Optimizer,
    rate: f32,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(gradient)) = (weights, gradient) else {
            bail!("parameters and gradients must be f32")
        };
        let ranges = (weights_layout.contiguous_offsets(), gradient_layout.contiguous_offsets());
        let (Some((w0, w1)), Some((g0, g1))) = ranges else { bail!("parameters must be contiguous") };
        let mut moments = self.slot.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let (weights, gradient) = (&mut weights[w0..w1], &gradient[g0..g1]);
        moments.step(self.rule, self.rate, self.slot.decayed, weights, gradient, self.slot.keep.as_deref());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{BatchNormMode, TrainProgram};
    use crate::model::{Dim, GraphBuilder};
    use crate::train::Masks;
    use candle_core::Device;

    /// Moves y = w x with w = (0, 0) on x = (3, 4) against the gradient (3, 4), and returns w.
    fn moved(options: &TrainOptions) -> Vec<f32> {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 2.into()]);
        let w = b.tensor("w", crate::model::Tensor::from_f32(vec![1, 2], vec![0.0, 0.0]).unwrap());
        let y = b.gemm("fc", x, w, None);
        b.output(y);
        let mut program = TrainProgram::new(&b.finish().unwrap()).unwrap();
        let parameters = Parameters::new(program.parameters(), options).unwrap();
        let x = Tensor::from_slice(&[3f32, 4.0], (1, 2), &Device::Cpu).unwrap();
        let loss = program.forward(&[x], BatchNormMode::Batch).unwrap()[0].sum_all().unwrap();
        let gradients = program.backward(&loss).unwrap();
        parameters.step(&gradients, 1.0).unwrap();
        program.state().unwrap().swap_remove(0).1
    }

    #[test]
    fn gradients_longer_than_the_clip_are_scaled_to_it_and_shorter_ones_left() {
        let optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let plain = TrainOptions { optimizer, ..TrainOptions::default() };
        assert_eq!(moved(&plain), [-3.0, -4.0]);
        assert_eq!(moved(&TrainOptions { clip: Some(6.0), ..plain.clone() }), [-3.0, -4.0]);
        let clipped = moved(&TrainOptions { clip: Some(0.5), ..plain.clone() });
        assert!((clipped[0] + 0.3).abs() < 1e-6 && (clipped[1] + 0.4).abs() < 1e-6, "{clipped:?}");
        // What is masked does not count: the norm is that of 3 alone.
        let mut masks = Masks::default();
        masks.insert("w", vec![true, false]);
        assert_eq!(moved(&TrainOptions { clip: Some(3.0), masks, ..plain }), [-3.0, 0.0]);
    }
}
