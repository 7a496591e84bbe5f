//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the new one is an error ([`io::ErrorKind::AlreadyExists`]).
    Keep,
    /// The new one takes its place once it is complete.
    Replace,
}

/// A file that is written beside its target and takes its place in one step by [`AtomicFile::commit`], when all of it is on
/// the disk. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    /// `None` once it is committed.
    out: Option<BufWriter<File>>,
    temporary: PathBuf,
    target: PathBuf,
    existing: Existing,
}

impl AtomicFile {
    /// Begins a file that will be at `target`. Writes are buffered.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the target must stay, so that nobody writes gigabytes in vain; the system's.
    pub fn create(target: impl Into<PathBuf>, existing: Existing) -> io::Result<Self> {
        let target = target.into();
        if existing == Existing::Keep && target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = beside(&target)?;
        let out = File::options().write(true).create_new(true).open(&temporary)?;
        Ok(Self { out: Some(BufWriter::with_capacity(1 << 20, out)), temporary, target, existing })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where a file that must stay has appeared meanwhile; the system's. The target is then
    /// as it was.
    pub fn commit(mut self) -> io::Result<()> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let done = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        let done = done.and_then(|()| match self.existing {
            Existing::Replace => fs::rename(&self.temporary, &self.target),
            Existing::Keep => rename_new(&self.temporary, &self.target),
        });
        if done.is_err() {
            let _ = fs::remove_file(&self.temporary);
            return done;
        }
        sync_folder(&self.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // What is still in the buffer need not reach the disk first.
            drop(out.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Commits files that belong together, the first one last: readers begin with it, and find the others then. Where one
/// fails, those after it stay and it and those before it do not appear.
///
/// # Errors
/// As [`AtomicFile::commit`].
pub fn commit_all(files: Vec<AtomicFile>) -> io::Result<()> {
    files.into_iter().rev().try_for_each(AtomicFile::commit)
}

/// Writes a whole file at once, atomically.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_atomically(target: impl Into<PathBuf>, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let mut file = AtomicFile::create(target, existing)?;
    file.write_all(bytes)?;
    file.commit()
}

/// A name in the same folder, since renaming is atomic only within a file system, and of this process alone.
fn beside(target: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(target.with_file_name(hidden))
}

/// Renames where the target is new. A hard link fails where there is one, in the same step; file systems without them
/// (FAT) get a check just before.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// A rename is on the disk when its folder is. Where folders cannot be opened (Windows) the system sees to it.
fn sync_folder(target: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = target;
        Ok(())
    }
}
