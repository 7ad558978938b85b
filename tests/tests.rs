//! Integration tests, linked once.

mod kernels;
mod sample_data;
