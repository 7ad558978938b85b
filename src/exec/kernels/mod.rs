//! Arithmetic on dense f32 data, wrapped as Candle custom operators.
//!
//! Work is split into chunks whose size depends on shapes alone and partial results are combined in
//! chunk order, so every kernel gives the same bytes on any number of threads.

pub mod activation;
pub mod batch_norm;
pub mod conv;
pub mod custom;
pub mod depthwise;
pub mod direct;
pub mod im2col;
pub mod linear;
pub mod matrix;
pub mod panel;
pub mod parallel;
pub mod pool;
pub mod window;

pub use activation::Activation;
pub use window::Window;
