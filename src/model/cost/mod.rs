//! What a model costs to run, from its graph alone: multiply-accumulates, memory, energy.

mod energy;
mod example;
mod macs;
mod memory;

pub use energy::{ENERGY_ASSUMPTIONS, Energy, model_energy};
pub use macs::{effective_macs, layer_macs, model_macs, node_macs};
pub use memory::{ActivationMemory, activation_memory};
