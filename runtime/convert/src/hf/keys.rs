//! Hyper-parameters as GGUF keys.

use crate::error::ConvertError;
use crate::input::Tensor;
use std::cell::RefCell;
use std::path::Path;
use tern::Stated;
use tern::models::{ConfigError, Definition, Hyper, Recorded, hugging_face};
use tern_formats::gguf::{Array, Value};
use tern_formats::hf::{Config, Folder};
use tern_formats::{Checkpoint, DType};

/// A model's hyper-parameters.
pub struct Hypers {
    /// Its configuration file, for messages.
    pub file: String,
    /// Value of `general.architecture`.
    pub architecture: &'static str,
    /// Read and checked.
    pub definition: Box<dyn Definition>,
    read: Vec<(String, Recorded)>,
}

/// The scaling whose parameters GGUF has no keys for: it is a tensor of divisors there.
const LLAMA3: &str = "llama3";

impl Hypers {
    /// # Errors
    /// [`ConvertError::Model`].
    pub fn read(config: &Config, checkpoint: &Checkpoint) -> Result<Self, ConvertError> {
        let config = &*hugging_face(config).map_err(tern::Error::from)?;
        let names = config.strings("architectures")?.unwrap_or_default();
        let name = names
            .into_iter()
            .next()
            .ok_or_else(|| tern::Error::from(ConfigError::Missing { key: "architectures in config.json".into() }))?;
        let (of, keys) = (Hyper::Hf { config, checkpoint: Some(checkpoint) }, RefCell::default());
        let recorded = Hyper::Recorded { of: &of, keys: &keys };
        let (architecture, definition) = tern::models::read(&name, &recorded).map_err(tern::Error::from)?;
        let read = keys.into_inner();
        Ok(Self {
            file: config.file().to_owned(),
            architecture: architecture.gguf.first().copied().unwrap_or_default(),
            definition,
            read,
        })
    }

    /// General keys and those of the architecture. The first is `general.architecture`.
    ///
    /// # Errors
    /// [`ConvertError::Format`] for a name that is no text; [`ConvertError::Model`] for a pooling that is not supported.
    pub fn entries(&self, path: &Path, folder: &Folder) -> Result<Vec<(String, Value<'static>)>, ConvertError> {
        let stated = folder.config.str("_name_or_path")?.filter(|s| !s.is_empty());
        let stated = stated.and_then(|s| s.rsplit('/').next()).map(str::to_owned);
        let folder_name = || path.canonicalize().ok()?.file_name().map(|n| n.to_string_lossy().into_owned());
        let text = |s: &str| Value::from(s.to_owned());
        let mut entries = vec![
            ("general.architecture".to_owned(), text(self.architecture)),
            ("general.type".to_owned(), text("model")),
        ];
        if let Some(name) = stated.or_else(folder_name) {
            entries.push(("general.name".to_owned(), name.into()));
        }
        let llama3 = self.scaling() == Some(LLAMA3);
        let mut set = |key: &str, value| {
            // Keys of the tokenizer go without the architecture's name.
            let own = key.starts_with("tokenizer.");
            entries.push((if own { key.to_owned() } else { format!("{}.{key}", self.architecture) }, value));
        };
        set("vocab_size", Value::U32(narrow(self.definition.common().vocab_rows)));
        for (key, value) in &self.read {
            let scaling = key.starts_with("rope.scaling.");
            match value {
                // Llama 3's scaling is in the tensor; other programs do not know its name.
                _ if scaling && llama3 => {}
                Recorded::Text(t) if scaling && (t == "default" || t == "none") => {}
                // No window.
                Recorded::Int(0) => {}
                Recorded::Int(n) => set(key, Value::U32(narrow(*n))),
                Recorded::Float(x) => set(key, Value::F32(*x as f32)),
                // An older name.
                Recorded::Text(t) if scaling && t == "su" => set(key, text("longrope")),
                Recorded::Text(t) => set(key, text(t)),
                Recorded::Flag(on) => set(key, Value::Bool(*on)),
                Recorded::Ints(list) => {
                    let list: Vec<u32> = list.iter().map(|&n| narrow(n)).collect();
                    set(key, Value::from(Array::U32(list.into())));
                }
            }
        }
        let stated = Stated::in_folder(path)?;
        if let Some(number) = stated.pooling_number() {
            set("pooling_type", Value::U32(number));
        }
        if stated.normalize == Some(false) {
            entries.push((tern::NORMALIZE_KEY.to_owned(), Value::Bool(false)));
        }
        Ok(entries)
    }

    /// The first hyper-parameter that is not what it is in `other`, by its key, with its value there. Scaling is not looked at.
    pub fn differs(&self, other: &[(String, Recorded)]) -> Option<(String, String)> {
        let value = |v: &Recorded| match v {
            Recorded::Int(n) => n.to_string(),
            // GGUF has single precision.
            Recorded::Float(x) => (*x as f32).to_string(),
            Recorded::Text(text) => text.clone(),
            Recorded::Flag(on) => on.to_string(),
            Recorded::Ints(list) => format!("{list:?}"),
        };
        let other = other.iter().filter(|(key, _)| !key.starts_with("rope.scaling."));
        let same = |key: &str, v: &Recorded| self.read.iter().any(|(k, own)| k == key && value(own) == value(v));
        other.filter(|(key, v)| !same(key, v)).map(|(key, v)| (key.clone(), value(v))).next()
    }

    fn scaling(&self) -> Option<&str> {
        self.read.iter().find_map(|(k, v)| match v {
            Recorded::Text(t) if k == "rope.scaling.type" => Some(t.as_str()),
            _ => None,
        })
    }
}

/// Readers have checked the ranges.
fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `general.file_type` of matrices as they are: what most weights are.
pub fn file_type(tensors: &[Tensor]) -> (String, Value<'static>) {
    let weights = |d: DType| tensors.iter().filter(|t| t.dtype == d).map(Tensor::elements).sum::<u64>();
    let types = [(DType::F32, 0), (DType::F16, 1), (DType::BF16, 32)];
    let most = types.iter().max_by_key(|t| weights(t.0)).map_or(0, |t| t.1);
    ("general.file_type".to_owned(), Value::U32(most))
}
