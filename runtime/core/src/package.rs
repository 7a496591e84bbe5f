//! A model's files, opened and checked as files: what is in them, whether or not this version can run it.

use crate::error::Error;
use crate::load::{self, Stated, open_file};
use crate::model::TensorSummary;
use crate::models::{Common, Definition};
use crate::runtime::ModelOptions;
use std::path::Path;
use std::sync::Arc;
use tern_formats::gguf::{self, ARCHITECTURE_KEY, Gguf, ReadOptions};
use tern_formats::hf::{self, Folder, TokenizerFiles};
use tern_formats::{Checkpoint, Opener, Source, folder_opener};
use tern_text::Tokenizer;

/// See the module. Weights are not read.
pub struct Package {
    path: String,
    contents: Contents,
    /// What a folder says of embeddings in files of its own.
    stated: Stated,
}

/// What the files are.
enum Contents {
    Gguf(Box<Gguf>),
    Folder(Box<Folder>),
}

impl Package {
    /// Opens a GGUF file, any one part of a split one, or a Hugging Face folder.
    ///
    /// # Errors
    /// [`Error`]: there is no file, it is no model, or it breaks its format.
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self, Error> {
        let (path, map, read) = (path.as_ref(), options.map, options.read());
        let io = |error| Error::Io { path: path.display().to_string(), error };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            let folder = hf::open_dir_with(path, &|target, _| open_file(target, map))?;
            let stated = Stated::in_folder(path)?;
            let contents = Contents::Folder(Box::new(folder));
            return Ok(Self { path: path.display().to_string(), contents, stated });
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
    /// As [`Package::open`].
    pub(crate) fn from_source(source: Arc<dyn Source>, read: ReadOptions) -> Result<Self, Error> {
        check_magic(&*source)?;
        Ok(Self::from_gguf(gguf::open_with(source, read)?))
    }

    /// Opens the GGUF file that `source`, of this file name, is or is a part of; `open` gives the other parts by their names.
    ///
    /// # Errors
    /// As [`Package::open`].
    pub(crate) fn from_part(
        source: Arc<dyn Source>,
        name: &str,
        open: &Opener<'_>,
        read: ReadOptions,
    ) -> Result<Self, Error> {
        check_magic(&*source)?;
        Ok(Self::from_gguf(gguf::open_split(source, name, open, read)?))
    }

    fn from_gguf(file: Gguf) -> Self {
        Self {
            path: file.metadata.file().to_owned(),
            contents: Contents::Gguf(Box::new(file)),
            stated: Stated::default(),
        }
    }

    /// The path, or the name that the caller gave.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// "gguf" or "safetensors".
    pub fn format(&self) -> &'static str {
        match &self.contents {
            Contents::Gguf(_) => "gguf",
            Contents::Folder(_) => "safetensors",
        }
    }

    /// The architecture's name in the file, where it has one.
    ///
    /// # Errors
    /// [`Error`]: it is not a string.
    pub fn architecture(&self) -> Result<Option<String>, Error> {
        Ok(match &self.contents {
            Contents::Gguf(file) => file.metadata.str(ARCHITECTURE_KEY)?.map(str::to_owned),
            Contents::Folder(folder) => {
                folder.config.strings("architectures")?.and_then(|names| names.into_iter().next())
            }
        })
    }

    /// The model's own name.
    ///
    /// # Errors
    /// [`Error`]: it is not a string.
    pub fn name(&self) -> Result<Option<String>, Error> {
        let name = match &self.contents {
            Contents::Gguf(file) => file.metadata.str("general.name")?,
            Contents::Folder(folder) => folder.config.str("_name_or_path")?,
        };
        Ok(name.filter(|name| !name.is_empty()).map(str::to_owned))
    }

    /// Number of files that hold tensors.
    pub fn files(&self) -> usize {
        self.checkpoint().sources().len()
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> Vec<TensorSummary> {
        TensorSummary::of(self.checkpoint())
    }

    /// Keys and short values: GGUF's metadata, or the fields of `config.json`.
    pub fn metadata(&self) -> Vec<(String, String)> {
        match &self.contents {
            Contents::Gguf(file) => file.metadata.entries().map(|(k, v)| (k.to_owned(), v.brief())).collect(),
            Contents::Folder(folder) => {
                let fields = folder.config.value().as_object().into_iter().flatten();
                fields.map(|(k, v)| (k.clone(), v.to_string())).collect()
            }
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error`]: there is none, it is of a kind that is not supported, or it breaks its format.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        match &self.contents {
            Contents::Gguf(file) => load::gguf::tokenizer(&file.metadata),
            Contents::Folder(folder) => load::hf::tokenizer(&folder.tokenizer_files),
        }
    }

    /// The chat template's source.
    ///
    /// # Errors
    /// [`Error`]: it is not text.
    pub fn template(&self) -> Result<Option<String>, Error> {
        match &self.contents {
            Contents::Gguf(file) => Ok(file.metadata.str("tokenizer.chat_template")?.map(str::to_owned)),
            Contents::Folder(folder) => load::hf::template(folder),
        }
    }

    /// How a text's rows become its embedding, where the files say so.
    ///
    /// # Errors
    /// [`Error`]: it is a way that is not supported.
    pub fn stated(&self) -> Result<Stated, Error> {
        match &self.contents {
            Contents::Gguf(file) => Stated::in_gguf(&file.metadata),
            Contents::Folder(_) => Ok(self.stated),
        }
    }

    /// What every model has, where this version knows the architecture.
    ///
    /// # Errors
    /// [`Error`]: the architecture is unknown, or a hyper-parameter is missing or out of its range.
    pub fn common(&self) -> Result<Common, Error> {
        Ok(self.definition()?.1.common())
    }

    /// The architecture's name and its hyper-parameters.
    pub(crate) fn definition(&self) -> Result<(String, Box<dyn Definition>), Error> {
        match &self.contents {
            Contents::Gguf(file) => load::gguf::definition(file),
            Contents::Folder(folder) => load::hf::definition(folder),
        }
    }

    /// The configuration, where it is in a file of its own, and the tensors.
    pub(crate) fn into_parts(self) -> (Option<String>, Checkpoint) {
        match self.contents {
            Contents::Gguf(file) => (None, file.checkpoint),
            Contents::Folder(folder) => (Some(folder.config.value().to_string()), folder.checkpoint),
        }
    }

    fn checkpoint(&self) -> &Checkpoint {
        match &self.contents {
            Contents::Gguf(file) => &file.checkpoint,
            Contents::Folder(folder) => &folder.checkpoint,
        }
    }
}

/// Opens a tokenizer alone: that of a model in GGUF, of a folder, which may lack everything else, or a `tokenizer.json` or
/// SentencePiece `.model` file.
///
/// # Errors
/// [`Error`]: there is no file, there is no tokenizer in it, or it breaks its format.
pub fn open_tokenizer(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Tokenizer, Error> {
    let path = path.as_ref();
    let io = |error| Error::Io { path: path.display().to_string(), error };
    let read = |file: &Path, _: String| open_file(file, false);
    if std::fs::metadata(path).map_err(io)?.is_dir() {
        return load::hf::tokenizer(&TokenizerFiles::open(&folder_opener(path, &read).map_err(io)?)?);
    }
    let only = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => "tokenizer.json",
        Some("model") => "tokenizer.model",
        _ => return Package::open(path, options)?.tokenizer(),
    };
    let open =
        |name: &str| if name == only { open_file(path, false) } else { Err(std::io::ErrorKind::NotFound.into()) };
    load::hf::tokenizer(&TokenizerFiles::open(&open)?)
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
