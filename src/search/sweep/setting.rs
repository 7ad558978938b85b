use crate::prune::{
    Allocation, AllocationRequest, Criterion, Cut, Granularity, LayerPlan, LossCurve, Plan, PruneError, Subject,
    Targets, allocate,
};
use crate::search::{Sensitivity, Target};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one point of a sweep prunes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// How the amount is shared out.
    pub allocation: Allocation,
    /// Whether groups lose units; else layers lose pieces.
    pub groups: bool,
    /// Piece that layers lose; of no meaning for groups.
    pub granularity: Granularity,
    /// How pieces are ranked.
    pub criterion: Criterion,
    /// Share of all pieces that goes, 0 to 1; of a pattern the one that it has; for [`Allocation::Sigma`] a multiple of
    /// the standard deviation.
    pub ratio: f64,
}

impl Setting {
    /// Name of the curve that it is a point of, such as `lamp, element, l2`.
    pub fn curve(&self) -> String {
        let piece = if self.groups { "groups".to_owned() } else { self.granularity.to_string() };
        format!("{}, {piece}, {}", self.allocation, self.criterion)
    }

    /// Whether both are points of the same curve.
    pub fn is_along(&self, other: &Self) -> bool {
        Self { ratio: 0.0, ..*self } == Self { ratio: 0.0, ..*other }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.curve(), self.ratio)
    }
}

/// What a sweep goes through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ladder {
    /// How amounts are shared out.
    pub allocations: Vec<Allocation>,
    /// Pieces that layers lose.
    pub granularities: Vec<Granularity>,
    /// How pieces are ranked.
    pub criteria: Vec<Criterion>,
    /// Shares of all pieces.
    pub ratios: Vec<f64>,
    /// Multiples of the standard deviation, which stand in for ratios where [`Allocation::Sigma`] shares out.
    pub sigmas: Vec<f64>,
    /// Whether channels mean groups of channels that go together.
    pub groups: bool,
}

impl Ladder {
    /// All settings, curve by curve, always in the same order. A pattern has one point, and no allocation but uniform.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        for &granularity in &self.granularities {
            let groups = self.groups && granularity == Granularity::Channel;
            for &criterion in &self.criteria {
                if let Granularity::Pattern { kept, of } = granularity {
                    let (allocation, ratio) = (Allocation::Uniform, 1.0 - f64::from(kept) / f64::from(of));
                    settings.push(Setting { allocation, groups, granularity, criterion, ratio });
                    continue;
                }
                for &allocation in &self.allocations {
                    let amounts = if allocation.counts_deviations() { &self.sigmas } else { &self.ratios };
                    let point = |&ratio| Setting { allocation, groups, granularity, criterion, ratio };
                    settings.extend(amounts.iter().map(point));
                }
            }
        }
        settings
    }
}

/// Makes the plan of a setting.
#[derive(Clone, Debug)]
pub struct Planner<'a> {
    /// What holds for all that the setting does not decide: locks, limits, calibration, and whether channels go for good.
    pub base: &'a Plan,
    /// Names of the layers among which an amount is shared out.
    pub layers: Vec<String>,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Measured curves, for [`Allocation::Sensitivity`].
    pub curves: Option<&'a Sensitivity>,
}

impl Planner<'_> {
    /// The plan of a setting; `subject` has the scores that it needs.
    ///
    /// # Errors
    /// As [`allocate`].
    pub fn plan(&self, subject: &Subject<'_>, setting: &Setting) -> Result<Plan, PruneError> {
        let Setting { allocation, groups, granularity, criterion, ratio } = *setting;
        if granularity.is_pattern() {
            let mut plan = self.base.clone();
            for layer in self.layers.iter().filter(|layer| !self.base.layer(layer).locked) {
                plan.set(layer, LayerPlan { granularity, criterion, cut: Cut::None, locked: false });
            }
            return Ok(plan);
        }
        let request = AllocationRequest {
            allocation,
            targets: if groups { Targets::Groups(self.groups.clone()) } else { Targets::Layers(self.layers.clone()) },
            granularity,
            criterion,
            amount: ratio,
            curves: self.curves.filter(|_| allocation.needs_curves()).and_then(|curves| curves.loss_curves(groups)),
        };
        Ok(allocate(subject, self.base, &request)?.plan)
    }
}

impl Sensitivity {
    /// The curves of groups, or of layers, as allocations take them; none if there are none, or without losses.
    pub fn loss_curves(&self, groups: bool) -> Option<Vec<LossCurve>> {
        let dense = self.dense.loss?;
        let of_kind = self.curves.iter().filter(|curve| matches!(curve.target, Target::Group(_)) == groups);
        let curve = |curve: &crate::search::Curve| LossCurve {
            target: curve.target.name().to_owned(),
            dense,
            points: curve.points.iter().filter_map(|point| Some((point.ratio, point.measured.loss?))).collect(),
        };
        let curves: Vec<LossCurve> = of_kind.map(curve).collect();
        (!curves.is_empty()).then_some(curves)
    }
}
