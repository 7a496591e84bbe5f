//! Is a library file whole?
//!
//! The loaders of macOS and Windows refuse a truncated file. That of Linux and Android maps what the headers
//! promise, and the process dies (SIGBUS) at the first touch of a page that the file does not have.

use std::path::Path;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn check(path: &Path) -> Result<(), String> {
    std::fs::metadata(path).map(drop).map_err(|e| e.to_string())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use elf::check;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod elf {
    use super::Path;
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};

    const LOAD: u64 = 1;
    /// The program header table is read whole.
    const MAX_TABLE: u64 = 1 << 20;

    /// Where things are in the headers of one word size.
    struct Layout {
        header: usize,
        phoff: (usize, usize),
        phentsize: usize,
        phnum: usize,
        offset: (usize, usize),
        filesz: (usize, usize),
        entry: u64,
    }
    const ELF64: Layout =
        Layout { header: 64, phoff: (32, 8), phentsize: 54, phnum: 56, offset: (8, 8), filesz: (32, 8), entry: 56 };
    const ELF32: Layout =
        Layout { header: 52, phoff: (28, 4), phentsize: 42, phnum: 44, offset: (4, 4), filesz: (16, 4), entry: 32 };

    /// Checks that the file has all bytes that its loadable segments name.
    pub(in super::super) fn check(path: &Path) -> Result<(), String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let meta = file.metadata().map_err(|e| e.to_string())?;
        if !meta.is_file() {
            return Err("it is not a file".to_owned());
        }
        check_image(&mut file, meta.len())
    }

    fn check_image(file: &mut (impl Read + Seek), len: u64) -> Result<(), String> {
        let mut head = [0; 64];
        let mut have = 0;
        while have < head.len() {
            match file.read(&mut head[have..]).map_err(|e| e.to_string())? {
                0 => break,
                n => have += n,
            }
        }
        let head = &head[..have];
        if !head.starts_with(b"\x7fELF") {
            return Err("it is not a shared library (no ELF header)".to_owned());
        }
        let layout = if head.get(4) == Some(&2) { &ELF64 } else { &ELF32 };
        if have < layout.header {
            return Err(format!("it is truncated: {len} bytes"));
        }
        let table = number(head, layout.phoff);
        let (size, count) = (number(head, (layout.phentsize, 2)), number(head, (layout.phnum, 2)));
        if size < layout.entry || size * count > MAX_TABLE {
            return Err(format!("its header is garbage: {count} program headers of {size} bytes"));
        }
        if table.checked_add(size * count).is_none_or(|end| end > len) {
            return Err(format!("it is truncated: {len} bytes, its program headers are at {table}"));
        }
        let mut bytes = vec![0; (size * count) as usize];
        file.seek(SeekFrom::Start(table)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
        for segment in bytes.chunks_exact(size as usize) {
            let (offset, filesz) = (number(segment, layout.offset), number(segment, layout.filesz));
            let end = offset.checked_add(filesz);
            if number(segment, (0, 4)) == LOAD && end.is_none_or(|end| end > len) {
                return Err(format!("it is truncated: {len} bytes, a segment has {filesz} at {offset}"));
            }
        }
        Ok(())
    }

    /// The field `(start, bytes)` in this machine's byte order; a file in the other order is garbage to the loader.
    fn number(bytes: &[u8], (start, len): (usize, usize)) -> u64 {
        let mut word = [0; 8];
        let Some(field) = bytes.get(start..start + len) else { return 0 };
        if cfg!(target_endian = "little") {
            word[..len].copy_from_slice(field);
            u64::from_le_bytes(word)
        } else {
            word[8 - len..].copy_from_slice(field);
            u64::from_be_bytes(word)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::io::Cursor;

        #[test]
        fn a_cut_image_is_refused() {
            let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
            let len = image.len() as u64;
            assert_eq!(check_image(&mut Cursor::new(&image), len), Ok(()));
            for cut in (0..64).chain([100, 1000, 4096, 1 << 16]) {
                let result = check_image(&mut Cursor::new(&image[..cut]), cut as u64);
                assert!(result.is_err(), "cut at {cut}");
            }
        }

        #[test]
        fn garbage_headers_do_not_allocate_or_overflow() {
            let mut head = [0xff; 64];
            head[..4].copy_from_slice(b"\x7fELF");
            for class in [0, 1, 2, 0xff] {
                head[4] = class;
                assert!(check_image(&mut Cursor::new(&head), 64).is_err());
            }
        }
    }
}
