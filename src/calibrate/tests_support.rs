//! Small nets and data for the tests of this floor.

use crate::data::{Dataset, Examples, Preprocess, Split};
use crate::model::{Dim, GraphBuilder, Model, ValueId};
use std::path::Path;

/// A graph from an input [batch, ...example] to what `build` returns.
pub fn net_of(example: &[usize], build: impl FnOnce(&mut GraphBuilder, ValueId) -> ValueId) -> Model {
    let mut b = GraphBuilder::new("net");
    let shape = std::iter::once(Dim::symbol("batch")).chain(example.iter().map(|&d| d.into())).collect();
    let x = b.input("x", shape);
    let y = build(&mut b, x);
    b.output(y);
    b.finish().unwrap()
}

/// Examples without labels; `shape` is [examples, ...].
pub fn dataset(shape: &[usize], values: &[f32]) -> Dataset {
    let examples = Examples::F32(values.to_vec());
    Dataset::new(examples, shape, None, Preprocess::default(), Split::Test, Path::new("memory")).unwrap()
}
