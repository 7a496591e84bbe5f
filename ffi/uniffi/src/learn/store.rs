//! What was learned, and how to take it back.

use super::document::Origin;
use super::outcome::Outcome;
use crate::adapter::Adapter;
use crate::error::TernError;
use crate::guarded;
use crate::model::Model;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::Error;
use tern::learn::store::{self, DEFAULT_KEEP, Edit};

/// A folder of named deltas. Looking at it disturbs nobody; one process at a time changes it.
#[derive(uniffi::Object)]
pub struct Store {
    pub(super) inner: tern::learn::Store,
}

/// A delta in a list.
#[derive(Debug, uniffi::Record)]
pub struct DeltaInfo {
    /// Its name.
    pub name: String,
    /// The generation that counts; 0 is the base model as it is.
    pub generation: u64,
    /// Documents that wait for more evidence.
    pub waiting: u64,
    /// Generations on the disk, oldest first.
    pub generations: Vec<u64>,
    /// What is wrong with it, where it is damaged.
    pub damage: Option<String>,
}

/// What is known about a delta.
#[derive(Debug, uniffi::Record)]
pub struct DeltaDetails {
    /// The generation that counts; 0 is the base model as it is, and the fields below are empty then.
    pub generation: u64,
    /// Name of the model that it was learned on.
    pub base_name: Option<String>,
    /// Fingerprint of that model.
    pub base_fingerprint: Option<String>,
    /// Bytes of the adapter.
    pub bytes: u64,
    /// All documents in it, and those it was tested with.
    pub documents: Vec<LearnedDocument>,
    /// What was measured when it was learned.
    pub outcome: Option<Outcome>,
    /// What happened to it, oldest first.
    pub history: Vec<StoreEvent>,
}

/// A document that was learned from.
#[derive(Clone, Debug, uniffi::Record)]
pub struct LearnedDocument {
    /// A hash of what it says, in hexadecimal digits.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// Who wrote it.
    pub origin: Origin,
    /// Bytes of what is learned.
    pub bytes: u64,
    /// It was held out, to test with.
    pub held_out: bool,
    /// The store keeps the document itself.
    pub kept: bool,
}

/// Something that happened to a delta.
#[derive(Debug, uniffi::Record)]
pub struct StoreEvent {
    /// Seconds since 1970.
    pub time: u64,
    /// "commit", "undo", "forget", "rebuild", "refused", "waiting".
    pub event: String,
    /// The generation that counted afterwards.
    pub generation: u64,
}

impl From<&store::Learned> for LearnedDocument {
    fn from(d: &store::Learned) -> Self {
        Self {
            digest: d.digest.clone(),
            source: d.source.clone(),
            origin: d.origin.into(),
            bytes: d.bytes,
            held_out: d.held_out,
            kept: d.kept,
        }
    }
}

impl Store {
    pub(super) fn edit(&self) -> Result<Edit, TernError> {
        Ok(Edit::open(&self.inner, DEFAULT_KEEP).map_err(Error::from)?)
    }

    fn delta(&self, name: &str) -> Result<Option<store::Delta>, TernError> {
        Ok(self.inner.delta(name).map_err(Error::from)?)
    }
}

#[uniffi::export]
impl Store {
    /// A store in a folder, which need not be there yet.
    #[uniffi::constructor]
    pub fn new(path: String) -> Arc<Self> {
        Arc::new(Self { inner: tern::learn::Store::open(PathBuf::from(path)) })
    }

    /// Its folder.
    pub fn path(&self) -> String {
        self.inner.path().display().to_string()
    }

    /// All deltas, by name.
    ///
    /// Fails with `Io`.
    pub fn list(&self) -> Result<Vec<DeltaInfo>, TernError> {
        guarded(|| {
            let entries = self.inner.list().map_err(Error::from)?;
            let info = |e: store::Entry| {
                let (generation, waiting, damage) = match e.state {
                    Ok(state) => (state.generation, state.pending.len() as u64, None),
                    Err(what) => (0, 0, Some(what)),
                };
                DeltaInfo { name: e.name, generation, waiting, generations: e.generations, damage }
            };
            Ok(entries.into_iter().map(info).collect())
        })
    }

