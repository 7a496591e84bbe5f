//! The entry point: backends, models opened on them, progress, logs, cancelling.

use crate::error::TernError;
use crate::guarded;
use crate::model::Model;
use std::sync::{Arc, OnceLock};
use tern::CancelFlag;
use tern::backend::{Level, Registry};

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
        guarded(|| {
            let loading = Loading::new(listener, cancel);
            let model = self.inner.open(path, loading.options(options));
            Ok(Arc::new(Model { inner: loading.outcome(model)? }))
        })
    }
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
        let ModelOptions { threads, tier, map } = options;
        tern::ModelOptions { threads, tier, map, cancel: self.flag.clone(), progress, ..Default::default() }
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
