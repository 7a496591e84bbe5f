//! From flags to backends and an opened model.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::Progress;
use crate::{interrupt, machine, terminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tern::backend::{Outcome, Registry, default_folders};
use tern::{CancelFlag, Experts, LoadProgress, Model, ModelOptions, Runtime};
use tern_formats::gguf::ReadOptions;

impl BackendArgs {
    /// All backends: those of the folders that were asked for, those that are part of the program, and those of
    /// the usual folders, in this order. Of two with one name the first counts.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::new();
        registry.search(&self.folders());
        // A built-in backend that fails is in the reports, and in the error of whoever asks for it by name.
        #[cfg(feature = "cpu")]
        let _ = registry.register(tern_cpu::entry);
        #[cfg(feature = "reference")]
        let _ = registry.register(tern_reference::entry);
        registry.search(&default_folders(&[]));
        registry
    }

    /// The runtime, if there is a backend to run on.
    pub fn runtime(&self) -> Result<Runtime> {
        let registry = self.registry();
        self.check(&registry)?;
        Ok(Runtime::new(registry))
    }

    /// Opens a model; shows how far it is; Ctrl-C stops it.
    pub fn open(&self, path: &Path) -> Result<Model> {
        self.open_for(path, None)
    }

    /// The same for sessions of so many tokens, where that is known.
    pub fn open_for(&self, path: &Path, context: Option<u64>) -> Result<Model> {
        let runtime = self.runtime()?;
        let cancel = CancelFlag::new();
        let watch = interrupt::watch(cancel.clone());
        let progress = Arc::new(Mutex::new(Progress::new()));
        let shown = Arc::clone(&progress);
        let options = ModelOptions {
            cancel,
            context,
            progress: Some(Arc::new(move |p: LoadProgress| {
                let line = || format!("loading {} of {} MB", p.done_bytes / 1_000_000, p.total_bytes / 1_000_000);
                shown.lock().unwrap_or_else(PoisonError::into_inner).update(line);
            })),
            ..self.options()
        };
        let model = runtime.open(path, options);
        drop(watch);
        // The model may keep its options, and with them the progress line.
        progress.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(model?)
    }

    /// How a model is opened by these flags.
    pub fn options(&self) -> ModelOptions {
        ModelOptions {
            backend: self.backend.clone(),
            threads: self.threads,
            tier: self.tier.clone(),
            max_bytes: self.max_bytes,
            experts: self.experts_on_disk.map_or(Experts::Resident, |cache_bytes| Experts::Paged { cache_bytes }),
            i2_s_order: self.i2_s_order,
            check_finite: self.check_finite,
            ..ModelOptions::default()
        }
    }

    /// How GGUF files are read by these flags.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions { i2_s_order: self.i2_s_order, ..ReadOptions::default() }
    }

    /// The folders of `--backend-path`, seen from the current directory: whoever types them means that.
    fn folders(&self) -> Vec<PathBuf> {
        self.backend_path.iter().map(|f| std::path::absolute(f).unwrap_or_else(|_| f.clone())).collect()
    }

    /// A folder that was asked for must be of use, and there must be some backend.
    fn check(&self, registry: &Registry) -> Result<()> {
        for folder in self.folders() {
            let mut refused = None;
            let mut usable = false;
            for report in registry.reports() {
                match (&report.path, &report.outcome) {
                    (Some(path), Outcome::Refused(e)) if path.starts_with(&folder) => refused = refused.or(Some(e)),
                    (Some(path), _) if path.starts_with(&folder) => usable = true,
                    _ => {}
                }
            }
            match refused {
                Some(error) if !usable => return Err(error.clone().into()),
                None if !usable => {
                    let what = format!("backend folder {}: it has no backend manifest (*.json)", folder.display());
                    return Err(Failure::new(Exit::Backend, what));
                }
                _ => {}
            }
        }
        let failure = match (&self.backend, registry.names().is_empty()) {
            (Some(name), _) => registry.get(name).err(),
            (None, true) => registry.best().err(),
            (None, false) => None,
        };
        failure.map_or(Ok(()), |error| {
            let mut failure = Failure::from(error);
            failure.message += &match registry.names()[..] {
                [] => "; --backend-path names a folder that has one, `tern doctor` shows what was found".to_owned(),
                ref names => format!("; usable here: {}", names.join(", ")),
            };
            Err(failure)
        })
    }
}

/// How many threads a model runs on. Where the choice was the backend's, it takes all cores.
pub fn threads(model: &Model) -> u32 {
    match model.info().threads {
        0 => machine::cores() as u32,
        threads => threads,
    }
}

/// What a model runs on, for people.
pub fn place(model: &Model) -> String {
    let info = model.info();
    format!("{}, tier {}, {}", info.backend, info.tier, terminal::count(threads(model) as usize, "thread"))
}
