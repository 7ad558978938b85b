//! Integration tests, linked once.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[cfg(feature = "gui")]
mod gui;
mod kernels;
mod sample_data;
mod sample_models;
mod torch_masks;
