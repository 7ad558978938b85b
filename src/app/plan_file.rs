//! Plans as small files, JSON or TOML by their ending.

use crate::formats::write_atomically;
use crate::prune::Plan;
use std::path::{Path, PathBuf};

/// Why a plan could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The file system refused.
    #[error("cannot {verb} the plan ({source}): {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// What the system said.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// Not a plan.
    #[error("this is not a plan ({reason}): {}", path.display())]
    Syntax {
        /// What the parser said, on one line.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A plan of a newer Secateur.
    #[error("this plan has format version {version}, newer than {} of this Secateur: {}", Plan::VERSION, path.display())]
    Newer {
        /// Version in the file.
        version: u32,
        /// The file.
        path: PathBuf,
    },
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// Reads a plan.
///
/// # Errors
/// [`PlanFileError`] if the file cannot be read or holds no plan.
pub fn read(path: &Path) -> Result<Plan, PlanFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| PlanFileError::Io {
        verb: "read",
        source,
        path: path.to_owned(),
    })?;
    let syntax = |reason: String| PlanFileError::Syntax {
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
        path: path.to_owned(),
    };
    let plan: Plan = if is_toml(path) {
        toml::from_str(&text).map_err(|e| syntax(e.message().to_owned()))?
    } else {
        serde_json::from_str(&text).map_err(|e| syntax(e.to_string()))?
    };
    if plan.version > Plan::VERSION {
        return Err(PlanFileError::Newer { version: plan.version, path: path.to_owned() });
    }
    Ok(plan)
}

/// Writes a plan; the target is replaced whole or not at all.
///
/// # Errors
/// [`PlanFileError::Io`] if it cannot be written.
pub fn write(plan: &Plan, path: &Path) -> Result<(), PlanFileError> {
    let failed = |source| PlanFileError::Io { verb: "write", source, path: path.to_owned() };
    let text = if is_toml(path) {
        toml::to_string_pretty(plan).map_err(|e| failed(std::io::Error::other(e)))?
    } else {
        serde_json::to_string_pretty(plan).map_err(|e| failed(e.into()))?
    };
    write_atomically(path, |file| file.write_all(text.as_bytes())).map(|_| ()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Criterion, Cut, Granularity, LayerPlan};

    #[test]
    fn a_plan_reads_back_as_it_was_written_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = Plan::dense();
        let cuts = [Cut::Threshold(0.031_25), Cut::Sigma(1.5), Cut::Sparsity(0.62), Cut::Keep(9500), Cut::None];
        for (i, cut) in cuts.into_iter().enumerate() {
            let granularity = if i % 2 == 0 { Granularity::Element } else { Granularity::Channel };
            plan.set(&format!("layer.{i}"), LayerPlan { granularity, criterion: Criterion::L1, cut, locked: i == 2 });
        }
        for name in ["plan.json", "plan.toml"] {
            let path = folder.path().join(name);
            write(&plan, &path).unwrap();
            assert_eq!(read(&path).unwrap(), plan, "{name}");
        }
    }

    #[test]
    fn what_is_no_plan_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for text in ["", "[]", "{\"layers\": 7}", "{\"version\": 99}"] {
            std::fs::write(&path, text).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(!message.contains('\n') && message.ends_with("plan.json"), "{message}");
        }
    }
}
