//! Hyper-parameters from GGUF metadata or `config.json`, read with one call each, with their legal range.

mod refuse;

use std::cell::RefCell;
use std::ops::RangeInclusive;
use tern_formats::gguf::{Metadata, Value};
use tern_formats::hf::Config;
use tern_formats::{Checkpoint, DType, FormatError};

pub(super) use refuse::unsupported;

/// Where hyper-parameters come from.
pub enum Hyper<'a> {
    /// GGUF: keys are prefixed with the architecture's name.
    Gguf {
        /// Keys and values.
        metadata: &'a Metadata,
        /// Tensors.
        checkpoint: &'a Checkpoint,
        /// Value of `general.architecture`.
        architecture: &'a str,
    },
    /// A Hugging Face folder.
    Hf {
        /// `config.json`.
        config: &'a Config,
        /// Tensors; of a model that is yet to be made there are none.
        checkpoint: Option<&'a Checkpoint>,
    },
    /// Another one, with a record of what is read: the keys that a GGUF file of the same model has.
    Recorded {
        /// Where values come from.
        of: &'a Hyper<'a>,
        /// Keys without the architecture's name, and values, defaults included; in the order of reading.
        keys: &'a RefCell<Vec<(String, Recorded)>>,
    },
}

/// A hyper-parameter that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// By [`Hyper::int`].
    Int(u64),
    /// By [`Hyper::float`].
    Float(f64),
    /// By [`Hyper::text_or`].
    Text(String),
    /// By [`Hyper::flag`].
    Flag(bool),
    /// By [`Hyper::ints`].
    Ints(Vec<u64>),
}

/// Hyper-parameters that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Missing, of the wrong type, too large for it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No such architecture here.
    #[error("architecture {found:?} is not supported; supported are: {supported}")]
    UnknownArchitecture {
        /// The file's.
        found: String,
        /// Ours.
        supported: String,
    },
    /// A variant that is not supported.
    #[error("{key} is {found:?}; supported are: {supported}")]
    Unsupported {
        /// The setting.
        key: String,
        /// The file's.
        found: String,
        /// Ours.
        supported: String,
    },
    /// Needed and not there.
    #[error("{key} is missing")]
    Missing {
        /// The setting.
        key: String,
    },
    /// Out of its legal range.
    #[error("{key} is {found}, expected {min} to {max}")]
    Range {
        /// The setting.
        key: String,
        /// The file's.
        found: f64,
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Two settings contradict each other.
    #[error("{a} ({a_value}) does not fit {b} ({b_value})")]
    Conflict {
        /// One setting.
        a: String,
        /// Its value.
        a_value: u64,
        /// The other.
        b: String,
        /// Its value.
        b_value: u64,
    },
}

type Result<T> = std::result::Result<T, ConfigError>;

/// How keys of a GGUF file's tokenizer begin.
pub const TOKENIZER: &str = "tokenizer.";

