use super::super::CalibrateError;
use super::super::progress::Progress;
use super::descent::{Descent, Tracked, add_terms};
use super::{Found, Sums, above_the_lowest};

/// Passes over the examples that the fine-tuning takes.
pub(super) const PASSES: u64 = 2;

/// Its learning rate: small enough that trained networks stay what they are, as only the direction counts.
const LEARNING_RATE: f64 = 0.01;

/// Movement (Sanh et al. 2020): minus the sum of gradient times weight over the steps of a short fine-tuning, each
/// before its step, above the lowest of all tracked layers. A weight that moves away from zero gains.
///
/// All parameters move, by plain stochastic gradient descent, two passes over the examples in batches of at most 32
/// at a learning rate of 0.01. Nothing of it is kept but the scores.
pub(super) fn movement(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let mut sums: Sums = vec![None; tracked.len()];
    for _ in 0..PASSES {
        for index in 0..descent.batch_count() {
            let gradients = descent.gradients(&descent.batch(index))?;
            for (sums, tracked) in sums.iter_mut().zip(tracked) {
                let Some(gradient) = tracked.gradient(&gradients)? else { continue };
                let present = tracked.parameter.var.flatten_all()?.to_vec1::<f32>()?;
                add_terms(sums, &gradient, &present, |g, w| -g * w);
            }
            for parameter in descent.parameters() {
                if let Some(gradient) = gradients.get(parameter) {
                    let var = &parameter.var;
                    var.set(&(var.as_tensor() - (gradient * LEARNING_RATE)?)?)?;
                }
            }
            progress.advance(1)?;
        }
    }
    Ok(above_the_lowest(tracked, &sums))
}
