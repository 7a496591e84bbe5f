//! Looking at a store. No lock: a change that happens meanwhile is seen whole or not at all.

use super::disk::{Disk, SystemDisk};
use super::manifest::{Manifest, STATE};
use super::state::State;
use crate::error::Error;
use crate::learn::corpus::Document;
use crate::learn::{Adapter, LearnError, hex};
use crate::model::Model;
use crate::session::{Session, SessionOptions};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern_formats::BytesSource;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const DELTA: &str = "delta.gguf";
pub(super) const SOURCES: &str = "sources";
pub(super) const LOG: &str = "log.jsonl";
/// Longest name of a delta: it becomes a folder's.
const MAX_NAME: usize = 64;
/// How often a reader looks again where a generation went away under its eyes.
const TRIES: usize = 4;

/// A store that is looked at. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

/// A generation of a delta, in memory: it stays what it is whatever happens to the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Its name in the store.
    pub name: String,
    /// What is known about it.
    pub manifest: Manifest,
    /// A GGUF adapter; of a model whose state is its memory a session file.
    pub bytes: Vec<u8>,
}

impl Delta {
    /// What changes `model`, which must be the one that it was learned on.
    ///
    /// # Errors
    /// [`LearnError::OtherBase`]; [`Error::Setting`] for a state; [`Error::Format`] and [`Error::Adapter`] where it is not what a delta
    /// is.
    pub fn adapter(&self, model: &Model) -> Result<Adapter, Error> {
        self.check(model, false, "an adapter; this one is a state, in which a session begins")?;
        Adapter::read_gguf(model, Arc::new(BytesSource::new(self.name.as_str(), self.bytes.clone())))
    }

    /// A session of `model` that begins with what was read, and has room for [`SessionOptions::context`] tokens more.
    ///
    /// # Errors
    /// [`LearnError::OtherBase`]; [`Error::Setting`] for an adapter; as [`Model::restore`].
    pub fn session(&self, model: &Model, options: SessionOptions) -> Result<Session, Error> {
        self.check(model, true, "a state; this one is an adapter, which a session uses")?;
        model.go_on_from(&self.name, self.bytes.clone(), options)
    }

    fn check(&self, model: &Model, is_state: bool, expected: &'static str) -> Result<(), Error> {
        let (base, of_model) = (&self.manifest.base, model.fingerprint()?);
        if base.fingerprint != of_model {
            let (name, found_name, found) = (self.name.clone(), base.name.clone(), base.fingerprint.clone());
            return Err(LearnError::OtherBase { name, found_name, found, expected: of_model }.into());
        }
        if (self.manifest.kind() == Some(STATE)) != is_state {
            return Err(Error::Setting { setting: "delta", found: self.name.clone(), expected });
        }
        Ok(())
    }
}

/// A delta in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What counts of it, or what is wrong with it.
    pub state: Result<State, String>,
    /// Generations on the disk, oldest first.
    pub generations: Vec<u64>,
}

/// Something that happened to a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Seconds since 1970.
    pub time: u64,
    /// "commit", "undo", "forget", "rebuild", "refused", "waiting".
    pub event: String,
    /// The generation that counted afterwards.
    pub generation: u64,
    /// More about it, without any of the text.
    pub detail: serde_json::Value,
}

