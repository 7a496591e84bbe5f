//! Model files: GGUF, safetensors and Hugging Face folders, read and written.
//!
//! ```text
//! source.rs       where bytes come from: a file, memory, or what the application supplies
//! folder.rs       files of one folder, opened by name
//! error.rs        one error: the file, and what is wrong with it
//! limits.rs       every cap, with its reason
//! json.rs         JSON with duplicate keys refused
//! tensor.rs       what every format yields: tensors with a dtype, a shape and a place
//! finite.rs       looking for NaN and infinities in data
//! layout.rs       the checks on sizes and extents that the formats share
//! stream.rs       writing tensor data in order
//! parts.rs        the same over several files
//! atomic.rs       files that appear whole or not at all
//! gguf/           GGUF v2 and v3
//! safetensors/    single files and sharded ones
//! adapter/        low-rank adapters in GGUF and in PEFT folders
//! hf/             folders with config.json, a tokenizer and safetensors
//! ```
//!
//! Files are not trusted. Every count, length and offset is checked before it is used, and before
//! anything is allocated for it; the readers validate the whole header at once, so that what they
//! return can be used without looking back. Nothing here interprets a model: names, hyper-parameters
//! and shapes are checked by the crate that knows architectures.

#![forbid(unsafe_code)]

pub mod adapter;
pub mod gguf;
pub mod hf;
pub mod limits;
pub mod safetensors;

mod atomic;
mod error;
mod finite;
mod folder;
mod json;
mod layout;
mod names;
mod parts;
mod room;
mod source;
mod stream;
mod strings;
mod tensor;
mod window;

pub use atomic::{AtomicFile, Existing, commit_all, write_atomically};
pub use error::{FormatError, Problem};
pub use folder::{Opener, PathOpener, folder_opener};
pub use parts::{PartLimit, PartStream};
pub use source::{BytesSource, FileSource, PartSource, Source};
pub use stream::TensorStream;
pub use strings::StringPairs;
pub use tensor::{Checkpoint, SharedBytes, TensorInfo};
pub use tern_quant::DType;
pub use tern_quant::collisions::Project;
pub use tern_quant::i2_s::Order as I2sOrder;
