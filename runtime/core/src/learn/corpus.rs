//! What may be learned from.
//!
//! ```text
//! document.rs   a text or a conversation, with where it came from and who wrote it
//! read.rs       files and folders; jsonl.rs: records
//! select.rs     origins, duplicates, caps, and what is held out
//! near.rs       nearly the same text
//! sample.rs     tokens, and which of them count
//! ```

mod document;
mod jsonl;
mod near;
mod read;
mod sample;
mod select;

pub use document::{Content, Document, Origin, Turn};
pub(super) use near::{shingles, words};
pub use read::{MAX_FILE_BYTES, MAX_FILES, Reading, read};
pub use sample::{Encoder, Sample};
pub use select::{Corpus, CorpusOptions, Left};

#[cfg(test)]
mod tests;
