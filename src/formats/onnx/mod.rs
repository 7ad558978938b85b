//! ONNX in and out.
//!
//! Reading decodes the protobuf in place: weights stay views into the mapped file. The graph is brought
//! into one form, operator set 21 (the module `upgrade` lists what is rewritten), with model-local functions put in
//! place of their calls. Tensors are the initializers and those `Constant` nodes that may hold weights,
//! under the names that the file has for them. What is not understood, be it an operator, an attribute or
//! an element type, is kept.
//!
//! Writing a model that came from an ONNX file copies that file byte for byte and replaces the data of
//! changed weights only; everything else, fields of newer versions included, stays as it was. Any other
//! model is written afresh.

mod convert;
mod data_type;
mod external;
mod fresh;
mod function;
mod patch;
mod pieces;
mod proto;
mod read;
mod tensor;
mod upgrade;
mod wire;
mod write;

pub use read::{read, read_tensor, read_with};
pub use write::{pieces, stage};

/// Whether the outermost fields are those of an ONNX model: known numbers, a graph, nothing behind.
pub(super) fn looks_like_a_model(bytes: &[u8]) -> bool {
    let mut graph = false;
    wire::fields(bytes).all(|field| {
        field.is_some_and(|f| {
            graph |= f.number == 7;
            match f.number {
                1 | 5 => f.wire == wire::VARINT,
                2..=4 | 6..=8 | 14 | 20 | 25 | 26 => f.wire == wire::LENGTH,
                _ => false,
            }
        })
    }) && graph
}
