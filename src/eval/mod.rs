//! Metrics of a model on a dataset, progressive and cancellable.
