//! Which channels go together, and taking them out for good.

mod analysis;
mod atoms;
mod attention;
mod block;
mod contract;
mod convolve;
mod error;
mod follow;
mod labels;
mod reason;
mod recurrent;
mod regroup;
mod remainder;
mod removal;
mod rule;
#[expect(clippy::module_inception, reason = "the type that gives the floor its name")]
mod structure;
mod surgery;
mod unit;
mod walk;

pub use block::Block;
pub use error::StructureError;
pub use removal::Removal;
pub use structure::Structure;
pub use surgery::{Border, CHANNELS_KEY, Inexact, ShrinkOptions, Shrunk, shrink};
pub use unit::{Group, Pinned, Role, Slice, Unit, UnitId, UnitKind};
