//! The one file that says what counts.

use super::disk::Disk;
use crate::learn::LearnError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the format.
pub const VERSION: u32 = 1;
pub const STATE: &str = "state.json";
/// Beside it, before it takes its place.
pub const NEW_STATE: &str = "state.new";

/// What counts of a delta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of this format.
    pub version: u32,
    /// The generation that counts; 0 is the base model as it is.
    pub generation: u64,
    /// BLAKE3 of its manifest; empty for generation 0.
    pub manifest: String,
    /// Generations below this one are gone: they had something in them that was forgotten.
    pub floor: u64,
    /// The next generation's number: none is given twice.
    pub next: u64,
    /// Digests of documents that wait for more evidence.
    pub pending: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self { version: VERSION, generation: 0, manifest: String::new(), floor: 0, next: 1, pending: Vec::new() }
    }
}

impl State {
    /// As it is on the disk; the beginning where there is none.
    pub fn read(disk: &dyn Disk, folder: &Path) -> Result<Self, LearnError> {
        let path = folder.join(STATE);
        let bytes = match disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(|e| LearnError::io(&path, e))?,
        };
        let state: Self =
            serde_json::from_slice(&bytes).map_err(|e| LearnError::damaged(&path, format!("not a state: {e}")))?;
        if state.version != VERSION {
            let what = format!("written by another version of this library: format {}, not {VERSION}", state.version);
            return Err(LearnError::damaged(&path, what));
        }
        if state.next <= state.generation || (state.floor > state.generation && state.generation != 0) {
            return Err(LearnError::damaged(&path, format!("numbers that do not fit together: {state:?}")));
        }
        Ok(state)
    }

    /// Makes it count: the commit point of every change.
    pub fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), LearnError> {
        let (new, path) = (folder.join(NEW_STATE), folder.join(STATE));
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| LearnError::damaged(&path, e.to_string()))?;
        disk.write(&new, &bytes)
            .and_then(|()| disk.sync(&new))
            .and_then(|()| match disk.read(&new) {
                Ok(read) if read == bytes => Ok(()),
                Ok(_) => Err(std::io::Error::other("what was read back is not what was written")),
                Err(error) => Err(error),
            })
            .and_then(|()| disk.rename(&new, &path))
            .and_then(|()| disk.sync_dir(folder))
            .map_err(|e| LearnError::io(&path, e))
    }
}
