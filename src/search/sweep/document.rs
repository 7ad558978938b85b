use super::{Cost, Figures, Setting, SweepPoint, mark_front};
use crate::formats::write_atomically;
use crate::prune::Plan;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a sweep was asked for: shards belong together where this is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Version of this document.
    pub version: u32,
    /// Name of the model.
    pub model: String,
    /// Fingerprint of the model, in hexadecimal digits.
    pub model_fingerprint: String,
    /// Name of the data.
    pub data: String,
    /// Fingerprint of the data.
    pub data_fingerprint: String,
    /// Fingerprint of the examples that criteria looked at.
    pub calibrated_on: Option<String>,
    /// Fingerprint of the measured curves that an allocation used.
    pub curves: Option<String>,
    /// Examples that every point is measured on.
    pub examples: usize,
    /// What holds for all points.
    pub base: Plan,
    /// All points, by their index.
    pub settings: Vec<Setting>,
}

impl Asked {
    /// The version written by this build.
    pub const VERSION: u32 = 1;
}

/// One of several parts of a sweep, measured on its own: every `of`-th point from the one at `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 1 to `of`.
    pub index: usize,
    /// Parts there are.
    pub of: usize,
}

impl Shard {
    /// Whether a point is in this part.
    pub const fn holds(self, point: usize) -> bool {
        point % self.of == self.index - 1
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match pair {
            Some((index @ 1.., of @ 1..=1_000_000)) if index <= of => Ok(Self { index, of }),
            _ => Err("expected i/n with i from 1 to n, such as 2/8"),
        }
    }
}

/// A setting that cannot be: the allocation does not apply, or the criterion has nothing to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Place among all settings.
    pub index: usize,
    /// What was asked for.
    #[serde(flatten)]
    pub setting: Setting,
    /// Why it cannot be, in one sentence.
    pub reason: String,
}

/// A sweep, or a part of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What was asked for.
    pub asked: Asked,
    /// The part that this is; none for all of it.
    pub shard: Option<Shard>,
    /// What [`SweepPoint::front`] weighs accuracy against.
    pub cost: Cost,
    /// The dense model.
    pub dense: Figures,
    /// By index.
    pub points: Vec<SweepPoint>,
    /// Settings without a point.
    pub refused: Vec<Refused>,
}

/// Why a sweep could not be read, written or put together.
#[derive(Debug, thiserror::Error)]
pub enum SweepFileError {
    /// The file system refused to give the file.
    #[error("the sweep cannot be read: {source}: {}", path.display())]
    Read {
        /// File asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not what `sweep` writes.
    #[error("this is no sweep as `secateur sweep -o FILE.json` writes it: {problem}: {}", path.display())]
    Malformed {
        /// What is wrong, in one line.
        problem: String,
        /// File asked for.
        path: PathBuf,
    },
    /// The file system refused to take the file.
    #[error("the sweep cannot be written: {source}: {}", path.display())]
    Write {
        /// Target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A point that the file does not have.
    #[error("the sweep has no point {index}, {}: {}", among(*.points), path.display())]
    NoPoint {
        /// Index asked for.
        index: usize,
        /// Settings there are.
        points: usize,
        /// The file.
        path: PathBuf,
    },
}

fn among(points: usize) -> String {
    match points {
        0 => "nor any other".to_owned(),
        points => format!("but some of 0 to {}", points - 1),
    }
}

impl Sweep {
    /// Reads what [`Sweep::write`] wrote.
    ///
    /// # Errors
    /// [`SweepFileError`] if the file cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, SweepFileError> {
        let bytes = fs::read(path).map_err(|source| SweepFileError::Read { path: path.to_owned(), source })?;
        let malformed = |problem: String| SweepFileError::Malformed { problem, path: path.to_owned() };
        let sweep: Self = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let settings = sweep.asked.settings.len();
        let mut indices: Vec<usize> =
            sweep.points.iter().map(|p| p.index).chain(sweep.refused.iter().map(|r| r.index)).collect();
        indices.sort_unstable();
        let fits = |shard: Shard| (1..=shard.of).contains(&shard.index);
        if sweep.asked.version > Asked::VERSION {
            let version = sweep.asked.version;
            return Err(malformed(format!("it has version {version}, this build reads up to {}", Asked::VERSION)));
        }
        if indices.windows(2).any(|pair| pair[0] == pair[1]) || indices.last().is_some_and(|&last| last >= settings) {
            return Err(malformed("its points are not those of its settings".to_owned()));
        }
        if !sweep.shard.is_none_or(fits) {
            return Err(malformed("it is a part that cannot be".to_owned()));
        }
        Ok(sweep)
    }

    /// Writes all of it as JSON; whole or not at all.
    ///
    /// # Errors
    /// [`SweepFileError::Write`] if the file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), SweepFileError> {
        let refused = |source| SweepFileError::Write { path: path.to_owned(), source };
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| refused(error.into()))?;
        text.push(b'\n');
        write_atomically(path, |file| file.write_all(&text)).map_err(refused)?;
        Ok(())
    }

    /// The plan of one point of a file.
    ///
    /// # Errors
    /// As [`Sweep::read`]; [`SweepFileError::NoPoint`].
    pub fn read_plan(path: &Path, index: usize) -> Result<Plan, SweepFileError> {
        let sweep = Self::read(path)?;
        let points = sweep.asked.settings.len();
        let found = sweep.points.into_iter().find(|point| point.index == index);
        found.map(|point| point.plan).ok_or_else(|| SweepFileError::NoPoint { index, points, path: path.to_owned() })
    }

    /// Weighs accuracy against another cost.
    pub fn weigh(&mut self, cost: Cost) {
        self.cost = cost;
        mark_front(&mut self.points, cost);
    }
}