impl Hyper<'_> {
    /// Is this GGUF?
    pub fn is_gguf(&self) -> bool {
        match self {
            Self::Gguf { .. } => true,
            Self::Hf { .. } => false,
            Self::Recorded { of, .. } => of.is_gguf(),
        }
    }

    /// An integer in `range`: GGUF's `<architecture>.<gguf>`, or the first of the `hf` paths that is there. Without a
    /// default it must be there.
    pub fn int(&self, gguf: &str, hf: &[&str], range: RangeInclusive<u64>, default: Option<u64>) -> Result<u64> {
        if let Self::Recorded { of, keys } = self {
            let value = of.int(gguf, hf, range, default)?;
            record(keys, gguf, Recorded::Int(value));
            return Ok(value);
        }
        let found = match self {
            Self::Gguf { metadata, architecture, .. } => uniform(metadata, architecture, &self.key(gguf))?,
            Self::Hf { config, .. } => first(hf, |path| config.u64(path))?,
            Self::Recorded { .. } => None,
        };
        let value = self.need(found, default, gguf, hf)?;
        if range.contains(&value) {
            return Ok(value);
        }
        let (min, max) = (*range.start() as f64, *range.end() as f64);
        Err(ConfigError::Range { key: self.name(gguf, hf), found: value as f64, min, max })
    }

    /// A finite number in `range`, else as [`Hyper::int`].
    pub fn float(&self, gguf: &str, hf: &[&str], range: RangeInclusive<f64>, default: Option<f64>) -> Result<f64> {
        if let Self::Recorded { of, keys } = self {
            let value = of.float(gguf, hf, range, default)?;
            record(keys, gguf, Recorded::Float(value));
            return Ok(value);
        }
        let found = match self {
            Self::Gguf { metadata, .. } => metadata.f64(&self.key(gguf))?,
            Self::Hf { config, .. } => first(hf, |path| config.f64(path))?,
            Self::Recorded { .. } => None,
        };
        let value = self.need(found, default, gguf, hf)?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(ConfigError::Range { key: self.name(gguf, hf), found: value, min: *range.start(), max: *range.end() })
    }

    /// A text, or `default` where it is absent.
    pub fn text_or(&self, gguf: &str, hf: &[&str], default: &str) -> Result<String> {
        if let Self::Recorded { of, keys } = self {
            let value = of.text_or(gguf, hf, default)?;
            record(keys, gguf, Recorded::Text(value.clone()));
            return Ok(value);
        }
        let found = match self {
            Self::Gguf { metadata, .. } => metadata.str(&self.key(gguf))?.map(str::to_owned),
            Self::Hf { config, .. } => first(hf, |path| config.str(path).map(|s| s.map(str::to_owned)))?,
            Self::Recorded { .. } => None,
        };
        Ok(found.unwrap_or_else(|| default.to_owned()))
    }

    /// Is there a setting of either name (the one for this format)?
    pub fn states(&self, gguf: &str, hf: &str) -> bool {
        match self {
            Self::Gguf { metadata, .. } => metadata.get(&self.key(gguf)).is_some(),
            Self::Hf { config, .. } => config.get(hf).is_some(),
            Self::Recorded { of, .. } => of.states(gguf, hf),
        }
    }

    /// A switch, or `default` where it is absent.
    pub fn flag(&self, gguf: &str, hf: &[&str], default: bool) -> Result<bool> {
        let found = match self {
            Self::Gguf { metadata, .. } => metadata.bool(&self.key(gguf))?,
            Self::Hf { config, .. } => first(hf, |path| config.bool(path))?,
            Self::Recorded { of, keys } => {
                let value = of.flag(gguf, hf, default)?;
                record(keys, gguf, Recorded::Flag(value));
                Some(value)
            }
        };
        Ok(found.unwrap_or(default))
    }

    /// A list of as many integers as `default` has, which stands where a GGUF file has none, and in folders.
    pub fn ints(&self, gguf: &str, default: &[u64]) -> Result<Vec<u64>> {
        if let Self::Recorded { of, keys } = self {
            let value = of.ints(gguf, default)?;
            record(keys, gguf, Recorded::Ints(value.clone()));
            return Ok(value);
        }
        let Self::Gguf { metadata, .. } = self else { return Ok(default.to_vec()) };
        let Some(found) = metadata.array_u64(&self.key(gguf))? else { return Ok(default.to_vec()) };
        self.same(&format!("length of {}", self.key(gguf)), found.len() as u64, default.len() as u64)?;
        Ok(found.into_owned())
    }

    /// A GGUF file's list of switches, one for each layer.
    pub fn gguf_flags(&self, gguf: &str) -> Result<Option<Vec<bool>>> {
        match self {
            Self::Gguf { metadata, .. } => Ok(metadata.array_bool(&self.key(gguf))?.map(<[bool]>::to_vec)),
            Self::Hf { .. } => Ok(None),
            Self::Recorded { of, .. } => of.gguf_flags(gguf),
        }
    }

    /// The configuration of a folder whose tensors are yet to be made.
    pub fn draft(&self) -> Option<&Config> {
        match self {
            Self::Hf { config, checkpoint: None } => Some(config),
            Self::Recorded { of, .. } => of.draft(),
            _ => None,
        }
    }

    /// The configuration of a folder, for settings that GGUF has no keys for.
    pub fn folder(&self) -> Option<&Config> {
        match self {
            Self::Gguf { .. } => None,
            Self::Hf { config, .. } => Some(config),
            Self::Recorded { of, .. } => of.folder(),
        }
    }

    /// A number of a folder's configuration, the first of `paths` that is there.
    pub fn folder_float(&self, paths: &[String]) -> Result<Option<f64>> {
        let Some(config) = self.folder() else { return Ok(None) };
        first(&paths.iter().map(String::as_str).collect::<Vec<_>>(), |path| config.f64(path))
    }

    /// A list of `n` positive numbers of a folder's configuration, the first of `paths` that is there.
    pub fn folder_floats(&self, paths: &[String], n: u64) -> Result<Vec<f32>> {
        let missing = || ConfigError::Missing { key: paths.first().cloned().unwrap_or_default() };
        let config = self.folder().ok_or_else(missing)?;
        let path = paths.iter().find(|path| config.get(path).is_some()).ok_or_else(missing)?;
        let values = config.array(path)?.unwrap_or_default();
        self.same(&format!("length of {path}"), values.len() as u64, n)?;
        let positive = |v: &serde_json::Value| v.as_f64().filter(|x| (1e-6..=1e9).contains(x)).map(|x| x as f32);
        let list: Option<Vec<f32>> = values.iter().map(positive).collect();
        list.ok_or_else(|| unsupported(path, "a list with other things", "positive numbers"))
    }

    /// Positions that the model was made for.
    pub fn context_length(&self) -> Result<u64> {
        self.int("context_length", &["max_position_embeddings", "n_positions"], 1..=1 << 30, None)
    }

    /// Is there a tensor of either name (the one for this format)?
    pub fn has_tensor(&self, gguf: &str, hf: &str) -> bool {
        self.tensor(gguf, hf).is_some()
    }

    /// Rows of a matrix, for tables whose height no setting states.
    pub fn rows_of(&self, gguf: &str, hf: &str) -> Result<u64> {
        if let Some(config) = self.draft() {
            return Ok(config.require_u64("vocab_size")?.clamp(1, 1 << 24));
        }
        let tensor = self.tensor(gguf, hf).ok_or_else(|| ConfigError::Missing {
            key: format!("tensor {}", if self.is_gguf() { gguf } else { hf }),
        })?;
        Ok(tensor.shape.first().copied().unwrap_or(0))
    }

    /// Element type of the tensor with this name in the file.
    pub fn dtype_of(&self, name: &str) -> Option<DType> {
        Some(self.tensor(name, name)?.dtype)
    }

    fn tensor(&self, gguf: &str, hf: &str) -> Option<&tern_formats::TensorInfo> {
        match self {
            Self::Gguf { checkpoint, .. } => checkpoint.get(gguf),
            Self::Hf { checkpoint, .. } => checkpoint.and_then(|c| c.get(hf)),
            Self::Recorded { of, .. } => of.tensor(gguf, hf),
        }
    }

    fn key(&self, gguf: &str) -> String {
        match self {
            // Of the tokenizer, whatever the architecture.
            _ if gguf.starts_with(TOKENIZER) => gguf.to_owned(),
            Self::Gguf { architecture, .. } => format!("{architecture}.{gguf}"),
            Self::Hf { .. } => gguf.to_owned(),
            Self::Recorded { of, .. } => of.key(gguf),
        }
    }

    fn name(&self, gguf: &str, hf: &[&str]) -> String {
        match self {
            Self::Gguf { .. } => self.key(gguf),
            Self::Hf { .. } => hf.first().copied().unwrap_or(gguf).to_owned(),
            Self::Recorded { of, .. } => of.name(gguf, hf),
        }
    }

    fn need<T>(&self, found: Option<T>, default: Option<T>, gguf: &str, hf: &[&str]) -> Result<T> {
        found.or(default).ok_or_else(|| ConfigError::Missing { key: self.name(gguf, hf) })
    }
}

