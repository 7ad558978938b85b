use super::{CalibrateError, Observe};

/// Counts what is done and tells the observer.
pub(super) struct Progress<'a> {
    done: u64,
    total: u64,
    observe: Observe<'a>,
}

impl<'a> Progress<'a> {
    pub fn new(total: u64, observe: Observe<'a>) -> Self {
        Self { done: 0, total, observe }
    }

    /// Tells that so much more is done.
    ///
    /// # Errors
    /// [`CalibrateError::Cancelled`] if the observer broke.
    pub fn advance(&mut self, more: u64) -> Result<(), CalibrateError> {
        self.done += more;
        match (self.observe)(self.done, self.total) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(CalibrateError::Cancelled),
        }
    }
}
