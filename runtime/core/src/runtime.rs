//! The entry point: backends, and the models opened on them.

use crate::backend::{CancelFlag, Registry};
use crate::error::Error;
use crate::model::Model;
use std::path::Path;
use std::sync::Arc;

/// Backends, ready to open models. Cheap to clone.
///
/// ```no_run
/// # fn main() -> Result<(), tern::Error> {
/// let mut registry = tern::backend::Registry::new();
/// registry.register(tern_cpu::entry)?;
/// let model = tern::Runtime::new(registry).open("model.gguf", Default::default())?;
/// let session = model.session(Default::default())?;
/// let prompt = model.encode("Once upon a time")?;
/// for event in session.generate(&prompt, Default::default())? {
///     print!("{}", event?.text());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
}

/// How to open a model.
#[derive(Clone)]
pub struct ModelOptions {
    /// Backend by name; the best one otherwise.
    pub backend: Option<String>,
    /// Worker threads; 0 lets the backend choose.
    pub threads: u32,
    /// Instruction-set tier by name; empty lets the backend choose.
    pub tier: String,
    /// Map the file rather than read it, where the platform can. See the security notes on files that others may shorten.
    pub map: bool,
    /// Ends the loading.
    pub cancel: CancelFlag,
    /// Told how far the loading is.
    pub progress: Option<Arc<dyn Fn(LoadProgress) + Send + Sync>>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self { backend: None, threads: 0, tier: String::new(), map: true, cancel: CancelFlag::new(), progress: None }
    }
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes prepared.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Runtime {
    /// A runtime on the backends of `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry) }
    }

    /// The backends.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Opens a GGUF file or a Hugging Face folder.
    ///
    /// # Errors
    /// Everything that can be wrong with a file or a backend: see [`Error`]. Nothing stays open.
    pub fn open(&self, path: impl AsRef<Path>, options: ModelOptions) -> Result<Model, Error> {
        let backend = match &options.backend {
            Some(name) => self.registry.get(name)?,
            None => self.registry.best()?,
        };
        // What another backend lacks, the processor can do.
        let cpu = self.registry.get("cpu").ok().filter(|cpu| cpu.name() != backend.name());
        Model::open(&backend, cpu.as_ref(), path.as_ref(), &options)
    }
}
