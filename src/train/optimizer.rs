use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a gradient becomes a step. Weight decay acts on weights of two or more axes only, never on
/// biases or normalisation parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum, as in PyTorch: `v = momentum v + g`.
    Sgd {
        /// Share of the last step that is kept.
        momentum: f32,
        /// Whether to look ahead (Nesterov 1983).
        nesterov: bool,
        /// Factor of the L2 penalty added to the gradient.
        weight_decay: f32,
    },
    /// Adam (Kingma and Ba 2015), with an L2 penalty added to the gradient.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Keeps the denominator off zero.
        epsilon: f32,
        /// Factor of the L2 penalty added to the gradient.
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Keeps the denominator off zero.
        epsilon: f32,
        /// Fraction of the weight removed per unit of learning rate.
        weight_decay: f32,
    },
}

impl Optimizer {
    /// The same rule with another weight decay.
    #[must_use]
    pub const fn with_weight_decay(mut self, decay: f32) -> Self {
        match &mut self {
            Self::Sgd { weight_decay, .. } | Self::Adam { weight_decay, .. } | Self::AdamW { weight_decay, .. } => {
                *weight_decay = decay;
            }
        }
        self
    }

    /// Momentum 0.9 with look-ahead and no weight decay.
    pub const SGD: Self = Self::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 };

    /// The usual constants without weight decay.
    pub const ADAM: Self = Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    /// The usual constants with a weight decay of 0.01.
    pub const ADAM_W: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
}

/// Values updated by one task; large enough to hide the cost of handing it out.
const CHUNK: usize = 1 << 14;

/// Running moments of one parameter tensor.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub first: Vec<f32>,
    /// Empty unless the rule needs it.
    pub second: Vec<f32>,
    pub steps: i32,
}

impl Moments {
    pub fn new(rule: Optimizer, len: usize) -> Self {
        let second = if matches!(rule, Optimizer::Sgd { .. }) { 0 } else { len };
        Self { first: vec![0.0; len], second: vec![0.0; second], steps: 0 }
    }

    /// Moves `weights` against `gradient` in one pass over memory. `decayed` says whether weight decay
    /// applies; where `keep` is false the weight becomes exactly zero.
    pub fn step(
        &mut self,
        rule: Optimizer,
        rate: f32,
        decayed: bool,
        weights: &mut [f32],
        gradient: &[f32],
        keep: Option<&[bool]>,
    ) {
        self.steps += 1;
        match rule {
            Optimizer::Sgd { momentum, nesterov, weight_decay } => {
                let decay = if decayed { weight_decay } else { 0.0 };
                let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
                chunks.zip(self.first.par_chunks_mut(CHUNK)).for_each(|((weights, gradient), velocity)| {
                    for ((w, &g), v) in weights.iter_mut().zip(gradient).zip(velocity) {
                        let g = g + decay * *w;
                        *v = momentum * *v + g;
                        *w -= rate * if nesterov { g + momentum * *v } else { *v };
                    }
                });
            }
            Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
            | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let decay = if decayed { weight_decay } else { 0.0 };
                let coupled = matches!(rule, Optimizer::Adam { .. });
                let (penalty, shrink) = if coupled { (decay, 1.0) } else { (0.0, 1.0 - rate * decay) };
                let first_scale = rate / (1.0 - beta1.powi(self.steps));
                let second_scale = 1.0 / (1.0 - beta2.powi(self.steps));
                let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
                let moments = self.first.par_chunks_mut(CHUNK).zip(self.second.par_chunks_mut(CHUNK));
                chunks.zip(moments).for_each(|((weights, gradient), (first, second))| {
                    for (((w, &g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                        let g = g + penalty * *w;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *w = shrink * *w - first_scale * *m / ((*v * second_scale).sqrt() + epsilon);
                    }
                });
            }
        }
        if let Some(keep) = keep {
            zero_unkept(weights, keep);
        }
    }
}

/// Sets every weight to exactly zero whose `keep` is false.
pub(super) fn zero_unkept(weights: &mut [f32], keep: &[bool]) {
    weights.par_chunks_mut(CHUNK).zip(keep.par_chunks(CHUNK)).for_each(|(weights, keep)| {
        for (w, &keep) in weights.iter_mut().zip(keep) {
            if !keep {
                *w = 0.0;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: Optimizer, decayed: bool, gradients: &[f32]) -> f32 {
        let mut moments = Moments::new(rule, 1);
        let mut w = [1.0];
        for &g in gradients {
            moments.step(rule, 0.1, decayed, &mut w, &[g], None);
        }
        w[0]
    }

    #[test]
    fn sgd_follows_the_formulas_of_pytorch() {
        let plain = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
        // v: 1, 0.9 - 2 = -1.1; w: 1 - 0.1 + 0.11
        assert!((run(plain, true, &[1.0, -2.0]) - 1.01).abs() < 1e-6);
        // steps: 1 + 0.9 = 1.9; -2 + 0.9 * -1.1 = -2.99
        assert!((run(Optimizer::SGD, true, &[1.0, -2.0]) - (1.0 - 0.19 + 0.299)).abs() < 1e-6);
        let decaying = Optimizer::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.5 };
        assert!((run(decaying, true, &[0.0]) - 0.95).abs() < 1e-6);
        assert!((run(decaying, false, &[0.0]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn adamw_corrects_its_bias_and_decays_apart_from_the_gradient() {
        // The first corrected step is the sign of the gradient, whatever its size.
        assert!((run(Optimizer::ADAM_W, true, &[1e-3]) - (1.0 - 0.1 * 0.01 - 0.1)).abs() < 1e-4);
        assert!((run(Optimizer::ADAM_W, false, &[-50.0]) - 1.1).abs() < 1e-6);
        // m = 0.09 - 0.2, v = 0.000999 + 0.004; corrected by 0.19 and 0.001999.
        let second = 0.1 * (-0.11 / 0.19) / (0.004999f32 / 0.001999).sqrt();
        assert!((run(Optimizer::ADAM_W, false, &[1.0, -2.0]) - (0.9 - second)).abs() < 1e-5);
    }

    #[test]
    fn adam_adds_its_decay_to_the_gradient() {
        // A gradient of 0 and a penalty of 0.5: the first corrected step is the sign of 0.5, whatever its size.
        assert!((run(Optimizer::ADAM.with_weight_decay(0.5), true, &[0.0]) - 0.9).abs() < 1e-6);
        assert!((run(Optimizer::ADAM.with_weight_decay(0.5), false, &[0.0]) - 1.0).abs() < 1e-6);
        assert_eq!(run(Optimizer::ADAM, true, &[1.0, -2.0]), run(Optimizer::ADAM_W, false, &[1.0, -2.0]));
    }

    #[test]
    fn masked_weights_are_exactly_zero_after_every_step() {
        for rule in [Optimizer::SGD, Optimizer::ADAM, Optimizer::ADAM_W] {
            let n = CHUNK + 3;
            let keep: Vec<bool> = (0..n).map(|i| i % 3 != 0).collect();
            let mut moments = Moments::new(rule, n);
            let mut weights = vec![1.0; n];
            moments.step(rule, 0.1, true, &mut weights, &vec![0.3; n], Some(&keep));
            for (w, keep) in weights.iter().zip(keep) {
                assert_eq!(*w != 0.0, keep);
            }
        }
    }
}
