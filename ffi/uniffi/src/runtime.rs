//! The entry point: backends, models opened on them, progress, logs, cancelling.

use crate::error::TernError;
use crate::guarded;
use crate::model::Model;
use crate::session::SessionOptions;
use std::sync::{Arc, OnceLock};
use tern::backend::{Level, Registry};
use tern::{CancelFlag, Experts};

/// The CPU backend, ready to open models.
#[derive(uniffi::Object)]
pub struct TernRuntime {
    inner: tern::Runtime,
}

/// How to open a model.
#[derive(uniffi::Record)]
pub struct ModelOptions {
    /// Worker threads; 0 lets the backend choose.
    #[uniffi(default = 0)]
    pub threads: u32,
    /// Instruction-set tier by name; empty lets the backend choose.
    #[uniffi(default = "")]
    pub tier: String,
    /// Map the file rather than read it. Only for files that nobody shortens while they are open.
    #[uniffi(default = true)]
    pub map: bool,
    /// Most bytes that the model and its sessions may take together. What would not fit is refused before it is taken.
    #[uniffi(default = None)]
    pub max_bytes: Option<u64>,
    /// Leaves the experts of a mixture in the mapped file: an expert is packed when it is first chosen, and those chosen last are kept
    /// in so many bytes. `Model.expert_cache` tells how often they were there.
    #[uniffi(default = None)]
    pub experts_on_disk: Option<u64>,
}

/// What a model and its sessions will take, before anything is loaded. All in bytes.
#[derive(uniffi::Record)]
pub struct MemoryPlan {
    /// Weights.
    pub weights_bytes: u64,
    /// Those of them that stay in the mapped file: the system may drop and read them again.
    pub mapped_bytes: u64,
    /// Experts that stay on disk: only the cache for them is in memory, so these count in no other number.
    pub paged_bytes: u64,
    /// Keys and values.
    pub kv_bytes: u64,
    /// Intermediates of a step.
    pub working_bytes: u64,
    /// Tokenizer and bookkeeping; an estimate.
    pub host_bytes: u64,
    /// All of these.
    pub total_bytes: u64,
    /// The most that is taken while loading, which may be more than the total.
    pub loading_bytes: u64,
    /// What there is: `max_bytes`, or what the device has free, if less.
    pub available_bytes: Option<u64>,
    /// Tokens of each session.
    pub context: u64,
    /// The longest context that fits; 0 where none does.
    pub fitting_context: u64,
    /// The same with 8-bit keys and values.
    pub fitting_context_i8: u64,
    /// Will it fit, as far as is known?
    pub fits: bool,
    /// What to change where it does not fit.
    pub advice: Option<String>,
}

/// Stops work, from any thread, within milliseconds.
#[derive(uniffi::Object)]
pub struct CancelHandle {
    pub(crate) flag: CancelFlag,
}

/// Is told how far the loading of a model is.
#[uniffi::export(with_foreign)]
pub trait LoadListener: Send + Sync {
    /// Bytes prepared, of how many. An error ends the loading.
    fn progress(&self, done_bytes: u64, total_bytes: u64) -> Result<(), CallbackError>;
}

/// Takes log lines.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// One line, from any thread. What it throws is dropped.
    fn log(&self, level: LogLevel, line: String) -> Result<(), CallbackError>;
}

/// The application's own code failed in a callback.
#[derive(Debug, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// With a reason.
    #[error("{reason}")]
    Failed {
        /// What it said.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for CallbackError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: error.reason }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Something worth knowing.
    Information,
    /// Details.
    Debug,
}

#[uniffi::export]
impl TernRuntime {
    /// The runtime. Log lines go to `log`, for the whole process, until another runtime names another place.
    ///
    /// Fails with `Backend`.
    #[uniffi::constructor(default(log = None))]
    pub fn new(log: Option<Arc<dyn LogSink>>) -> Result<Arc<Self>, TernError> {
        guarded(|| {
            let mut registry = Registry::new();
            if let Some(log) = log {
                registry.set_log(Some(Arc::new(move |level, line: &str| {
                    // There is nobody to tell that a log line failed.
                    let _ = log.log(level.into(), line.to_owned());
                })));
            }
            registry.register(tern_cpu::entry).map_err(tern::Error::from)?;
            Ok(Arc::new(Self { inner: tern::Runtime::new(registry) }))
        })
    }

