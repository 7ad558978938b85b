//! What of a plan decides about the network, so that nothing is measured twice.

use super::carry_out::as_opened;
use super::session::Session;
use crate::eval::Evaluation;
use crate::prune::{Calibration, Criterion, GroupPlan, LayerPlan, Plan};

/// Two plans of equal effect are the same network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlanEffect {
    plan: Plan,
    /// The weights that it is carried out on; none for those of the opened file.
    weights: Option<String>,
    /// The calibration examples, where they decide on something.
    calibrated_on: Option<u64>,
    /// What was measured for another model, other data or other sizes says nothing.
    round: u64,
}

impl PlanEffect {
    fn of(plan: &Plan, weights: Option<&str>, examples: Option<u64>, round: u64) -> Self {
        let mut plan = plan.clone();
        plan.layers.retain(|_, layer| !layer.is_dense());
        plan.groups.retain(|_, group| !group.is_dense());
        plan.layers.values_mut().for_each(|layer: &mut LayerPlan| layer.locked = false);
        plan.groups.values_mut().for_each(|group: &mut GroupPlan| group.locked = false);
        let mut criteria = plan.layers.values().map(|l| l.criterion).chain(plan.groups.values().map(|g| g.criterion));
        let calibrated = plan.recalibrate || criteria.any(Criterion::is_calibrated);
        if plan.is_dense() && !plan.recalibrate {
            plan.calibration = Calibration::default();
        } else if !calibrated {
            plan.calibration.examples = Calibration::default().examples;
        }
        if plan.groups.is_empty() {
            (plan.scoring, plan.limits) = Default::default();
        }
        let weights = weights.map(str::to_owned);
        Self { plan, weights, calibrated_on: examples.filter(|_| calibrated), round }
    }

    /// Whether both are of the same model, data and sizes.
    pub const fn is_as_old(&self, other: &Self) -> bool {
        self.round == other.round
    }

    /// Whether it is the network as it was opened, for all that can be told without looking.
    pub fn is_none(&self) -> bool {
        self.weights.is_none() && self.plan.is_dense() && !self.plan.shrink && !self.plan.recalibrate
    }
}

impl Session {
    /// What the plan on screen does to the network.
    pub(super) fn effect(&self) -> Option<PlanEffect> {
        let examples = self.calibration.as_ref().map(|calibrated| calibrated.fingerprint);
        let project = self.project.as_ref()?;
        Some(PlanEffect::of(project.plan(), project.weights(), examples, self.round))
    }

    /// The accuracy that was measured last, if that was of the network on screen.
    pub(super) fn known_accuracy(&self) -> Option<Evaluation> {
        let (effect, on, evaluation) = self.accuracy_of.as_ref()?;
        let same =
            self.effect().as_ref() == Some(effect) && self.data.as_ref().map(|data| data.fingerprint) == Some(*on);
        same.then(|| evaluation.clone())
    }

    /// Shows the latency that is known, where the plan on screen is the network that was measured last or the one that
    /// was opened: a second measurement would only show the noise of the clock.
    pub(super) fn knows_latency(&mut self, effect: Option<&PlanEffect>) -> bool {
        let (Some(effect), Some(before)) = (effect, &self.latency_of) else { return false };
        let Some(known) = self.scoreboard.latency.value().copied().filter(|_| before.is_as_old(effect)) else {
            return false;
        };
        if before == effect {
            self.scoreboard.latency.set(known);
            return true;
        }
        if effect.is_none() {
            let (comparison, layers) = as_opened(known.a, &self.scoreboard.layer_times);
            self.scoreboard.latency.set(comparison);
            self.scoreboard.layer_times = layers;
            self.latency_of = Some(effect.clone());
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::Cut;

    fn cut(criterion: Criterion, cut: Cut) -> Plan {
        let mut plan = Plan::dense();
        plan.set("a", LayerPlan { criterion, cut, ..LayerPlan::default() });
        plan
    }

    #[test]
    fn settings_that_decide_on_nothing_are_no_other_network() {
        let few = Calibration { examples: 7, ..Calibration::default() };
        let of = |plan: &Plan, examples| PlanEffect::of(plan, None, examples, 1);
        let dense = of(&Plan::dense(), None);
        assert_eq!(of(&Plan { calibration: few, ..cut(Criterion::Wanda, Cut::None) }, Some(3)), dense);
        assert!(dense.is_none());
        let recovered = PlanEffect::of(&Plan::dense(), Some("w1"), None, 1);
        assert!(recovered != dense && !recovered.is_none());
        let recalibrated = Plan { recalibrate: true, ..Plan::dense() };
        assert!(!of(&recalibrated, Some(3)).is_none());
        assert_ne!(of(&recalibrated, Some(3)), of(&recalibrated, Some(4)));
        let magnitude = cut(Criterion::L2, Cut::Sparsity(0.5));
        assert_eq!(of(&Plan { calibration: few, ..magnitude.clone() }, Some(3)), of(&magnitude, None));
        assert!(of(&magnitude, None) != dense && !of(&magnitude, None).is_none());
        let wanda = cut(Criterion::Wanda, Cut::Sparsity(0.5));
        assert_ne!(of(&Plan { calibration: few, ..wanda.clone() }, Some(3)), of(&wanda, Some(3)));
        assert_ne!(of(&wanda, Some(4)), of(&wanda, Some(3)));
        let drawn = cut(Criterion::Random, Cut::Sparsity(0.5));
        let again = Plan { calibration: Calibration { seed: 1, ..Calibration::default() }, ..drawn.clone() };
        assert_ne!(of(&again, None), of(&drawn, None));
    }
}
