use super::space::Space;
use super::{Quantity, SolveError, Stage, Watch};
use crate::data::Dataset;
use crate::eval::{Answers, EvalOptions, Paired, answers};
use crate::exec::latency::{self, Latency, Repeats};
use crate::exec::{Bound, ExampleInputs, Program};
use crate::export::{Counts, Written};
use crate::model::{Model, Sizes};
use crate::prune::Plan;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::HashMap;

/// What a model costs; none where it is not known, or was not measured because nothing asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Scalars of all tensors; without shrinking those that are not zero.
    pub params: f64,
    /// Multiply-accumulates of one example; without shrinking those with a weight that is not zero.
    pub macs: Option<f64>,
    /// Bytes of the file, in a zip archive without shrinking.
    pub bytes: Option<f64>,
    /// Median milliseconds of one example.
    pub latency: Option<f64>,
}

impl Costs {
    /// A cost by name; none for the accuracy drop, which is no cost.
    pub const fn get(&self, quantity: Quantity) -> Option<f64> {
        match quantity {
            Quantity::Params => Some(self.params),
            Quantity::Macs => self.macs,
            Quantity::Bytes => self.bytes,
            Quantity::Latency => self.latency,
            Quantity::Drop => None,
        }
    }
}

/// A candidate: what it loses, what it costs, and what it still gets right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    /// By target.
    pub removed: Vec<usize>,
    /// What came up with it.
    pub origin: &'static str,
    pub costs: Costs,
    /// On the examples of the search, beside the dense model; none until they are looked at.
    pub seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub paired: Paired,
    pub correct: usize,
    pub loss: Option<f64>,
}

/// Carries candidates out and measures them, each once. Knows the examples of the search and no others.
pub(super) struct Lab<'a> {
    pub space: Space<'a>,
    pub dense: &'a Bound,
    pub data: &'a Dataset,
    pub sizes: Sizes,
    /// Quantities that goals and the objective are about.
    pub asked: Vec<Quantity>,
    pub dense_answers: Answers,
    pub trials: Vec<Trial>,
    known: HashMap<Vec<usize>, usize>,
}

impl<'a> Lab<'a> {
    pub fn new(
        space: Space<'a>,
        (dense, data): (&'a Bound, &'a Dataset),
        asked: Vec<Quantity>,
        watch: &mut Watch<'_>,
    ) -> Result<Self, SolveError> {
        let sizes = crate::eval::sizes_of(space.subject.model, data).or(&Sizes::proposed(space.subject.model));
        let options = EvalOptions::for_data(space.subject.model, data);
        let total = data.len() as u64;
        let dense_answers = answers(dense, data, &options, &mut |done| watch.tell(Stage::Dense, done as u64, total))?;
        Ok(Self { space, dense, data, sizes, asked, dense_answers, trials: Vec::new(), known: HashMap::new() })
    }

    /// The candidate in which targets lose so many pieces, with its costs.
    pub fn cost(
        &mut self,
        removed: &[usize],
        origin: &'static str,
        watch: &mut Watch<'_>,
    ) -> Result<usize, SolveError> {
        if let Some(&known) = self.known.get(removed) {
            return Ok(known);
        }
        watch.check()?;
        let plan = self.space.plan(removed);
        let costs = self.costs(&plan, &self.asked, watch)?;
        self.trials.push(Trial { removed: removed.to_vec(), origin, costs, seen: None });
        self.known.insert(removed.to_vec(), self.trials.len() - 1);
        Ok(self.trials.len() - 1)
    }

    /// As [`Lab::cost`], with what it gets right.
    pub fn measure(
        &mut self,
        removed: &[usize],
        origin: &'static str,
        watch: &mut Watch<'_>,
    ) -> Result<usize, SolveError> {
        let at = self.cost(removed, origin, watch)?;
        if self.trials[at].seen.is_some() {
            return Ok(at);
        }
        let found = self.look(&self.space.plan(removed), self.data, watch)?;
        let paired = Paired::of(&self.dense_answers.right, &found.right);
        self.trials[at].seen = Some(Seen { paired, correct: found.correct(), loss: found.loss });
        watch.step()?;
        Ok(at)
    }

