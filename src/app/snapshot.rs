use super::history::History;
use super::project::Opened;
use crate::model::Sizes;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is kept of a model's session, so that a kill loses nothing: the plan tree, where it stood, and input sizes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    layers: Vec<(String, Vec<usize>)>,
    file_bytes: u64,
    /// Every committed plan.
    pub history: History,
    /// Sizes that were chosen for inputs that the file leaves open.
    #[serde(default)]
    pub sizes: Option<Sizes>,
}

impl Snapshot {
    const VERSION: u32 = 1;

    /// A snapshot of `history` and `sizes`, bound to the model they belong to.
    pub fn of(opened: &Opened, history: &History, sizes: Option<Sizes>) -> Self {
        Self {
            version: Self::VERSION,
            layers: opened.layers.iter().map(|l| (l.name.clone(), l.shape.clone())).collect(),
            file_bytes: opened.model.origin.file_bytes,
            history: history.clone(),
            sizes,
        }
    }

    /// Reads the snapshot of `opened`; none if there is none, it is damaged, or the model has changed.
    pub fn load(path: &Path, opened: &Opened) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let snapshot: Self = serde_json::from_str(&text)
            .map_err(|error| tracing::warn!("the last session could not be read ({error}): {}", path.display()))
            .ok()?;
        let same_model = snapshot.version == Self::VERSION
            && snapshot.file_bytes == opened.model.origin.file_bytes
            && snapshot.layers.len() == opened.layers.len()
            && snapshot.layers.iter().zip(opened.layers.iter()).all(|(a, b)| a.0 == b.name && a.1 == b.shape);
        (same_model && snapshot.history.is_sound()).then_some(snapshot)
    }

    /// Where the snapshot of a model lies inside `storage`.
    pub fn path(storage: &Path, model: &Path) -> PathBuf {
        let absolute = std::path::absolute(model).unwrap_or_else(|_| model.to_owned());
        // FNV-1a: short, stable over versions of the standard library, and only a file name.
        let hash = absolute
            .to_string_lossy()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        storage.join("sessions").join(format!("{hash:016x}.json"))
    }
}
