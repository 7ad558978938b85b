//! Writers, size reports and the proof that a file equals what was seen.
//!
//! [`export`] writes a masked model beside its target, opens what it wrote, compares every byte and runs
//! it against the model in memory; only a file that passed is renamed into place.

mod count;
mod deflate;
mod error;
mod proof;
pub mod provenance;
mod report;
mod rewritten;
mod size;
mod write;
mod written;

pub use count::Count;
pub use deflate::zip_bytes;
pub use error::ExportError;
pub use proof::{Equality, Proof, prove};
pub use report::{Costs, ExportReport, GroupReport, LayerReport};
pub use rewritten::{Proven, export_model};
pub use size::{Encoding, Sizes, TensorSizes, count_nonzeros, measure_sizes};
pub use write::{Pruned, Request, export};
pub use written::Written;
