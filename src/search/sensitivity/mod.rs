//! How much each layer and group can lose by itself.

mod cache;
mod pictures;
mod request;
mod scan;
mod table;
#[cfg(test)]
mod tests;

pub use request::{ScanOptions, ScanRequest, targets_of};
pub use scan::{Scan, Skipped, scan};
pub use table::Row;
