//! Learning on the device as a transaction.
//!
//! ```text
//! document.rs  what is learned from
//! options.rs   how, how much, and within which bounds
//! outcome.rs   what came of it
//! store.rs     what was learned, and how to take it back
//! learner.rs   learning, with progress, pause and cancel
//! ```

mod document;
mod learner;
mod options;
mod outcome;
mod store;

pub use document::{Content, Document, Origin, Turn, read_documents};
pub use learner::{Condition, LearnListener, LearnPhase, LearnProgress, Learner};
pub use options::{Bounds, Fact, LearnOptions};
pub use outcome::{Bound, Gain, Harm, Outcome, Recall, Verdict};
pub use store::{DeltaDetails, DeltaInfo, LearnedDocument, Store, StoreEvent};
