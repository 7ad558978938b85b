//! Plans for goals, searched in the background.

use super::command::Listing;
use super::project::Opened;
use super::session::Session;
use super::work::Report;
use crate::calibrate::{self, CalibrateError};
use crate::data::Dataset;
use crate::exec::Bound;
use crate::jobs::JobContext;
use crate::model::Model;
use crate::prune::{Allocation, Criterion, Granularity, Plan, Subject};
use crate::search::Target;
use crate::search::sensitivity::targets_of;
use crate::search::solve::{
    Goal, Limit, Quantity, Range, Solution, SolveError, SolveRequest, Stage, Strategy, halves, solve,
};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// What is asked for, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goals {
    /// By [`Quantity::ALL`]: a limit such as `-50%`, `1.2M` or `8ms`, of the drop points of accuracy; empty for none.
    pub limits: [String; Quantity::ALL.len()],
    /// What is to be as low as it can be beside.
    pub objective: Quantity,
    /// Whether channels are really removed.
    pub shrink: bool,
}

impl Default for Goals {
    fn default() -> Self {
        let mut limits: [String; Quantity::ALL.len()] = Default::default();
        "0.5".clone_into(&mut limits[Quantity::ALL.len() - 1]);
        Self { limits, objective: Quantity::Macs, shrink: true }
    }
}

impl Goals {
    /// The goals that are typed; the first that cannot be read is told in a sentence.
    ///
    /// # Errors
    /// What cannot be read, and how it is written.
    pub fn parse(&self) -> Result<Vec<Goal>, String> {
        let typed = Quantity::ALL.into_iter().zip(&self.limits).filter(|(_, text)| !text.trim().is_empty());
        let read = |(quantity, text): (Quantity, &String)| {
            let refused = |error| match quantity {
                Quantity::Drop => "The accuracy drop is a number of points, such as 0.5.".to_owned(),
                _ => format!("{}: {error}.", quantity.title()),
            };
            let limit = Limit::parse(quantity, text).map_err(refused)?;
            Ok(Goal { quantity, limit })
        };
        typed.map(read).collect()
    }
}

/// What became of a search.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What can be had of each quantity that matters; empty until it is known.
    pub ranges: Vec<Range>,
    /// The plan that was found.
    pub solution: Option<Arc<Solution>>,
    /// Why none was found.
    pub problem: Option<String>,
}

/// What background work says of a search.
pub(super) enum SearchReport {
    Ranges(Vec<Range>),
    Solved(Box<Solution>),
    Failed(String),
}

impl Session {
    /// The last search for a plan, while the model it was for is open.
    pub const fn search(&self) -> Option<&Search> {
        self.search.as_ref()
    }

    /// Whether a plan is being searched.
    pub fn is_solving(&self) -> bool {
        self.slots.solving.is_busy()
    }

    pub(super) fn start_solving(&mut self) {
        let goals = match self.view.goals.parse() {
            Ok(goals) => goals,
            Err(problem) => {
                self.search = Some(Search { problem: Some(problem), ..Search::default() });
                return;
            }
        };
        let (Some(project), Some(calibrated)) = (&self.project, &self.calibration) else { return };
        let Ok(engine) = &project.opened.engine else { return };
        let (opened, engine) = (project.opened.clone(), Arc::clone(engine));
        let asked = Asked {
            goals,
            objective: self.view.goals.objective,
            base: Plan { shrink: self.view.goals.shrink, ..project.plan().clone() },
            groups: self.view.goals.shrink || self.view.listing == Listing::Groups,
            decision: self.focused_decision(),
            calibration: calibrated.set.clone(),
            fingerprint: calibrated.fingerprint,
            held_out: self.labelled_data().cloned(),
            cache: self.storage.as_ref().map(|storage| storage.join("sensitivity")),
        };
        self.search = Some(Search::default());
        self.slots.solving.submit("Searching a plan", move |job| {
            let report = match asked.solve(&opened, &engine.dense, job) {
                Ok(solution) => SearchReport::Solved(Box::new(solution)),
                Err(None) => return,
                Err(Some(problem)) => SearchReport::Failed(problem),
            };
            job.send(Report::Search(Arc::clone(&opened.model), report));
        });
    }

    pub(super) fn take_in_search(&mut self, model: &Arc<Model>, report: SearchReport) {
        if self.project.as_ref().is_none_or(|p| !Arc::ptr_eq(&p.opened.model, model)) {
            return;
        }
        let search = self.search.get_or_insert_default();
        match report {
            SearchReport::Ranges(ranges) => search.ranges = ranges,
            SearchReport::Solved(solution) => {
                search.ranges.clone_from(&solution.ranges);
                search.solution = Some(Arc::new(*solution));
            }
            SearchReport::Failed(problem) => search.problem = Some(problem),
        }
    }

    /// Makes the plan that was found the current one.
    pub(super) fn take_solution(&mut self) {
        let Some(solution) = self.search.as_ref().and_then(|search| search.solution.clone()) else { return };
        self.commit(&format!("Goal: {}", said(&solution)), solution.plan.clone());
    }
}

