//! The backends at hand.

use super::error::{BackendError, Result};
use super::log::{self, LogSink};
use super::table::Backend;
use std::path::{Path, PathBuf};
use tern_abi::Entry;

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The one that [`Registry::best`] gives.
    Chosen {
        /// Of the plugin.
        version: String,
        /// See [`Backend::score`].
        score: u32,
    },
    /// Usable, by name.
    Found {
        /// Of the plugin.
        version: String,
        /// See [`Backend::score`].
        score: u32,
    },
    /// Not usable, and why.
    Refused(BackendError),
}

/// One candidate, for `tern doctor` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The backend's name; empty where it did not get that far.
    pub name: String,
    /// Its manifest, or the folder that could not be searched; `None` where it was registered.
    pub path: Option<PathBuf>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The backends at hand: registered in the program or found in folders.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Usable>,
    reports: Vec<Report>,
    searched: Vec<PathBuf>,
}

#[derive(Debug)]
struct Usable {
    backend: Backend,
    score: u32,
}

impl Registry {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where plugins' log lines go; `None` drops them. One sink serves the whole process, because a loaded
    /// plugin does too.
    pub fn set_log(&mut self, sink: Option<LogSink>) {
        log::set_sink(sink);
    }

    /// Adds a plugin that is part of the program. Its entry is trusted to follow the ABI, as a library's is.
    pub fn register(&mut self, entry: Entry) -> Result<()> {
        // SAFETY: an `Entry` is a plugin's, and plugins are trusted.
        let made = unsafe { Backend::from_entry(entry) };
        let name = made.as_ref().map(|b| b.name().to_owned()).unwrap_or_default();
        self.add(made, name, None)
    }

    /// Adds what the manifests in `folders` describe, in order of the folders and, within one, of their scores.
    /// Failures are no errors: [`Registry::reports`] has each with its reason.
    pub fn search(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            if self.searched.contains(folder) {
                continue;
            }
            self.searched.push(folder.clone());
            if folder.is_absolute() {
                self.search_one(folder);
            } else {
                // Relative to the current directory, where anyone may have put anything.
                self.refuse_folder(folder, "it is not an absolute path".to_owned());
            }
        }
    }

    #[cfg(all(feature = "dynamic", not(target_family = "wasm"), not(target_os = "ios")))]
    fn search_one(&mut self, folder: &Path) {
        use super::library;
        let found = match library::manifests(folder) {
            Ok(found) => found,
            Err(reason) => return self.refuse_folder(folder, reason),
        };
        for (path, manifest) in found {
            let (made, name) = match manifest {
                Err(error) => (Err(error), String::new()),
                // Checked before the library is opened, because opening runs its code.
                Ok(manifest) => match self.duplicate(&manifest.name) {
                    Some(error) => (Err(error), manifest.name),
                    None => (library::open(&path, &manifest), manifest.name),
                },
            };
            // The report has the error.
            let _ = self.add(made, name, Some(path));
        }
    }

    #[cfg(not(all(feature = "dynamic", not(target_family = "wasm"), not(target_os = "ios"))))]
    fn search_one(&mut self, folder: &Path) {
        self.refuse_folder(folder, "this build does not load libraries".to_owned());
    }

    /// All candidates so far, in the order in which they were met.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The backend called `name`, or why there is none.
    pub fn get(&self, name: &str) -> Result<Backend> {
        if let Some(usable) = self.entries.iter().find(|e| e.backend.name() == name) {
            return Ok(usable.backend.clone());
        }
        let refused = self.reports.iter().find_map(|report| match &report.outcome {
            Outcome::Refused(error) if report.name == name && !name.is_empty() => Some(error.clone()),
            _ => None,
        });
        Err(refused.unwrap_or_else(|| self.not_found(name)))
    }

    /// The backend with the highest score; of equals the one met first.
    pub fn best(&self) -> Result<Backend> {
        self.best_entry().map(|e| e.backend.clone()).ok_or_else(|| self.not_found(""))
    }

    /// Names of all usable backends.
    pub fn names(&self) -> Vec<&str> {
        self.entries.iter().map(|e| e.backend.name()).collect()
    }

    fn best_entry(&self) -> Option<&Usable> {
        self.entries.iter().reduce(|best, e| if e.score > best.score { e } else { best })
    }

    fn not_found(&self, name: &str) -> BackendError {
        BackendError::NotFound { name: name.to_owned(), searched: self.searched.clone() }
    }

    fn duplicate(&self, name: &str) -> Option<BackendError> {
        let first = self.entries.iter().find(|e| e.backend.name() == name)?;
        Some(BackendError::Duplicate { name: name.to_owned(), first: first.backend.origin().to_owned() })
    }

    fn refuse_folder(&mut self, folder: &Path, reason: String) {
        let error = BackendError::Folder { path: folder.to_owned(), reason };
        self.report(String::new(), Some(folder.to_owned()), Outcome::Refused(error));
    }

    fn report(&mut self, name: String, path: Option<PathBuf>, outcome: Outcome) {
        self.reports.push(Report { name, path, outcome });
    }

    fn add(&mut self, made: Result<Backend>, name: String, path: Option<PathBuf>) -> Result<()> {
        let scored = made.and_then(|backend| match self.duplicate(backend.name()) {
            Some(error) => Err(error),
            None => Ok((backend.score()?, backend)),
        });
        match scored {
            Ok((score, backend)) => {
                let version = backend.version().to_owned();
                self.report(backend.name().to_owned(), path, Outcome::Found { version, score });
                self.entries.push(Usable { backend, score });
                self.choose();
                Ok(())
            }
            Err(error) => {
                self.report(name, path, Outcome::Refused(error.clone()));
                Err(error)
            }
        }
    }

    /// Marks the best candidate in the reports.
    fn choose(&mut self) {
        let best = self.best_entry().map(|e| e.backend.name().to_owned()).unwrap_or_default();
        for report in &mut self.reports {
            let (Outcome::Chosen { version, score } | Outcome::Found { version, score }) = &report.outcome else {
                continue;
            };
            let (version, score) = (version.clone(), *score);
            report.outcome = if report.name == best {
                Outcome::Chosen { version, score }
            } else {
                Outcome::Found { version, score }
            };
        }
    }
}
