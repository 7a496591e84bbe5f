//! Hugging Face folders, in memory and on disk.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use tern_formats::hf::{Config, Folder, open, open_dir, to_text};
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
    assert!(folder.tokenizer_files.config.is_none());
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
fn the_files_of_a_tokenizer() {
    let mut files = files();
    let texts = [
        ("tokenizer_config.json", r#"{"bos_token":"<s>"}"#),
        ("special_tokens_map.json", r#"{"bos_token":{"content":"<s>"}}"#),
        ("added_tokens.json", r#"{"<pad>":7}"#),
        ("vocab.json", r#"{"a":0}"#),
        ("merges.txt", "#version: 0.2\na b\n"),
        ("chat_template.json", r#"{"chat_template":"{{ x }}"}"#),
    ];
    texts.iter().for_each(|(name, text)| drop(files.insert((*name).to_owned(), text.as_bytes().to_vec())));
    files.insert("tokenizer.model".to_owned(), vec![0x0a, 0xff]);
    let folder = open_files(&files).unwrap();
    let t = &folder.tokenizer_files;
    assert_eq!(t.config.as_ref().unwrap().require_str("bos_token").unwrap(), "<s>");
    assert_eq!(t.special_tokens_map.as_ref().unwrap().require_str("bos_token.content").unwrap(), "<s>");
    assert_eq!(t.added_tokens.as_ref().unwrap().require_u32("<pad>").unwrap(), 7);
    assert_eq!((t.vocab.as_deref(), t.merges.as_deref()), (Some(r#"{"a":0}"#), Some("#version: 0.2\na b\n")));
    assert_eq!(t.sentencepiece.as_deref(), Some(&[0x0a, 0xff][..]));
    assert_eq!(folder.chat_template.as_deref(), Some("{{ messages }}"), "the .jinja file counts");
    files.remove("chat_template.jinja");
    assert_eq!(open_files(&files).unwrap().chat_template.as_deref(), Some("{{ x }}"));
    let broken = [
        ("special_tokens_map.json", "[]"),
        ("added_tokens.json", "{"),
        ("chat_template.json", "{}"),
        ("chat_template.json", r#"{"chat_template":1}"#),
    ];
    for (name, text) in &broken {
        let mut files = files.clone();
        files.insert((*name).to_owned(), text.as_bytes().to_vec());
        assert_eq!(open_files(&files).unwrap_err().file, *name);
    }
}

#[test]
fn a_key_twice_is_refused_unless_it_says_the_same() {
    let parse = |text: &str| Config::parse("config.json", text);
    assert_eq!(parse(r#"{"a":1,"b":[{"x":null}],"a":1,"b":[{"x":null}]}"#).unwrap().require_u32("a").unwrap(), 1);
    for text in
        [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":1.0}}"#, r#"{"a":[{"b":1,"\u0062":null}]}"#, r#"{"a":1,"a":{}}"#]
    {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(*error.problem, Problem::Json { .. }) && error.to_string().contains("occurs twice"),
            "{error}"
        );
    }
    let message = parse(r#"{"a":1,"a":2}"#).unwrap_err().to_string();
    assert!(message.contains("key 'a' occurs twice, as 1 and as 2"), "{message}");
    assert!(parse(&format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))).is_err(), "depth is bounded");
}

#[test]
fn settings_written_again_have_the_same_bytes() {
    // What Python's json.dumps(indent=2, sort_keys=True) makes of these values.
    let text = "{\n  \"architectures\": [\n    \"X\"\n  ],\n  \"empty\": {},\n  \"f\": [\n    1e-05,\n    0.0001,\n    10000.0,\n    1e+16,\n    123456789012345.0,\n    1.5e-07,\n    1e+300,\n    -0.0,\n    0.1\n  ],\n  \"i\": -7,\n  \"none\": null,\n  \"s\": \"\\u00fc \\ud83d\\ude00 \\\"q\\\" \\n\\u007f\"\n}\n";
    let config = Config::parse("config.json", text).unwrap();
    assert_eq!(to_text(config.value(), true), text);
    let plain = "{\n  \"s\": \"ü 😀\u{7f}\\u0001\"\n}\n";
    assert_eq!(to_text(Config::parse("c", plain).unwrap().value(), false), plain);
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
