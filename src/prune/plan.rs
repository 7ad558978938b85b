use super::{Criterion, Granularity};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where the line is drawn. Scores below it are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Nothing is removed.
    #[default]
    None,
    /// Remove every score strictly below this value, which is at least 0.
    Threshold(f64),
    /// Remove every score strictly below this many standard deviations: the population standard
    /// deviation of the layer's weights for single weights, of its channel scores for channels.
    Sigma(f64),
    /// Remove this fraction of the pieces, 0 to 1, rounded half to even: lowest scores first, and of
    /// equal scores the lowest index first.
    Sparsity(f64),
    /// Keep exactly this many pieces; the others go as for `Sparsity`.
    Keep(usize),
}

/// What is done to one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LayerPlan {
    /// Piece that is removed.
    pub granularity: Granularity,
    /// Ranking of the pieces.
    pub criterion: Criterion,
    /// Where the line is drawn.
    pub cut: Cut,
    /// Guards the layer against changes made to many layers at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

impl LayerPlan {
    /// Whether nothing is removed.
    pub fn is_dense(&self) -> bool {
        self.cut == Cut::None && !self.granularity.is_pattern()
    }
}

/// What is done to one group of [`Structure`](crate::structure::Structure): its units go with all that belongs
/// to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupPlan {
    /// Ranking of each layer's share of a unit.
    pub criterion: Criterion,
    /// Where the line is drawn, in scores of units as [`Scoring`] makes them.
    pub cut: Cut,
    /// Units that stay whatever their score, by their place in the group.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub keep: BTreeSet<usize>,
    /// Units that go whatever their score, by their place in the group.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub drop: BTreeSet<usize>,
    /// Guards the group against changes made to many groups at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

impl GroupPlan {
    /// Whether nothing is removed.
    pub fn is_dense(&self) -> bool {
        self.cut == Cut::None && self.drop.is_empty()
    }
}

/// How the scores that the layers of a group give to a unit become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The highest.
    Max,
    /// That of the first layer.
    First,
}

impl Reduction {
    /// All, in the order of menus.
    pub const ALL: [Self; 4] = [Self::Mean, Self::Sum, Self::Max, Self::First];
}

/// What the scores of a layer are divided by before layers are combined and groups compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// Their mean: an average unit scores 1.
    #[default]
    Mean,
    /// The highest: scores are shares of it.
    Max,
    /// Standardised: the mean is subtracted, then divided by the standard deviation.
    Gaussian,
    /// Nothing: the norms as they are.
    None,
}

impl Normalization {
    /// All, in the order of menus.
    pub const ALL: [Self; 4] = [Self::Mean, Self::Max, Self::Gaussian, Self::None];
}

/// How units of groups are scored; see Fang et al. 2023, "DepGraph", section 3.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scoring {
    /// Combines the layers of a group.
    pub reduction: Reduction,
    /// Makes layers and groups comparable.
    pub normalization: Normalization,
}

/// Which way a number of channels is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest multiple; halves upwards.
    #[default]
    Nearest,
    /// To the next multiple that is not less.
    Up,
}

/// What every group keeps, whatever its cut says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Kept channels are rounded to a multiple of this, never to none and never to more than there are.
    pub round_to: usize,
    /// Which way.
    pub rounding: Rounding,
    /// At least as many units stay.
    pub min_channels: usize,
    /// At most this share of the units goes.
    pub max_ratio: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { round_to: 1, rounding: Rounding::Nearest, min_channels: 1, max_ratio: 1.0 }
    }
}

/// What criteria that look at more than weights look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calibration {
    /// Calibration examples that criteria run the model on, the classes in equal shares; all if there are fewer.
    pub examples: usize,
    /// Seed of which examples, and of [`Criterion::Random`].
    pub seed: u64,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { examples: 512, seed: 0 }
    }
}

/// The document: every decision of the user. Layers and groups that are absent stay dense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format version of this document.
    #[serde(default = "Plan::current_version")]
    pub version: u32,
    /// Decisions by layer name.
    #[serde(default)]
    pub layers: BTreeMap<String, LayerPlan>,
    /// Decisions by group name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupPlan>,
    /// Residual blocks that are left out, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub blocks: BTreeSet<String>,
    /// How units of groups are scored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scoring: Scoring,
    /// What groups keep at least.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// What criteria that look at more than weights look at.
    #[serde(default, skip_serializing_if = "is_default")]
    pub calibration: Calibration,
    /// Whether units that are zero, by a group's decision or because all their weights are, are really
    /// removed from the exported model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shrink: bool,
    /// Whether running statistics of batch-norms are measured afresh on calibration examples afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalibrate: bool,
    /// Whether inputs are reordered before N:M patterns are chosen, so that less is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permute: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Plan {
    /// The version written by this build.
    pub const VERSION: u32 = 2;

    const fn current_version() -> u32 {
        Self::VERSION
    }

    /// A plan that removes nothing.
    pub fn dense() -> Self {
        Self { version: Self::VERSION, ..Self::default() }
    }

    /// The decision for a layer; the dense default if there is none.
    pub fn layer(&self, name: &str) -> LayerPlan {
        self.layers.get(name).cloned().unwrap_or_default()
    }

    /// Stores a decision; a default one is dropped so that equal plans compare equal.
    pub fn set(&mut self, name: &str, layer: LayerPlan) {
        if layer == LayerPlan::default() {
            self.layers.remove(name);
        } else {
            self.layers.insert(name.to_owned(), layer);
        }
    }

    /// The decision for a group; the dense default if there is none.
    pub fn group(&self, name: &str) -> GroupPlan {
        self.groups.get(name).cloned().unwrap_or_default()
    }

    /// Stores a decision; a default one is dropped so that equal plans compare equal.
    pub fn set_group(&mut self, name: &str, group: GroupPlan) {
        if group == GroupPlan::default() {
            self.groups.remove(name);
        } else {
            self.groups.insert(name.to_owned(), group);
        }
    }

    /// Whether nothing is removed.
    pub fn is_dense(&self) -> bool {
        self.layers.values().all(LayerPlan::is_dense) && !self.is_structural()
    }

    /// Whether groups or blocks are cut.
    pub fn is_structural(&self) -> bool {
        !self.blocks.is_empty() || self.groups.values().any(|group| !group.is_dense())
    }
}
