//! Hugging Face folders, in memory and on disk.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use tern_formats::hf::{Config, Folder, open, open_dir};
use tern_formats::limits::MAX_TEMPLATE_BYTES;
use tern_formats::safetensors::Writer;
use tern_formats::{BytesSource, DType, FormatError, Problem, Source};

fn weights(names: &[&str]) -> Vec<u8> {
    let mut w = Writer::new("out");
    for name in names {
        w.tensor(*name, DType::F32, [1]).unwrap();
    }
    let mut body = w.begin(Vec::new()).unwrap();
    body.write(&vec![0; 4 * names.len()]).unwrap();
    body.finish().unwrap()
}

fn files() -> HashMap<String, Vec<u8>> {
    let text = |s: &str| s.as_bytes().to_vec();
    [
        ("config.json", text(r#"{"model_type":"llama","hidden_size":64,"rms_norm_eps":1e-05,"rope_scaling":null}"#)),
        ("generation_config.json", text(r#"{"eos_token_id":[1,2]}"#)),
        ("tokenizer.json", text("{}")),
        ("chat_template.jinja", text("{{ messages }}")),
        ("model.safetensors", weights(&["a", "b"])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn open_files(files: &HashMap<String, Vec<u8>>) -> Result<Folder, FormatError> {
    open("model", &|name| {
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())) as Box<dyn Source>)
    })
}

/// A fresh folder, removed with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tern-formats-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn fill(&self, below: &str) -> PathBuf {
        let folder = self.0.join(below);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files() {
            fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_folder_in_memory() {
    let folder = open_files(&files()).unwrap();
    assert_eq!(folder.config.require_str("model_type").unwrap(), "llama");
    assert_eq!(folder.checkpoint.tensors().len(), 2);
    assert_eq!(folder.chat_template.as_deref(), Some("{{ messages }}"));
    assert!(folder.tokenizer_config.is_none());
}

#[test]
fn shards_instead_of_one_file() {
    let mut files = files();
    files.remove("model.safetensors");
    let index = r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    files.insert("model.safetensors.index.json".into(), index.into());
    files.insert("model-1.safetensors".into(), weights(&["a"]));
    files.insert("model-2.safetensors".into(), weights(&["b"]));
    assert_eq!(open_files(&files).unwrap().checkpoint.sources().len(), 2);
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let with = |name: &str, bytes: Option<Vec<u8>>| {
        let mut files = files();
        match bytes {
            Some(bytes) => files.insert(name.to_owned(), bytes),
            None => files.remove(name),
        };
        open_files(&files).unwrap_err()
    };
    let error = with("config.json", None);
    assert!(matches!(*error.problem, Problem::Open { .. }) && error.file == "config.json", "{error}");
    let error = with("model.safetensors", None);
    assert!(matches!(*error.problem, Problem::NoWeights { .. }) && error.file == "model", "{error}");
    let error = with("config.json", Some(b"{".to_vec()));
    assert!(matches!(*error.problem, Problem::Json { .. }) && error.file == "config.json", "{error}");
    let error = with("config.json", Some(b"[]".to_vec()));
    assert!(matches!(*error.problem, Problem::Json { .. }), "{error}");
    let error = with("config.json", Some(vec![b' '; (1 << 20) + 1]));
    assert!(matches!(*error.problem, Problem::TooLong { .. }), "{error}");
    let error = with("chat_template.jinja", Some(vec![b'x'; MAX_TEMPLATE_BYTES as usize + 1]));
    assert!(matches!(*error.problem, Problem::TooLong { .. }) && error.file == "chat_template.jinja", "{error}");
    let error = with("tokenizer.json", Some(b"{\"\xff".to_vec()));
    assert!(matches!(*error.problem, Problem::NotUtf8 { .. }) && error.file == "tokenizer.json", "{error}");
}

#[test]
fn fields() {
    let text = r#"{"a":{"b":{"c":8.0}},"n":12,"neg":-1,"big":4294967296,"none":null,"s":"x","flag":true,"list":["x","y"],"mixed":["x",1],"huge":1e300}"#;
    let c = Config::parse("config.json", text).unwrap();
    assert_eq!(c.require_f32("a.b.c").unwrap(), 8.0);
    assert_eq!((c.require_u32("n").unwrap(), c.require_f64("n").unwrap()), (12, 12.0));
    assert_eq!((c.u32("none").unwrap(), c.u32("a.x.y").unwrap(), c.i64("neg").unwrap()), (None, None, Some(-1)));
    assert_eq!(c.require_strings("list").unwrap(), ["x", "y"]);
    assert_eq!(c.require_array("mixed").unwrap().len(), 2);
    assert!(c.require_bool("flag").unwrap());
    let problem = |r: Result<(), FormatError>| *r.unwrap_err().problem;
    assert!(matches!(problem(c.require_u32("none").map(drop)), Problem::MissingKey { .. }));
    assert!(matches!(problem(c.require_u32("gone").map(drop)), Problem::MissingKey { .. }));
    assert!(matches!(problem(c.u32("neg").map(drop)), Problem::OutOfRange { .. }));
    assert!(matches!(problem(c.u32("big").map(drop)), Problem::OutOfRange { .. }));
    assert!(matches!(problem(c.u32("a.b.c").map(drop)), Problem::OutOfRange { .. }));
    assert!(matches!(problem(c.f32("huge").map(drop)), Problem::OutOfRange { .. }));
    assert!(matches!(problem(c.u32("s").map(drop)), Problem::WrongType { .. }));
    assert!(matches!(problem(c.str("n").map(drop)), Problem::WrongType { .. }));
    assert!(matches!(problem(c.bool("n").map(drop)), Problem::WrongType { .. }));
    assert!(matches!(problem(c.strings("mixed").map(drop)), Problem::WrongType { .. }));
    let message = c.u32("s").unwrap_err().to_string();
    assert_eq!(message, "config.json: key 's' is a string, expected u32");
}

#[test]
fn a_folder_on_disk() {
    let scratch = Scratch::new("disk");
    let folder = open_dir(scratch.fill("model")).unwrap();
    let t = folder.checkpoint.require("b").unwrap();
    assert_eq!(&*folder.checkpoint.read(t).unwrap(), &[0; 4]);
    let error = open_dir(scratch.0.join("nothing")).unwrap_err();
    assert!(matches!(*error.problem, Problem::Open { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn links_may_lead_into_the_cache_but_not_elsewhere() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new("links");
    scratch.fill("elsewhere");
    scratch.fill("models--x/blobs");

    let folder = scratch.0.join("models--x/snapshots/abc");
    fs::create_dir_all(&folder).unwrap();
    for name in files().keys() {
        symlink(format!("../../blobs/{name}"), folder.join(name)).unwrap();
    }
    assert!(open_dir(&folder).is_ok());

    let folder = scratch.fill("model");
    let weights = folder.join("model.safetensors");
    for target in ["../elsewhere/model.safetensors", "../models--x/blobs/model.safetensors"] {
        fs::remove_file(&weights).unwrap();
        symlink(target, &weights).unwrap();
        let error = open_dir(&folder).unwrap_err();
        assert!(error.to_string().contains("leads out of the folder"), "{error}");
    }
    fs::remove_file(&weights).unwrap();
    fs::rename(folder.join("tokenizer.json"), folder.join("other.json")).unwrap();
    symlink("other.json", folder.join("tokenizer.json")).unwrap();
    fs::write(&weights, self::weights(&["a"])).unwrap();
    assert!(open_dir(&folder).is_ok(), "a link within the folder");
}
