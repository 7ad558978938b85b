use super::super::CalibrateError;
use super::super::progress::Progress;
use super::descent::{Descent, Tracked, add};
use super::{Found, Sum, Sums, above_the_lowest, weigh};
use candle_core::Tensor;

/// Passes over the examples for a product of Hessian and gradient: the gradient, and one on each side.
pub(super) const GRASP_PASSES: u64 = 3;

/// How far the weights are moved along the gradient to see how it changes, as a share of their norm: so far that the
/// rounding of f32 does not show, and so little that the third derivative does not.
const STEP: f64 = 2e-3;

/// Optimal brain damage (LeCun et al. 1990): w^2 h / 2, where the mean over examples of their squared gradients, the
/// empirical Fisher information, stands for the diagonal h of the Hessian.
pub(super) fn obd(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let mut fisher: Sums = vec![None; tracked.len()];
    let share = (descent.example_count() as f64).recip();
    for batch in 0..descent.batch_count() {
        for example in descent.batch(batch) {
            let gradients = descent.gradients(&[example])?;
            add(&mut fisher, tracked, &gradients, |g, _| share * g * g)?;
            progress.advance(1)?;
        }
    }
    Ok(weigh(tracked, &fisher, |h, w| w * w * h / 2.0))
}

/// Gradient signal preservation (Wang et al. 2020): w times the product of Hessian and gradient, above the lowest of
/// all tracked layers. The paper removes the highest of -w (H g), which this ranks lowest.
///
/// H and g are those of the mean loss by the weights of the tracked layers. The product is a central difference of
/// gradients, (g(w + e g) - g(w - e g)) / 2 e, with e such that the weights move by a fixed share of their norm. It
/// sees what ReLUs and max pools contribute that switch on the way, which the automatic differentiation of the paper
/// takes as without curvature; for smooth networks both are the same.
///
/// Logits are taken as they are, where the paper divides those of a network before training by a temperature.
pub(super) fn grasp(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let gradient = descent.mean_gradients(tracked, progress)?;
    let weights = tracked.iter().zip(&gradient).filter(|(_, gradient)| gradient.is_some());
    let weights: f64 = weights.flat_map(|(tracked, _)| &tracked.weight).map(|&w| f64::from(w).powi(2)).sum();
    let slope: f64 = gradient.iter().flatten().flatten().map(|g| g * g).sum();
    let step = if slope > 0.0 { STEP * (weights / slope).sqrt() } else { 0.0 };
    let mut sides = Vec::with_capacity(2);
    for step in [step, -step] {
        for (tracked, gradient) in tracked.iter().zip(&gradient) {
            if let Some(gradient) = gradient {
                displace(tracked, gradient, step)?;
            }
        }
        sides.push(descent.mean_gradients(tracked, progress)?);
    }
    let scale = if step > 0.0 { (2.0 * step).recip() } else { 0.0 };
    let [ahead, behind] = &sides[..] else { return Ok(Vec::new()) };
    let each = |((tracked, ahead), behind): ((&Tracked<'_>, &Sum), &Sum)| {
        let (ahead, behind) = ahead.as_ref().zip(behind.as_ref())?;
        let products = ahead.iter().zip(behind).map(|(ahead, behind)| (ahead - behind) * scale);
        Some(products.zip(&tracked.weight).map(|(product, &w)| product * f64::from(w)).collect())
    };
    let raw: Sums = tracked.iter().zip(ahead).zip(behind).map(each).collect();
    Ok(above_the_lowest(tracked, &raw))
}

/// Puts the weight, as the model has it, plus `step` times the gradient into the parameter.
fn displace(tracked: &Tracked<'_>, gradient: &[f64], step: f64) -> Result<(), CalibrateError> {
    let moved: Vec<f32> = tracked.weight.iter().zip(gradient).map(|(&w, g)| (f64::from(w) + step * g) as f32).collect();
    let var = &tracked.parameter.var;
    Ok(var.set(&Tensor::from_vec(moved, var.shape(), var.device())?)?)
}
