use super::ExportError;
use crate::eval::{Agreement, EvalOptions, Probe, compare};
use crate::exec::{Bound, Program};
use crate::formats::graph_json;
use crate::model::Model;
use serde::Serialize;
use std::path::Path;

/// What was found when a written file was opened again and run against the model in memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equality {
    /// Whether real data or random values were fed.
    pub inputs: &'static str,
    /// How far the outputs lie apart.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// Bytes are always compared; outputs where the model can be run.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// The same bytes and the same outputs.
    Ran(Equality),
    /// The same bytes; why the outputs could not be compared.
    BytesOnly(String),
}

/// Outputs may differ by this much of the largest one before an export is refused.
const TOLERANCE: f64 = 1e-5;

/// As [`TOLERANCE`], where sums are over fewer terms and in another order.
pub(super) const SHRUNK_TOLERANCE: f64 = 1e-4;

/// A proof, and for a smaller model that was run on data the same on random inputs.
pub(super) struct Outcome {
    pub(super) proof: Proof,
    pub(super) random: Option<Equality>,
}

/// Compares a re-opened model with the one that was meant: every name, dtype, shape and byte, the graph,
/// and then its outputs on `probe`.
///
/// # Errors
/// [`ExportError::NotEqual`] and [`ExportError::Diverges`] for a difference, [`ExportError::Eval`] if the
/// data does not fit the model.
pub fn prove(
    intended: &Model,
    reopened: &Model,
    probe: Option<&Probe<'_>>,
    target: &Path,
) -> Result<Proof, ExportError> {
    same_bytes(intended, reopened, target)?;
    let Some(probe) = probe else { return Ok(Proof::BytesOnly("no inputs were given".to_owned())) };
    same_outputs(intended, reopened, probe, target, |a| a.argmax_agreement == 1.0 && a.max_rel_diff <= TOLERANCE)
}

/// Compares a re-opened model with the smaller one that was written, byte by byte, and its outputs with those
/// of the masked model in full size. Where scores lie closer together than the tolerance, the highest may be
/// another one.
///
/// # Errors
/// As [`prove`].
pub(super) fn prove_shrunk(
    masked: &Model,
    written: &Model,
    reopened: &Model,
    (probe, also): (&Probe<'_>, Option<&Probe<'_>>),
    target: &Path,
) -> Result<Outcome, ExportError> {
    same_bytes(written, reopened, target)?;
    let near = |agreement: &Agreement| agreement.max_rel_diff <= SHRUNK_TOLERANCE;
    let proof = same_outputs(masked, reopened, probe, target, near)?;
    let random = match also.map(|probe| same_outputs(masked, reopened, probe, target, near)).transpose()? {
        Some(Proof::Ran(equality)) => Some(equality),
        _ => None,
    };
    Ok(Outcome { proof, random })
}

fn same_bytes(intended: &Model, reopened: &Model, target: &Path) -> Result<(), ExportError> {
    match first_difference(intended, reopened) {
        Some(problem) => Err(ExportError::NotEqual { problem, path: target.to_owned() }),
        None => Ok(()),
    }
}

