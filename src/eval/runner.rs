use super::EvalError;
use crate::exec::Bound;
use crate::model::{Tensor, Value};

/// Something that turns inputs into outputs: a bound program, or a function in its place.
pub trait Runner: Sync {
    /// Runs once, on one tensor per graph input, and returns one tensor per graph output.
    ///
    /// # Errors
    /// [`EvalError::Run`] with the engine's own sentence.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError>;

    /// What it takes; empty for a function that takes data as it comes.
    fn inputs(&self) -> &[Value] {
        &[]
    }
}

impl<F: Fn(&[Tensor]) -> Result<Vec<Tensor>, EvalError> + Sync> Runner for F {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        self(inputs)
    }
}

impl Runner for Bound {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        Self::run(self, inputs).map_err(|error| EvalError::Run(Box::new(error)))
    }

    fn inputs(&self) -> &[Value] {
        self.program().inputs()
    }
}
