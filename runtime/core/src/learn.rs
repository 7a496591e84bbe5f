//! Learning on the device as a transaction: text goes in, and a checked delta comes out, or the reason why not.
//!
//! ```text
//! adapter.rs   low-rank factors beside a model's matrices, in memory and in files
//! schedule.rs  the learning rate over the steps
//! optim.rs     from gradients to better factors: AdamW, its 8-bit form, SGD, Muon
//! training.rs  batches of tokens in, a better adapter out
//! corpus.rs    what may be learned from: documents, turns, pairs; who wrote them; duplicates; what is held out
//! evidence.rs  did it help, and did it harm: paired test by document, screens, bounds, the verdict
//! store.rs     a folder of named deltas whose changes happen wholly or not at all
//! pupil.rs     what a learner teaches; lora.rs: a model with an adapter as one; state.rs: one whose state is its memory; mode.rs: which
//! recall.rs    how much of a fact comes back
//! learner.rs   prepare, check, commit or roll back
//! report.rs    what came of it, as a page
//! ```
//! Each uses only what stands above it.

mod adapter;
pub mod corpus;
mod error;
pub mod evidence;
pub mod learner;
mod lora;
mod mode;
mod optim;
mod pupil;
pub mod recall;
pub mod report;
mod schedule;
mod state;
pub mod store;
mod taught;
mod training;

pub use crate::random::Random;
pub(crate) use adapter::Layout;
pub use adapter::{Adapter, AdapterError, Factors};
pub use corpus::{Corpus, CorpusOptions, Document, Origin};
pub use error::LearnError;
pub use learner::{LearnOptions, Learner, Outcome};
pub use lora::{LoraOptions, LoraPupil};
pub use mode::Mode;
pub use optim::OptimizerKind;
pub use pupil::{Answer, Hold, Pupil, Seen};
pub use recall::{Fact, Recall};
pub use schedule::{Decay, Schedule};
pub use state::{StateOptions, StatePupil};
pub use store::Store;
pub use training::{Example, Held, Nats, Recompute, StepReport, Training, TrainingOptions, TrainingPlan};

use crate::fingerprint::hex;
