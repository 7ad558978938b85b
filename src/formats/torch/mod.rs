//! PyTorch checkpoints (.pt, .pth, .th, .bin) in and out.
//!
//! Three containers are read: the zip of PyTorch 1.6 and later, whose tensors are mapped without a copy;
//! the older stream of pickles with the storages behind; and TorchScript archives, of which the weights
//! are taken. Inside, the [`pickle`] is read as data and no code is run.
//!
//! | what the file holds | what becomes of it |
//! |---|---|
//! | a state dict | its tensors, in order |
//! | a state dict under `state_dict`, `model`, `net` ... | the same; the rest of the file is left alone |
//! | a whole module | the tensors of its object graph, named as its state dict would name them |
//! | names that all begin with `module.` or `_orig_mod.` | the names without it, with a note |
//! | tensors that are not contiguous | a gathered copy |
//! | quantised, sparse and complex tensors | left out, with a note |
//!
//! Saving in kind copies the archive that was opened and replaces the bytes of the tensors that changed;
//! everything else in it, such as the optimiser's state, stays. What came from elsewhere is written as an
//! ordered dictionary of tensors that `torch.load(..., weights_only=True)` reads. The graph and the
//! metadata lie beside the pickle as [`EXTRA`], which PyTorch ignores.

mod legacy;
pub mod pickle;
mod pickle_writer;
mod read;
mod storages;
mod weights;
mod write;

pub(super) use read::{is_checkpoint, read_legacy, read_zip};
pub use write::stage;

/// Entry of the archive, in its top folder, that holds graph and metadata as JSON.
pub const EXTRA: &str = "secateur.json";

const FORMAT: &str = "PyTorch";
