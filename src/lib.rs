//! Secateur: a workbench for pruning neural networks.
//!
//! The modules are floors; imports only go down. From the bottom:
//!
//! | floor | holds |
//! |---|---|
//! | [`model`] | tensors, graph, facts, layers, checks: pure data |
//! | [`formats`], [`data`] | files to models, files to labelled examples |
//! | [`structure`] | which channels go together, and taking them out |
//! | [`stats`], [`prune`] | distributions; plan, scores, masks |
//! | [`exec`] | running a graph on Candle: kernels, programs, gradients, cost |
//! | [`eval`], [`export`] | metrics; writers, reports, proof of equality |
//! | [`train`] | training and masked fine-tuning on gradients |
//! | [`calibrate`] | what criteria beyond magnitudes say |
//! | [`recover`] | getting back what pruning cost |
//! | [`quantise`] | int8 weights and activations after pruning |
//! | [`search`] | sensitivity, sweeps, plans for goals |
//! | [`verify`] | the self-check |
//! | [`jobs`] | latest-wins slots, cancellation, progress |
//! | [`app`] | document, commands, history, session |
//! | [`cli`], `ui` | the two thin fronts |

pub mod app;
pub mod calibrate;
pub mod cli;
pub mod data;
pub mod eval;
pub mod exec;
pub mod export;
pub mod formats;
pub mod jobs;
pub mod model;
pub mod prune;
pub mod quantise;
pub mod recover;
pub mod search;
pub mod stats;
pub mod structure;
pub mod train;
#[cfg(feature = "gui")]
pub mod ui;
pub mod verify;
