//! Integration tests, linked once.

mod kernels;
mod sample_data;
mod torch_masks;
