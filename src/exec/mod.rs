//! Running a graph on Candle: kernels, programs, gradients, measured latency.
//!
//! [`Program::compile`] turns a model's graph into a flat list of steps, [`Program::bind`] prepares the
//! weights, and [`Bound::run`] evaluates, as often as needed. After an edit of some weights,
//! [`Bound::rebind`] prepares only the steps that read them, and a [`Checkpoint`] keeps what the steps before
//! them have computed. [`TrainProgram`] runs the same graph differentiably. [`Program::compile_values`] gives out
//! values inside a graph.
//!
//! # Element types
//! Floats of every width are computed in f32, integers in i64 and booleans as u8. Integers wrap around
//! where their declared type does, and results come back in the type that the graph gives them.
//!
//! # What runs once
//! A call on constants alone is computed when weights are bound, so that a transposed, dequantised or cast
//! weight costs nothing in a run; for training, those through which a gradient reaches a parameter stay in
//! the graph. Values that shape inference has folded are taken as they are.
//!
//! # Reproducibility
//! Results are the same bytes on any number of threads. Convolutions and fully connected layers with
//! constant weights, pools and elementwise functions also give each example the same bytes whatever
//! batch it is in; a `MatMul` of two computed operands may not. Random operators draw from the seed of
//! their node, the same in every run. Between machines, whose vector units
//! and mathematical libraries differ, only closeness is promised.

mod batching;
mod body;
mod bound;
mod builder;
mod checkpoint;
mod convert;
mod error;
mod example;
mod fuse;
mod idioms;
pub mod kernels;
pub mod latency;
mod ops;
mod padding;
mod patch;
mod profile;
mod program;
mod steps;
mod train;
mod values;

pub use bound::Bound;
pub use checkpoint::Checkpoint;
pub use error::{ExecError, UnsupportedNode};
pub use example::{ExampleError, ExampleInputs};
pub use ops::{BatchNormMode, WindowNd, supported as supported_operators};
pub use patch::Patch;
pub use profile::StepTime;
pub use program::Program;
pub use train::{Gradients, Parameter, TrainProgram};
