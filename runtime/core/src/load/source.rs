//! Files as sources: mapped where the platform can, else read.

use std::fs::File;
use std::io;
use std::path::Path;
use tern_formats::{FileSource, PartSource, Source};

/// Opens `path`; with `map`, maps it where the platform can.
///
/// A mapped file that another process shortens ends the process with SIGBUS when the missing part is touched: that is
/// how the operating system reports it. A file that is written to changes the weights of models that use it in place.
/// Either can happen as long as a model made of it lives, not only while it is loaded. Where files are not under the
/// application's control, do not map.
///
/// # Errors
/// The operating system's.
pub fn open_file(path: &Path, map: bool) -> io::Result<Box<dyn Source>> {
    #[cfg(all(feature = "mmap", not(target_family = "wasm")))]
    if map {
        return Ok(Box::new(mapped::Mapped::open(path)?));
    }
    let _ = map;
    Ok(Box::new(FileSource::open(path)?))
}

/// `len` bytes of an open file from `offset` on, or all that follow; mapped as by [`open_file`].
///
/// # Errors
/// The operating system's; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
pub fn open_part(file: File, name: &str, offset: u64, len: Option<u64>, map: bool) -> io::Result<Box<dyn Source>> {
    let total = file.metadata()?.len();
    let len = len.or(total.checked_sub(offset)).ok_or(io::ErrorKind::UnexpectedEof)?;
    if offset.checked_add(len).is_none_or(|end| end > total) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    #[cfg(all(feature = "mmap", not(target_family = "wasm")))]
    if map {
        return Ok(Box::new(mapped::Mapped::part(&file, name, offset, len)?));
    }
    let _ = map;
    Ok(Box::new(PartSource::new(FileSource::from_file(name, file)?, offset, len)?))
}

#[cfg(all(feature = "mmap", not(target_family = "wasm")))]
mod mapped {
    use memmap2::{Mmap, MmapOptions};
    use std::io;
    use std::path::Path;
    use tern_formats::Source;

    pub struct Mapped {
        name: String,
        map: Mmap,
    }

    impl Mapped {
        pub fn open(path: &Path) -> io::Result<Self> {
            let file = std::fs::File::open(path)?;
            // SAFETY: the map is read-only and private to us; that the file is not shortened meanwhile is the
            // documented condition of `open_file`.
            let map = unsafe { Mmap::map(&file)? };
            Ok(Self { name: path.display().to_string(), map })
        }

        /// See [`super::open_part`]; the range has been checked.
        pub fn part(file: &std::fs::File, name: &str, offset: u64, len: u64) -> io::Result<Self> {
            let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
            // SAFETY: as in `open`.
            let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
            Ok(Self { name: name.to_owned(), map })
        }

        fn range(&self, offset: u64, len: u64) -> Option<&[u8]> {
            let start = usize::try_from(offset).ok()?;
            self.map.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        }
    }

    impl Source for Mapped {
        fn len(&self) -> u64 {
            self.map.len() as u64
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let bytes = self.range(offset, buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(bytes);
            Ok(())
        }

        fn slice(&self, offset: u64, len: u64) -> Option<&[u8]> {
            self.range(offset, len)
        }

        fn name(&self) -> &str {
            &self.name
        }

        fn release(&self, offset: u64, len: u64) {
            #[cfg(unix)]
            if self.range(offset, len).is_some_and(|r| !r.is_empty()) {
                // SAFETY: the mapping is read-only and of a file, so pages given back come again from the file.
                let _ = unsafe {
                    self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset as usize, len as usize)
                };
            }
            #[cfg(not(unix))]
            let _ = (offset, len);
        }
    }
}
