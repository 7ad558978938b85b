use super::ScanRequest;
use crate::formats::write_atomically;
use crate::model::hash;
use crate::prune::{Calibration, Criterion, Granularity, Limits, Scoring};
use crate::search::{Measured, SearchError, Target};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that a measurement depends on. Ratios are not among it: what was measured is known by how much went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    /// Goes up when the same plan would be carried out or measured differently.
    version: u32,
    model: u64,
    data: u64,
    examples: usize,
    granularity: Granularity,
    criterion: Criterion,
    scoring: Scoring,
    limits: Limits,
    /// Of a criterion that looks at more than weights.
    calibration: Option<Calibration>,
    calibrated_on: Option<u64>,
}

impl Key {
    const VERSION: u32 = 1;

    fn of(request: &ScanRequest<'_>, examples: usize) -> Self {
        let ScanRequest { subject, data, settings, options, calibrated_on, .. } = *request;
        let looks_further = !options.criterion.is_norm();
        Self {
            version: Self::VERSION,
            model: subject.model.fingerprint(),
            data: data.fingerprint(),
            examples,
            granularity: options.granularity,
            criterion: options.criterion,
            scoring: settings.scoring,
            limits: settings.limits,
            calibration: looks_further.then_some(settings.calibration),
            calibrated_on: calibrated_on.filter(|_| options.criterion.is_calibrated()),
        }
    }
}

/// What a file of the cache holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    key: Key,
    dense: Option<Measured>,
    /// By layer, then by pieces that went.
    layers: BTreeMap<String, BTreeMap<usize, Measured>>,
    /// By group, then by units that went.
    groups: BTreeMap<String, BTreeMap<usize, Measured>>,
}

/// Measurements that outlive the scan: one file for each key.
#[derive(Debug)]
pub(super) struct Cache {
    path: Option<PathBuf>,
    known: Known,
    /// Since when something is known that the file does not hold.
    unsaved: Option<Instant>,
}

/// A file is written at most this often.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

impl Cache {
    /// What is known of the request; nothing without a folder, or where its file is not one of ours.
    pub fn open(request: &ScanRequest<'_>, examples: usize) -> Result<Self, SearchError> {
        let key = Key::of(request, examples);
        let fresh = Known { key, dense: None, layers: BTreeMap::new(), groups: BTreeMap::new() };
        let Some(folder) = request.cache else { return Ok(Self { path: None, known: fresh, unsaved: None }) };
        fs::create_dir_all(folder).map_err(|source| SearchError::Cache { path: folder.to_owned(), source })?;
        let text = serde_json::to_vec(&fresh.key).unwrap_or_default();
        let path = folder.join(format!("sensitivity-{:016x}.json", hash(&text)));
        let known = read(&path).filter(|known| known.key == fresh.key).unwrap_or(fresh);
        Ok(Self { path: Some(path), known, unsaved: None })
    }

    pub const fn dense(&self) -> Option<Measured> {
        self.known.dense
    }

    pub fn set_dense(&mut self, measured: Measured) {
        self.known.dense = Some(measured);
    }

    pub fn get(&self, target: &Target, removed: usize) -> Option<Measured> {
        let (Target::Layer(name) | Target::Group(name)) = target;
        let of_kind = if matches!(target, Target::Layer(_)) { &self.known.layers } else { &self.known.groups };
        of_kind.get(name)?.get(&removed).copied()
    }

    /// Adds a measurement, and writes the file if the last time is a while ago.
    pub fn put(&mut self, target: &Target, removed: usize, measured: Measured) -> Result<(), SearchError> {
        let of_kind = if matches!(target, Target::Layer(_)) { &mut self.known.layers } else { &mut self.known.groups };
        of_kind.entry(target.name().to_owned()).or_default().insert(removed, measured);
        let since = *self.unsaved.get_or_insert_with(Instant::now);
        if since.elapsed() >= BETWEEN_WRITES { self.save() } else { Ok(()) }
    }

    /// Writes what the file does not hold yet.
    pub fn save(&mut self) -> Result<(), SearchError> {
        let Some(path) = self.path.as_deref().filter(|_| self.unsaved.is_some()) else { return Ok(()) };
        write(path, &self.known).map_err(|source| SearchError::Cache { path: path.to_owned(), source })?;
        self.unsaved = None;
        Ok(())
    }
}

fn read(path: &Path) -> Option<Known> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, known: &Known) -> std::io::Result<()> {
    let text = serde_json::to_vec_pretty(known)?;
    write_atomically(path, |file| file.write_all(&text)).map(|_| ())
}
