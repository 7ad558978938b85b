use super::EvalError;
use crate::model::Tensor;

/// Something that turns inputs into outputs: a bound program, or a function in its place.
pub trait Runner: Sync {
    /// Runs once, on one tensor per graph input, and returns one tensor per graph output.
    ///
    /// # Errors
    /// [`EvalError::Run`] with the engine's own sentence.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError>;
}

impl<F: Fn(&[Tensor]) -> Result<Vec<Tensor>, EvalError> + Sync> Runner for F {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        self(inputs)
    }
}
