use super::differences::Differences;
use super::{EvalError, EvalOptions, Runner};
use crate::data::{Batch, Dataset, Feed};
use crate::exec::ExampleInputs;
use crate::model::{Model, Sizes};
use serde::Serialize;
use std::ops::ControlFlow;

/// How far the outputs of two models lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Examples compared.
    pub n: usize,
    /// Largest difference of two corresponding output values; infinite where one is not finite and the
    /// other is not the same.
    pub max_abs_diff: f64,
    /// `max_abs_diff` over the largest magnitude in the reference outputs.
    pub max_rel_diff: f64,
    /// Rows of scores compared, one for each example or token; 0 if the first output is none, such as a map of
    /// pixels.
    pub rows: usize,
    /// Share of rows of the first output whose highest score is at the same place; 1 without rows.
    pub argmax_agreement: f64,
    /// Cosine of the angle between all that the two put out for one example, 1 where both are zero; the mean
    /// over the examples.
    pub cosine: f64,
    /// The same of the example where it is least.
    pub least_cosine: f64,
    /// Tokens that the data's `attention_mask` leaves out of every figure but `n`.
    pub masked: usize,
}

/// The inputs that two models are compared on.
#[derive(Clone, Copy, Debug)]
pub enum Probe<'a> {
    /// The first examples of a dataset in stratified order.
    Data {
        /// Where they come from.
        data: &'a Dataset,
        /// At most this many.
        limit: usize,
    },
    /// Made-up inputs that the graph can take, for when there is no data; see [`ExampleInputs`].
    Random {
        /// Whose graph inputs to fill.
        model: &'a Model,
        /// Their sizes where the file leaves them open.
        sizes: &'a Sizes,
        /// Examples in all; more where the graph takes a fixed number at once that does not divide them.
        examples: usize,
        /// Seed of the values.
        seed: u64,
    },
}

/// Runs two models on the same inputs and compares every output; `reference` is the one to be matched.
///
/// # Errors
/// [`EvalError`] if one cannot be run on the inputs, or if their outputs differ in number or shape.
pub fn compare<R: Runner + ?Sized>(
    reference: &R,
    other: &R,
    probe: &Probe<'_>,
    options: &EvalOptions,
) -> Result<Agreement, EvalError> {
    compare_observed(reference, other, probe, options, &mut |_, _| ControlFlow::Continue(()))
}

/// As [`compare`]; `observe` sees the result so far and the examples in all after each batch, and breaks
/// to cancel.
///
/// # Errors
/// As [`compare`]; [`EvalError::Cancelled`] if `observe` broke.
pub fn compare_observed<R: Runner + ?Sized>(
    reference: &R,
    other: &R,
    probe: &Probe<'_>,
    options: &EvalOptions,
    observe: &mut dyn FnMut(&Agreement, usize) -> ControlFlow<()>,
) -> Result<Agreement, EvalError> {
    let mut found = Differences::default();
    let mut compare = |batch: &Batch, total| {
        let (a, b) = (reference.run(&batch.inputs)?, other.run(&batch.inputs)?);
        found.add(&a, &b, batch)?;
        match observe(&found.finish(), total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EvalError::Cancelled),
        }
    };
    match probe {
        Probe::Data { data, limit } => {
            let feed = Feed::new(data, reference.inputs())?;
            let mut order = data.stratified_order(0);
            order.truncate(*limit);
            for indices in order.chunks(feed.rows(options.batch)) {
                compare(&feed.batch(indices)?, order.len())?;
            }
        }
        Probe::Random { model, sizes, examples, seed } => {
            let mut source = ExampleInputs::new(model, sizes, *seed);
            let rows = source.rows(options.batch);
            let fixed = source.rows(1) == rows;
            let total = if fixed { examples.next_multiple_of(rows) } else { *examples };
            let mut done = 0;
            while done < total {
                let rows = rows.min(total - done);
                compare(&Batch { inputs: source.batch(rows)?, examples: rows, rows, mask: None }, total)?;
                done += rows;
            }
        }
    }
    Ok(found.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder, Tensor};

    fn tiny(shape: Vec<Dim>) -> Model {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", shape);
        let y = b.node("act", "Relu", &[x], &[]);
        b.output(y);
        b.finish().unwrap()
    }

    type Function = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>, EvalError> + Sync;

    fn compared(reference: &Function, other: &Function, model: &Model) -> Result<Agreement, EvalError> {
        let probe = Probe::Random { model, sizes: &Sizes::default(), examples: 5, seed: 1 };
        compare(&reference, &other, &probe, &EvalOptions { batch: 2, ..EvalOptions::default() })
    }

    fn mapped(f: impl Fn(f32) -> f32 + Sync + 'static) -> Box<Function> {
        Box::new(move |inputs| {
            let values = inputs[0].to_f32().iter().map(|&v| f(v)).collect();
            Ok(vec![Tensor::from_f32(inputs[0].shape().to_vec(), values).unwrap()])
        })
    }

    #[test]
    fn a_model_agrees_with_itself_exactly() {
        let model = tiny(vec![Dim::symbol("batch"), 4.into()]);
        let same = mapped(|v| v);
        let agreement = compared(&*same, &*same, &model).unwrap();
        assert_eq!((agreement.n, agreement.max_abs_diff, agreement.argmax_agreement), (5, 0.0, 1.0));
        assert!((agreement.cosine - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_opposite_disagrees_everywhere() {
        let model = tiny(vec![Dim::symbol("batch"), 4.into()]);
        let agreement = compared(&*mapped(|v| v), &*mapped(|v| -v), &model).unwrap();
        assert!((agreement.max_rel_diff - 2.0).abs() < 1e-12 && agreement.argmax_agreement == 0.0);
        assert!((agreement.cosine + 1.0).abs() < 1e-12);
    }

    #[test]
    fn not_a_number_equals_only_itself() {
        let model = tiny(vec![Dim::symbol("batch"), 4.into()]);
        let nan = mapped(|_| f32::NAN);
        assert_eq!(compared(&*nan, &*nan, &model).unwrap().max_abs_diff, 0.0);
        assert_eq!(compared(&*mapped(|v| v), &*nan, &model).unwrap().max_abs_diff, f64::INFINITY);
    }

    #[test]
    fn a_graph_of_a_fixed_batch_gets_whole_batches() {
        let model = tiny(vec![4.into(), 3.into()]);
        let same = mapped(|v| v);
        assert_eq!(compared(&*same, &*same, &model).unwrap().n, 8);
    }

    #[test]
    fn random_inputs_need_fixed_and_bearable_shapes() {
        let same = mapped(|v| v);
        for shape in [vec![Dim::symbol("n"), Dim::Unknown], vec![usize::MAX.into(), 8.into()]] {
            let error = compared(&*same, &*same, &tiny(shape)).unwrap_err();
            assert!(matches!(error, EvalError::NoRandomInput { .. }), "{error}");
        }
    }
}
