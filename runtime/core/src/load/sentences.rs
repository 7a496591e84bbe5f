//! What files say of how a text's rows become its embedding: llama.cpp's key in GGUF; in folders, the files of
//! sentence-transformers beside the model.

use super::open_file;
use crate::embed::Pooling;
use crate::error::Error;
use crate::models::ConfigError;
use std::path::{Component, Path};
use tern_formats::gguf::{ARCHITECTURE_KEY, Metadata};
use tern_formats::hf;
use tern_formats::{FormatError, Opener, folder_opener};

/// How a text's rows become its embedding, as far as the files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// How they become one vector.
    pub pooling: Option<Pooling>,
    /// Is that scaled to length 1?
    pub normalize: Option<bool>,
}

/// The list of what a text goes through, the model itself first.
const MODULES: &str = "modules.json";
/// Where the pooling is described if there is no list.
const POOLING_FOLDER: &str = "1_Pooling";
/// llama.cpp's number for a way of pooling.
const NUMBERS: [(u32, Pooling); 3] = [(1, Pooling::Mean), (2, Pooling::Cls), (3, Pooling::Last)];

/// Ours, since no other program has one: whether embeddings are scaled to length 1.
pub const NORMALIZE_KEY: &str = "tern.embedding.normalize";

impl Stated {
    /// Of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Config`] for a way that is not supported, [`Error::Format`].
    pub fn in_gguf(m: &Metadata) -> Result<Self, Error> {
        let Some(architecture) = m.str(ARCHITECTURE_KEY)? else { return Ok(Self::default()) };
        let key = format!("{architecture}.pooling_type");
        let pooling = match m.u32(&key)? {
            None | Some(0) => None,
            Some(number) => Some(NUMBERS.iter().find(|n| n.0 == number).map(|n| n.1).ok_or_else(|| {
                let supported = "0 (none), 1 (mean), 2 (first) and 3 (last)".to_owned();
                ConfigError::Unsupported { key, found: number.to_string(), supported }
            })?),
        };
        Ok(Self { pooling, normalize: m.bool(NORMALIZE_KEY)? })
    }

    /// Of a Hugging Face folder.
    ///
    /// # Errors
    /// [`Error::Config`] for a module or a way of pooling that is not supported, [`Error::Format`], [`Error::Io`].
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let Some(list) = in_place(folder, |open| hf::optional_list(open, MODULES))? else {
            return Ok(Self { pooling: pooling(&folder.join(POOLING_FOLDER))?, normalize: None });
        };
        let mut stated = Self { pooling: None, normalize: Some(false) };
        for module in &list {
            let (class, path) = (module.require_str("type")?, module.str("path")?.unwrap_or_default());
            match class.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => stated.pooling = pooling(&folder.join(inside(path)?))?,
                "Normalize" => stated.normalize = Some(true),
                _ => {
                    let supported = "Transformer, Pooling and Normalize".to_owned();
                    let found = class.chars().take(64).collect();
                    return Err(ConfigError::Unsupported { key: format!("type in {MODULES}"), found, supported }.into());
                }
            }
        }
        Ok(stated)
    }

    /// The number that a GGUF file has for the pooling.
    pub fn pooling_number(&self) -> Option<u32> {
        NUMBERS.iter().find(|n| Some(n.1) == self.pooling).map(|n| n.0)
    }
}

/// A folder's name that leads nowhere else.
fn inside(path: &str) -> Result<&str, Error> {
    let mut parts = Path::new(path).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(path),
        _ => {
            let (key, found) = (format!("path in {MODULES}"), path.chars().take(64).collect());
            Err(ConfigError::Unsupported { key, found, supported: "the name of a folder beside it".to_owned() }.into())
        }
    }
}

/// Reads a file of `folder`, if there is such a folder.
fn in_place<T>(
    folder: &Path,
    read: impl FnOnce(&Opener<'_>) -> Result<Option<T>, FormatError>,
) -> Result<Option<T>, Error> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let io = |error| Error::Io { path: folder.display().to_string(), error };
    let open = |file: &Path, _| open_file(file, false);
    let opener = folder_opener(folder, &open).map_err(io)?;
    Ok(read(&opener)?)
}

/// `config.json` in a folder of its own.
fn pooling(folder: &Path) -> Result<Option<Pooling>, Error> {
    let Some(config) = in_place(folder, |open| hf::optional_json(open, "config.json"))? else { return Ok(None) };
    let modes = [
        ("pooling_mode_mean_tokens", Some(Pooling::Mean)),
        ("pooling_mode_cls_token", Some(Pooling::Cls)),
        ("pooling_mode_lasttoken", Some(Pooling::Last)),
        ("pooling_mode_max_tokens", None),
        ("pooling_mode_mean_sqrt_len_tokens", None),
        ("pooling_mode_weightedmean_tokens", None),
    ];
    let mut chosen = Vec::new();
    for (key, pooling) in modes {
        if config.bool(key)?.unwrap_or(false) {
            chosen.push((key, pooling));
        }
    }
    match chosen.as_slice() {
        [] => Ok(None),
        [(_, Some(pooling))] => Ok(Some(*pooling)),
        all => Err(ConfigError::Unsupported {
            key: format!("{POOLING_FOLDER}/config.json"),
            found: all.iter().map(|c| c.0).collect::<Vec<_>>().join(" and "),
            supported: "one of pooling_mode_mean_tokens, pooling_mode_cls_token and pooling_mode_lasttoken".to_owned(),
        }
        .into()),
    }
}
