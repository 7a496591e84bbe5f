//! The entry point: backends, and the models opened on them.

use crate::backend::{CancelFlag, Registry};
use crate::error::Error;
use crate::experts::Experts;
use crate::load::{ModelFile, open_part};
use crate::model::Model;
use crate::opening::{MemoryPlan, Opening};
use crate::package::Package;
use crate::session::SessionOptions;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tern_formats::gguf::ReadOptions;
use tern_formats::{BytesSource, I2sOrder, Opener, Source};
use web_time::Instant;

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
    /// Most bytes that the model and its sessions may take together: weights, mapped ones included, keys and values, and
    /// working memory. What would not fit is refused before it is taken.
    pub max_bytes: Option<u64>,
    /// Where the experts of a mixture are. Those that stay in the mapped file count in [`max_bytes`](Self::max_bytes) with their cache
    /// alone: the system drops pages of the file when it needs memory.
    pub experts: Experts,
    /// Tokens of a session that does not ask for another number. Scalings of RoPE that depend on the length of a text (dynamic
    /// NTK, LongRoPE) are fixed for this one: a longer session is then refused where it would need another. The default is the
    /// model's own context, at most [`DEFAULT_CONTEXT`](crate::DEFAULT_CONTEXT).
    pub context: Option<u64>,
    /// The machine that made a GGUF file with I2_S weights: the file does not say, and without it such a file is refused where
    /// its shapes do not decide.
    pub i2_s_order: Option<I2sOrder>,
    /// Look at every weight before loading and refuse a file with NaN or infinities. It reads and decodes the whole file.
    pub check_finite: bool,
    /// Ends the loading.
    pub cancel: CancelFlag,
    /// Told how far the loading is.
    pub progress: Option<Arc<dyn Fn(LoadProgress) + Send + Sync>>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            backend: None,
            threads: 0,
            tier: String::new(),
            map: true,
            max_bytes: None,
            experts: Experts::Resident,
            context: None,
            i2_s_order: None,
            check_finite: false,
            cancel: CancelFlag::new(),
            progress: None,
        }
    }
}

impl ModelOptions {
    pub(crate) fn read(&self) -> ReadOptions {
        ReadOptions { i2_s_order: self.i2_s_order, ..ReadOptions::default() }
    }
}

/// What loading is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPhase {
    /// The file is opened and its header read and checked.
    Open,
    /// Weights go to the backend, in its layout.
    Prepare,
}

/// How far loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What it is at.
    pub phase: LoadPhase,
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

    /// Opens a GGUF file, any one part of a split one, or a Hugging Face folder.
    ///
    /// # Errors
    /// Everything that can be wrong with a file or a backend: see [`Error`]. Nothing stays open.
    pub fn open(&self, path: impl AsRef<Path>, options: ModelOptions) -> Result<Model, Error> {
        let start = Instant::now();
        self.load(ModelFile::of(Package::open(path, &options)?)?, &options, start)
    }

    /// Opens a GGUF file in memory. `name` is for messages.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub fn open_bytes(
        &self,
        name: impl Into<String>,
        bytes: impl Into<Arc<[u8]>>,
        options: ModelOptions,
    ) -> Result<Model, Error> {
        self.open_source(Arc::new(BytesSource::new(name, bytes)), options)
    }

    /// Opens a GGUF file that is `len` bytes of an open file from `offset` on, as an asset in an Android package is. Without
    /// `len`, it goes to the end. `name` is for messages.
    ///
    /// # Errors
    /// As [`Runtime::open`]; [`Error::Io`] where the file has no such range.
    pub fn open_file(
        &self,
        name: impl Into<String>,
        file: File,
        offset: u64,
        len: Option<u64>,
        options: ModelOptions,
    ) -> Result<Model, Error> {
        let name = name.into();
        let source =
            open_part(file, &name, offset, len, options.map).map_err(|error| Error::Io { path: name, error })?;
        self.open_source(Arc::from(source), options)
    }

    /// Opens a GGUF file wherever its bytes are.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub fn open_source(&self, source: Arc<dyn Source>, options: ModelOptions) -> Result<Model, Error> {
        let start = Instant::now();
        self.load(ModelFile::of(Package::from_source(source, options.read())?)?, &options, start)
    }

    /// Opens a GGUF file of which any one part is called `name`, with its parts wherever `open` finds them: among an
    /// application's assets, in a browser's cache.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub fn open_parts(&self, name: &str, open: &Opener<'_>, options: ModelOptions) -> Result<Model, Error> {
        let start = Instant::now();
        let source = open(name).map_err(|error| Error::Io { path: name.to_owned(), error })?;
        self.load(ModelFile::of(Package::from_part(Arc::from(source), name, open, options.read())?)?, &options, start)
    }

    /// What opening `path` with these options and running `sequences` sessions would take, without loading anything.
    ///
    /// # Errors
    /// As [`Runtime::open`], except that too little memory is no error here.
    pub fn plan(
        &self,
        path: impl AsRef<Path>,
        options: &ModelOptions,
        session: &SessionOptions,
        sequences: u64,
    ) -> Result<MemoryPlan, Error> {
        if !(1..=1024).contains(&sequences) {
            let found = sequences.to_string();
            return Err(Error::Setting { setting: "sequences", found, expected: "1 to 1024" });
        }
        let file = ModelFile::of(Package::open(path, options)?)?;
        let opening = Opening::new(&self.registry, file, &ModelOptions { max_bytes: None, ..options.clone() })?;
        opening.plan(session, sequences, options.max_bytes)
    }

    fn load(&self, file: ModelFile, options: &ModelOptions, start: Instant) -> Result<Model, Error> {
        if let Some(report) = &options.progress {
            let total_bytes = file.checkpoint.tensors().iter().map(|t| t.bytes).sum();
            report(LoadProgress { phase: LoadPhase::Open, done_bytes: 0, total_bytes });
        }
        if options.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if options.check_finite {
            for tensor in file.checkpoint.tensors() {
                file.checkpoint.check_finite(tensor)?;
                file.checkpoint.release(tensor);
                if options.cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
            }
        }
        Model::load(Opening::new(&self.registry, file, options)?, options, start)
    }
}