impl Store {
    /// A store in a folder, which need not be there yet.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self::on(path, Arc::new(SystemDisk))
    }

    /// The same on another file system.
    pub fn on(path: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Self { path: path.into(), disk }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All deltas, by name. One that is damaged is listed as such.
    ///
    /// # Errors
    /// [`LearnError::Io`].
    pub fn list(&self) -> Result<Vec<Entry>, LearnError> {
        let folder = self.path.join("deltas");
        let names = self.disk.list(&folder).map_err(|e| LearnError::io(&folder, e))?;
        let entry = |name: String| {
            let state = State::read(&*self.disk, &folder.join(&name)).map_err(|e| e.to_string());
            Ok(Entry { generations: self.generations(&name)?, state, name })
        };
        names.into_iter().filter(|n| check_name(n).is_ok()).map(entry).collect()
    }

    /// What counts of a delta; generation 0 where there is none of that name.
    ///
    /// # Errors
    /// [`LearnError::Name`], [`LearnError::Damaged`], [`LearnError::Io`].
    pub fn state(&self, name: &str) -> Result<State, LearnError> {
        State::read(&*self.disk, &self.folder(name)?)
    }

    /// Generations of a delta that are on the disk and count or can be gone back to, oldest first.
    ///
    /// # Errors
    /// [`LearnError::Name`], [`LearnError::Io`].
    pub fn generations(&self, name: &str) -> Result<Vec<u64>, LearnError> {
        let folder = self.folder(name)?;
        let names = self.disk.list(&folder).map_err(|e| LearnError::io(&folder, e))?;
        let mut found: Vec<u64> = names.iter().filter_map(|n| n.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The generation that counts, checked against its hashes; `None` for the base model as it is.
    ///
    /// # Errors
    /// [`LearnError::NoDelta`] where there is none of that name, [`LearnError::Damaged`], [`LearnError::Io`].
    pub fn delta(&self, name: &str) -> Result<Option<Delta>, LearnError> {
        let folder = self.folder(name)?;
        if self.disk.list(&folder).map_err(|e| LearnError::io(&folder, e))?.is_empty() {
            return Err(LearnError::NoDelta { store: self.path.display().to_string(), name: name.to_owned() });
        }
        self.retried(|| {
            let state = State::read(&*self.disk, &folder)?;
            let Some(manifest) = self.counting_manifest(&folder, &state)? else { return Ok(None) };
            self.verified(&folder, manifest).map(Some)
        })
    }

    /// The same; `None`, too, where there is no delta of that name.
    ///
    /// # Errors
    /// [`LearnError::Name`], [`LearnError::Damaged`], [`LearnError::Io`].
    pub fn delta_or_none(&self, name: &str) -> Result<Option<Delta>, LearnError> {
        match self.delta(name) {
            Err(LearnError::NoDelta { .. }) => Ok(None),
            result => result,
        }
    }

    /// A generation by its number.
    ///
    /// # Errors
    /// [`LearnError::NoGeneration`], [`LearnError::Damaged`], [`LearnError::Io`].
    pub fn generation(&self, name: &str, generation: u64) -> Result<Delta, LearnError> {
        let folder = self.folder(name)?;
        if !self.generations(name)?.contains(&generation) {
            return Err(LearnError::NoGeneration { name: name.to_owned(), generation });
        }
        self.verified(&folder, self.manifest(&folder, generation)?.0)
    }

    /// The manifest of the generation that counts.
    ///
    /// # Errors
    /// As [`Store::delta`].
    pub fn current(&self, name: &str) -> Result<Option<Manifest>, LearnError> {
        let folder = self.folder(name)?;
        self.retried(|| self.counting_manifest(&folder, &State::read(&*self.disk, &folder)?))
    }

    /// A document that the store keeps; `None` where it does not.
    ///
    /// # Errors
    /// [`LearnError::Damaged`] where it is not what its digest says, [`LearnError::Io`].
    pub fn document(&self, name: &str, digest: &str) -> Result<Option<Document>, LearnError> {
        let path = self.folder(name)?.join(SOURCES).join(digest);
        let bytes = match self.disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|e| LearnError::io(&path, e))?,
        };
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|e| LearnError::damaged(&path, format!("not a document: {e}")))?;
        if hex(&document.digest()) != digest {
            return Err(LearnError::damaged(&path, "its text is not what its name says".to_owned()));
        }
        Ok(Some(document))
    }

    /// Documents that wait for more evidence.
    ///
    /// # Errors
    /// As [`Store::document`], [`LearnError::MissingSource`].
    pub fn pending(&self, name: &str) -> Result<Vec<Document>, LearnError> {
        let missing =
            |digest: &String| LearnError::MissingSource { name: name.to_owned(), source_name: digest.clone() };
        let find = |digest: &String| self.document(name, digest)?.ok_or_else(|| missing(digest));
        self.state(name)?.pending.iter().map(find).collect()
    }

    /// What happened to a delta, oldest first. A line that a crash cut short is left out.
    ///
    /// # Errors
    /// [`LearnError::Name`], [`LearnError::Io`].
    pub fn log(&self, name: &str) -> Result<Vec<LogLine>, LearnError> {
        let path = self.folder(name)?.join(LOG);
        match self.disk.read(&path) {
            Ok(bytes) => Ok(bytes.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(LearnError::io(&path, error)),
        }
    }

    /// What was cached under a name, as the base's own answers.
    pub fn cached(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.read(&self.path.join("anchors").join(name)).ok()
    }

    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, LearnError> {
        check_name(name)?;
        Ok(self.path.join("deltas").join(name))
    }

    fn counting_manifest(&self, folder: &Path, state: &State) -> Result<Option<Manifest>, LearnError> {
        if state.generation == 0 {
            return Ok(None);
        }
        let (manifest, hash) = self.manifest(folder, state.generation)?;
        if hash != state.manifest {
            let path = folder.join(state.generation.to_string()).join(MANIFEST);
            return Err(LearnError::damaged(&path, "its hash is not the one in state.json".to_owned()));
        }
        Ok(Some(manifest))
    }

    /// With its hash.
    pub(super) fn manifest(&self, folder: &Path, generation: u64) -> Result<(Manifest, String), LearnError> {
        let path = folder.join(generation.to_string()).join(MANIFEST);
        let bytes = self.disk.read(&path).map_err(|e| LearnError::io(&path, e))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| LearnError::damaged(&path, format!("not a manifest: {e}")))?;
        Ok((manifest, hex(blake3::hash(&bytes).as_bytes())))
    }

    fn verified(&self, folder: &Path, manifest: Manifest) -> Result<Delta, LearnError> {
        let path = folder.join(manifest.generation.to_string()).join(DELTA);
        let bytes = self.disk.read(&path).map_err(|e| LearnError::io(&path, e))?;
        if hex(blake3::hash(&bytes).as_bytes()) != manifest.delta_hash {
            return Err(LearnError::damaged(&path, "its hash is not the one in its manifest".to_owned()));
        }
        Ok(Delta { name: name_of(folder), manifest, bytes })
    }

    /// Looks again where somebody's change removed what was being read.
    fn retried<T>(&self, read: impl Fn() -> Result<T, LearnError>) -> Result<T, LearnError> {
        let gone =
            |e: &LearnError| matches!(e, LearnError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound);
        for _ in 1..TRIES {
            match read() {
                Err(error) if gone(&error) => {}
                result => return result,
            }
        }
        read()
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Names become folders.
fn check_name(name: &str) -> Result<(), LearnError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(fine) {
        return Err(LearnError::Name { name: name.to_owned() });
    }
    Ok(())
}
