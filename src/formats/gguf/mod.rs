//! GGUF, the file of llama.cpp and its relatives, versions 2 and 3, to look at and to export from.
//!
//! Tensors of plain numbers are mapped without a copy. Quantised ones are decoded to f32, which takes up to twelve times
//! their room in the file, when they are looked at, one by one; what is then pruned and written, for instance as
//! safetensors, is those f32 values. Axes are turned round, since GGUF lists the innermost one first.

mod blocks;
mod read;

pub(super) use read::read;
