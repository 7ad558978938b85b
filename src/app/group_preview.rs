use super::project::Opened;
use crate::prune::{self, Criterion, GroupMask, GroupPlan, Limits, Plan, PruneError, Scoring};
use crate::structure::{Removal, Structure};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What the plan does to one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupPreview {
    /// Scores and what goes; none if that cannot be worked out.
    pub mask: Option<GroupMask>,
    /// Places of units from the lowest score to the highest; of equal ones the lower place comes first.
    pub order: Arc<[usize]>,
    /// Why the decision cannot be carried out.
    pub problem: Option<String>,
    /// The criterion has not been asked yet.
    pub waiting: bool,
}

/// Scores of a group's units and their order, or why there are none.
type Scores = Result<(Arc<[f64]>, Arc<[usize]>), String>;

fn in_order(scores: Result<Vec<f64>, PruneError>) -> Scores {
    let scores: Arc<[f64]> = scores.map_err(|error| error.to_string())?.into();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    Ok((scores, order.into()))
}

/// What the plan on screen does to every group, and what that leaves of layers. Only groups whose decision
/// changed are worked out again.
#[derive(Debug, Default)]
pub(super) struct GroupPreviews {
    decided: Vec<(GroupPlan, Limits, GroupPreview)>,
    scores: HashMap<(usize, Criterion, Scoring), Scores>,
    blocks: BTreeSet<String>,
    /// Why all groups together cannot be carried out.
    pub problem: Option<String>,
    /// By layer, channels that are zero or gone.
    pub removed: HashMap<usize, BTreeSet<usize>>,
    /// By layer, weights that stay if units are removed for good.
    pub stored: HashMap<usize, usize>,
}

impl GroupPreviews {
    pub fn get(&self, group: usize) -> Option<&GroupPreview> {
        self.decided.get(group).map(|(_, _, preview)| preview)
    }

    /// Works out what changed.
    pub fn update(&mut self, opened: &Opened, plan: &Plan) {
        let Ok(structure) = &opened.structure else { return };
        let fresh = self.decided.len() != structure.groups().len();
        let mut changed = fresh || self.blocks != plan.blocks;
        for (index, group) in structure.groups().iter().enumerate() {
            let decision = plan.group(&group.name);
            let key = (index, decision.criterion, plan.scoring);
            if !fresh {
                let (known, limits, preview) = &self.decided[index];
                let same_scores = preview.mask.as_ref().zip(self.scores.get(&key)).is_some_and(|(mask, scores)| {
                    scores.as_ref().is_ok_and(|(scores, _)| Arc::ptr_eq(scores, &mask.scores))
                });
                if *known == decision && *limits == plan.limits && same_scores {
                    continue;
                }
            }
            changed = true;
            let preview = self.preview(opened, structure, key, &decision, plan);
            if fresh {
                self.decided.push((decision, plan.limits, preview));
            } else {
                self.decided[index] = (decision, plan.limits, preview);
            }
        }
        if changed {
            self.blocks.clone_from(&plan.blocks);
            self.follow(opened, structure);
        }
    }

    fn preview(
        &mut self,
        opened: &Opened,
        structure: &Structure,
        (index, criterion, scoring): (usize, Criterion, Scoring),
        decision: &GroupPlan,
        plan: &Plan,
    ) -> GroupPreview {
        let key = (index, criterion, scoring);
        if let std::collections::hash_map::Entry::Vacant(e) = self.scores.entry(key) {
            let scores = match prune::unit_scores(&opened.subject(), index, criterion, scoring) {
                Err(PruneError::NotScored { .. }) => return GroupPreview { waiting: true, ..GroupPreview::default() },
                other => other,
            };
            e.insert(in_order(scores));
        }
        let scores = self.scores.get(&key);
        let problem = |problem| GroupPreview { problem: Some(problem), ..GroupPreview::default() };
        let (scores, order) = match scores {
            Some(Ok((scores, order))) => (Arc::clone(scores), Arc::clone(order)),
            Some(Err(why)) => return problem(why.clone()),
            None => return GroupPreview::default(),
        };
        match prune::decide(structure, index, decision, &plan.limits, scores) {
            Ok(mask) => GroupPreview { mask: Some(mask), order, ..GroupPreview::default() },
            Err(error) => problem(error.to_string()),
        }
    }

    /// What all decisions together leave of layers.
    fn follow(&mut self, opened: &Opened, structure: &Structure) {
        (self.problem, self.removed, self.stored) = (None, HashMap::new(), HashMap::new());
        let mut removal = Removal::default();
        for (group, (_, _, preview)) in structure.groups().iter().zip(&self.decided) {
            let Some(mask) = &preview.mask else { continue };
            removal.units.extend(mask.removed.iter().map(|&place| group.units[place]));
        }
        let removed = removal.units.iter().flat_map(|unit| &structure.units()[unit.0 as usize].channels);
        for &(layer, channel) in removed {
            self.removed.entry(layer).or_default().insert(channel);
        }
        if !removal.is_empty() {
            self.problem = structure.check(&removal).err().map(|e| e.to_string());
            let shapes = structure.shapes_after(&removal).unwrap_or_default();
            for (index, layer) in opened.layers.iter().enumerate() {
                if let Some(shape) = shapes.get(layer.weight.as_str()) {
                    self.stored.insert(index, shape.iter().product());
                }
            }
        }
        for block in opened.blocks.iter().filter(|block| self.blocks.contains(&block.name)) {
            for &layer in &block.layers {
                self.stored.insert(layer, 0);
            }
            for &layer in &block.last {
                self.removed.insert(layer, (0..opened.layers[layer].channel_count()).collect());
            }
        }
    }
}
