use super::Allocation;
use crate::model::Layer;
use crate::prune::pieces::piece_count;
use crate::prune::resolve::weight_of;
use crate::prune::{Criterion, Granularity, Plan, PruneError, Subject};

/// What an amount is shared out among.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Layers, by name.
    Layers(Vec<String>),
    /// Groups of channels that go together, by name. They lose units.
    Groups(Vec<String>),
}

impl Targets {
    /// Names of the layers or groups.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Layers(names) | Self::Groups(names) => names,
        }
    }
}

/// How the loss rises as one target loses more, measured with all others dense.
#[derive(Clone, Debug, PartialEq)]
pub struct LossCurve {
    /// Name of the layer or group.
    pub target: String,
    /// Mean loss of the dense model.
    pub dense: f64,
    /// Share of the pieces that went, 0 to 1, ascending, and the mean loss with it. What is not finite is as good as
    /// not measured.
    pub points: Vec<(f64, f64)>,
}

/// What is to be shared out, among what, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationRequest {
    /// How.
    pub allocation: Allocation,
    /// Among what.
    pub targets: Targets,
    /// Piece that layers lose; of no meaning for groups.
    pub granularity: Granularity,
    /// Ranking of the pieces.
    pub criterion: Criterion,
    /// Share of all pieces of the targets together, 0 to 1; the multiple of the standard deviation for
    /// [`Allocation::Sigma`].
    pub amount: f64,
    /// Measured curves of the targets, in any order; for [`Allocation::Sensitivity`] alone.
    pub curves: Option<Vec<LossCurve>>,
}

/// What one target loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of the layer or group.
    pub target: String,
    /// Candidates that it has.
    pub pieces: usize,
    /// Of them, those that go.
    pub removed: usize,
}

impl Share {
    /// Share of the pieces that goes, 0 to 1; 0 without pieces.
    pub fn ratio(&self) -> f64 {
        self.removed as f64 / self.pieces.max(1) as f64
    }
}

/// An amount shared out.
#[derive(Clone, Debug, PartialEq)]
pub struct Allotted {
    /// The plan with the new cuts.
    pub plan: Plan,
    /// By target, in graph order; without locked ones.
    pub shares: Vec<Share>,
}

impl Allotted {
    /// Candidates that go, over all targets.
    pub fn removed(&self) -> usize {
        self.shares.iter().map(|share| share.removed).sum()
    }
}

/// Targets found in a model.
#[derive(Clone, Debug)]
pub(super) enum Chosen<'a> {
    Layers(Vec<&'a Layer>),
    /// Indices of groups.
    Groups(Vec<usize>),
}

/// Targets that may be changed, in graph order.
#[derive(Clone, Debug)]
pub(super) struct Candidates<'a> {
    pub chosen: Chosen<'a>,
    pub names: Vec<&'a str>,
    /// By target.
    pub pieces: Vec<usize>,
}

impl<'a> Candidates<'a> {
    pub fn of(subject: &Subject<'a>, base: &Plan, request: &AllocationRequest) -> Result<Self, PruneError> {
        let wanted = |name: &str| request.targets.names().iter().any(|n| n == name);
        match &request.targets {
            Targets::Layers(names) => {
                if request.granularity.is_pattern() {
                    let reason = format!("{} removes the same share of every layer", request.granularity);
                    return Err(PruneError::CannotAllocate { allocation: request.allocation, reason });
                }
                let known = |name: &&String| !subject.layers.iter().any(|layer| layer.name == **name);
                if let Some(layer) = names.iter().find(known) {
                    return Err(PruneError::UnknownLayer { layer: layer.clone() });
                }
                let open = |layer: &&Layer| wanted(&layer.name) && !base.layer(&layer.name).locked;
                let layers: Vec<&Layer> = subject.layers.iter().filter(open).collect();
                let count =
                    |layer: &&Layer| weight_of(subject.model, layer).map(|_| piece_count(layer, request.granularity));
                Ok(Self {
                    names: layers.iter().map(|layer| layer.name.as_str()).collect(),
                    pieces: layers.iter().map(count).collect::<Result<_, _>>()?,
                    chosen: Chosen::Layers(layers),
                })
            }
            Targets::Groups(names) => {
                let all = subject.known_structure()?.groups();
                if let Some(group) = names.iter().find(|name| !all.iter().any(|group| group.name == **name)) {
                    return Err(PruneError::UnknownGroup { group: group.clone() });
                }
                let open = |&i: &usize| wanted(&all[i].name) && !base.group(&all[i].name).locked;
                let groups: Vec<usize> = (0..all.len()).filter(open).collect();
                Ok(Self {
                    names: groups.iter().map(|&i| all[i].name.as_str()).collect(),
                    pieces: groups.iter().map(|&i| all[i].units.len()).collect(),
                    chosen: Chosen::Groups(groups),
                })
            }
        }
    }

    pub const fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Those at some places.
    pub fn only(&self, places: &[usize]) -> Self {
        Self {
            chosen: match &self.chosen {
                Chosen::Layers(layers) => Chosen::Layers(places.iter().map(|&at| layers[at]).collect()),
                Chosen::Groups(groups) => Chosen::Groups(places.iter().map(|&at| groups[at]).collect()),
            },
            names: places.iter().map(|&at| self.names[at]).collect(),
            pieces: places.iter().map(|&at| self.pieces[at]).collect(),
        }
    }

    /// By target, the layers whose weights it takes away.
    pub fn layers(&self, subject: &Subject<'a>) -> Result<Vec<Vec<&'a Layer>>, PruneError> {
        Ok(match &self.chosen {
            Chosen::Layers(layers) => layers.iter().map(|&layer| vec![layer]).collect(),
            Chosen::Groups(groups) => {
                let structure = subject.known_structure()?;
                let of = |&group: &usize| {
                    let layers = structure.groups()[group].layers.iter();
                    layers.map(|&layer| &structure.layers()[layer]).collect()
                };
                groups.iter().map(of).collect()
            }
        })
    }

    pub fn total(&self) -> usize {
        self.pieces.iter().sum()
    }
}
