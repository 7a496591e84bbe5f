//! Where bytes come from.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Random access to the bytes of one file.
///
/// Implementations exist for files and memory; an application adds its own for what it has (an asset
/// inside an Android package, ranges of a `Blob` in a browser). A memory-mapped one is in the runtime
/// crate, because mapping needs unsafe code.
pub trait Source: Send + Sync {
    /// Length in bytes. It must not change while the source lives; where a file does shrink under
    /// its source, reads return errors.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    /// Any failure, and [`io::ErrorKind::UnexpectedEof`] where the range goes beyond the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The bytes themselves, where they are in memory already. `None` where they are not, or where
    /// the range goes beyond the end. A model may use them there as long as it lives, and keeps the source.
    fn slice(&self, _offset: u64, _len: u64) -> Option<&[u8]> {
        None
    }

    /// The name for error messages, usually the path.
    fn name(&self) -> &str;

    /// Hint: this range will not be read again soon, its pages may go.
    fn release(&self, _offset: u64, _len: u64) {}

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct BytesSource {
    name: String,
    bytes: Arc<[u8]>,
}

impl BytesSource {
    /// Takes a `Vec<u8>`, an `Arc<[u8]>` or similar. `name` is for error messages.
    pub fn new(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl Source for BytesSource {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.slice(offset, buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn slice(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let begin = usize::try_from(offset).ok()?;
        let end = begin.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(begin..end)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A range of another source: an asset in a package, say.
#[derive(Clone, Debug)]
pub struct PartSource<S> {
    whole: S,
    offset: u64,
    len: u64,
}

impl<S: Source> PartSource<S> {
    /// `len` bytes of `whole` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where it ends before.
    pub fn new(whole: S, offset: u64, len: u64) -> io::Result<Self> {
        match offset.checked_add(len) {
            Some(end) if end <= whole.len() => Ok(Self { whole, offset, len }),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Where a range of the part begins in the whole.
    fn place(&self, offset: u64, len: u64) -> Option<u64> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        inside.then(|| self.offset.saturating_add(offset))
    }
}

impl<S: Source> Source for PartSource<S> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let place = self.place(offset, buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.whole.read_at(place, buf)
    }

    fn slice(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.whole.slice(self.place(offset, len)?, len)
    }

    fn name(&self) -> &str {
        self.whole.name()
    }

    fn release(&self, offset: u64, len: u64) {
        if let Some(place) = self.place(offset, len) {
            self.whole.release(place, len);
        }
    }
}

/// A file, read by position. Safe against a file that changes under it: reads then give other bytes
/// or an error, never a fault.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    len: u64,
    file: Positional,
}

impl FileSource {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::IsADirectory`] for a folder.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Self::from_file(path.display().to_string(), File::open(path)?)
    }

    /// Takes an open file. `name` is for error messages.
    ///
    /// # Errors
    /// Where the length cannot be found out, or the handle is a folder's.
    pub fn from_file(name: impl Into<String>, file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self { name: name.into(), len: meta.len(), file: Positional::new(file) })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, buf)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Positional(File);

#[cfg(unix)]
impl Positional {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buf, offset)
    }
}

#[cfg(windows)]
#[derive(Debug)]
struct Positional(File);

#[cfg(windows)]
impl Positional {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_exact_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.0, buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset = offset.checked_add(n as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Elsewhere (WASI, for one) the file has a single cursor, which reads must take turns on.
#[cfg(not(any(unix, windows)))]
#[derive(Debug)]
struct Positional(std::sync::Mutex<File>);

#[cfg(not(any(unix, windows)))]
impl Positional {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        // Every read seeks first, so a holder that panicked has left nothing half-done.
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buf)
    }
}
