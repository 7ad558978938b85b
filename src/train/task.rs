use super::TrainOptions;
use crate::data::Dataset;
use crate::model::Model;
use std::path::Path;

/// What to train, on what.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Where to begin.
    pub model: &'a Model,
    /// Training examples, of which [`TrainOptions::validation`] are kept apart.
    pub data: &'a Dataset,
    /// How.
    pub options: &'a TrainOptions,
    /// The model whose outputs are learnt from, if [`TrainOptions::distillation`] asks for one.
    pub teacher: Option<&'a Model>,
    /// Where the state of the run is kept, so that a run of the same task goes on where the last one ended.
    pub checkpoint: Option<&'a Path>,
}

impl<'a> Task<'a> {
    /// A task without teacher or checkpoint.
    pub const fn new(model: &'a Model, data: &'a Dataset, options: &'a TrainOptions) -> Self {
        Self { model, data, options, teacher: None, checkpoint: None }
    }
}
