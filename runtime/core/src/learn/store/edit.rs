//! Changing a store. Each change has one moment at which it happens: [`State::write`].

use super::clean;
use super::manifest::Manifest;
use super::read::{DELTA, LOG, LogLine, MANIFEST, SOURCES, Store};
use super::state::{State, VERSION};
use crate::learn::corpus::Document;
use crate::learn::{LearnError, hex};
use std::any::Any;
use std::collections::HashSet;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use web_time::SystemTime;

/// A store that is being changed; nobody else can until this is dropped. It can be looked at, too.
pub struct Edit {
    store: Store,
    keep: usize,
    _lock: Box<dyn Any + Send + Sync>,
}

/// How a new generation relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It goes on from the one that counts, to which `undo` goes back.
    Next,
    /// All before it are to be gone: something in them was forgotten.
    Forget,
    /// It was made anew, for another base. Those before it stay.
    Rebuild,
}

impl Deref for Edit {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Edit {
    /// Locks a store, and makes it where it is not there. Ends what an earlier change left unfinished. The `keep` latest
    /// generations of each delta are kept (at least two: one to go back to).
    ///
    /// # Errors
    /// [`LearnError::Locked`] where another process, or another part of this one, changes it; [`LearnError::Io`].
    pub fn open(store: &Store, keep: usize) -> Result<Self, LearnError> {
        let disk = &store.disk;
        for folder in [store.path.clone(), store.path.join("deltas"), store.path.join("anchors")] {
            disk.create_dir(&folder).map_err(|e| LearnError::io(&folder, e))?;
        }
        let path = store.path.join("lock");
        let lock = disk.lock(&path).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => LearnError::Locked { path: store.path.display().to_string() },
            _ => LearnError::io(&path, e),
        })?;
        let edit =
            Self { store: Store { path: store.path.clone(), disk: Arc::clone(disk) }, keep: keep.max(2), _lock: lock };
        for entry in edit.list()?.into_iter().filter(|e| e.state.is_ok()) {
            clean::clean(&edit.store, &entry.name, edit.keep)?;
        }
        Ok(edit)
    }

    /// Adds documents to those that wait; `state.json` names them, so that they are there together or not at all.
    ///
    /// # Errors
    /// [`LearnError::Io`], and nothing has changed then.
    pub fn add_pending(&self, name: &str, documents: &[Document]) -> Result<(), LearnError> {
        let folder = self.prepare(name)?;
        let mut state = State::read(&*self.store.disk, &folder)?;
        let mut known: HashSet<String> = state.pending.iter().cloned().collect();
        let mut changed = false;
        for document in documents {
            let digest = hex(&document.digest());
            self.keep_document(&folder, &digest, document)?;
            if known.insert(digest.clone()) {
                state.pending.push(digest);
                changed = true;
            }
        }
        if changed { self.count(name, &state) } else { Ok(()) }
    }

    /// Of the documents that wait only those that `keep` chooses go on waiting.
    ///
    /// # Errors
    /// As [`Store::pending`].
    pub fn retain_pending(&self, name: &str, keep: impl Fn(&Document) -> bool) -> Result<(), LearnError> {
        let mut state = self.state(name)?;
        let waiting = self.pending(name)?;
        let kept: Vec<String> = waiting.iter().filter(|d| keep(d)).map(|d| hex(&d.digest())).collect();
        if kept.len() == state.pending.len() {
            return Ok(());
        }
        state.pending = kept;
        self.count(name, &state)
    }

    /// Makes a new generation count. `manifest` is complete but for the numbers, the time and the delta's hash. Documents that
    /// are in it no longer wait; `documents` are kept where the manifest says so.
    ///
    /// # Errors
    /// [`LearnError::Io`], [`LearnError::Damaged`] where what was written reads back otherwise: the generation that counted
    /// still does.
    pub fn commit(
        &self,
        name: &str,
        change: Change,
        mut manifest: Manifest,
        delta: &[u8],
        documents: &[Document],
    ) -> Result<u64, LearnError> {
        let folder = self.prepare(name)?;
        let mut state = State::read(&*self.store.disk, &folder)?;
        let generation = state.next;
        manifest.version = VERSION;
        manifest.generation = generation;
        manifest.parent = if change == Change::Forget { 0 } else { state.generation };
        manifest.created = now();
        manifest.delta_bytes = delta.len() as u64;
        manifest.delta_hash = hex(blake3::hash(delta).as_bytes());
        let kept: HashSet<&str> = manifest.documents.iter().filter(|d| d.kept).map(|d| d.digest.as_str()).collect();
        for document in documents {
            let digest = hex(&document.digest());
            if kept.contains(digest.as_str()) {
                self.keep_document(&folder, &digest, document)?;
            }
        }
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| LearnError::damaged(&folder, e.to_string()))?;
        self.write_generation(&folder, generation, &text, delta)?;
        let learned: HashSet<&str> = manifest.documents.iter().map(|d| d.digest.as_str()).collect();
        state.pending.retain(|d| !learned.contains(d.as_str()));
        state.generation = generation;
        state.manifest = hex(blake3::hash(&text).as_bytes());
        state.next = generation + 1;
        if change == Change::Forget {
            state.floor = generation;
        }
        self.count(name, &state)?;
        Ok(generation)
    }

    /// Goes back to the generation before: 0, the base model as it is, where that was the first one. The one that counted is
    /// removed. Returns what counts now.
    ///
    /// # Errors
    /// [`LearnError::NothingToUndo`] for generation 0, [`LearnError::NoGeneration`] where the one before is no longer kept;
    /// [`LearnError::Damaged`], [`LearnError::Io`].
    pub fn undo(&self, name: &str) -> Result<u64, LearnError> {
        let folder = self.folder(name)?;
        let mut state = State::read(&*self.store.disk, &folder)?;
        if state.generation == 0 {
            return Err(LearnError::NothingToUndo { name: name.to_owned() });
        }
        // A damaged generation can be left, too: then the one before it on the disk is the one.
        let parent = match self.store.manifest(&folder, state.generation) {
            Ok((manifest, _)) => manifest.parent,
            Err(_) => self.generations(name)?.into_iter().rfind(|&g| g < state.generation).unwrap_or(0),
        };
        state.manifest = String::new();
        if parent != 0 {
            if !self.generations(name)?.contains(&parent) {
                return Err(LearnError::NoGeneration { name: name.to_owned(), generation: parent });
            }
            self.generation(name, parent)?;
            state.manifest = self.store.manifest(&folder, parent)?.1;
        }
        state.generation = parent;
        self.count(name, &state)?;
        Ok(parent)
    }

    /// Makes the base model as it is count, with nothing left of what was learned. `pending` are the documents that wait now.
    ///
    /// # Errors
    /// [`LearnError::Io`].
    pub fn clear(&self, name: &str, pending: &[Document]) -> Result<(), LearnError> {
        let folder = self.prepare(name)?;
        let mut state = State::read(&*self.store.disk, &folder)?;
        state.pending = pending.iter().map(|d| hex(&d.digest())).collect();
        for (digest, document) in state.pending.iter().zip(pending) {
            self.keep_document(&folder, digest, document)?;
        }
        (state.generation, state.manifest, state.floor) = (0, String::new(), state.next);
        self.count(name, &state)
    }

    /// Writes a line of the log. What happened has happened by then, so a failure here is not one of the change.
    ///
    /// # Errors
    /// [`LearnError::Io`].
    pub fn record(&self, name: &str, event: &str, detail: serde_json::Value) -> Result<(), LearnError> {
        let folder = self.prepare(name)?;
        let path = folder.join(LOG);
        let generation = self.state(name)?.generation;
        let line = LogLine { time: now(), event: event.to_owned(), generation, detail };
        let mut text = serde_json::to_vec(&line).map_err(|e| LearnError::damaged(&path, e.to_string()))?;
        // In front, too: a line that a crash cut short must not take this one with it.
        text.insert(0, b'\n');
        text.push(b'\n');
        let disk = &*self.store.disk;
        disk.append(&path, &text).and_then(|()| disk.sync(&path)).map_err(|e| LearnError::io(&path, e))
    }

    /// Keeps something that can be made again.
    ///
    /// # Errors
    /// [`LearnError::Io`].
    pub fn cache(&self, name: &str, bytes: &[u8]) -> Result<(), LearnError> {
        let folder = self.store.path.join("anchors");
        let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
        let disk = &*self.store.disk;
        disk.write(&new, bytes)
            .and_then(|()| disk.sync(&new))
            .and_then(|()| disk.rename(&new, &path))
            .map_err(|e| LearnError::io(&path, e))
    }

    fn prepare(&self, name: &str) -> Result<std::path::PathBuf, LearnError> {
        let folder = self.folder(name)?;
        let disk = &*self.store.disk;
        disk.create_dir(&folder.join(SOURCES)).map_err(|e| LearnError::io(&folder, e))?;
        Ok(folder)
    }

    fn keep_document(&self, folder: &Path, digest: &str, document: &Document) -> Result<(), LearnError> {
        let disk = &*self.store.disk;
        let path = folder.join(SOURCES).join(digest);
        // A name that begins with a point is never a document's; see `clean`.
        let new = folder.join(SOURCES).join(format!(".{digest}"));
        if disk.list(&folder.join(SOURCES)).map_err(|e| LearnError::io(&path, e))?.iter().any(|n| n == digest) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(document).map_err(|e| LearnError::damaged(&path, e.to_string()))?;
        disk.write(&new, &bytes)
            .and_then(|()| disk.sync(&new))
            .and_then(|()| disk.rename(&new, &path))
            .and_then(|()| disk.sync_dir(&folder.join(SOURCES)))
            .map_err(|e| LearnError::io(&path, e))
    }

    fn write_generation(
        &self,
        folder: &Path,
        generation: u64,
        manifest: &[u8],
        delta: &[u8],
    ) -> Result<(), LearnError> {
        let disk = &*self.store.disk;
        let new = folder.join(format!("new-{generation}"));
        let written = disk.remove(&new).and_then(|()| disk.create_dir(&new));
        written.map_err(|e| LearnError::io(&new, e))?;
        for (file, bytes) in [(DELTA, delta), (MANIFEST, manifest)] {
            let path = new.join(file);
            let written = disk.write(&path, bytes).and_then(|()| disk.sync(&path)).and_then(|()| disk.read(&path));
            let read = written.map_err(|e| LearnError::io(&path, e))?;
            if blake3::hash(&read) != blake3::hash(bytes) {
                return Err(LearnError::damaged(&path, "what was read back is not what was written".to_owned()));
            }
        }
        disk.sync_dir(&new)
            .and_then(|()| disk.rename(&new, &folder.join(generation.to_string())))
            .and_then(|()| disk.sync_dir(folder))
            .map_err(|e| LearnError::io(&new, e))
    }

    /// The change happens, and what it leaves behind goes.
    fn count(&self, name: &str, state: &State) -> Result<(), LearnError> {
        state.write(&*self.store.disk, &self.folder(name)?)?;
        // It has happened: what cannot be removed now will be when the store is next opened.
        let _ = clean::clean(&self.store, name, self.keep);
        Ok(())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
