//! Integration tests, linked once.

mod kernels;
