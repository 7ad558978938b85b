use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is removed as one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// Single weights (unstructured).
    #[default]
    Element,
    /// Output channels of convolutions and neurons of fully connected layers.
    Channel,
}

/// How a weight or channel is ranked; the lowest go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Sum of magnitudes of a channel; the magnitude itself for single weights.
    L1,
    /// Euclidean norm of a channel; the magnitude itself for single weights.
    #[default]
    L2,
    /// Largest magnitude in a channel; the magnitude itself for single weights.
    Linf,
}

impl Criterion {
    /// All criteria, in the order of menus.
    pub const ALL: [Self; 3] = [Self::L1, Self::L2, Self::Linf];
}

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

/// The document: every decision of the user, by layer name. Layers that are absent stay dense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Format version of this document.
    #[serde(default = "Plan::current_version")]
    pub version: u32,
    /// Decisions by layer name.
    #[serde(default)]
    pub layers: BTreeMap<String, LayerPlan>,
}

impl Plan {
    /// The version written by this build.
    pub const VERSION: u32 = 1;

    const fn current_version() -> u32 {
        Self::VERSION
    }

    /// A plan that removes nothing.
    pub const fn dense() -> Self {
        Self { version: Self::VERSION, layers: BTreeMap::new() }
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

    /// Whether nothing is removed.
    pub fn is_dense(&self) -> bool {
        self.layers.values().all(|l| l.cut == Cut::None)
    }
}
