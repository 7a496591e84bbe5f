//! Learning on the device.
//!
//! ```text
//! adapter.rs   low-rank factors beside a model's matrices, in memory and in files
//! schedule.rs  the learning rate over the steps
//! optim.rs     from gradients to better factors: AdamW, its 8-bit form, SGD, Muon
//! training.rs  batches of tokens in, a better adapter out
//! ```
//! Each uses only what stands above it.

mod adapter;
mod optim;
mod schedule;
mod training;

pub(crate) use adapter::Layout;
pub use adapter::{Adapter, AdapterError, Factors};
pub use optim::OptimizerKind;
pub use schedule::{Decay, Schedule};
pub use training::{Example, Nats, Recompute, StepReport, Training, TrainingOptions, TrainingPlan};