    /// Opens a GGUF file or a Hugging Face folder.
    ///
    /// Fails with all that can be wrong with a file.
    #[uniffi::method(default(listener = None, cancel = None, options))]
    pub fn open(
        &self,
        path: String,
        options: ModelOptions,
        listener: Option<Arc<dyn LoadListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Arc<Model>, TernError> {
        Loading::new(listener, cancel).run(options, |options| self.inner.open(path, options))
    }

    /// Opens a GGUF file in memory. `name` is for messages.
    ///
    /// Fails as `open` does.
    #[uniffi::method(default(listener = None, cancel = None, options))]
    pub fn open_bytes(
        &self,
        name: String,
        bytes: Vec<u8>,
        options: ModelOptions,
        listener: Option<Arc<dyn LoadListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Arc<Model>, TernError> {
        Loading::new(listener, cancel).run(options, |options| self.inner.open_bytes(name, bytes, options))
    }

    /// Opens a GGUF file that is `length` bytes of an open file from `offset` on, as an Android asset is; without `length`,
    /// it goes to the end. `name` is for messages. The caller goes on owning the descriptor, and may close it afterwards.
    ///
    /// Fails as `open` does, and with `Io` where the file has no such range.
    #[uniffi::method(default(offset = 0, length = None, listener = None, cancel = None, options))]
    #[allow(clippy::too_many_arguments, reason = "foreign callers name them, and most have defaults")]
    pub fn open_descriptor(
        &self,
        name: String,
        descriptor: i32,
        offset: u64,
        length: Option<u64>,
        options: ModelOptions,
        listener: Option<Arc<dyn LoadListener>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Arc<Model>, TernError> {
        Loading::new(listener, cancel).run(options, |options| {
            let file = duplicate(descriptor).map_err(|error| tern::Error::Io { path: name.clone(), error })?;
            self.inner.open_file(name, file, offset, length, options)
        })
    }

    /// What opening `path` and running `sessions` sessions would take, without loading anything.
    ///
    /// Fails as `open` does, except that too little memory is no error here.
    #[uniffi::method(default(sessions = 1))]
    pub fn plan(
        &self,
        path: String,
        options: ModelOptions,
        session: SessionOptions,
        sessions: u64,
    ) -> Result<MemoryPlan, TernError> {
        guarded(|| Ok(self.inner.plan(path, &options.into(), &session.split().1, sessions)?.into()))
    }
}

/// A file of our own for an open descriptor.
#[cfg(unix)]
fn duplicate(descriptor: i32) -> std::io::Result<std::fs::File> {
    use std::os::fd::BorrowedFd;
    if descriptor < 0 {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and is only used to duplicate it, which fails where it is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn duplicate(_descriptor: i32) -> std::io::Result<std::fs::File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// A load under way, with what the application gave to follow it.
struct Loading {
    flag: CancelFlag,
    listener: Option<Arc<dyn LoadListener>>,
    failed: Arc<OnceLock<String>>,
}

impl Loading {
    fn new(listener: Option<Arc<dyn LoadListener>>, cancel: Option<Arc<CancelHandle>>) -> Self {
        Self { flag: cancel.map(|c| c.flag.clone()).unwrap_or_default(), listener, failed: Arc::default() }
    }

    fn run(
        &self,
        options: ModelOptions,
        open: impl FnOnce(tern::ModelOptions) -> Result<tern::Model, tern::Error>,
    ) -> Result<Arc<Model>, TernError> {
        guarded(|| Ok(Model::of(self.outcome(open(self.options(options)))?)))
    }

    fn options(&self, options: ModelOptions) -> tern::ModelOptions {
        let progress = self.listener.clone().map(|listener| -> Arc<dyn Fn(tern::LoadProgress) + Send + Sync> {
            let (flag, failed) = (self.flag.clone(), Arc::clone(&self.failed));
            Arc::new(move |p| {
                if let Err(CallbackError::Failed { reason }) = listener.progress(p.done_bytes, p.total_bytes) {
                    let _ = failed.set(reason);
                    flag.cancel();
                }
            })
        });
        tern::ModelOptions { cancel: self.flag.clone(), progress, ..options.into() }
    }

    /// A listener that failed is the reason, not the cancelling that followed.
    fn outcome<T>(&self, loaded: Result<T, tern::Error>) -> Result<T, TernError> {
        loaded.map_err(|error| match self.failed.get() {
            Some(reason) if error.is_cancelled() => TernError::callback(reason.clone()),
            _ => error.into(),
        })
    }
}

#[uniffi::export]
impl CancelHandle {
    /// For one load. Sessions and generations have their own.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { flag: CancelFlag::new() })
    }

    /// Stops the work; without work under way, does nothing.
    pub fn cancel(&self) {
        self.flag.cancel();
    }
}

impl From<ModelOptions> for tern::ModelOptions {
    fn from(o: ModelOptions) -> Self {
        let experts = o.experts_on_disk.map_or(Experts::Resident, |cache_bytes| Experts::Paged { cache_bytes });
        Self { threads: o.threads, tier: o.tier, map: o.map, max_bytes: o.max_bytes, experts, ..Default::default() }
    }
}

impl From<tern::MemoryPlan> for MemoryPlan {
    fn from(p: tern::MemoryPlan) -> Self {
        Self {
            fits: p.fits(),
            advice: p.advice(),
            weights_bytes: p.weights_bytes,
            mapped_bytes: p.mapped_bytes,
            paged_bytes: p.paged_bytes,
            kv_bytes: p.kv_bytes,
            working_bytes: p.working_bytes,
            host_bytes: p.host_bytes,
            total_bytes: p.total_bytes,
            loading_bytes: p.loading_bytes,
            available_bytes: p.available_bytes,
            context: p.context,
            fitting_context: p.fitting_context,
            fitting_context_i8: p.fitting_context_i8,
        }
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warning => Self::Warning,
            Level::Information => Self::Information,
            Level::Debug => Self::Debug,
        }
    }
}
