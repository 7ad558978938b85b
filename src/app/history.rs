use crate::eval::Evaluation;
use crate::prune::Plan;
use serde::{Deserialize, Serialize};

/// Index of a [`Step`] in its [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId(pub usize);

/// What was measured of a step's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Evaluation over the whole data set.
    pub evaluation: Evaluation,
    /// Fingerprint of that data set.
    pub data: u64,
}

/// One committed plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step it was made from; none for the first.
    pub parent: Option<StepId>,
    /// What the user did, in a few words.
    pub label: String,
    /// The whole plan after it.
    pub plan: Plan,
    /// Name of the weights that the plan is carried out on; none for those of the opened file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Figures, once measured.
    #[serde(default)]
    pub metrics: Option<StepMetrics>,
    /// The child that redo leads to.
    #[serde(default)]
    newest_child: Option<StepId>,
}

/// Every committed plan of a session as a tree. Undo walks up, redo walks down again, and an edit
/// after undo opens a branch instead of throwing the other one away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    steps: Vec<Step>,
    current: StepId,
}

impl Default for History {
    fn default() -> Self {
        let root = Step {
            parent: None,
            label: "Dense".to_owned(),
            plan: Plan::dense(),
            weights: None,
            metrics: None,
            newest_child: None,
        };
        Self { steps: vec![root], current: StepId(0) }
    }
}

impl History {
    /// Steps kept; beyond it, the oldest leaves outside the current path are dropped.
    pub const CAPACITY: usize = 400;

    /// The plan being looked at.
    pub fn plan(&self) -> &Plan {
        &self.step(self.current).plan
    }

    /// The step being looked at.
    pub const fn current(&self) -> StepId {
        self.current
    }

    /// The step behind `id`.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }

    /// All steps, oldest first.
    pub fn steps(&self) -> impl Iterator<Item = (StepId, &Step)> {
        self.steps.iter().enumerate().map(|(i, s)| (StepId(i), s))
    }

    /// Whether `id` names a step.
    pub fn contains(&self, id: StepId) -> bool {
        id.0 < self.steps.len()
    }

    /// Commits `plan` as a child of the current step and moves to it. An unchanged plan adds nothing.
    pub fn commit(&mut self, label: impl Into<String>, plan: Plan) -> bool {
        if plan == *self.plan() {
            return false;
        }
        // Steps with weights are named by runs and files, so a tree with some is left whole.
        if self.steps.len() >= Self::CAPACITY && self.steps.iter().all(|step| step.weights.is_none()) {
            self.drop_oldest_leaf();
        }
        let weights = self.step(self.current).weights.clone();
        self.current = self.graft(self.current, label, plan, weights);
        true
    }

    /// Adds a child of any step without moving to it: work that began there and has ended.
    pub fn graft(&mut self, parent: StepId, label: impl Into<String>, plan: Plan, weights: Option<String>) -> StepId {
        let id = StepId(self.steps.len());
        let (parent, label) = (StepId(parent.0.min(id.0 - 1)), label.into());
        self.steps.push(Step { parent: Some(parent), label, plan, weights, metrics: None, newest_child: None });
        self.steps[parent.0].newest_child = Some(id);
        id
    }

    /// The nearest step before `id` that cut something, on other weights: what was recovered from.
    pub fn cut_before(&self, id: StepId) -> Option<StepId> {
        let weights = &self.step(id).weights;
        let mut at = self.step(id).parent;
        while let Some(step) = at {
            if self.step(step).weights != *weights && !self.step(step).plan.is_dense() {
                return Some(step);
            }
            at = self.step(step).parent;
        }
        None
    }

    /// Moves to the parent. False at the root.
    pub fn undo(&mut self) -> bool {
        let Some(parent) = self.step(self.current).parent else { return false };
        self.steps[parent.0].newest_child = Some(self.current);
        self.current = parent;
        true
    }

    /// Moves to the child that was visited last. False at a leaf.
    pub fn redo(&mut self) -> bool {
        let Some(child) = self.step(self.current).newest_child else { return false };
        self.current = child;
        true
    }

    /// Whether undo would move.
    pub fn can_undo(&self) -> bool {
        self.step(self.current).parent.is_some()
    }

    /// Whether redo would move.
    pub fn can_redo(&self) -> bool {
        self.step(self.current).newest_child.is_some()
    }

    /// Moves to any step, so that redo leads back along the way it came. False if there is no such step.
    pub fn go_to(&mut self, id: StepId) -> bool {
        if !self.contains(id) {
            return false;
        }
        let mut child = id;
        while let Some(parent) = self.step(child).parent {
            self.steps[parent.0].newest_child = Some(child);
            child = parent;
        }
        self.current = id;
        true
    }

    /// Gives a step another label.
    pub fn rename(&mut self, id: StepId, label: &str) {
        if let Some(step) = self.steps.get_mut(id.0) {
            label.clone_into(&mut step.label);
        }
    }

    /// Attaches figures to a step.
    pub fn set_metrics(&mut self, id: StepId, metrics: StepMetrics) {
        if let Some(step) = self.steps.get_mut(id.0) {
            step.metrics = Some(metrics);
        }
    }

