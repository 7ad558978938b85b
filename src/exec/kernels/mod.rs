//! Arithmetic on dense f32 data, wrapped as Candle custom operators.
//!
//! Work is split into chunks whose size depends on shapes alone and partial results are combined in
//! chunk order, so every kernel gives the same bytes on any number of threads.

#![expect(clippy::inline_always, reason = "loops must be compiled where the machine's vector instructions are chosen")]

pub mod activation;
pub mod batch_norm;
pub mod broadcast;
pub mod channels_last;
pub mod conv;
pub mod conv_gradient;
pub mod custom;
pub mod depthwise;
pub mod direct;
pub mod epilogue;
pub mod exponential;
pub mod fold;
pub mod linear;
pub mod matrix;
pub mod parallel;
pub mod pool;
pub mod resample;
pub mod row_norm;
pub mod selection;
pub mod softmax;
pub mod taps;
pub mod tile;
pub mod weight_gradient;
pub mod window;

pub use activation::Activation;
pub use window::Window;
