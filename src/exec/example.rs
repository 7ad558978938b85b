//! Made-up inputs, for measuring time and for comparing outputs where there is no data.

use super::convert;
use crate::model::{DType, InputKind, Model, Sizes, Tensor, TensorError, fixed_batch, input_kind};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Why no inputs can be made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random input can be made for `{input}` of shape {shape}: {problem}")]
pub struct ExampleError {
    /// Name of the input.
    pub input: String,
    /// Declared shape.
    pub shape: String,
    /// What is missing.
    pub problem: String,
}

/// Largest random input, in values; a declared shape beyond it is not worth a proof.
const MAX_VALUES: usize = 1 << 28;

/// A source of inputs that a graph can take, the same for the same seed.
///
/// Floats are uniform in -1..1; indices stay inside the smallest table that they reach; masks are all ones;
/// positions count up; booleans and other integers are 0 or 1, bytes anything.
#[derive(Clone, Debug)]
pub struct ExampleInputs<'a> {
    model: &'a Model,
    sizes: &'a Sizes,
    kinds: Vec<InputKind>,
    fixed: Option<usize>,
    rng: StdRng,
}

impl<'a> ExampleInputs<'a> {
    /// Inputs for the graph of `model`, of `sizes` where the file leaves them open.
    pub fn new(model: &'a Model, sizes: &'a Sizes, seed: u64) -> Self {
        let graph = model.graph.as_ref();
        Self {
            model,
            sizes,
            kinds: graph.iter().flat_map(|g| &g.inputs).map(|&input| input_kind(model, input)).collect(),
            fixed: graph.and_then(fixed_batch),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Examples that one run takes where `wanted` would be best.
    pub fn rows(&self, wanted: usize) -> usize {
        self.fixed.unwrap_or(wanted).max(1)
    }

    /// The next inputs, of [`ExampleInputs::rows`] examples.
    ///
    /// # Errors
    /// [`ExampleError`] if the rank or type of an input is not known, a size is missing, or it is too large.
    pub fn batch(&mut self, wanted: usize) -> Result<Vec<Tensor>, ExampleError> {
        let rows = self.rows(wanted);
        let inputs = self.model.graph.as_ref().map_or(0, |graph| graph.inputs.len());
        (0..inputs).map(|index| self.input(index, rows)).collect()
    }

    fn input(&mut self, index: usize, rows: usize) -> Result<Tensor, ExampleError> {
        let refused = |problem: &str| self.refused(index, problem);
        let graph = self.model.graph.as_ref().ok_or_else(|| refused("there is no graph"))?;
        let value = graph.value(graph.inputs[index]);
        let dtype = value.fact.dtype.ok_or_else(|| refused("its element type is not known"))?;
        if value.fact.shape.is_none() {
            return Err(refused("its rank is not known"));
        }
        let extents = self.sizes.extents(graph, graph.inputs[index], rows);
        let extents = extents.ok_or_else(|| refused("its extents are not fixed (`--size NAME=N` fixes one)"))?;
        let count = extents.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&c| c <= MAX_VALUES);
        let count = count.ok_or_else(|| refused("it is too large"))?;
        let tensor = values(&mut self.rng, self.kinds[index], dtype, extents, count);
        tensor.map_err(|error| self.refused(index, &error.to_string()))
    }

    fn refused(&self, index: usize, problem: &str) -> ExampleError {
        let value = self.model.graph.as_ref().map(|graph| graph.value(graph.inputs[index]));
        let shape = value.and_then(|v| v.fact.shape.as_ref()).map_or_else(
            || "unknown".to_owned(),
            |shape| shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}"),
        );
        ExampleError { input: value.map_or_else(String::new, |v| v.name.clone()), shape, problem: problem.to_owned() }
    }
}

fn values(
    rng: &mut StdRng,
    kind: InputKind,
    dtype: DType,
    extents: Vec<usize>,
    count: usize,
) -> Result<Tensor, TensorError> {
    if dtype.is_float() {
        let value = |_| if kind == InputKind::Mask { 1.0 } else { rng.random_range(-1.0..1.0) };
        return convert::in_dtype(dtype, extents, (0..count).map(value).collect());
    }
    let width = extents.last().copied().unwrap_or(1).max(1);
    let value = |i: usize| match (kind, dtype) {
        (InputKind::Mask, _) => 1,
        (InputKind::Positions(rows), _) => (i % width % rows) as i64,
        (InputKind::Rows(rows), _) => rng.random_range(0..rows as i64),
        (InputKind::Any, DType::U8) => rng.random_range(0..256),
        (InputKind::Any, DType::I8) => rng.random_range(-128..128),
        (InputKind::Any, _) => rng.random_range(0..2),
    };
    let values: Vec<i64> = (0..count).map(value).collect();
    convert::integers_in_dtype(dtype, extents, &values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder};

    fn model() -> Model {
        let mut b = GraphBuilder::new("net");
        let tokens = || vec![Dim::symbol("batch"), Dim::symbol("sequence")];
        let ids = b.input_of("ids", DType::I32, tokens());
        let mask = b.input_of("attention_mask", DType::Bool, tokens());
        let flag = b.input_of("flag", DType::Bool, vec![Dim::symbol("batch")]);
        let x = b.input_of("x", DType::F16, tokens());
        let table = b.tensor("table", Tensor::from_f32(vec![5, 1], vec![0.0; 5]).unwrap());
        let rows = b.node("rows", "Gather", &[table, ids], &[]);
        for value in [rows, mask, flag, x] {
            let value = b.node(&format!("id{value:?}"), "Identity", &[value], &[]);
            b.output(value);
        }
        b.finish().unwrap()
    }

    #[test]
    fn every_input_gets_what_it_takes_and_the_same_seed_gives_the_same() {
        let model = model();
        let mut sizes = Sizes::default();
        sizes.set("sequence", 40);
        let mut source = ExampleInputs::new(&model, &sizes, 3);
        let [ids, mask, flag, x] = &source.batch(2).unwrap()[..] else { panic!("four inputs") };
        assert_eq!((ids.dtype(), ids.shape()), (DType::I32, &[2, 40][..]));
        let mut seen = ids.to_i64();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4], "every row of the table and none beyond");
        assert!(mask.bytes().iter().all(|&b| b == 1) && flag.bytes().iter().all(|&b| b < 2));
        assert!(x.dtype() == DType::F16 && x.to_f32().iter().all(|v| v.abs() <= 1.0));
        let next = source.batch(2).unwrap();
        assert_ne!(next[0], *ids);
        assert_eq!(ExampleInputs::new(&model, &sizes, 3).batch(2).unwrap()[0], *ids);
        assert_ne!(ExampleInputs::new(&model, &sizes, 4).batch(2).unwrap()[0], *ids);
    }

    #[test]
    fn a_missing_size_is_named() {
        let text = ExampleInputs::new(&model(), &Sizes::default(), 0).batch(1).unwrap_err().to_string();
        assert!(text.starts_with("no random input can be made for `ids` of shape batch\u{d7}sequence: "), "{text}");
    }

    #[test]
    fn a_fixed_batch_stays_as_it_is() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![2.into(), 3.into()]);
        let y = b.node("y", "Relu", &[x], &[]);
        b.output(y);
        let model = b.finish().unwrap();
        let sizes = Sizes::default();
        let mut source = ExampleInputs::new(&model, &sizes, 0);
        assert_eq!((source.rows(64), source.batch(64).unwrap()[0].shape()), (2, &[2, 3][..]));
    }
}
