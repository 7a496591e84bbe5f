//! What is known about a generation.

use crate::learn::corpus::Origin;
use serde::{Deserialize, Serialize};

/// The model that a delta belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// [`Model::fingerprint`](crate::Model::fingerprint).
    pub fingerprint: String,
    /// Its own name, where it has one.
    pub name: Option<String>,
    /// Its architecture.
    pub architecture: String,
    /// A hash of the tokenizer: of two bases with the same one, text becomes the same tokens.
    pub tokenizer: String,
}

/// A document that a generation was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// [`Document::digest`](crate::learn::Document::digest) in hexadecimal digits.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// Who wrote it.
    pub origin: Origin,
    /// Bytes of what is learned.
    pub bytes: u64,
    /// It was held out, to test with.
    pub held_out: bool,
    /// The store keeps the document itself; else the application is asked for it.
    pub kept: bool,
}

/// Kind of a delta that is an adapter.
pub const LORA: &str = "lora";
/// Kind of one that is the state of a model whose state is its memory.
pub const STATE: &str = "state";

impl Manifest {
    /// What kind of delta it is, where its pupil said so.
    pub fn kind(&self) -> Option<&str> {
        self.settings.get("pupil")?.get("kind")?.as_str()
    }
}

/// A generation of a delta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this format.
    pub version: u32,
    /// Counted from 1; 0 is the base model as it is.
    pub generation: u64,
    /// What it went on from; 0 where that was the base model.
    pub parent: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// What wrote it.
    pub code: String,
    /// The model.
    pub base: Base,
    /// How it was learned.
    pub settings: serde_json::Value,
    /// All documents in it, and those it was tested with.
    pub documents: Vec<Learned>,
    /// What was measured before and after.
    pub report: serde_json::Value,
    /// Bytes of `delta.gguf`.
    pub delta_bytes: u64,
    /// BLAKE3 of `delta.gguf`.
    pub delta_hash: String,
}
