//! Safetensors in and out.
//!
//! Reading maps the file and keeps every tensor in its own dtype, in the order of the header, without a
//! copy. Writing keeps that order and all metadata, so that a file which was opened and saved unchanged
//! comes back byte for byte, provided that its writer used the reference layout (compact JSON header
//! padded with spaces to 8 bytes, `__metadata__` first).
//!
//! The graph, if there is one, is embedded as JSON under the metadata key [`GRAPH_KEY`]; its schema is
//! described in [`super::graph_json`].

mod dtype;
mod header;
mod read;
mod write;

pub use read::read;
pub(super) use read::read_part;
pub use write::{pieces, stage};

/// Metadata key of the embedded graph.
pub const GRAPH_KEY: &str = "secateur.graph";

#[cfg(test)]
mod tests;
