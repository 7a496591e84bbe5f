//! What goes wrong ends with one line that says what to do, the documented exit code, and no panic. No model is needed.
#![cfg(feature = "cpu")]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{run, tern, text};
use std::fs;
use std::path::PathBuf;

/// A folder with one file in it.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    (folder, path)
}

/// A GGUF header: its counts and then whatever.
fn gguf(tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), rest].concat()
}

#[test]
fn files_that_are_no_models() {
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("notes.txt", b"To do: buy fish.\n".to_vec(), &["notes.txt", "text file", ".gguf"]),
        ("empty.gguf", Vec::new(), &["empty.gguf", "empty"]),
        ("cut.gguf", gguf(1, 1, &[])[..16].to_vec(), &["cut.gguf"]),
        ("many.gguf", gguf(1 << 60, 0, &[]), &["many.gguf", "tensors"]),
        ("pairs.gguf", gguf(0, 1 << 60, &[]), &["pairs.gguf"]),
    ];
    for (name, content, words) in cases {
        let (_folder, path) = file(name, content);
        let model = text(&path);
        for command in
            [&["run", model, "-p", "x"][..], &["inspect", model], &["bench", model], &["tokenize", model, "-p", "x"]]
        {
            run(command).failed(3, words);
        }
    }
}

#[test]
fn models_that_are_not_known_here() {
    let string = |s: &str| [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat();
    let architecture = [string("general.architecture"), 8_u32.to_le_bytes().to_vec(), string("dodo")].concat();
    let (_folder, path) = file("dodo.gguf", gguf(0, 1, &architecture));
    let model = text(&path);
    for command in [&["run", model, "-p", "x"][..], &["bench", model], &["inspect", model, "--plan"]] {
        run(command).failed(3, &["dodo"]);
    }
    run(&["tokenize", model, "-p", "x"]).failed(3, &["dodo.gguf", "tokenizer.ggml.model"]);
    let shown = run(&["inspect", model]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("architecture dodo") && shown.stdout.contains("not here"), "{}", shown.stdout);
}

#[test]
fn models_that_are_not_there() {
    run(&["run", "/no/such/model.gguf", "-p", "x"]).failed(3, &["/no/such/model.gguf"]);
    let folder = tempfile::tempdir().unwrap();
    run(&["chat", text(folder.path())]).failed(3, &["config.json"]);
}

#[test]
fn wrong_usage() {
    run(&["run", "m.gguf"]).failed(2, &["--prompt", "--help"]);
    run(&["run", "m.gguf", "-p", "x", "--speed", "9"]).failed(2, &["--speed"]);
    run(&["run", "m.gguf", "-p", "x", "--prompt-file", "f"]).failed(2, &["--prompt-file"]);
    run(&["run", "m.gguf", "-p", "x", "--json", "--jsonl"]).failed(2, &["--json"]);
    run(&["run", "m.gguf", "-p", "x", "--system", "y"]).failed(2, &["--chat"]);
    run(&["run", "m.gguf", "-p", "x", "-n", "many"]).failed(2, &["many", "--max-tokens"]);
    run(&["run", "m.gguf", "-p", "x", "--logit-bias", "7"]).failed(2, &["42=-1.5"]);
    run(&["bench", "m.gguf", "-r", "0"]).failed(2, &["--repeats"]);
    run(&["inspect", "m.gguf", "--plan", "--template"]).failed(2, &["--template"]);
    run(&["fly"]).failed(2, &["fly"]);
}

#[test]
fn input_that_cannot_be_read() {
    run(&["run", "m.gguf", "--prompt-file", "/no/such/file"]).failed(3, &["/no/such/file"]);
    let (_folder, path) = file("latin1.txt", b"gr\xfc\xdfe");
    run(&["score", "m.gguf", "--file", text(&path)]).failed(3, &["latin1.txt", "UTF-8", "byte 2"]);
    run(&["tokenize", "m.gguf", "--decode", "-p", "1 two 3"]).failed(3, &["two"]);
}

#[test]
fn backends_that_are_not_there() {
    let with = |flags: &[&str]| run(&[&["run", "m.gguf", "-p", "x"], flags].concat());
    with(&["--backend", "abacus"]).failed(5, &["abacus"]);
    with(&["--backend-path", "/no/such/folder"]).failed(5, &["/no/such/folder"]);
    let folder = tempfile::tempdir().unwrap();
    with(&["--backend-path", text(folder.path())]).failed(5, &[text(folder.path()), "manifest"]);
}

#[test]
fn backends_that_are_refused() {
    let manifest = |major: u32| {
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        format!(
            r#"{{"name":"other","library":"other.so","abi_major":{major},"abi_minor":0,"score":9,"requires":{{"arch":"{arch}","os":"{os}"}}}}"#
        )
    };
    let cases = [(manifest(9), "version 9"), (manifest(1), "other.so"), ("{}".to_owned(), "abi_major")];
    for (content, word) in cases {
        let (folder, path) = file("other.json", content);
        fs::write(folder.path().join("other.so"), "not a library").unwrap();
        run(&["run", "m.gguf", "-p", "x", "--backend-path", text(folder.path())]).failed(5, &[word]);
        // The doctor tells why, and goes on with what it has.
        let ran = run(&["doctor", "--json", "--backend-path", text(folder.path())]);
        let refused = ran.json()["backends"].as_array().unwrap().iter().any(|b| {
            b["status"] == "refused" && b["path"] == text(&path) && b["reason"].as_str().unwrap().contains(word)
        });
        assert!(refused, "{}", ran.stdout);
    }
}

#[test]
fn help_and_version_are_results() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for code in ["  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  130 "] {
        assert!(help.stdout.contains(code), "no exit code {code:?}");
    }
    assert_eq!(run(&["--version"]).code, 0);
    assert!(run(&["score", "--help"]).stdout.contains("Windows:"));
    let bare = run(&[]);
    assert_eq!((bare.code, bare.stdout.as_str()), (2, ""));
    assert!(bare.stderr.contains("demo"));
}

#[test]
fn nothing_is_coloured_where_nobody_looks() {
    for arguments in [&["doctor"][..], &["--help"], &["run", "/no/such/model", "-p", "x"]] {
        let ran = run(arguments);
        assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains('\x1b'));
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child =
        tern(&["doctor"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = common::ended(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}
