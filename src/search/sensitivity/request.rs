use crate::data::Dataset;
use crate::eval::Replay;
use crate::exec::Bound;
use crate::prune::{self, Criterion, Cut, Granularity, GroupPlan, LayerPlan, Plan, PruneError, Subject};
use crate::search::{SearchError, Target};
use crate::structure::UnitKind;
use std::path::Path;

/// How a scan measures.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanOptions {
    /// Piece that layers lose; groups lose units.
    pub granularity: Granularity,
    /// How pieces are ranked.
    pub criterion: Criterion,
    /// Shares of the pieces, 0 to 1. They are tried in ascending order.
    pub ratios: Vec<f64>,
    /// A curve ends with the first point that has lost this share of top-1 accuracy, 0 to 1; none goes on to the end.
    pub max_drop: Option<f64>,
    /// Examples, in stratified order; all without.
    pub limit: Option<usize>,
    /// Bytes of activations that may be kept.
    pub budget: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            granularity: Granularity::Channel,
            criterion: Criterion::default(),
            ratios: (1..10).map(|tenth| f64::from(tenth) / 10.0).collect(),
            max_drop: Some(0.1),
            limit: Some(1024),
            budget: Replay::BUDGET,
        }
    }
}

impl ScanOptions {
    /// The ratios in the order in which they are tried; of a pattern the one that it has.
    pub(super) fn ladder(&self) -> Result<Vec<f64>, SearchError> {
        if let Granularity::Pattern { kept, of } = self.granularity {
            return Ok(vec![1.0 - f64::from(kept) / f64::from(of)]);
        }
        let mut ladder = self.ratios.clone();
        ladder.sort_by(f64::total_cmp);
        ladder.dedup();
        if ladder.is_empty() || ladder.iter().any(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(SearchError::Ratios);
        }
        Ok(ladder)
    }
}

/// What a scan measures, and on what.
#[derive(Clone, Copy, Debug)]
pub struct ScanRequest<'a> {
    /// The model, with the scores that the criterion needs.
    pub subject: Subject<'a>,
    /// The dense model, bound.
    pub dense: &'a Bound,
    /// Labelled examples.
    pub data: &'a Dataset,
    /// Scoring, limits and calibration that hold; its cuts do not.
    pub settings: &'a Plan,
    /// What is pruned, one at a time; see [`targets_of`].
    pub targets: &'a [Target],
    /// How.
    pub options: &'a ScanOptions,
    /// Folder with what was measured before, which is made where it is missing.
    pub cache: Option<&'a Path>,
    /// [`Dataset::fingerprint`] of the examples that scores were worked out on.
    pub calibrated_on: Option<u64>,
}

impl Target {
    /// The plan that prunes this alone and leaves all else dense, with what `settings` say of scoring, limits and
    /// calibration.
    pub fn plan(&self, settings: &Plan, granularity: Granularity, criterion: Criterion, ratio: f64) -> Plan {
        let Plan { scoring, limits, calibration, .. } = *settings;
        let mut plan = Plan { scoring, limits, calibration, ..Plan::dense() };
        match self {
            Self::Layer(name) => {
                let cut = if granularity.is_pattern() { Cut::None } else { Cut::Sparsity(ratio) };
                plan.set(name, LayerPlan { granularity, criterion, cut, locked: false });
            }
            Self::Group(name) => {
                plan.set_group(name, GroupPlan { criterion, cut: Cut::Sparsity(ratio), ..GroupPlan::default() });
            }
        }
        plan
    }
}

/// Every layer, or every group, that globs choose, that can be pruned, and that `settings` do not lock.
///
/// # Errors
/// As [`prune::select`]; [`SearchError::NothingChosen`].
pub fn targets_of(
    subject: &Subject<'_>,
    settings: &Plan,
    groups: bool,
    include: &[impl AsRef<str>],
    exclude: &[impl AsRef<str>],
) -> Result<Vec<Target>, SearchError> {
    let targets: Vec<Target> = if groups {
        let structure = subject.structure.ok_or(PruneError::Structure(crate::structure::StructureError::NoGraph))?;
        let chosen = prune::select_groups(structure, &UnitKind::ALL, include, exclude)?;
        let names = chosen.into_iter().map(|index| structure.groups()[index].name.clone());
        names.filter(|name| !settings.group(name).locked).map(Target::Group).collect()
    } else {
        let chosen = prune::select(subject.layers, include, exclude)?.into_iter();
        chosen.filter(|layer| !settings.layer(&layer.name).locked).map(|l| Target::Layer(l.name.clone())).collect()
    };
    if targets.is_empty() {
        return Err(SearchError::NothingChosen(if groups { "group" } else { "layer" }));
    }
    Ok(targets)
}
