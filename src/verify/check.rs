use crate::eval::EvalError;
use crate::exec::ExecError;
use crate::model::{InferError, TensorError};
use crate::prune::PruneError;
use crate::structure::StructureError;
use serde::{Serialize, Serializer};

/// Why a subject could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A network of the self-check does not fit together.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A tensor of the self-check does not fit its shape.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Channels could not be removed.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// A network cannot be compiled.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Two networks could not be compared.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A plan could not be carried out.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Something is missing that must be there.
    #[error("there is no {0}")]
    Missing(&'static str),
}

/// A figure held against the one that it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was measured.
    pub name: String,
    /// The figure that it should be.
    #[serde(serialize_with = "whole")]
    pub expected: f64,
    /// The figure that it is; not a number, and `null` in JSON, if there is none.
    #[serde(serialize_with = "whole")]
    pub got: f64,
    /// How far the two may lie apart.
    #[serde(serialize_with = "whole")]
    pub tolerance: f64,
    /// What the figures count; empty for a share.
    pub unit: &'static str,
    /// Who says what it should be.
    pub source: &'static str,
    /// Whether they lie no further apart.
    pub ok: bool,
    /// What went wrong beyond the figures.
    pub problem: Option<String>,
}

impl Check {
    /// Two figures that may differ by `tolerance`.
    pub fn new(
        name: impl Into<String>,
        (got, expected, tolerance): (f64, f64, f64),
        unit: &'static str,
        source: &'static str,
    ) -> Self {
        let ok = (got - expected).abs() <= tolerance;
        Self { name: name.into(), expected, got, tolerance, unit, source, ok, problem: None }
    }

    /// Two counts that must be the same.
    pub fn exact(name: impl Into<String>, got: u64, expected: u64, unit: &'static str, source: &'static str) -> Self {
        Self::new(name, (got as f64, expected as f64, 0.0), unit, source)
    }

    /// A figure that must not be less than another.
    pub fn at_least(name: impl Into<String>, got: f64, least: f64, source: &'static str) -> Self {
        Self { ok: got >= least, ..Self::new(name, (got, least, 0.0), "", source) }
    }

    /// Something that did not come to a figure.
    pub fn failed(name: impl Into<String>, error: &VerifyError) -> Self {
        let check = Self::new(name, (f64::NAN, 0.0, 0.0), "", "");
        Self { problem: Some(error.to_string()), ..check }
    }
}

/// Whole numbers without a decimal point.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn whole<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = (1u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() < EXACT {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_right_up_to_its_tolerance_and_never_if_it_is_none() {
        let ok = |got: f64| Check::new("x", (got, 10.0, 0.5), "", "").ok;
        assert!(ok(10.0) && ok(10.5) && !ok(10.6) && !ok(f64::NAN));
        let failed = Check::failed("x", &VerifyError::Missing("thing"));
        assert_eq!((failed.ok, failed.problem.as_deref()), (false, Some("there is no thing")));
        let json = serde_json::to_value(Check::exact("x", 7, 7, "", "")).unwrap();
        assert_eq!((json["got"].as_u64(), json["ok"].as_bool()), (Some(7), Some(true)));
    }
}