fn same_outputs(
    intended: &Model,
    reopened: &Model,
    probe: &Probe<'_>,
    target: &Path,
    same: impl Fn(&Agreement) -> bool,
) -> Result<Proof, ExportError> {
    let (expected, actual) = match (bound(intended), bound(reopened)) {
        (Ok(expected), Ok(actual)) => (expected, actual),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Proof::BytesOnly(reason)),
    };
    let options = match probe {
        Probe::Data { data, .. } => EvalOptions::for_data(intended, data),
        Probe::Random { sizes, .. } => EvalOptions::for_model(intended, sizes),
    };
    let agreement = match compare(&expected, &actual, probe, &options) {
        Ok(agreement) => agreement,
        // Random inputs are a stand-in; that none can be made is no fault of the file.
        Err(error) if matches!(probe, Probe::Random { .. }) => return Ok(Proof::BytesOnly(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    if !same(&agreement) {
        return Err(ExportError::Diverges {
            max_abs_diff: agreement.max_abs_diff,
            argmax_agreement: agreement.argmax_agreement,
            n: agreement.n,
            node: None,
            path: target.to_owned(),
        });
    }
    let inputs = if matches!(probe, Probe::Data { .. }) { "data" } else { "random" };
    Ok(Proof::Ran(Equality { inputs, agreement }))
}

fn bound(model: &Model) -> Result<Bound, String> {
    let program = Program::compile(model).map_err(|e| e.to_string())?;
    program.bind(model).map_err(|e| e.to_string())
}

fn first_difference(intended: &Model, reopened: &Model) -> Option<String> {
    if !intended.tensors.keys().eq(reopened.tensors.keys()) {
        return Some("the names of the tensors differ".to_owned());
    }
    let differing = intended.tensors.iter().find(|(name, tensor)| reopened.tensors.get(*name) != Some(*tensor));
    if let Some((name, _)) = differing {
        return Some(format!("the tensor `{name}` differs"));
    }
    let text = |model: &Model| model.graph.as_ref().map(|g| graph_json::encode(g, &model.tensors).ok());
    (text(intended) != text(reopened)).then(|| "the graph differs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder, Sizes, Tensor};

    fn tiny(weight: f32) -> Model {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", vec![Dim::symbol("batch"), 2.into()]);
        let w = b.tensor("w", Tensor::from_f32(vec![3, 2], vec![weight; 6]).unwrap());
        let y = b.gemm("fc", x, w, None);
        b.output(y);
        b.finish().unwrap()
    }

    #[test]
    fn a_changed_tensor_is_named() {
        let error = prove(&tiny(1.0), &tiny(2.0), None, Path::new("out")).unwrap_err();
        assert_eq!(error.to_string(), "the written file does not read back as intended: the tensor `w` differs: out");
    }

    #[test]
    fn a_changed_graph_is_found() {
        let mut other = tiny(1.0);
        other.graph.as_mut().unwrap().nodes[0].name = "renamed".into();
        assert!(matches!(prove(&tiny(1.0), &other, None, Path::new("out")), Err(ExportError::NotEqual { .. })));
    }

    #[test]
    fn a_smaller_model_that_computes_something_else_is_refused() {
        let model = tiny(0.5);
        let probe = Probe::Random { model: &model, sizes: &Sizes::default(), examples: 8, seed: 0 };
        let proven = |masked: &Model| prove_shrunk(masked, &model, &model, (&probe, None), Path::new("out"));
        assert!(matches!(proven(&model), Ok(Outcome { proof: Proof::Ran(_), .. })));
        assert!(proven(&tiny(0.500_01)).is_ok(), "two parts in a hundred thousand are rounding");
        assert!(matches!(proven(&tiny(0.501)), Err(ExportError::Diverges { node: None, .. })));
    }

    #[test]
    fn equal_models_run_equally_on_random_inputs() {
        let model = tiny(0.5);
        let probe = Probe::Random { model: &model, sizes: &Sizes::default(), examples: 8, seed: 0 };
        let Proof::Ran(equality) = prove(&model, &model, Some(&probe), Path::new("out")).unwrap() else {
            panic!("a Gemm can be run");
        };
        assert_eq!((equality.agreement.n, equality.agreement.max_abs_diff), (8, 0.0));
    }

    #[test]
    fn weights_without_a_graph_are_proven_by_bytes_alone() {
        let model = Model { graph: None, ..tiny(0.5) };
        let probe = Probe::Random { model: &model, sizes: &Sizes::default(), examples: 8, seed: 0 };
        assert!(matches!(prove(&model, &model, Some(&probe), Path::new("out")), Ok(Proof::BytesOnly(_))));
    }
}
