//! Training and fine-tuning on the gradients of [`exec`](crate::exec).
//!
//! [`train`] learns from a [`Dataset`](crate::data::Dataset), keeps some of the *training* examples apart
//! to choose the best epoch, and returns a new model; the test examples are never seen. With the same
//! seed, data and options it returns the same bytes, whatever the number of threads.

mod augment;
mod checkpoint;
mod error;
mod loss;
mod masks;
mod network;
mod optimizer;
mod options;
mod parameters;
mod report;
mod run;
mod schedule;
mod task;

pub use augment::Augment;
pub use error::TrainError;
pub(crate) use loss::cross_entropy;
pub use masks::Masks;
pub use optimizer::Optimizer;
pub use options::{Distillation, Regrow, TrainOptions};
pub use report::{Ended, EpochReport, TrainOutcome};
pub use run::{Observer, train, train_architecture};
pub use schedule::Schedule;
pub use task::Task;
