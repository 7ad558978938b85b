use super::logits::argmax;
use super::{EvalError, EvalOptions, Runner};
use crate::data::Dataset;
use crate::model::{DType, Dim, Model, Tensor, Value};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
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
    /// Rows of scores compared; 0 if the first output is none, such as a map of pixels.
    pub rows: usize,
    /// Share of rows of the first output whose highest score is at the same place; 1 without rows.
    pub argmax_agreement: f64,
    /// Cosine of the angle between all outputs of the two, 1 where both are zero.
    pub cosine: f64,
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
    /// Uniform values in -1..1 of the declared input shapes, for when there is no data.
    Random {
        /// Whose graph inputs to fill.
        model: &'a Model,
        /// Examples along the batch axis, where it is open.
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
    let mut sums = Sums::default();
    let mut tell = |sums: &Sums, total| match observe(&sums.finish(), total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(EvalError::Cancelled),
    };
    match probe {
        Probe::Data { data, limit } => {
            let mut order = data.stratified_order(0);
            order.truncate(*limit);
            for indices in order.chunks(options.batch.max(1)) {
                sums.add(reference, other, &[data.batch(indices)], indices.len())?;
                tell(&sums, order.len())?;
            }
        }
        Probe::Random { model, examples, seed } => {
            let inputs = graph_inputs(model);
            let mut rng = StdRng::seed_from_u64(*seed);
            let mut left = *examples;
            while left > 0 {
                let n = left.min(options.batch.max(1));
                let tensors = inputs.iter().map(|v| random_input(v, n, &mut rng)).collect::<Result<Vec<_>, _>>()?;
                sums.add(reference, other, &tensors, n)?;
                left -= n;
                tell(&sums, *examples)?;
            }
        }
    }
    Ok(sums.finish())
}

#[derive(Default)]
struct Sums {
    n: usize,
    max_abs_diff: f64,
    largest: f64,
    rows: usize,
    agreeing: usize,
    dot: f64,
    squares: [f64; 2],
}

impl Sums {
    fn add<R: Runner + ?Sized>(
        &mut self,
        reference: &R,
        other: &R,
        inputs: &[Tensor],
        n: usize,
    ) -> Result<(), EvalError> {
        let (a, b) = (reference.run(inputs)?, other.run(inputs)?);
        self.n += n;
        if a.len() != b.len() {
            return Err(EvalError::Incomparable(vec![a.len()], vec![b.len()]));
        }
        for (index, (a, b)) in a.iter().zip(&b).enumerate() {
            if a.shape() != b.shape() {
                return Err(EvalError::Incomparable(a.shape().to_vec(), b.shape().to_vec()));
            }
            let (x, y) = (a.to_f32(), b.to_f32());
            self.add_values(&x, &y);
            if let (0, Some(width)) = (index, row_of_scores(a.shape())) {
                let rows = x.chunks_exact(width).zip(y.chunks_exact(width));
                self.rows += rows.len();
                self.agreeing += rows.filter(|(x, y)| argmax(x) == argmax(y)).count();
            }
        }
        Ok(())
    }

    fn add_values(&mut self, x: &[f32], y: &[f32]) {
        for (&x, &y) in x.iter().zip(y) {
            let same = x.to_bits() == y.to_bits() || x == y || (x.is_nan() && y.is_nan());
            let (x, y) = (f64::from(x), f64::from(y));
            let difference = if same { 0.0 } else { (x - y).abs() };
            self.max_abs_diff = self.max_abs_diff.max(if difference.is_nan() { f64::INFINITY } else { difference });
            if x.is_finite() && y.is_finite() {
                self.largest = self.largest.max(x.abs());
                self.dot += x * y;
                self.squares[0] += x * x;
                self.squares[1] += y * y;
            }
        }
    }

    fn finish(&self) -> Agreement {
        let norm = (self.squares[0] * self.squares[1]).sqrt();
        Agreement {
            n: self.n,
            max_abs_diff: self.max_abs_diff,
            max_rel_diff: if self.max_abs_diff == 0.0 { 0.0 } else { self.max_abs_diff / self.largest },
            rows: self.rows,
            argmax_agreement: if self.rows == 0 { 1.0 } else { self.agreeing as f64 / self.rows as f64 },
            cosine: match (norm > 0.0, self.squares == [0.0; 2]) {
                (true, _) => (self.dot / norm).clamp(-1.0, 1.0),
                (false, both_zero) => f64::from(u8::from(both_zero)),
            },
        }
    }
}

/// Scores per example, if the shape is [n, scores] or the same with trailing axes of extent 1.
fn row_of_scores(shape: &[usize]) -> Option<usize> {
    match shape {
        [_, scores, rest @ ..] if *scores > 1 && rest.iter().all(|&d| d == 1) => Some(*scores),
        _ => None,
    }
}

/// Largest random input, in values; a declared shape beyond it is not worth a proof.
const MAX_RANDOM_VALUES: usize = 1 << 28;

fn graph_inputs(model: &Model) -> Vec<&Value> {
    model.graph.as_ref().map_or_else(Vec::new, |g| g.inputs.iter().map(|&id| g.value(id)).collect())
}

fn random_input(value: &Value, n: usize, rng: &mut StdRng) -> Result<Tensor, EvalError> {
    let shape = value.fact.shape.as_deref();
    let refused = |problem| EvalError::NoRandomInput {
        input: value.name.clone(),
        shape: shape.map_or_else(|| "unknown".to_owned(), shape_text),
        problem,
    };
    if value.fact.dtype.is_some_and(|d| d != DType::F32) {
        return Err(refused("it does not take f32"));
    }
    let extents: Option<Vec<usize>> = shape.and_then(|s| {
        s.iter().enumerate().map(|(i, d)| if i == 0 { d.known().or(Some(n)) } else { d.known() }).collect()
    });
    let extents = extents.ok_or_else(|| refused("its extents are not fixed"))?;
    let count = extents.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&c| c <= MAX_RANDOM_VALUES);
    let count = count.ok_or_else(|| refused("it is too large"))?;
    let values = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_f32(extents, values).map_err(|_too_large| refused("it is too large"))
}

fn shape_text(shape: &[Dim]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("\u{d7}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GraphBuilder;

    fn tiny(shape: Vec<Dim>) -> Model {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", shape);
        let y = b.node("act", "Relu", &[x], &[]);
        b.output(y);
        b.finish().unwrap()
    }

    type Function = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>, EvalError> + Sync;

    fn compared(reference: &Function, other: &Function, model: &Model) -> Result<Agreement, EvalError> {
        let probe = Probe::Random { model, examples: 5, seed: 1 };
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
    fn random_inputs_need_fixed_and_bearable_shapes() {
        let same = mapped(|v| v);
        for shape in [vec![Dim::symbol("n"), Dim::Unknown], vec![usize::MAX.into(), 8.into()]] {
            let error = compared(&*same, &*same, &tiny(shape)).unwrap_err();
            assert!(matches!(error, EvalError::NoRandomInput { .. }), "{error}");
        }
    }
}
