//! Did it help, and did it harm?
//!
//! ```text
//! paired.rs    the gain in bits per byte with its interval, clustered by document
//! student.rs   quantiles of Student's t
//! screen.rs    is it a text at all: does the order of its words matter, does it repeat itself
//! bounds.rs    what must not be exceeded, and the verdict
//! ```

mod bounds;
mod paired;
mod screen;
mod student;

pub use bounds::{Bound, Bounds, Harm, MIN_DOCUMENTS, Verdict, judge};
pub use paired::{Gain, MIN_GAIN, Measure, gain, needed};
pub use screen::{MIN_ORDER, MIN_SHINGLES, Order, distinct, shuffled};

#[cfg(test)]
mod tests;
