use super::lab::Lab;
use super::path::path;
use super::space::allotted;
use super::{Quantity, SolveError, Watch};
use crate::prune::{Allocation, AllocationRequest, LossCurve, PruneError};
use crate::search::Sensitivity;
use serde::{Deserialize, Serialize};

/// Where candidates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// What is cheapest for what it saves first, by measured curves.
    Greedy,
    /// One amount, shared out.
    Allocation(Allocation),
}

impl Strategy {
    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::Allocation(allocation) => allocation.name(),
        }
    }

    /// Whether targets are measured one by one first.
    pub const fn needs_curves(self) -> bool {
        match self {
            Self::Greedy => true,
            Self::Allocation(allocation) => allocation.needs_curves(),
        }
    }
}

/// Amounts that an allocation is tried at: so many parts of the largest.
const AMOUNTS: usize = 256;
/// The largest multiple of the standard deviation.
const SIGMAS: f64 = 4.0;

/// Candidates in a row, each losing at least as much as the one before it; the first loses nothing.
pub(super) enum Family {
    Listed(Vec<Vec<usize>>),
    /// Up to this place of all amounts.
    Amounts(Box<AllocationRequest>, usize),
}

impl Family {
    pub fn of(
        strategy: Strategy,
        lab: &Lab<'_>,
        curves: Option<&Sensitivity>,
        weights: &[(Quantity, f64)],
        watch: &mut Watch<'_>,
    ) -> Result<Self, SolveError> {
        match (strategy, curves) {
            (Strategy::Greedy, Some(curves)) => {
                let savings = savings(lab, curves, weights, watch)?;
                let saved = |target: usize, removed: usize| {
                    let found: &[(usize, f64)] = &savings[target];
                    found.iter().find(|(at, _)| *at == removed).map_or(0.0, |(_, saved)| *saved)
                };
                Ok(Self::Listed(path(curves, &lab.space.most, saved)))
            }
            (Strategy::Greedy, None) => Ok(Self::Listed(vec![vec![0; lab.space.targets.len()]])),
            (Strategy::Allocation(allocation), _) => {
                let request = AllocationRequest {
                    allocation,
                    targets: lab.space.chosen().ok_or(SolveError::Mixed)?,
                    granularity: lab.space.granularity,
                    criterion: lab.space.criterion,
                    amount: 0.0,
                    curves: curves.map(loss_curves),
                };
                let last = largest(lab, &request)?;
                Ok(Self::Amounts(Box::new(request), last))
            }
        }
    }

    /// Candidates but the first.
    pub fn last(&self) -> usize {
        match self {
            Self::Listed(candidates) => candidates.len() - 1,
            Self::Amounts(_, last) => *last,
        }
    }

    /// The candidate at a place.
    pub fn at(&self, lab: &Lab<'_>, place: usize) -> Result<Vec<usize>, SolveError> {
        match self {
            Self::Listed(candidates) => Ok(candidates[place].clone()),
            Self::Amounts(request, _) => Ok(of_amount(lab, request, place)?),
        }
    }
}

fn of_amount(lab: &Lab<'_>, request: &AllocationRequest, place: usize) -> Result<Vec<usize>, PruneError> {
    if place == 0 {
        return Ok(vec![0; lab.space.targets.len()]);
    }
    let most = if request.allocation.counts_deviations() { SIGMAS } else { 1.0 };
    allotted(&lab.space, &AllocationRequest { amount: most * place as f64 / AMOUNTS as f64, ..request.clone() })
}

/// The last amount that an allocation can share out: some spare so much that it is less than all.
fn largest(lab: &Lab<'_>, request: &AllocationRequest) -> Result<usize, SolveError> {
    if request.allocation != Allocation::UniformPlus {
        return Ok(AMOUNTS);
    }
    let (mut low, mut high) = (0, AMOUNTS + 1);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        match of_amount(lab, request, middle) {
            Ok(_) => low = middle,
            Err(PruneError::CannotAllocate { .. }) => high = middle,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(low)
}

/// Mean loss by share that goes.
fn loss_curves(sensitivity: &Sensitivity) -> Vec<LossCurve> {
    let dense = sensitivity.dense.loss.unwrap_or(0.0);
    let curve = |curve: &crate::search::Curve| LossCurve {
        target: curve.target.name().to_owned(),
        dense,
        points: curve.points.iter().map(|p| (p.ratio, p.measured.loss.unwrap_or(f64::NAN))).collect(),
    };
    sensitivity.curves.iter().map(curve).collect()
}

/// By target and measured point, what it saves by itself: the share of what is to be saved of each quantity, weighted.
fn savings(
    lab: &Lab<'_>,
    curves: &Sensitivity,
    weights: &[(Quantity, f64)],
    watch: &mut Watch<'_>,
) -> Result<Vec<Vec<(usize, f64)>>, SolveError> {
    let of = |removed: &[usize], watch: &mut Watch<'_>| -> Result<f64, SolveError> {
        watch.check()?;
        let costs = lab.costs(&lab.space.plan(removed), &[], watch)?;
        // Bytes follow parameters and time follows multiply-accumulates, closely enough to rank by.
        let cost = |&(quantity, weight): &(Quantity, f64)| match quantity {
            Quantity::Params | Quantity::Bytes => costs.params * weight,
            Quantity::Macs | Quantity::Latency => costs.macs.unwrap_or(costs.params) * weight,
            Quantity::Drop => 0.0,
        };
        Ok(weights.iter().map(cost).sum())
    };
    let dense = of(&vec![0; lab.space.targets.len()], watch)?;
    let mut all = Vec::with_capacity(curves.curves.len());
    for (target, curve) in curves.curves.iter().enumerate() {
        let mut saved = Vec::with_capacity(curve.points.len());
        for point in &curve.points {
            saved.push((point.removed, dense - of(&lab.space.only(target, point.removed), watch)?));
        }
        all.push(saved);
    }
    Ok(all)
}
