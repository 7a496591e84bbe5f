//! Block formats of model weights: their layouts, and conversion to and from `f32`.
//!
//! ```text
//! dtype.rs      the table: code, name, elements and bytes per block
//! collisions.rs type ids that projects use differently
//! float.rs      half precision and bfloat16
//! convert.rs    whole slices: dispatch on dtype, length checks
//! importance.rs how much each column counts when encoding
//! search.rs     choosing scales (shared by the block formats)
//! grid.rs       codebooks of the IQ formats
//! q4_0.rs ...   one file per block format: layout, view, encoder
//! ternary.rs    ternary layouts into each other without loss
//! ```
//!
//! Layouts are those of ggml as GGUF files store them. Decoding does the same `f32` operations in the
//! same order as ggml's reference code, so results are equal bit for bit. Nothing here allocates,
//! panics or depends on the platform; all numbers in blocks are little-endian.
//!
//! To add a format: a row in `dtype.rs`, a file with its block, a line in each `match` of `convert.rs`.

#![forbid(unsafe_code)]

pub mod collisions;
mod convert;
mod dtype;
mod error;
mod float;
mod grid;
mod importance;
mod search;

pub mod i2_s;
pub mod iq1_m;
pub mod iq1_s;
pub mod iq2_s;
pub mod iq2_xs;
pub mod iq2_xxs;
pub mod iq3_s;
pub mod iq3_xxs;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod nvfp4;
pub mod q1_0;
pub mod q2_0;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod q8_k;
pub mod ternary;
pub mod tq1_0;
pub mod tq2_0;

pub use convert::{dequantize, quantize, quantize_weighted};
pub use dtype::{DType, FIRST_OWN_CODE, Kind, UnknownDType};
pub use error::QuantError;
pub use float::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use search::ScaleTooLarge;
