use super::{EpochReport, Task, TrainError};
use crate::formats::write_atomically;
use crate::model::{hash, mix};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Where the run is described in the file's metadata.
const KEY: &str = "secateur.run";

/// Names and values of what training changes.
pub(super) type Values = Vec<(String, Vec<f32>)>;

/// What the optimizer remembers of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub name: String,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    pub steps: i32,
    /// Which weights may move, if some may not.
    pub keep: Vec<bool>,
}

/// A run between two epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// Epochs that are over.
    pub epochs: Vec<EpochReport>,
    /// The best of them, from 1; 0 is where the run began.
    pub best_epoch: u32,
    pub now: Values,
    pub best: Values,
    pub memory: Vec<Memory>,
}

#[derive(Serialize, Deserialize)]
struct Description {
    task: u64,
    best_epoch: u32,
    epochs: Vec<EpochReport>,
    /// Steps that the optimizer has made, by parameter.
    steps: Vec<(String, i32)>,
}

/// A hash of all that decides how a run goes.
pub(super) fn fingerprint(task: &Task<'_>) -> Result<u64, TrainError> {
    let options = hash(&serde_json::to_vec(task.options)?);
    let mut state = [task.model.fingerprint(), task.data.fingerprint(), options].into_iter().fold(0, mix);
    for (name, keep) in task.options.masks.iter() {
        state = mix(state, hash(name.as_bytes()));
        state = keep.iter().fold(state, |state, &keep| mix(state, u64::from(keep)));
    }
    Ok(task.teacher.map_or(state, |teacher| mix(state, teacher.fingerprint())))
}

impl State {
    /// Writes the state so that a kill at any moment leaves this one or the one before.
    pub fn save(&self, path: &Path, task: u64) -> Result<(), TrainError> {
        let steps = self.memory.iter().map(|memory| (memory.name.clone(), memory.steps)).collect();
        let description = Description { task, best_epoch: self.best_epoch, epochs: self.epochs.clone(), steps };
        let metadata = HashMap::from([(KEY.to_owned(), serde_json::to_string(&description)?)]);
        let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |kind: &str, name: &str, values: &[f32]| {
            tensors.push((format!("{kind}/{name}"), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
        };
        self.now.iter().for_each(|(name, values)| add("now", name, values));
        self.best.iter().for_each(|(name, values)| add("best", name, values));
        for Memory { name, first, second, keep, .. } in &self.memory {
            add("first", name, first);
            add("second", name, second);
            add("keep", name, &keep.iter().map(|&keep| f32::from(u8::from(keep))).collect::<Vec<_>>());
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, bytes) in &tensors {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).map_err(unusable(path))?;
            views.push((name.as_str(), view));
        }
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(unusable(path))?;
        write_atomically(path, |out| out.write_all(&bytes)).map_err(unusable(path))?;
        Ok(())
    }

    /// Reads what [`State::save`] wrote; none if there is no file.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if it cannot be read, or belongs to another task.
    pub fn load(path: &Path, task: u64) -> Result<Option<Self>, TrainError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path)(error)),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unusable(path))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or_else(|| unusable(path)("it is no checkpoint of a training run"))?;
        let description: Description = serde_json::from_str(text).map_err(unusable(path))?;
        if description.task != task {
            let problem = "it belongs to another model, data or options; name another file, or delete this one";
            return Err(unusable(path)(problem));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(unusable(path))?;
        let mut state = Self { epochs: description.epochs, best_epoch: description.best_epoch, ..Self::default() };
        state.memory =
            description.steps.into_iter().map(|(name, steps)| Memory { name, steps, ..Memory::default() }).collect();
        for (name, view) in file.tensors() {
            let (words, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            let Some((kind, name)) = name.split_once('/') else { continue };
            let memory = state.memory.iter_mut().find(|memory| memory.name == name);
            match (kind, memory) {
                ("now", _) => state.now.push((name.to_owned(), values)),
                ("best", _) => state.best.push((name.to_owned(), values)),
                ("first", Some(memory)) => memory.first = values,
                ("second", Some(memory)) => memory.second = values,
                ("keep", Some(memory)) => memory.keep = values.iter().map(|&v| v != 0.0).collect(),
                _ => {}
            }
        }
        Ok(Some(state))
    }
}

fn unusable<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> TrainError + '_ {
    |problem| TrainError::Checkpoint { problem: problem.to_string(), path: path.to_owned() }
}
