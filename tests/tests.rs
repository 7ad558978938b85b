//! Integration tests, linked once.

mod sample_data;
mod kernels;
