//! Running calibration examples and looking at values inside the graph.

use super::CalibrateError;
use crate::data::{Batch, Dataset, Feed};
use crate::eval::{EvalOptions, sizes_of};
use crate::exec::{Bound, Program};
use crate::model::{Graph, Model, Tensor, ValueId};
use crate::prune::Calibration;
use std::ops::ControlFlow;

/// Numbers of all watched values together that one batch should not exceed: 128 MiB.
const MOST_NUMBERS: usize = 1 << 25;
/// What an extent that nothing is known of counts as.
const UNKNOWN: usize = 64;

/// A value as it was in one batch.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Its extents.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: &'a [f32],
    /// Which tokens of the batch count, where the data says so: those of a row one after another.
    pub counted: Option<&'a [bool]>,
}

/// Gets what several sets of weights compute of the same examples, and how many examples are done.
type EachOfSeveral<'a> = &'a mut dyn FnMut(&[Vec<Seen<'_>>], usize) -> ControlFlow<()>;

/// Calibration examples, in the order in which they are run.
pub(crate) struct Watch<'a> {
    model: &'a Model,
    data: &'a Dataset,
    order: Vec<usize>,
}

impl<'a> Watch<'a> {
    /// The examples that `calibration` takes from `data`: the classes in equal shares.
    pub fn new(model: &'a Model, data: &'a Dataset, calibration: Calibration) -> Self {
        let mut order = data.stratified_order(calibration.seed);
        order.truncate(calibration.examples.max(1));
        Self { model, data, order }
    }

    /// Examples in a run.
    pub const fn examples(&self) -> usize {
        self.order.len()
    }

    /// Runs all examples once; `each` gets `values`, in their order, and the number of examples that are done.
    ///
    /// # Errors
    /// [`CalibrateError::Cancelled`] if `each` broke, others if the graph cannot be run on the data.
    pub fn run(
        &self,
        values: &[ValueId],
        each: &mut dyn FnMut(&[Seen<'_>], usize) -> ControlFlow<()>,
    ) -> Result<(), CalibrateError> {
        let bound = Program::compile_values(self.model, values)?.bind(self.model)?;
        self.run_bounds(&[&bound], values, &mut |seen, done| each(&seen[0], done))
    }

    /// As [`Watch::run`] for several sets of weights, that `bounds` give to the part of the graph that computes
    /// `values`; `each` gets what each of them computes of the same examples.
    ///
    /// # Errors
    /// As [`Watch::run`].
    pub fn run_bounds(
        &self,
        bounds: &[&Bound],
        values: &[ValueId],
        each: EachOfSeveral<'_>,
    ) -> Result<(), CalibrateError> {
        let Some(first) = bounds.first() else { return Ok(()) };
        let feed = Feed::new(self.data, first.program().inputs())?;
        let mut done = 0;
        for indices in self.order.chunks(feed.rows(self.batch(values))) {
            let batch = feed.batch(indices)?;
            let outputs = bounds.iter().map(|bound| bound.run(&batch.inputs)).collect::<Result<Vec<_>, _>>()?;
            done += indices.len();
            let numbers = |outputs: &'_ Vec<Tensor>| outputs.iter().map(|t| t.to_f32().into_owned()).collect();
            let numbers: Vec<Vec<Vec<f32>>> = outputs.iter().map(numbers).collect();
            let seen = outputs.iter().zip(&numbers);
            let seen: Vec<Vec<Seen<'_>>> = seen.map(|(outputs, numbers)| of_batch(&batch, outputs, numbers)).collect();
            if each(&seen, done).is_break() {
                return Err(CalibrateError::Cancelled);
            }
        }
        Ok(())
    }

    /// Examples that run together.
    fn batch(&self, values: &[ValueId]) -> usize {
        let fixed = sizes_of(self.model, self.data).fix(self.model);
        let graph = fixed.as_ref().ok().and_then(|model| model.graph.as_ref()).or(self.model.graph.as_ref());
        let numbers: usize = values.iter().map(|&id| graph.map_or(0, |graph| numbers(graph, id))).sum();
        let most = EvalOptions::for_data(self.model, self.data).batch;
        (MOST_NUMBERS / numbers.max(1)).clamp(1, most)
    }
}

/// What was computed of the examples that were asked for; a graph of a fixed number got the last one repeatedly.
fn of_batch<'a>(batch: &'a Batch, outputs: &[Tensor], numbers: &'a [Vec<f32>]) -> Vec<Seen<'a>> {
    let used = |len: usize, first: usize| {
        if first == batch.rows { len / batch.rows.max(1) * batch.examples } else { len }
    };
    let seen = |(tensor, numbers): (&Tensor, &'a Vec<f32>)| {
        let mut shape = tensor.shape().to_vec();
        let first = shape.first().copied().unwrap_or(1);
        if let Some(extent) = shape.first_mut() {
            *extent = used(first, first);
        }
        let counted = batch.mask.as_ref().map(|mask| &mask.counts[..mask.width * batch.examples]);
        Seen { shape, values: &numbers[..used(numbers.len(), first)], counted }
    };
    outputs.iter().zip(numbers).map(seen).collect()
}

/// Numbers of a value for one example.
fn numbers(graph: &Graph, id: ValueId) -> usize {
    let shape = graph.value(id).fact.shape.as_deref().unwrap_or_default();
    shape.iter().skip(1).map(|dim| dim.known().unwrap_or(UNKNOWN)).product()
}

/// Some values, each once.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<ValueId>);

impl Values {
    /// The place of a value, which is added if it is new.
    pub fn place(&mut self, id: ValueId) -> usize {
        self.0.iter().position(|&known| known == id).unwrap_or_else(|| {
            self.0.push(id);
            self.0.len() - 1
        })
    }

    /// The values, by place.
    pub fn ids(&self) -> &[ValueId] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Examples, Preprocess, Split};
    use crate::model::{Dim, GraphBuilder, Tensor};
    use std::path::Path;

    fn seen(batch: Dim, examples: usize) -> (Vec<f32>, usize) {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![batch, 1.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![1, 1], vec![2.0]).unwrap());
        let y = b.gemm("fc", x, w, None);
        b.output(y);
        let model = b.finish().unwrap();
        let values = Examples::F32((0..7u8).map(f32::from).collect());
        let data =
            Dataset::new(values, &[7, 1], None, Preprocess::default(), Split::Test, Path::new("memory")).unwrap();
        let watch = Watch::new(&model, &data, Calibration { examples, seed: 1 });
        let (mut all, mut last) = (Vec::new(), 0);
        watch
            .run(&[x], &mut |seen, done| {
                all.extend_from_slice(seen[0].values);
                assert_eq!(seen[0].shape, [seen[0].values.len(), 1]);
                last = done;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(last, watch.examples());
        (all, last)
    }

    #[test]
    fn a_graph_of_a_fixed_batch_counts_no_example_twice() {
        let (free, done) = seen(Dim::symbol("n"), 5);
        assert_eq!(done, 5);
        assert_eq!(seen(Dim::Known(3), 5), (free, 5));
        let (mut all, _) = seen(Dim::Known(4), 512);
        all.sort_by(f32::total_cmp);
        assert_eq!(all, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
