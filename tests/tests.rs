//! Integration tests, linked once.

mod architecture;
mod cli;
mod hostile_files;
mod kernels;
mod roundtrip;
mod sample_data;
mod torch_masks;
