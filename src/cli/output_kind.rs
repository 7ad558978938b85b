use anyhow::bail;
use std::path::{Path, PathBuf};

/// What a written file holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputKind {
    Csv,
    Json,
    Svg,
    Png,
}

impl OutputKind {
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("the name has to end in .csv, .json, .svg or .png: {}", path.display()),
        }
    }

    /// Sees to it before anything is measured that results have a place.
    pub fn check(paths: &[PathBuf]) -> anyhow::Result<()> {
        for path in paths {
            Self::of(path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                bail!("there is no folder for the result: {}", path.display());
            }
        }
        Ok(())
    }
}
