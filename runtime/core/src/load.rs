//! From a model's files to what running it needs: hyper-parameters, tensors, tokenizer, template.

pub mod gguf;
pub mod hf;
mod sentences;
mod source;
mod stack;
mod stored;
mod ternary;
mod weights;

pub use gguf::tokenizer_keys;
pub use hf::{template as chat_template, tokenizer_spec};
pub use sentences::{NORMALIZE_KEY, Stated};
pub use source::{open_file, open_part};
pub use stack::StackSource;
pub use stored::{Resolved, find_tensors, resolve};
pub use ternary::Codes;
pub use weights::{Destination, constant_bytes, load};

use crate::error::Error;
use crate::fingerprint::Identity;
use crate::models::{Definition, Hyper, read};
use crate::package::Package;
use std::sync::Arc;
use tern_formats::Checkpoint;
use tern_text::Tokenizer;

/// A model file, read and checked, with nothing computed yet.
pub struct ModelFile {
    /// "gguf" or "safetensors".
    pub format: &'static str,
    /// The architecture's name in the file.
    pub architecture: String,
    /// The model's own name.
    pub name: Option<String>,
    /// Its path, for messages.
    pub path: String,
    /// Hyper-parameters.
    pub definition: Box<dyn Definition>,
    /// Tensors.
    pub checkpoint: Checkpoint,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// How a text's rows become its embedding.
    pub stated: Stated,
    /// The chat template's source.
    pub template: Option<String>,
    /// The configuration, where it is in a file of its own.
    pub config: Option<String>,
}

impl ModelFile {
    /// What the model's fingerprint is made of.
    pub fn identity(&self) -> Identity {
        Identity { texts: self.config.iter().cloned().collect(), sources: self.checkpoint.sources().to_vec() }
    }

    /// What is needed to run the model in these files.
    ///
    /// # Errors
    /// [`Error`]: the architecture is unknown, something is missing or does not fit.
    pub fn of(package: Package) -> Result<Self, Error> {
        let (architecture, definition) = package.definition()?;
        let tokenizer = Arc::new(package.tokenizer()?);
        check_vocabulary(&*definition, &tokenizer)?;
        let (name, template, stated) = (package.name()?, package.template()?, package.stated()?);
        let (format, path) = (package.format(), package.path().to_owned());
        let (config, checkpoint) = package.into_parts();
        Ok(Self { format, architecture, name, path, definition, checkpoint, tokenizer, stated, template, config })
    }
}

/// Reads the hyper-parameters of the architecture that the file names.
fn read_definition(name: &str, hyper: &Hyper<'_>) -> Result<Box<dyn Definition>, Error> {
    Ok(read(name, hyper)?.1)
}

fn check_vocabulary(definition: &dyn Definition, tokenizer: &Tokenizer) -> Result<(), Error> {
    let (tokens, rows) = (tokenizer.vocab_size(), definition.common().vocab_rows);
    if tokens as u64 > rows { Err(Error::Vocabulary { tokens, rows }) } else { Ok(()) }
}
