//! Sources agree with each other, and refuse what lies beyond their end.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::ErrorKind;
use tern_formats::{BytesSource, FileSource, Source};

#[test]
fn files_and_bytes_read_alike() {
    let bytes: Vec<u8> = (0..=255).collect();
    let path = std::env::temp_dir().join(format!("tern-source-{}", std::process::id()));
    fs::write(&path, &bytes).unwrap();
    let file = FileSource::open(&path).unwrap();
    let memory = BytesSource::new("memory", bytes.clone());
    for source in [&file as &dyn Source, &memory] {
        assert_eq!((source.len(), source.is_empty()), (256, false));
        let mut part = [0; 16];
        source.read_at(100, &mut part).unwrap();
        assert_eq!(part, bytes[100..116]);
        source.read_at(256, &mut []).unwrap();
        for offset in [241, 256, 1 << 40] {
            assert_eq!(source.read_at(offset, &mut part).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{offset}");
        }
        assert!(source.read_at(u64::MAX, &mut part).is_err());
    }
    // A file that shrinks under its source gives errors.
    fs::write(&path, b"short").unwrap();
    assert_eq!(file.read_at(100, &mut [0; 16]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    fs::remove_file(&path).unwrap();
}

#[test]
fn slices() {
    let memory = BytesSource::new("memory", vec![1, 2, 3]);
    assert_eq!(memory.slice(1, 2), Some(&[2, 3][..]));
    assert_eq!(memory.slice(3, 0), Some(&[][..]));
    assert_eq!((memory.slice(2, 2), memory.slice(u64::MAX, 1), memory.slice(1, u64::MAX)), (None, None, None));
}

#[test]
fn folders_are_no_files() {
    assert!(FileSource::open(std::env::temp_dir()).is_err());
}
