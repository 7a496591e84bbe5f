//! Where results go: beside their place until they are complete.

use crate::error::ConvertError;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that takes its name when it is complete, and is gone if it never is.
pub struct Place {
    target: PathBuf,
    temporary: PathBuf,
    force: bool,
    done: bool,
}

impl Place {
    /// A file to become `target`, which must not exist unless `force`.
    ///
    /// # Errors
    /// [`ConvertError::Exists`], [`ConvertError::SameFile`] where it is one of `inputs`, [`ConvertError::Output`].
    pub fn new(target: &Path, inputs: &[&Path], force: bool) -> Result<(Self, File), ConvertError> {
        if let Ok(there) = target.canonicalize() {
            if inputs.iter().any(|i| i.canonicalize().is_ok_and(|i| there == i)) {
                return Err(ConvertError::SameFile { path: target.to_owned() });
            }
            if !force {
                return Err(ConvertError::Exists { path: target.to_owned() });
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(name);
        let file =
            File::create_new(&temporary).map_err(|error| ConvertError::Output { path: target.to_owned(), error })?;
        Ok((Self { target: target.to_owned(), temporary, force, done: false }, file))
    }

    /// Puts the complete file where it belongs.
    ///
    /// # Errors
    /// [`ConvertError::Exists`] where somebody else was faster, [`ConvertError::Output`].
    pub fn finish(mut self, file: File) -> Result<(), ConvertError> {
        let failed = |error| ConvertError::Output { path: self.target.clone(), error };
        file.sync_all().map_err(failed)?;
        drop(file);
        if !self.force && self.target.exists() {
            return Err(ConvertError::Exists { path: self.target.clone() });
        }
        std::fs::rename(&self.temporary, &self.target).map_err(failed)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.done {
            // Whatever kept it from being complete is the error that counts.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