    /// What is known about a delta.
    ///
    /// Fails with `NoDelta`, `StoreDamaged`, `Io`.
    pub fn details(&self, name: String) -> Result<DeltaDetails, TernError> {
        guarded(|| {
            let manifest = self.delta(&name)?.map(|d| d.manifest);
            let log = self.inner.log(&name).map_err(Error::from)?;
            let event = |l: store::LogLine| StoreEvent { time: l.time, event: l.event, generation: l.generation };
            let history = log.into_iter().map(event).collect();
            let Some(m) = manifest else {
                let (base_name, base_fingerprint, documents, outcome) = (None, None, Vec::new(), None);
                let (generation, bytes) = (0, 0);
                return Ok(DeltaDetails {
                    generation,
                    base_name,
                    base_fingerprint,
                    bytes,
                    documents,
                    outcome,
                    history,
                });
            };
            // A report of another version is left out; the delta works all the same.
            let outcome = serde_json::from_value::<tern::learn::Outcome>(m.report).ok();
            Ok(DeltaDetails {
                generation: m.generation,
                base_name: m.base.name,
                base_fingerprint: Some(m.base.fingerprint),
                bytes: m.delta_bytes,
                documents: m.documents.iter().map(Into::into).collect(),
                outcome: outcome.map(Into::into),
                history,
            })
        })
    }

    /// The delta as it counts, as an adapter of `model`, which must be the one that it was learned on; none where the base model
    /// as it is counts. It stays what it is when the store changes.
    ///
    /// Fails with `NoDelta`, `OtherBase`, `StoreDamaged`, `Io`.
    pub fn adapter(&self, name: String, model: &Model) -> Result<Option<Arc<Adapter>>, TernError> {
        guarded(|| {
            let Some(delta) = self.delta(&name)? else { return Ok(None) };
            Adapter::add(model, delta.adapter(&model.inner)?).map(Some)
        })
    }

    /// Goes back to the generation before, or to the base model, and removes the one that counted. Returns what counts now.
    ///
    /// Fails with `NoDelta`, `NothingToUndo`, `NoGeneration`, `StoreLocked`, `StoreDamaged`, `Io`.
    pub fn undo(&self, name: String) -> Result<u64, TernError> {
        guarded(|| {
            // Asking for one must not make it.
            self.delta(&name).map(|_| ()).or_else(|e| match e {
                TernError::StoreDamaged { .. } => Ok(()),
                e => Err(e),
            })?;
            let edit = self.edit()?;
            let generation = edit.undo(&name).map_err(Error::from)?;
            // It has happened, whether or not it can be written down.
            let _ = edit.record(&name, "undo", serde_json::Value::Null);
            Ok(generation)
        })
    }

    /// Writes the delta as a GGUF adapter, which llama.cpp reads.
    ///
    /// Fails with `NoDelta`, `NothingToUndo` where nothing was learned, `StoreDamaged`, `Io`.
    pub fn export(&self, name: String, path: String) -> Result<(), TernError> {
        guarded(|| {
            let delta = self.delta(&name)?.ok_or_else(|| nothing(&name))?;
            tern_formats::write_atomically(Path::new(&path), &delta.bytes, tern_formats::Existing::Replace)
                .map_err(|error| tern::Error::Io { path, error })?;
            Ok(())
        })
    }

    /// Writes the delta as a PEFT folder, which Hugging Face's library reads. `model` is the one that it was learned on.
    ///
    /// Fails as `export` and `adapter` do.
    pub fn export_peft(&self, name: String, model: &Model, folder: String) -> Result<(), TernError> {
        guarded(|| {
            let delta = self.delta(&name)?.ok_or_else(|| nothing(&name))?;
            let base = delta.manifest.base.name.clone().unwrap_or_default();
            Ok(delta.adapter(&model.inner)?.write_peft(&model.inner, Path::new(&folder), &base)?)
        })
    }
}

fn nothing(name: &str) -> Error {
    tern::learn::LearnError::NothingToUndo { name: name.to_owned() }.into()
}
