//! Integration tests, linked once.

#[cfg(feature = "gui")]
mod gui;
mod kernels;
mod sample_data;
mod torch_masks;
