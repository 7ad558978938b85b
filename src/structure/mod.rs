//! Which channels go together, and taking them out for good.
//!
//! [`Structure::of`] walks a graph once and gives every place along every axis an atom: what would remove it.
//! Operators say how the places of their results come from those of their operands, and where places
//! meet, as in a sum, their atoms are united. What comes out are [`Group`]s of [`Unit`]s, each unit one
//! decision with everything that goes with it, and for every channel that stays a sentence on why
//! ([`Pinned`]). [`shrink`] takes units out; [`Structure::masked`] sets their weights to zero instead, and
//! both compute the same.
//!
//! ```
//! use secateur::model::Architecture;
//! use secateur::structure::{Removal, ShrinkOptions, Structure, shrink};
//!
//! let model = Architecture::ResNet8.build(1).unwrap();
//! let structure = Structure::of(&model).unwrap();
//! assert_eq!(structure.groups()[0].name, "stem + 2 more");
//! assert_eq!(structure.pinned()[0].reason, "pinned: reaches graph output `logits`");
//! // Half of the first group: the units with the lowest of some scores that can go together.
//! let units = structure.lowest(0, &[1.0; 16], 8);
//! let removal = Removal::of(units);
//! let shrunk = shrink(&model, &structure, &removal, ShrinkOptions::default()).unwrap();
//! assert_eq!(shrunk.model.tensors["stem.weight"].shape(), [8, 1, 3, 3]);
//! assert_eq!(shrunk.kept["stage1.pointwise"], [8, 9, 10, 11, 12, 13, 14, 15]);
//! // The same in full size, to compare with.
//! let masked = structure.masked(&model, &removal).unwrap();
//! assert_eq!(masked.tensors["stem.weight"].shape(), [16, 1, 3, 3]);
//! ```
//!
//! # What masked means
//! The weights that compute a removed channel are zero; its bias, and the normalisation behind it, are not.
//! The channel is then constant, and that constant is passed on through activations and folded into the
//! bias of whatever reads it, so that nothing is dropped. In front of zero padding, where a bias would be
//! wrong at the border, a small convolution of ones adds what the channel contributed ([`Border`]). Where
//! the remainder is no constant or cannot be folded, biases and normalisation shifts of the channel are zero
//! as well; where that does not help, as for a query head whose keys stay, the columns that read it are.
//! [`Structure::zeroed`] lists exactly which slices. What is left is pinned.
//!
//! # Heads and places
//! A row of a query projection goes with its head or with its place in the head: two decisions, in two
//! groups. Heads may keep different places as long as all keep as many ([`Group::blocks`]); groups of a
//! convolution likewise. Heads of keys and values take the query heads that share them along.
//!
//! # Order
//! [`reorder`] gives the units of a group another order, where nothing counts on it ([`Structure::reorderable`]).
//!
//! # Branches
//! [`Structure::blocks`] finds residual branches that can be left out as a whole; [`Removal::blocks`] names
//! them.

mod after;
mod analysis;
mod atoms;
mod attention;
mod block;
mod contract;
mod convolve;
mod error;
mod follow;
mod kept;
mod labels;
mod reason;
mod recurrent;
mod regroup;
mod remainder;
mod removal;
mod reorder;
mod rule;
#[expect(clippy::module_inception, reason = "the type that gives the floor its name")]
mod structure;
mod surgery;
mod unit;
mod walk;

pub use block::Block;
pub use error::StructureError;
pub use kept::Kept;
pub use removal::Removal;
pub(crate) use reorder::with_order;
pub use reorder::{Orders, reorder};
pub use structure::Structure;
pub use surgery::{Border, CHANNELS_KEY, Inexact, ShrinkOptions, Shrunk, shrink};
pub(crate) use surgery::{readable, sweep};
pub use unit::{Group, Pinned, Role, Slice, Unit, UnitId, UnitKind};
