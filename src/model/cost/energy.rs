use super::{activation_memory, model_macs};
use crate::model::Model;
use serde::Serialize;
use std::collections::HashSet;

/// Picojoules of an f32 multiplication (Horowitz 2014, "Computing's energy problem", ISSCC, at 45 nm).
const MULTIPLY: f64 = 3.7;
/// Picojoules of an f32 addition (as above).
const ADD: f64 = 0.9;
/// Picojoules of 32 bits from or to DRAM (as above).
const DRAM_WORD: f64 = 640.0;

/// What the estimates of [`Energy`] assume, to be shown beside them.
pub const ENERGY_ASSUMPTIONS: &str = "estimate after Horowitz (ISSCC 2014, 45 nm): 3.7 pJ an f32 multiplication, 0.9 pJ an \
                                      addition, 640 pJ for 32 bits of DRAM; every weight read once, every \
                                      activation written and read once, caches and other operators left out";

/// Energy of one example, in picojoules: an estimate to compare models by, under [`ENERGY_ASSUMPTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Energy {
    /// Multiply-accumulates, as f32.
    pub compute_pj: f64,
    /// Weights read.
    pub weights_pj: f64,
    /// Activations written and read.
    pub activations_pj: f64,
}

impl Energy {
    /// The estimate for these multiply-accumulates, bytes of weights, and bytes of all activations.
    pub fn of(macs: u64, weight_bytes: u64, activation_bytes: u64) -> Self {
        let words = |bytes: u64| bytes as f64 / 4.0 * DRAM_WORD;
        Self {
            compute_pj: macs as f64 * (MULTIPLY + ADD),
            weights_pj: words(weight_bytes),
            activations_pj: 2.0 * words(activation_bytes),
        }
    }

    /// All of it.
    pub fn total_pj(&self) -> f64 {
        self.compute_pj + self.weights_pj + self.activations_pj
    }
}

/// The estimate for a model on a dense runtime: all multiply-accumulates, and the weights that the graph names as they
/// are stored. None where shapes are open.
pub fn model_energy(model: &Model) -> Option<Energy> {
    let names: HashSet<&str> = model.graph.as_ref()?.values.iter().map(|value| value.name.as_str()).collect();
    let used = model.tensors.iter().filter(|(name, _)| names.contains(name.as_str()));
    let bytes = used.map(|(_, tensor)| tensor.byte_len() as u64).sum();
    Some(Energy::of(model_macs(model)?, bytes, activation_memory(model)?.sum_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder, Tensor};

    #[test]
    fn a_fully_connected_layer_costs_what_the_table_says() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![Dim::symbol("batch"), 3.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![2, 3], vec![1.0; 6]).unwrap());
        let y = b.gemm("fc", x, w, None);
        b.output(y);
        let mut model = b.finish().unwrap();
        model.tensors.insert("unused".into(), Tensor::from_f32(vec![9], vec![0.0; 9]).unwrap());
        let energy = model_energy(&model).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(energy.compute_pj, 6.0 * 4.6) && close(energy.weights_pj, 6.0 * 640.0), "{energy:?}");
        assert!(close(energy.activations_pj, 2.0 * 5.0 * 640.0) && close(energy.total_pj(), 27.6 + 16.0 * 640.0));
    }
}
