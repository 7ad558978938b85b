use crate::stats::HistogramScale;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Colours of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// As the operating system says.
    #[default]
    System,
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
}

/// Vertical axis of the distribution view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountScale {
    /// Weights per bin.
    #[default]
    Count,
    /// log10 of 1 + weights per bin.
    LogCount,
    /// Share of all weights at or below.
    Cumulative,
}

/// A model opened before, with the data it was looked at with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// The model file.
    pub model: PathBuf,
    /// The data set, if one was chosen.
    #[serde(default)]
    pub data: Option<PathBuf>,
}

/// Sizes in points, as they were when the window was last closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayoutSizes {
    /// Width and height of the window.
    pub window: Option<(u32, u32)>,
    /// Width of the layer table; 0 means the default.
    pub layers: u32,
    /// Width of the inspector; 0 means the default.
    pub inspector: u32,
}

/// What survives a restart apart from plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Format version.
    pub version: u32,
    /// Colours.
    pub theme: ThemeChoice,
    /// Text and control size in percent; 0 means 100.
    pub zoom_percent: u32,
    /// Horizontal axis of the distribution view.
    pub magnitude_scale: HistogramScale,
    /// Vertical axis of the distribution view.
    pub count_scale: CountScale,
    /// Models opened before, newest first.
    pub recents: Vec<Recent>,
    /// Sizes of the window and its columns.
    pub layout: LayoutSizes,
}

impl Settings {
    const RECENTS: usize = 12;

    /// Where settings lie inside `storage`.
    pub fn path(storage: &Path) -> PathBuf {
        storage.join("settings.json")
    }

    /// Puts a model in front of the recents.
    pub fn remember(&mut self, model: &Path, data: Option<&Path>) {
        let model = std::path::absolute(model).unwrap_or_else(|_| model.to_owned());
        let earlier = self.recents.iter().position(|r| r.model == model).map(|i| self.recents.remove(i));
        let data = data.map(Path::to_owned).or_else(|| earlier.and_then(|r| r.data));
        self.recents.insert(0, Recent { model, data });
        self.recents.truncate(Self::RECENTS);
    }

    /// The data set a model was last looked at with.
    pub fn data_for(&self, model: &Path) -> Option<&Path> {
        let model = std::path::absolute(model).ok()?;
        self.recents.iter().find(|r| r.model == model)?.data.as_deref()
    }

    /// Reads settings; a missing or broken file gives the defaults.
    pub fn load(path: &Path) -> Self {
        let Ok(text) = std::fs::read_to_string(path) else { return Self::default() };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!("settings were reset, since they could not be read ({error}): {}", path.display());
            Self::default()
        })
    }

    /// Writes settings through a temporary file.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        save_json(self, path)
    }
}

/// Writes `value` as JSON beside `path`, syncs, and renames it into place.
///
/// # Errors
/// If the folder cannot be made or written.
pub fn save_json<T: Serialize>(value: &T, path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(std::io::BufWriter::new(&mut file), value)?;
    file.as_file_mut().flush()?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Folder for settings and sessions of this user, if the system names one.
pub fn storage_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("SECATEUR_STORAGE") {
        return Some(PathBuf::from(folder));
    }
    directories::ProjectDirs::from("", "", "secateur").map(|d| d.data_local_dir().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/settings.json");
        let mut settings = Settings { theme: ThemeChoice::Light, zoom_percent: 125, ..Settings::default() };
        settings.remember(Path::new("/models/a.safetensors"), Some(Path::new("/data/a.npz")));
        settings.save(&path).unwrap();
        assert_eq!(Settings::load(&path), settings);
    }

    #[test]
    fn a_broken_settings_file_gives_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        std::fs::write(&path, "{\"theme\": 7").unwrap();
        assert_eq!(Settings::load(&path), Settings::default());
    }

    #[test]
    fn recents_are_unique_newest_first_and_keep_their_data() {
        let mut settings = Settings::default();
        for i in 0..20 {
            settings.remember(Path::new(&format!("/m/{i}")), None);
        }
        settings.remember(Path::new("/m/15"), Some(Path::new("/d")));
        settings.remember(Path::new("/m/19"), None);
        settings.remember(Path::new("/m/15"), None);
        assert_eq!(settings.recents.len(), Settings::RECENTS);
        assert_eq!(settings.recents[0].model, Path::new("/m/15"));
        assert_eq!(settings.data_for(Path::new("/m/15")), Some(Path::new("/d")));
    }
}
