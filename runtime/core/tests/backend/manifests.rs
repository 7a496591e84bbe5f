//! Manifests are read and judged before a library is opened.

use crate::libraries::{Folder, built, file_name, manifest};
use crate::setup::entry;
use crate::toy::Good;
use std::path::PathBuf;
use tern::backend::{BackendError, Outcome, Registry};

/// The error of one manifest, with no library beside it: it must not get that far.
fn refusal(text: &str) -> (BackendError, String) {
    Folder::new().describe("toy", text).refusal()
}

#[test]
fn garbage_is_refused_with_the_reason() {
    let cases = [
        ("", "EOF while parsing"),
        ("\u{0}\u{1}\u{2}", "expected value"),
        ("[1, 2]", "invalid type: integer `1`, expected u32"),
        ("{}", "missing field `abi_major`"),
        (r#"{"abi_major": "one"}"#, "expected u32"),
        (r#"{"abi_major": 1}"#, "missing field `name`"),
    ];
    for (text, expect) in cases {
        let (error, line) = refusal(text);
        assert!(matches!(error, BackendError::Manifest { .. }), "{text}: {line}");
        assert!(line.starts_with("backend manifest tern-toy.json: "), "{line}");
        if text != "[1, 2]" {
            assert!(line.contains(expect), "{text}: {line}");
        }
    }
    let (error, line) = refusal(&" ".repeat((64 << 10) + 1));
    assert!(matches!(error, BackendError::Manifest { .. }));
    assert_eq!(line, "backend manifest tern-toy.json: it has more than 65536 bytes");
    let deep = format!("{{\"abi_major\": 1, \"x\": {}", "[".repeat(60_000));
    assert!(matches!(refusal(&deep).0, BackendError::Manifest { .. }));
}

#[test]
fn fields_are_checked() {
    let good = manifest("toy", "libtoy.so");
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        refusal(&good.replacen(from, to, 1))
    };
    let (error, line) = refused("\"abi_major\": 1", "\"abi_major\": 2");
    assert!(matches!(error, BackendError::AbiMajor { found: 2, supported: 1, .. }));
    assert_eq!(line, "backend tern-toy.json: it speaks ABI version 2, this runtime version 1");

    let (error, line) = refused("\"name\": \"toy\"", "\"name\": \"To y\"");
    assert!(matches!(error, BackendError::Manifest { .. }));
    assert!(line.contains("the name \"To y\" is not 1 to 64 lower-case letters"), "{line}");

    for path in ["../libtoy.so", "/tmp/libtoy.so", "sub/libtoy.so", "", ".."] {
        let (error, line) = refused("\"libtoy.so\"", &format!("\"{path}\""));
        assert!(matches!(error, BackendError::Manifest { .. }));
        assert_eq!(line, format!("backend manifest tern-toy.json: {path:?} is not a file name"));
    }

    let (error, line) = refused("\"score\": 10", "\"score\": 10, \"sha256\": \"abc\"");
    assert!(matches!(error, BackendError::Manifest { .. }));
    assert!(line.ends_with("sha256 \"abc\" is not 64 hexadecimal digits"), "{line}");
    assert!(matches!(refused("\"score\": 10", "\"score\": -1").0, BackendError::Manifest { .. }));
    assert!(matches!(refused("\"score\": 10", "\"score\": 0").0, BackendError::Unusable { .. }));
}

#[test]
fn requirements_are_checked_against_the_machine() {
    let good = manifest("toy", "libtoy.so");
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let lacks = |from: &str, to: &str| {
        let (error, line) = refusal(&good.replacen(from, to, 1));
        assert!(matches!(error, BackendError::Requirement { .. }), "{line}");
        line
    };
    let line = lacks(&format!("\"{arch}\""), "\"pdp11\"");
    assert_eq!(line, format!("backend \"toy\" needs a processor of type \"pdp11\", this machine has {arch}"));
    let line = lacks(&format!("\"{os}\""), "\"plan9\"");
    assert_eq!(line, format!("backend \"toy\" needs the operating system \"plan9\", this machine has {os}"));
    let line = lacks("\"arch\"", "\"cpu_features\": [\"flux\"], \"arch\"");
    assert_eq!(line, "backend \"toy\" needs the CPU feature \"flux\", this machine has no feature of that name");
    let line = lacks("\"arch\"", "\"drivers\": [\"libflux.so.1\"], \"arch\"");
    assert_eq!(line, "backend \"toy\" needs the driver \"libflux.so.1\", this machine has none that loads");
    let path = good.replacen("\"arch\"", "\"drivers\": [\"/tmp/flux.so\"], \"arch\"", 1);
    assert!(matches!(refusal(&path).0, BackendError::Manifest { .. }), "a driver with a path");
}

#[test]
fn a_library_has_the_hash_that_its_manifest_gives() {
    let library = file_name("toy_good");
    let folder = Folder::new();
    folder.add("good", "good");
    let with =
        |hash: &str| manifest("good", &library).replace("\"score\"", &format!("\"sha256\": \"{hash}\", \"score\""));
    let wrong = "0".repeat(64);
    let (error, line) = folder.describe("good", &with(&wrong)).refusal();
    let BackendError::Checksum { found, .. } = error else { panic!("{line}") };
    assert_eq!(line, format!("backend library {library}: its sha256 is {found}, its manifest says {wrong}"));
    let registry = folder.describe("good", &with(&found.to_uppercase())).search();
    assert_eq!(registry.names(), ["good"]);

    // One flipped byte, deep inside.
    let mut bytes = std::fs::read(built().join(&library)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(folder.0.join(&library)).unwrap();
    std::fs::write(folder.0.join(&library), bytes).unwrap();
    assert!(matches!(folder.refusal().0, BackendError::Checksum { .. }));
}

#[test]
fn folders_are_absolute_and_there() {
    let mut registry = Registry::new();
    let missing = std::env::temp_dir().join("tern-no-such-folder");
    registry.search(&[PathBuf::from("backends"), missing.clone(), missing]);
    let lines: Vec<_> = registry.reports().iter().map(|r| format!("{:?}", r.outcome)).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("it is not an absolute path") && lines[1].contains("Folder"), "{lines:?}");
    let error = registry.get("cpu").unwrap_err().to_string();
    assert!(error.starts_with("no \"cpu\" backend; searched backends, "), "{error}");
}

#[test]
fn the_first_of_a_name_stays() {
    let (first, second) = (Folder::new(), Folder::new());
    first.add("good", "good");
    second.add("good", "good").add("future", "future");
    let mut registry = Registry::new();
    registry.register(entry::<Good>()).unwrap();
    registry.search(&[first.0.clone(), second.0.clone()]);
    assert_eq!(registry.names(), ["good", "future"]);
    assert_eq!(registry.get("good").unwrap().origin(), "registered");
    let shadowed = registry.reports().iter().filter(
        |r| matches!(&r.outcome, Outcome::Refused(BackendError::Duplicate { first, .. }) if first == "registered"),
    );
    assert_eq!(shadowed.count(), 2);
}

#[test]
fn within_a_folder_the_better_score_is_tried_first() {
    let folder = Folder::new();
    folder.add("good", "good");
    let library = file_name("toy_good");
    folder.describe("a-broken", &manifest("good", "libnone.so"));
    folder.describe("z-better", &manifest("good", &library).replace("\"score\": 10", "\"score\": 11"));
    let registry = folder.search();
    let chosen = registry.reports().iter().find(|r| matches!(r.outcome, Outcome::Chosen { .. })).unwrap();
    assert!(chosen.path.as_ref().unwrap().ends_with("tern-z-better.json"), "{chosen:?}");
    assert_eq!(registry.reports().len(), 3);
}