    /// Drops all figures, so that they are measured afresh.
    pub fn forget_metrics(&mut self) {
        self.steps.iter_mut().for_each(|s| s.metrics = None);
    }

    /// Whether every link points into the tree and every parent is older; a file may say otherwise.
    pub fn is_sound(&self) -> bool {
        let count = self.steps.len();
        self.current.0 < count
            && self.steps.iter().enumerate().all(|(i, s)| {
                s.parent.map_or(i == 0, |p| p.0 < i)
                    && s.newest_child
                        .is_none_or(|c| c.0 > i && c.0 < count && self.steps[c.0].parent == Some(StepId(i)))
            })
    }

    fn drop_oldest_leaf(&mut self) {
        let mut kept = vec![false; self.steps.len()];
        let mut on_path = Some(self.current);
        while let Some(id) = on_path {
            kept[id.0] = true;
            on_path = self.step(id).parent;
        }
        let has_child = |i: usize| self.steps.iter().any(|s| s.parent == Some(StepId(i)));
        if let Some(leaf) = (1..self.steps.len()).find(|&i| !kept[i] && !has_child(i)) {
            self.remove(leaf);
        } else if self.steps.len() > 2 && self.current != StepId(1) {
            // One straight line: its second step folds into the first, so the dense root stays.
            let heirs: Vec<usize> =
                (2..self.steps.len()).filter(|&i| self.steps[i].parent == Some(StepId(1))).collect();
            for heir in heirs {
                self.steps[heir].parent = Some(StepId(0));
            }
            self.steps[0].newest_child = self.steps[1].newest_child;
            self.remove(1);
        }
    }

    fn remove(&mut self, index: usize) {
        self.steps.remove(index);
        let shift = |id: StepId| if id.0 > index { StepId(id.0 - 1) } else { id };
        for step in &mut self.steps {
            step.parent = step.parent.map(shift);
            step.newest_child = step.newest_child.filter(|c| c.0 != index).map(shift);
        }
        self.current = shift(self.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Cut, LayerPlan};

    fn plan(sparsity: f64) -> Plan {
        let mut plan = Plan::dense();
        plan.set("conv1", LayerPlan { cut: Cut::Sparsity(sparsity), ..LayerPlan::default() });
        plan
    }

    #[test]
    fn undo_and_redo_walk_the_same_path() {
        let mut history = History::default();
        history.commit("a", plan(0.1));
        history.commit("b", plan(0.2));
        assert!(history.undo() && history.undo() && !history.undo());
        assert_eq!(history.plan(), &Plan::dense());
        assert!(history.redo() && history.redo() && !history.redo());
        assert_eq!(history.plan(), &plan(0.2));
    }

    #[test]
    fn an_edit_after_undo_keeps_the_other_branch() {
        let mut history = History::default();
        history.commit("a", plan(0.1));
        let first = history.current();
        history.undo();
        history.commit("b", plan(0.9));
        assert!(history.go_to(first));
        assert_eq!(history.plan(), &plan(0.1));
        assert!(history.undo() && history.redo());
        assert_eq!(history.current(), first, "redo leads back to the branch that was visited");
    }

    #[test]
    fn what_was_recovered_hangs_below_its_cut_and_edits_go_on_with_its_weights() {
        let mut history = History::default();
        history.commit("cut", plan(0.9));
        let cut = history.current();
        history.undo();
        let recovered = history.graft(cut, "fine-tuned", Plan::dense(), Some("w1".to_owned()));
        assert_eq!(history.current(), StepId(0), "nobody is moved");
        assert!(history.go_to(recovered));
        assert_eq!((history.cut_before(recovered), history.cut_before(cut)), (Some(cut), None));
        history.commit("more", plan(0.95));
        assert_eq!(history.step(history.current()).weights.as_deref(), Some("w1"));
        assert!(history.undo() && history.undo());
        assert_eq!((history.current(), history.step(cut).weights.as_ref()), (cut, None));
    }

    #[test]
    fn an_unchanged_plan_is_not_a_step() {
        let mut history = History::default();
        assert!(!history.commit("nothing", Plan::dense()));
        assert!(!history.can_undo());
    }

    #[test]
    fn a_long_session_stays_bounded_and_sound() {
        let mut history = History::default();
        for i in 0..History::CAPACITY * 2 {
            history.commit("edit", plan(i as f64 / 1e4 + 1e-6));
            if i % 7 == 0 {
                history.undo();
            }
        }
        assert!(history.steps().count() <= History::CAPACITY);
        assert!(history.is_sound());
        while history.undo() {}
        assert_eq!(history.plan(), &Plan::dense());
    }

    #[test]
    fn a_tree_with_links_out_of_range_is_recognised() {
        let json = r#"{"steps":[{"parent":null,"label":"x","plan":{},"newest_child":9}],"current":0}"#;
        let history: History = serde_json::from_str(json).unwrap();
        assert!(!history.is_sound());
    }
}
