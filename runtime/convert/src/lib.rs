//! Quantizing models, importance matrices, conversion between model formats.
//!
//! ```text
//! input.rs     a GGUF file or a Hugging Face folder, as keys and tensors of a GGUF file
//! hf/          the folder's part of that: names, hyper-parameters, tokenizer
//! folder/      a GGUF file as a folder
//! mix.rs       what `Q4_K_M` and other names stand for; role.rs: what a tensor does
//! policy.rs    which type every tensor gets: a Plan; pattern.rs: which tensors a user means
//! write.rs     the file, in pieces of bounded size; encode.rs: rows on several threads; place.rs: where it goes
//! imatrix/     how much every column of a matrix matters: files, collecting
//! ```
//!
//! Data flows in this order, and nothing is written before all of it has been decided: [`Plan::new`] tells what would be.
//! Sources are not trusted: what `tern-formats` has checked is used, and sizes from files go through checked arithmetic.

#![forbid(unsafe_code)]

pub mod imatrix;

mod create;
mod encode;
mod error;
mod folder;
mod hf;
mod input;
mod mix;
mod pattern;
mod place;
mod policy;
mod role;
mod write;

pub use create::Creation;
pub use error::ConvertError;
pub use folder::{FolderPlan, write_folder};
pub use input::{Input, Tensor};
pub use mix::{MIXES, Mix, Site};
pub use pattern::Pattern;
pub use policy::{Assignment, Fallback, Plan, Wish};
pub use role::Role;
pub use write::{Progress, WriteOptions, write};
