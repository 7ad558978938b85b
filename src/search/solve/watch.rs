use super::SolveError;
use std::ops::ControlFlow;

/// What a search is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The opened model on the examples of the search; counted in examples.
    Dense,
    /// Each target by itself; counted in targets.
    Scan,
    /// Whole plans; counted in candidates, of which there may be fewer.
    Search,
    /// The chosen candidate on held-out examples; counted in examples.
    HeldOut,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub total: u64,
}

/// Tells how far a search is, and hears whether to go on.
pub(super) struct Watch<'a> {
    observe: &'a mut dyn FnMut(&Progress) -> ControlFlow<()>,
    now: Progress,
}

impl<'a> Watch<'a> {
    pub fn new(observe: &'a mut dyn FnMut(&Progress) -> ControlFlow<()>) -> Self {
        Self { observe, now: Progress { stage: Stage::Dense, done: 0, total: 1 } }
    }

    pub fn tell(&mut self, stage: Stage, done: u64, total: u64) -> ControlFlow<()> {
        self.now = Progress { stage, done, total: total.max(done).max(1) };
        self.again()
    }

    /// Only asks whether to go on.
    pub fn again(&mut self) -> ControlFlow<()> {
        (self.observe)(&self.now)
    }

    pub fn check(&mut self) -> Result<(), SolveError> {
        if self.again().is_break() { Err(SolveError::Cancelled) } else { Ok(()) }
    }

    /// One more of what the stage counts in, unless that is examples, which are told by themselves.
    pub fn step(&mut self) -> Result<(), SolveError> {
        if matches!(self.now.stage, Stage::Scan | Stage::Search) {
            self.now.done += 1;
            self.now.total = self.now.total.max(self.now.done);
        }
        self.check()
    }
}
