//! CPU backend: every op, on the instruction set that the processor has.
//!
//! ```text
//! tier.rs      instruction-set tiers, and how a kernel is instantiated for each
//! simd.rs      16 lanes of f32 on every tier; kernels are written once over it
//! pool.rs      threads that stay for a whole step and meet at barriers (gate.rs, stop.rs); crew.rs says how many
//! memory.rs    buffers; moving.rs is how mapped weights come into them
//! op.rs        what a compiled op is; device.rs is the plugin, exec.rs compiles and runs graphs of ops
//! check.rs     checks of an op's tensors; state.rs is how KV pages and fast weights lie in memory
//! ops/         one file per op family: checks at compile time, sharing among workers
//! kernels/     the arithmetic of the ops
//! peaks.rs     what the tier's arithmetic reaches at best
//! weight.rs    weights in the layout of their kernels; matmul/ has those kernels
//! ```
//!
//! Results depend on the tier, and on nothing else: not on the number of threads, nor on how a prompt is
//! cut into steps, nor on what else is in the batch.

pub mod check;
mod clock;
mod crew;
pub mod device;
pub mod exec;
pub mod gate;
pub mod kernels;
pub mod matmul;
pub mod memory;
pub mod moving;
pub mod op;
pub mod ops;
pub mod peaks;
pub mod places;
pub mod pool;
pub mod simd;
pub mod state;
pub mod stop;
pub mod tier;
pub mod weight;

pub use device::{CpuDevice, CpuPlugin};

tern_abi::export_plugin!(CpuPlugin);
