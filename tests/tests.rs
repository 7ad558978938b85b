//! Integration tests, linked once.

mod kernels;
mod sample_data;
mod sample_models;
mod torch_masks;
