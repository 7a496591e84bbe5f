//! From a file to what a model needs: configuration, tensors, tokenizer, template.

mod gguf;
mod hf;
mod source;
mod weights;

pub use source::{open_file, open_part};
pub use weights::{Destination, Resolved, constant_bytes, load, resolve};

use crate::error::Error;
use crate::fingerprint::Identity;
use crate::models::{Definition, Hyper, find};
use std::path::Path;
use std::sync::Arc;
use tern_formats::gguf::{self as format, ReadOptions};
use tern_formats::{Checkpoint, Opener, Source, folder_opener};
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

    /// Opens a GGUF file, any one part of a split one, or a Hugging Face folder. With `map`, weights are mapped rather than
    /// read, where the platform can; `read` is for GGUF.
    ///
    /// # Errors
    /// [`Error`]: the file is no model, breaks its format, is of an unknown architecture...
    pub fn open(path: &Path, map: bool, read: ReadOptions) -> Result<Self, Error> {
        let io = |error| Error::Io { path: path.display().to_string(), error };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            return hf::open(path, map);
        }
        let source: Arc<dyn Source> = Arc::from(open_file(path, map).map_err(io)?);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let open = |file: &Path, _| open_file(file, map);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Only a part of several needs the folder.
        Self::from_part(source, &name, &|name| folder_opener(folder, &open)?(name), read)
    }

    /// Opens a GGUF file that is whole.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn from_source(source: Arc<dyn Source>, read: ReadOptions) -> Result<Self, Error> {
        check_magic(&*source)?;
        gguf::open(format::open_with(source, read)?)
    }

    /// Opens the GGUF file that `source`, of this file name, is or is a part of; `open` gives the other parts by their names.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn from_part(source: Arc<dyn Source>, name: &str, open: &Opener<'_>, read: ReadOptions) -> Result<Self, Error> {
        check_magic(&*source)?;
        gguf::open(format::open_split(source, name, open, read)?)
    }
}

/// Refuses what is not GGUF with a guess at what it is.
fn check_magic(source: &dyn Source) -> Result<(), Error> {
    let mut magic = [0; 8];
    if source.len() >= 8 {
        let io = |error| Error::Io { path: source.name().to_owned(), error };
        source.read_at(0, &mut magic).map_err(io)?;
    }
    if !magic.starts_with(b"GGUF") && !magic.starts_with(b"FUGG") {
        return Err(Error::NotAModel { path: source.name().to_owned(), what: describe(source.len(), &magic) });
    }
    Ok(())
}

/// What a file is that is not GGUF, as far as its first bytes tell.
fn describe(len: u64, magic: &[u8; 8]) -> String {
    let header = u64::from_le_bytes(*magic);
    if len == 0 {
        "the file is empty".into()
    } else if magic.starts_with(b"PK") {
        "this is a zip archive".into()
    } else if header > 0 && header <= len && len > 16 && header < 1 << 27 {
        "this looks like a safetensors file, which lacks the configuration; give its folder".into()
    } else if magic.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        "this is a text file".into()
    } else {
        "this is not a model file".into()
    }
}

/// Reads the hyper-parameters of the architecture that the file names.
fn read_definition(name: &str, hyper: &Hyper<'_>) -> Result<Box<dyn Definition>, Error> {
    Ok((find(name, hyper.is_gguf())?.read)(hyper)?)
}

fn check_vocabulary(definition: &dyn Definition, tokenizer: &Tokenizer) -> Result<(), Error> {
    let (tokens, rows) = (tokenizer.vocab_size(), definition.common().vocab_rows);
    if tokens as u64 > rows { Err(Error::Vocabulary { tokens, rows }) } else { Ok(()) }
}
