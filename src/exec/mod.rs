//! Running a graph on Candle: kernels, programs, gradients, measured latency.
//!
//! [`Program::compile`] turns a model's graph into a flat list of steps, [`Program::bind`] prepares the
//! weights, and [`Bound::run`] evaluates, as often as needed. After an edit of some weights,
//! [`Bound::rebind`] prepares only the steps that read them. [`TrainProgram`] runs the same graph
//! differentiably.
//!
//! # Reproducibility
//! Results are the same bytes on any number of threads. Convolutions and fully connected layers with
//! constant weights, pools and elementwise functions also give each example the same bytes whatever
//! batch it is in; a `MatMul` of two computed operands may not. Between machines, whose vector units
//! and mathematical libraries differ, only closeness is promised.

mod bound;
mod builder;
mod convert;
mod error;
mod fuse;
pub mod kernels;
pub mod latency;
mod ops;
mod program;
mod train;

pub use bound::Bound;
pub use error::{ExecError, UnsupportedNode};
pub use ops::{BatchNormMode, supported as supported_operators};
pub use program::{Port, Program};
pub use train::{Gradients, Parameter, TrainProgram};
