use super::super::CalibrateError;
use super::super::found::{of_weights, sums};
use super::super::progress::Progress;
use super::descent::{Descent, Tracked, add_terms};
use super::{Found, NO_GRADIENT, Sum, Sums, weigh};

/// Magnitude of the gradient of the mean loss over all examples.
pub(super) fn gradient(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let mean = descent.mean_gradients(tracked, progress)?;
    Ok(weigh(tracked, &mean, |g, _| g.abs()))
}

/// Connection sensitivity (Lee et al. 2019): |g w| of the mean loss over all examples, as a share of its sum over
/// all tracked layers.
pub(super) fn snip(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let mean = descent.mean_gradients(tracked, progress)?;
    let pairs = tracked.iter().zip(&mean).filter_map(|(tracked, mean)| Some((&tracked.weight, mean.as_ref()?)));
    let effects = pairs.flat_map(|(weight, mean)| weight.iter().zip(mean).map(|(&w, g)| (g * f64::from(w)).abs()));
    let total: f64 = effects.sum();
    let share = if total > 0.0 { total.recip() } else { 0.0 };
    Ok(weigh(tracked, &mean, |g, w| (g * w).abs() * share))
}

/// First-order Taylor expansion (Molchanov et al. 2019): the mean over batches of (g w)^2 for weights and of
/// (sum g w)^2 for channels, g being the gradient of the batch's mean loss.
pub(super) fn taylor(
    descent: &mut Descent<'_>,
    tracked: &[Tracked<'_>],
    progress: &mut Progress<'_>,
) -> Result<Found, CalibrateError> {
    let mut weights: Sums = vec![None; tracked.len()];
    let mut channels: Vec<Vec<f64>> = tracked.iter().map(|tracked| vec![0.0; tracked.layer.channel_count()]).collect();
    let share = (descent.batch_count() as f64).recip();
    for index in 0..descent.batch_count() {
        let gradients = descent.gradients(&descent.batch(index))?;
        for ((tracked, weights), channels) in tracked.iter().zip(&mut weights).zip(&mut channels) {
            let Some(gradient) = tracked.gradient(&gradients)? else { continue };
            add_terms(weights, &gradient, &tracked.weight, |g, w| share * (g * w).powi(2));
            let effects = gradient.iter().zip(&tracked.weight).map(|(&g, &w)| f64::from(g) * f64::from(w));
            let effects = sums(tracked.layer, effects);
            channels.iter_mut().zip(effects).for_each(|(channel, effect)| *channel += share * effect * effect);
        }
        progress.advance(1)?;
    }
    let each = |((tracked, weights), channels): ((&Tracked<'_>, Sum), Vec<f64>)| {
        let scores = weights.ok_or(NO_GRADIENT)?.into_iter().map(|score| score as f32).collect();
        of_weights(tracked.layer, &tracked.weight, scores, Some(channels))
    };
    Ok(tracked.iter().zip(weights).zip(channels).map(each).collect())
}
