//! A model in several files is the same model, from any of its parts, from disk or from an application's own files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::{Error, Model, ModelOptions, SessionOptions};
use tern_formats::gguf::{self, Header, Writer};
use tern_formats::{AtomicFile, BytesSource, Existing, FileSource, PartLimit, Problem, Source, commit_all};
use tern_tests::{goldens, open, runtime};

fn whole() -> PathBuf {
    goldens().join("tiny-untied/model.gguf")
}

/// Splits the tiny model into `folder`.
fn split(folder: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let source = Arc::new(FileSource::open(whole()).unwrap());
    let writer = Writer::like("split", &Header::read(&*source).unwrap()).unwrap();
    let mut paths = Vec::new();
    let mut body = writer
        .begin_split("tiny", PartLimit::tensors(8), |name| {
            paths.push(folder.join(name));
            AtomicFile::create(folder.join(name), Existing::Replace)
        })
        .unwrap();
    let file = gguf::open(source).unwrap();
    for t in file.checkpoint.tensors() {
        body.write(&file.checkpoint.read(t).unwrap()).unwrap();
    }
    commit_all(body.finish().unwrap()).unwrap();
    assert!(paths.len() > 2);
    paths
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tern-parts-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn options() -> ModelOptions {
    ModelOptions { backend: Some("cpu".into()), tier: "scalar".into(), threads: 1, ..Default::default() }
}

fn logits(model: &Model) -> Vec<u32> {
    let session = model.session(SessionOptions::default()).unwrap();
    session.forward(&[1, 2, 3, 4, 5]).unwrap().iter().map(|l| l.to_bits()).collect()
}

#[test]
fn every_part_leads_to_the_same_model() {
    let expected = logits(&open(&whole(), "scalar", 1));
    let folder = folder("disk");
    for path in split(&folder) {
        for map in [true, false] {
            let model = runtime().open(&path, ModelOptions { map, ..options() }).unwrap();
            assert_eq!(logits(&model), expected, "{} {map}", path.display());
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn parts_in_memory() {
    let folder = folder("memory");
    let paths = split(&folder);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files: HashMap<String, Vec<u8>> = paths.iter().map(|p| (name(p), fs::read(p).unwrap())).collect();
    fs::remove_dir_all(folder).unwrap();
    let get = |name: &str| -> std::io::Result<Box<dyn Source>> {
        let bytes = files.get(name).ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())))
    };
    let model = runtime().open_parts(&name(&paths[1]), &get, options()).unwrap();
    assert_eq!(logits(&model), logits(&open(&whole(), "scalar", 1)));
    // A part on its own says what is needed.
    let error = runtime().open_bytes("part", files[&name(&paths[0])].clone(), options()).err().unwrap();
    assert!(matches!(&error, Error::Format(e) if matches!(*e.problem, Problem::LonePart { .. })), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_among_the_parts_may_not_lead_out() {
    use std::os::unix::fs::symlink;
    let (here, elsewhere) = (folder("links"), folder("elsewhere"));
    let (paths, others) = (split(&here), split(&elsewhere));
    fs::remove_file(&paths[1]).unwrap();
    symlink(&others[1], &paths[1]).unwrap();
    let error = runtime().open(&paths[0], options()).err().unwrap().to_string();
    assert!(error.contains("leads out of the folder") && error.contains("00002-of"), "{error}");
    // Missing altogether.
    fs::remove_file(&paths[1]).unwrap();
    let error = runtime().open(&paths[0], options()).err().unwrap().to_string();
    assert!(error.contains("tiny-00002-of") && error.contains("cannot be opened"), "{error}");
    fs::remove_dir_all(here).unwrap();
    fs::remove_dir_all(elsewhere).unwrap();
}
