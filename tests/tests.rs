//! Integration tests, linked once.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod architecture;
mod batches;
mod cli;
mod conformance;
mod costs;
mod execution;
mod feeding;
mod gguf_files;
mod gradients;
#[cfg(feature = "gui")]
mod gui;
mod hostile_files;
mod idioms;
mod kernels;
mod onnx;
mod patterns;
mod quantising;
mod recognized;
mod recovering;
mod roundtrip;
mod sample_data;
mod sample_models;
mod searching;
mod shrinking;
mod solving;
mod structure;
mod support;
mod torch_files;
mod torch_masks;
mod transformers;
mod weight_files;
