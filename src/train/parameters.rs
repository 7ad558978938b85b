use super::optimizer::{Moments, zero_unkept};
use super::{Optimizer, TrainError, TrainOptions};
use crate::exec::{Gradients, Parameter};
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// The variables of a run with what the optimizer remembers of each.
pub(super) struct Parameters {
    rule: Optimizer,
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
    /// [`TrainError::Mask`] if a mask fits no variable.
    pub fn new(parameters: &[Parameter], options: &TrainOptions) -> Result<Self, TrainError> {
        let unfit = options
            .masks
            .iter()
            .find(|(name, keep)| !parameters.iter().any(|p| p.name == *name && p.var.elem_count() == keep.len()));
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
        let parameters = Self { rule, slots: slots.collect() };
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
        for slot in &self.slots {
            let Some(gradient) = gradients.get(&slot.parameter) else { continue };
            let gradient: Tensor = gradient.contiguous()?;
            slot.parameter.var.inplace_op2(&gradient, &Update { slot, rule: self.rule, rate: rate as f32 })?;
        }
        Ok(())
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
