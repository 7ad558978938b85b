use super::Plan;
use crate::formats::write_atomically;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Why a plan could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The file system refused to give the file.
    #[error("the plan cannot be read: {source}: {}", path.display())]
    Read {
        /// File asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither JSON nor TOML of a plan.
    #[error("this is not a plan: {problem}: {}", path.display())]
    Malformed {
        /// What is wrong, in one line.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// Written by a newer build.
    #[error("the plan has version {version}, this build reads up to {}: {}", Plan::VERSION, path.display())]
    Version {
        /// Version of the document.
        version: u32,
        /// File asked for.
        path: PathBuf,
    },
    /// The file system refused to take the file.
    #[error("the plan cannot be written: {source}: {}", path.display())]
    Write {
        /// Target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads a plan as JSON or, if it does not begin with a brace, as TOML.
///
/// # Errors
/// [`PlanFileError`] if the file cannot be read or is not a plan.
pub fn read_plan(path: &Path) -> Result<Plan, PlanFileError> {
    let text = fs::read_to_string(path).map_err(|source| PlanFileError::Read { path: path.to_owned(), source })?;
    let plan: Result<Plan, String> = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    } else {
        toml::from_str(&text).map_err(|e| e.message().to_owned())
    };
    let one_line = |problem: String| problem.split_whitespace().collect::<Vec<_>>().join(" ");
    let plan = plan.map_err(|p| PlanFileError::Malformed { problem: one_line(p), path: path.to_owned() })?;
    if plan.version > Plan::VERSION {
        return Err(PlanFileError::Version { version: plan.version, path: path.to_owned() });
    }
    Ok(plan)
}

/// Writes a plan as TOML if the name ends so, else as JSON; whole or not at all.
///
/// # Errors
/// [`PlanFileError::Write`] if the file system refuses.
pub fn write_plan(plan: &Plan, path: &Path) -> Result<(), PlanFileError> {
    let refused = |source| PlanFileError::Write { path: path.to_owned(), source };
    let is_toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    let text = if is_toml {
        toml::to_string_pretty(plan).map_err(io::Error::other)
    } else {
        serde_json::to_string_pretty(plan).map(|json| format!("{json}\n")).map_err(io::Error::other)
    };
    let text = text.map_err(refused)?;
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(refused)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::{Criterion, Cut, Granularity, LayerPlan};

    fn plan() -> Plan {
        let mut plan = Plan::dense();
        for (name, cut) in [("a", Cut::Sparsity(0.1)), ("b.c", Cut::Keep(7)), ("d", Cut::Threshold(0.031_25))] {
            let (granularity, criterion) = (Granularity::Channel, Criterion::L1);
            plan.set(name, LayerPlan { granularity, criterion, cut, locked: name == "a" });
        }
        plan
    }

    #[test]
    fn plans_survive_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["p.json", "p.toml", "p"] {
            let path = folder.path().join(name);
            write_plan(&plan(), &path).unwrap();
            assert_eq!(read_plan(&path).unwrap(), plan(), "{name}");
        }
        assert!(fs::read_to_string(folder.path().join("p.toml")).unwrap().contains("[layers.a]"));
    }

    #[test]
    fn what_is_not_a_plan_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        for text in [
            "{\"layers\": 3}",
            "layers = 3",
            "= = =",
            "{\"version\": 99}",
            "",
            "{\"layers\": {\"a\": {\"cutt\": \"none\"}}}",
            "{\"layers\": {\"a\": {\"cut\": {\"sparsity\": \"lots\"}}}}",
        ] {
            fs::write(&path, text).unwrap();
            match read_plan(&path) {
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
                Ok(read) => assert!(text.is_empty() && read.is_dense(), "{text}"),
            }
        }
        assert!(matches!(read_plan(folder.path()), Err(PlanFileError::Read { .. })));
    }
}
