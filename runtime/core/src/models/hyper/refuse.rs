//! Settings that would change the mathematics and are not supported are refused by name.

use super::{ConfigError, Hyper, Result};

impl Hyper<'_> {
    /// Refuses a Hugging Face setting that is there and not among `supported`.
    pub fn one_of(&self, hf: &str, supported: &[&str]) -> Result<()> {
        match self.folder().map(|c| c.str(hf)).transpose()?.flatten() {
            Some(found) if !supported.contains(&found) => Err(unsupported(hf, found, &supported.join(", "))),
            _ => Ok(()),
        }
    }

    /// Refuses a Hugging Face switch that is there and not `supported`.
    pub fn switch(&self, hf: &str, supported: bool) -> Result<()> {
        match self.folder().map(|c| c.bool(hf)).transpose()?.flatten() {
            Some(found) if found != supported => Err(unsupported(hf, &found.to_string(), &supported.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses a switch of a GGUF file that is there and not `supported`.
    pub fn gguf_switch(&self, gguf: &str, supported: bool) -> Result<()> {
        match self {
            Self::Gguf { metadata, .. } => match metadata.bool(&self.key(gguf))? {
                Some(found) if found != supported => {
                    Err(unsupported(&self.key(gguf), &found.to_string(), &supported.to_string()))
                }
                _ => Ok(()),
            },
            Self::Hf { .. } => Ok(()),
            Self::Recorded { of, .. } => of.gguf_switch(gguf, supported),
        }
    }

    /// Refuses a key of a GGUF file that is there at all.
    pub fn gguf_absent(&self, gguf: &str) -> Result<()> {
        match self {
            Self::Gguf { metadata, .. } => match metadata.get(&self.key(gguf)) {
                Some(found) => Err(unsupported(&self.key(gguf), &found.brief(), "none")),
                None => Ok(()),
            },
            Self::Hf { .. } => Ok(()),
            Self::Recorded { of, .. } => of.gguf_absent(gguf),
        }
    }

    /// Refuses a Hugging Face setting that is there at all.
    pub fn absent(&self, hf: &str) -> Result<()> {
        match self.folder().and_then(|c| c.get(hf)) {
            Some(found) => Err(unsupported(hf, &found.to_string().chars().take(64).collect::<String>(), "none")),
            None => Ok(()),
        }
    }

    /// Refuses where `a_value` does not divide `b_value`.
    pub fn divides(&self, a: &str, a_value: u64, b: &str, b_value: u64) -> Result<()> {
        if b_value.checked_rem(a_value) == Some(0) {
            return Ok(());
        }
        Err(ConfigError::Conflict { a: a.into(), a_value, b: b.into(), b_value })
    }

    /// Refuses a value that is supported only when it equals another.
    pub fn same(&self, key: &str, found: u64, expected: u64) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(unsupported(key, &found.to_string(), &expected.to_string()))
    }
}

/// A setting with what is supported instead.
pub fn unsupported(key: &str, found: &str, supported: &str) -> ConfigError {
    ConfigError::Unsupported { key: key.to_owned(), found: found.to_owned(), supported: supported.to_owned() }
}
