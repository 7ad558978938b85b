//! Python's pickle format read as data: objects are rebuilt as plain values and no code is run.
//!
//! A pickle is a program for a stack machine whose only dangerous instructions name a Python callable and
//! apply it. Here a callable is a name. The few that state dicts are made of (ordered dictionaries, tensors,
//! parameters, storages, sizes, numpy arrays) are understood; every other application is kept as an
//! [`Object::Opaque`] with its class, arguments and state, so that tensors inside it can still be found.
//!
//! Objects live in one [`Heap`] and refer to each other by index, so cyclic and deeply nested pickles
//! cost no recursion. Work and memory are bounded by the number of instructions, at most [`MAX_STEPS`].

mod construct;
mod machine;
mod value;

pub use machine::{Pickle, load};
pub use value::{Element, Heap, Object, ObjectId, Storage, TensorView, Value};

/// The most instructions that are followed; checkpoints of large models have a few hundred thousand.
pub const MAX_STEPS: usize = 1 << 24;

/// Why a pickle could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The stream ends inside an instruction.
    #[error("the pickle ends early, at byte {0}")]
    Truncated(usize),
    /// A byte that is no instruction.
    #[error("the pickle holds the unknown instruction 0x{code:02x} at byte {at}")]
    Unknown {
        /// The byte.
        code: u8,
        /// Where it is.
        at: usize,
    },
    /// An instruction does not find what it needs.
    #[error("the pickle contradicts itself at byte {at}: {problem}")]
    Inconsistent {
        /// What is missing.
        problem: &'static str,
        /// Where it is.
        at: usize,
    },
    /// More instructions than any checkpoint has.
    #[error("the pickle has more than {MAX_STEPS} instructions")]
    TooLong,
}
