//! Tern: a small-language-model runtime that applications embed and that keeps learning where it runs.
//!
//! ```text
//! runtime.rs   the entry point: backends, and models opened on them
//! opening.rs   a model before its weights are loaded, and what it will take; experts.rs: experts that stay in the file
//! model.rs     a model: weights on a device, tokenizer, template
//! session.rs   a sequence of tokens, and text generated from it; chat.rs: a conversation; score.rs: likelihood of a text;
//!              embed.rs: a text as a vector
//! learn.rs     learning as a transaction: text in, a checked delta or a reason out
//!              adapters.rs: those that a model has; banks.rs: their factors on devices
//! taps.rs      what goes into the matrices, for importance matrices and tests
//! sample.rs    choosing the next token; constraint.rs: which tokens may be chosen; random.rs: random numbers
//! context.rs   a compiled graph with its memory and its sequences: pages, recurrent states, steps
//! load.rs      from a model's files to definition, tensors, tokenizer; fingerprint.rs: which model it is
//! package.rs   the files, and what is in them
//! models.rs    architectures, one file each
//! plan.rs      graph -> fused -> placed -> compiled
//! graph.rs     values and ops, gradients
//! backend.rs   the host side of the plugin ABI
//! ```
//! Each uses only what stands below it.

pub mod backend;
pub mod context;
pub mod graph;
pub mod learn;
pub mod models;
pub mod plan;

mod adapters;
mod banks;
mod chat;
mod constraint;
mod embed;
mod error;
mod experts;
mod fingerprint;
mod load;
mod model;
mod opening;
mod package;
mod random;
mod runtime;
mod sample;
mod score;
mod session;
mod taps;

pub use adapters::{AdapterId, AdapterUse};
pub use backend::CancelFlag;
pub use chat::{Chat, Overflow, Reply};
pub use constraint::{Constraint, Form, Matcher};
pub use embed::{EmbedOptions, Pooling};
pub use error::{Error, ErrorKind};
pub use experts::{ExpertCache, Experts};
pub use load::{
    Codes, NORMALIZE_KEY, StackSource, Stated, chat_template, find_tensors, tokenizer_keys, tokenizer_spec,
};
pub use model::{MemoryUse, Model, ModelInfo, TensorSummary};
pub use opening::MemoryPlan;
pub use package::{Package, open_tokenizer};
pub use runtime::{LoadPhase, LoadProgress, ModelOptions, Runtime};
pub use sample::Sampling;
pub use score::{ScoreOptions, Scored};
pub use session::{
    Batch, BatchOptions, DEFAULT_CONTEXT, Drafts, Endless, Event, Finish, GenerateOptions, Generation, KvType, OpTime,
    Session, SessionOptions, Speculation, StopReason, Timings, TokenEvent,
};
pub use taps::{Tapped, Taps};
pub use tern_formats::{I2sOrder, Opener, Source};
pub use tern_text::{
    Bos, DecodeOptions, EncodeOptions, MalformedCall, Message, TokenType, Tokenizer, ToolCall, ToolFormat, ToolParser,
    ToolPiece,
};

/// Models and sessions go wherever an application's threads are.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    const fn sent<T: Send + 'static>() {}
    shared::<Runtime>();
    shared::<Model>();
    shared::<Session>();
    sent::<Generation>();
    sent::<Batch>();
    sent::<Chat>();
};
