//! Sources agree with each other, and refuse what lies beyond their end.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use tern_formats::{BytesSource, Checkpoint, DType, FileSource, Source, TensorInfo};

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
fn shared_bytes_keep_their_source() {
    let tensor = |file, bytes| {
        let (name, shape) = (format!("{file} {bytes}").into(), [bytes].into());
        TensorInfo { name, dtype: DType::from_code(24).unwrap(), shape, file, offset: 1, bytes }
    };
    let path = std::env::temp_dir().join(format!("tern-shared-{}", std::process::id()));
    fs::write(&path, [1, 2, 3]).unwrap();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(BytesSource::new("memory", vec![1, 2, 3])), Arc::new(FileSource::open(&path).unwrap())];
    let checkpoint = Checkpoint::new(vec![tensor(0, 2), tensor(1, 2), tensor(0, 3)], sources).unwrap();
    let share = |i: usize| checkpoint.share(&checkpoint.tensors()[i]).unwrap();
    assert!(share(1).is_none(), "a file is not in memory");
    assert!(share(2).is_none(), "it ends before that");
    let shared = share(0).unwrap();
    assert!(checkpoint.share(&tensor(2, 1)).is_err());
    drop(checkpoint);
    assert_eq!(shared.as_ref(), [2, 3]);
    fs::remove_file(&path).unwrap();
}

#[test]
fn folders_are_no_files() {
    assert!(FileSource::open(std::env::temp_dir()).is_err());
}
