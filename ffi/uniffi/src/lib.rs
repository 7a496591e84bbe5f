//! Tern for Swift, Kotlin and Python, through UniFFI.
//!
//! ```text
//! runtime.rs   the entry point: backends, models opened on them, progress, logs, cancelling
//! model.rs     a model
//! session.rs   a sequence of tokens, and text generated from it
//! chat.rs      a conversation
//! constraint.rs  text of a given form
//! adapter.rs   what changes a model
//! learn.rs     learning on the device, and what was learned
//! error.rs     tern's errors as one enum with fields
//! ```
//! Every function here blocks. `../kotlin` and `../swift` have the hand-written files that make suspend functions and
//! streams of them. Nothing panics across the boundary: what works for long runs in [`guarded`].

// UniFFI takes errors whole, and a box would be one more thing in the generated code.
#![allow(clippy::result_large_err)]

mod adapter;
mod chat;
mod constraint;
mod error;
mod learn;
mod model;
mod runtime;
mod session;

pub use adapter::{Adapter, AdapterWeight};
pub use chat::{Chat, ChatMessage, Overflow, ToolCall, ToolResult};
pub use constraint::{Constraint, Form};
pub use error::{BackendReason, ErrorKind, IoReason, TernError};
pub use learn::{
    Bound, Bounds, Condition, Content, DeltaDetails, DeltaInfo, Document, Fact, Gain, Harm, LearnListener,
    LearnOptions, LearnPhase, LearnProgress, LearnedDocument, Learner, Origin, Outcome, Recall, Store, StoreEvent,
    Turn, Verdict, read_documents,
};
pub use model::{DtypeBytes, MemoryUse, Model, ModelInfo, Pooling};
pub use runtime::{
    CallbackError, CancelHandle, LoadListener, LogLevel, LogSink, MemoryPlan, ModelOptions, TernRuntime,
};
pub use session::{
    Event, GenerateOptions, Generation, KvType, Sampling, Session, SessionOptions, StopReason, Timings, TokenBias,
};

use std::panic::{AssertUnwindSafe, catch_unwind};

uniffi::setup_scaffolding!("tern");

/// Runs `work`; a panic becomes an error. UniFFI catches panics too, but in Swift a caught one ends the app unless the
/// function throws, and in Kotlin it is an error of another type.
fn guarded<T>(work: impl FnOnce() -> Result<T, TernError>) -> Result<T, TernError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let what = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned());
        // Its destructor could panic again.
        std::mem::forget(payload);
        Err(tern::Error::Internal { what }.into())
    })
}

/// Locks; what another thread left behind in a panic is still whole, since only whole values are written.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guarded(|| -> Result<(), _> { panic!("at the {}", "disco") }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(matches!(error, TernError::Internal { what, .. } if what == "at the disco"));
    }
}
