//! Learning on the device as a transaction: text goes in, and a checked delta comes out, or the reason why not.
//!
//! ```text
//! corpus.rs    what may be learned from: documents, turns, pairs; who wrote them; duplicates; what is held out
//! evidence.rs  did it help, and did it harm: paired test by document, screens, bounds, the verdict
//! store.rs     a folder of named deltas whose changes happen wholly or not at all
//! learner.rs   prepare, check, commit or roll back
//! report.rs    what happened, as a page and as JSON
//! error.rs     what can go wrong
//! ```
//! Each uses only what stands above it, and the learner only what it is taught through, [`Pupil`].

pub mod corpus;
mod error;
pub mod evidence;
pub mod learner;
mod pupil;
mod random;
pub mod store;

pub use corpus::{Corpus, CorpusOptions, Document, Origin};
pub use error::LearnError;
pub use learner::{LearnOptions, Learner, Outcome};
pub use pupil::Pupil;
pub use store::Store;

use crate::fingerprint::hex;
