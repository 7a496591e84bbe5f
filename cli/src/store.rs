//! Where deltas are kept, and how a model gets one.

use crate::failure::{Exit, Failure, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use tern::learn::store::Delta;
use tern::learn::{Adapter, LearnError, Store};
use tern::{Error, Model, Session, SessionOptions};

/// Which store.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// Folder of the store; $TERN_STORE, else a folder in the user's data if not given (`tern doctor` tells which)
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl StoreArgs {
    /// The store, to look at.
    pub fn open(&self) -> Result<Store> {
        open(self.store.as_deref())
    }
}

/// The store in `folder`, or in the usual one.
pub fn open(folder: Option<&Path>) -> Result<Store> {
    Ok(Store::open(match folder {
        Some(folder) => folder.to_owned(),
        None => default_folder()?,
    }))
}

/// `$TERN_STORE`, else `tern/store` in the user's folder for data.
pub fn default_folder() -> Result<PathBuf> {
    from(|name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "there is no home folder for a store; give --store DIR, or set TERN_STORE to a folder",
        )
    })
}

fn from(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(own) = var("TERN_STORE") {
        return Some(own);
    }
    let users = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")))
    };
    Some(users?.join("tern").join("store"))
}

/// A delta that must be there; `None` where the base model as it is counts. A change must not make one by being asked for it.
pub fn existing(store: &Store, name: &str) -> Result<Option<Delta>> {
    match store.delta(name) {
        Err(error @ LearnError::NoDelta { .. }) => {
            let names: Vec<String> = store.list().map_err(Error::from)?.into_iter().map(|e| e.name).collect();
            let mut failure = Failure::from(Error::from(error));
            failure.message += &match names.is_empty() {
                true => "; it is empty: --store names another one, `tern adapt` fills it".to_owned(),
                false => format!("; it has {}", names.join(", ")),
            };
            Err(failure)
        }
        result => Ok(result.map_err(Error::from)?),
    }
}

/// What a delta changes a model by. `base` is what the user calls the model.
pub fn adapter(delta: &Delta, model: &Model, base: &Path) -> Result<Adapter> {
    delta.adapter(model).map_err(|error| advised(error, delta, base))
}

/// A session that begins with what a state has read.
pub fn begin(delta: &Delta, model: &Model, base: &Path, options: SessionOptions) -> Result<Session> {
    delta.session(model, options).map_err(|error| advised(error, delta, base))
}

fn advised(error: Error, delta: &Delta, base: &Path) -> Failure {
    let other = matches!(&error, Error::Learn(LearnError::OtherBase { .. }));
    let mut failure = Failure::from(error);
    if other {
        failure.message += &format!(": `tern delta rebuild {} --base {}`", delta.name, base.display());
    }
    failure
}

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_wins() {
        let folder = |set: &[&str]| from(|name| set.contains(&name).then(|| PathBuf::from(format!("/{name}"))));
        assert_eq!(folder(&["TERN_STORE", "HOME"]), Some("/TERN_STORE".into()));
        assert_eq!(folder(&["XDG_DATA_HOME", "HOME"]), Some("/XDG_DATA_HOME/tern/store".into()));
        assert_eq!(folder(&["HOME"]), Some("/HOME/.local/share/tern/store".into()));
        assert_eq!(folder(&[]), None);
    }
}