    fn look(&self, plan: &Plan, data: &Dataset, watch: &mut Watch<'_>) -> Result<Answers, SolveError> {
        let subject = &self.space.subject;
        let masked = subject.masked(&subject.resolve(plan)?)?;
        let bound = self.dense.rebind(&masked)?;
        let options = EvalOptions::for_data(subject.model, data);
        Ok(answers(&bound, data, &options, &mut |_| watch.again())?)
    }

    /// The model that an export of a plan would write.
    pub fn written(&self, plan: &Plan) -> Result<Written, SolveError> {
        Ok(Written::of(&self.space.subject, plan, &self.space.subject.resolve(plan)?)?)
    }

    /// What the model of a plan costs, of bytes and latency those that are asked for.
    pub fn costs(&self, plan: &Plan, asked: &[Quantity], watch: &mut Watch<'_>) -> Result<Costs, SolveError> {
        let written = self.written(plan)?;
        let counts = Counts::of(&written.model, &self.sizes);
        let (params, macs) =
            if plan.shrink { (counts.params, counts.macs) } else { (counts.nonzeros, counts.macs_nonzero) };
        let bytes = if asked.contains(&Quantity::Bytes) {
            Some(written.bytes(plan, &mut || watch.again().is_break())? as f64)
        } else {
            None
        };
        let latency = if asked.contains(&Quantity::Latency) {
            Some(self.latency(&written.model, watch)?.median_ms)
        } else {
            None
        };
        Ok(Costs { params: params as f64, macs: macs.map(|macs| macs as f64), bytes, latency })
    }

    /// What the opened model costs, counted in the same way.
    pub fn dense_costs(&self, shrinks: bool, asked: &[Quantity], watch: &mut Watch<'_>) -> Result<Costs, SolveError> {
        let model = self.space.subject.model;
        let counts = Counts::of(model, &self.sizes);
        let (params, macs) =
            if shrinks { (counts.params, counts.macs) } else { (counts.nonzeros, counts.macs_nonzero) };
        let mut costs = Costs { params: params as f64, macs: macs.map(|macs| macs as f64), bytes: None, latency: None };
        if asked.contains(&Quantity::Bytes) {
            let as_it_is = Written { model: model.clone(), shrunk: false, dead: 0 };
            let plan = Plan { shrink: shrinks, ..Plan::dense() };
            costs.bytes = Some(as_it_is.bytes(&plan, &mut || watch.again().is_break())? as f64);
        }
        if asked.contains(&Quantity::Latency) {
            costs.latency = Some(self.latency(model, watch)?.median_ms);
        }
        Ok(costs)
    }

    /// How long one example takes.
    fn latency(&self, model: &Model, watch: &mut Watch<'_>) -> Result<Latency, SolveError> {
        let bound = Program::compile(model)?.bind(model)?;
        let inputs = ExampleInputs::new(self.space.subject.model, &self.sizes, 0).batch(1)?;
        let watch = RefCell::new(watch);
        let stop = || watch.borrow_mut().again().is_break();
        latency::measure(&bound, &inputs, Repeats::default(), &stop)?.ok_or(SolveError::Cancelled)
    }

    /// Percentage points that a candidate lost on the examples of the search, if they were looked at.
    pub fn lost(&self, at: usize) -> Option<f64> {
        Some(self.trials[at].seen?.paired.drop() * 100.0)
    }

    /// What a candidate has of a quantity.
    pub fn value(&self, at: usize, quantity: Quantity) -> Option<f64> {
        if quantity == Quantity::Drop { self.lost(at) } else { self.trials[at].costs.get(quantity) }
    }
}