/// An error as a sentence of its own.
fn sentence(error: &str) -> String {
    let mut letters = error.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).chain(['.']).collect()
}

/// Goals in a few words.
fn said(solution: &Solution) -> String {
    let one = |outcome: &crate::search::solve::Outcome| {
        let quantity = outcome.goal.quantity;
        format!("{} \u{2264} {}", quantity.title(), quantity.text(outcome.asked))
    };
    solution.goals.iter().map(one).collect::<Vec<_>>().join(", ")
}

struct Asked {
    goals: Vec<Goal>,
    objective: Quantity,
    base: Plan,
    groups: bool,
    decision: (Granularity, Criterion),
    calibration: Dataset,
    fingerprint: u64,
    held_out: Option<Dataset>,
    cache: Option<PathBuf>,
}

impl Asked {
    /// None for an error where the search was cancelled.
    fn solve(&self, opened: &Opened, dense: &Bound, job: &JobContext<Report>) -> Result<Solution, Option<String>> {
        const EVERYTHING: &[&str] = &[];
        let told = |error: &dyn std::fmt::Display| Some(error.to_string());
        let subject = opened.subject();
        let (granularity, criterion) = self.decision;
        // Layers of which nothing is known to go together lose single weights.
        let groups = self.groups && opened.structure.as_ref().is_ok_and(|s| !s.groups().is_empty());
        let granularity = if granularity.is_pattern() { Granularity::Element } else { granularity };
        let criterion = if groups && !criterion.ranks_channels() { Criterion::default() } else { criterion };
        let targets = targets_of(&subject, &self.base, groups, EVERYTHING, EVERYTHING).map_err(|e| told(&e))?;
        let scores = self.scores(opened, &targets, (granularity, criterion), job)?;
        let (search, held_out) = match &self.held_out {
            Some(held_out) => (self.calibration.clone(), held_out.clone()),
            None => halves(&self.calibration, 0).map_err(|e| told(&e))?,
        };
        let mut strategies = vec![Strategy::Greedy, Strategy::Allocation(Allocation::Uniform)];
        strategies.push(Strategy::Allocation(Allocation::Global));
        let request = SolveRequest {
            subject: Subject { scores: &scores, ..subject },
            dense,
            base: &self.base,
            targets: &targets,
            granularity,
            criterion,
            goals: &self.goals,
            objective: self.objective,
            strategies: &strategies,
            search: &search,
            held_out: &held_out,
            cache: self.cache.as_deref(),
            calibrated_on: Some(self.fingerprint),
        };
        let mut found = |ranges: &[Range]| {
            let report = SearchReport::Ranges(ranges.to_vec());
            job.send(Report::Search(Arc::clone(&opened.model), report));
        };
        let mut observe = |progress: &crate::search::solve::Progress| {
            // Four stages of equal length: what is left can only be guessed.
            let stage = match progress.stage {
                Stage::Dense => 0,
                Stage::Scan => 1,
                Stage::Search => 2,
                Stage::HeldOut => 3,
            };
            job.progress(stage * 1000 + progress.done * 1000 / progress.total.max(1), 4000);
            if job.superseded() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match solve(&request, &mut found, &mut observe) {
            Ok(solution) => Ok(solution),
            Err(SolveError::Cancelled) => Err(None),
            Err(error) => Err(Some(sentence(&error.to_string()))),
        }
    }

    fn scores(
        &self,
        opened: &Opened,
        targets: &[Target],
        (granularity, criterion): (Granularity, Criterion),
        job: &JobContext<Report>,
    ) -> Result<crate::prune::Scores, Option<String>> {
        let mut named = Plan { calibration: self.base.calibration, ..Plan::dense() };
        for target in targets {
            let one = target.plan(&self.base, granularity, criterion, 0.5);
            named.layers.extend(one.layers);
            named.groups.extend(one.groups);
        }
        let mut scores = (*opened.scores).clone();
        let observe = &mut |_, _| if job.superseded() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        match calibrate::score_plan(&opened.subject(), &named, Some(&self.calibration), observe) {
            Ok(found) => scores.extend(found),
            Err(CalibrateError::Cancelled) => return Err(None),
            Err(error) => return Err(Some(error.to_string())),
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_as_they_are_typed() {
        let mut goals = Goals::default();
        assert_eq!(goals.parse().unwrap(), [Goal { quantity: Quantity::Drop, limit: Limit::AtMost(0.5) }]);
        "-60%".clone_into(&mut goals.limits[0]);
        "8 ms".clone_into(&mut goals.limits[3]);
        let read = goals.parse().unwrap();
        assert_eq!(read[0], Goal { quantity: Quantity::Params, limit: Limit::Reduce(0.6) });
        assert_eq!(read[1].limit, Limit::AtMost(8.0));
        "half".clone_into(&mut goals.limits[1]);
        assert!(goals.parse().unwrap_err().starts_with("MACs: "));
        "-1".clone_into(&mut goals.limits[4]);
        goals.limits[1].clear();
        assert!(goals.parse().unwrap_err().contains("such as 0.5"));
    }
}