/// Several may ask for the same.
fn record(keys: &RefCell<Vec<(String, Recorded)>>, key: &str, value: Recorded) {
    let mut keys = keys.borrow_mut();
    if !keys.iter().any(|(k, _)| k == key) {
        keys.push((key.to_owned(), value));
    }
}

/// An integer that may also be an array with one value per layer, which must all be the same: no architecture here has
/// layers that differ in it.
fn uniform(metadata: &Metadata, architecture: &str, key: &str) -> Result<Option<u64>> {
    if !matches!(metadata.get(key), Some(Value::Array(_))) {
        return Ok(metadata.u64(key)?);
    }
    let layers = metadata.require_u32(&format!("{architecture}.block_count"))?;
    let values = metadata.u32_per_layer(key, layers as usize)?.unwrap_or_default();
    match values.iter().find(|&v| Some(v) != values.first()) {
        Some(other) => Err(ConfigError::Unsupported {
            key: key.to_owned(),
            found: format!("{} and {other}", values.first().unwrap_or(other)),
            supported: "one value for all layers".to_owned(),
        }),
        None => Ok(values.first().map(|&v| v.into())),
    }
}

fn first<T>(paths: &[&str], get: impl Fn(&str) -> std::result::Result<Option<T>, FormatError>) -> Result<Option<T>> {
    for path in paths {
        if let Some(value) = get(path)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
