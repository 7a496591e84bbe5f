//! Files that appear whole or not at all.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use tern_formats::gguf::{self, Writer};
use tern_formats::{AtomicFile, DType, Existing, PartLimit, commit_all, write_atomically};

/// A fresh folder, removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tern-atomic-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Names in the folder, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_target_changes_only_with_commit() {
    let scratch = Scratch::new("commit");
    let target = scratch.0.join("f");
    fs::write(&target, "old").unwrap();
    let mut file = AtomicFile::create(&target, Existing::Replace).unwrap();
    file.write_all(&vec![b'n'; 3 << 20]).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), vec![b'n'; 3 << 20]);
    assert_eq!(scratch.names(), ["f"]);
}

#[test]
fn an_abandoned_file_leaves_nothing() {
    let scratch = Scratch::new("abandon");
    let mut file = AtomicFile::create(scratch.0.join("f"), Existing::Replace).unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert!(scratch.names().is_empty());
    // Nor does a model whose data never came.
    let mut w = Writer::new("m");
    w.tensor("t", DType::F32, [8]).unwrap();
    let body = w.begin(AtomicFile::create(scratch.0.join("m.gguf"), Existing::Replace).unwrap()).unwrap();
    assert!(body.finish().is_err());
    assert!(scratch.names().is_empty());
}

#[test]
fn a_file_that_must_stay_stays() {
    let scratch = Scratch::new("keep");
    let target = scratch.0.join("f");
    let kind = |r: std::io::Result<()>| r.unwrap_err().kind();
    let early = AtomicFile::create(&target, Existing::Keep).unwrap();
    write_atomically(&target, b"first", Existing::Keep).unwrap();
    assert_eq!(kind(write_atomically(&target, b"second", Existing::Keep)), ErrorKind::AlreadyExists);
    // One that began before the other appeared.
    assert_eq!(kind(early.commit()), ErrorKind::AlreadyExists);
    assert_eq!((fs::read(&target).unwrap(), scratch.names()), (b"first".to_vec(), vec!["f".to_owned()]));
    write_atomically(&target, b"third", Existing::Replace).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"third");
}

#[test]
fn where_nothing_can_be_put() {
    let scratch = Scratch::new("nowhere");
    assert!(AtomicFile::create(scratch.0.join("none/f"), Existing::Replace).is_err());
    assert!(AtomicFile::create("/", Existing::Replace).is_err());
    // A folder cannot be replaced by a file; nothing stays beside it.
    fs::create_dir_all(scratch.0.join("d/x")).unwrap();
    assert!(write_atomically(scratch.0.join("d"), b"", Existing::Replace).is_err());
    assert_eq!(scratch.names(), ["d"]);
}

#[test]
fn several_files_appear_with_the_first_one_last() {
    let scratch = Scratch::new("several");
    let create = |name: &str| AtomicFile::create(scratch.0.join(name), Existing::Keep);
    let begin = || {
        let mut w = Writer::new("m");
        w.tensor("a", DType::F32, [8]).unwrap().tensor("b", DType::F32, [8]).unwrap();
        w.begin_split("m", PartLimit::tensors(1), create).unwrap()
    };
    let mut body = begin();
    body.write(&[1; 64]).unwrap();
    let files = body.finish().unwrap();
    assert!(scratch.names().iter().all(|n| n.ends_with(".part")));
    // Something takes the second name meanwhile: the first must not appear then.
    let second = scratch.0.join(gguf::part_name("m", 1, 2));
    fs::write(&second, "taken").unwrap();
    assert_eq!(commit_all(files).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(scratch.names(), [gguf::part_name("m", 1, 2)]);

    fs::remove_file(&second).unwrap();
    let mut body = begin();
    body.write(&[1; 64]).unwrap();
    commit_all(body.finish().unwrap()).unwrap();
    assert_eq!(scratch.names(), [gguf::part_name("m", 0, 2), gguf::part_name("m", 1, 2)]);
}
