//! Runs every op of a plugin against the reference, forward and gradient, and checks what must not change
//! a result: threads, chunks, company, fusion.
//!
//! ```text
//! backends.rs   the plugins that can be named
//! host/         a small host: device, program
//! noise.rs      deterministic data;  cases/  the table of cases
//! case.rs       one case on a plugin and on the reference; answer.rs  what it yields
//! bounds/       how far a plugin may be off, per op, from the data
//! judge.rs      passed, failed, unsupported
//! invariance/   bit-equal within one plugin
//! finite.rs     gradients of the reference against differences
//! report.rs     all of it, for people and machines
//! ```

pub mod answer;
pub mod backends;
pub mod bounds;
pub mod case;
pub mod cases;
pub mod finite;
pub mod host;
pub mod invariance;
pub mod judge;
pub mod noise;
pub mod params;
pub mod report;
