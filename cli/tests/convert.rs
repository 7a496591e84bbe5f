//! Converting, quantizing and importance matrices, as a user does them.
#![cfg(feature = "cpu")]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{run, text, tiny};
use std::fs;

#[test]
fn from_a_folder_to_a_small_file_and_back_to_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (full, small, matrix, words) = (path("full.gguf"), path("small.gguf"), path("m.gguf"), path("words.txt"));
    fs::write(&words, "One fish, two fish, red fish, blue fish. ".repeat(40)).unwrap();
    let made = run(&["convert", text(&tiny()), text(&full), "--json"]).json();
    assert_eq!(made["bytes"], made["input_bytes"]);
    let collected = ["imatrix", text(&full), "--text", text(&words), "-o", text(&matrix), "--context", "64", "--json"];
    let found = run(&collected).json();
    assert!(found["entries"] == 14 && found["chunks"].as_u64().unwrap() > 1, "{found}");
    let quantize = |more: &[&str]| {
        run(&[&["quantize", text(&full), text(&small), "--type", "Q4_K_M", "--imatrix", text(&matrix), "--json"], more]
            .concat())
    };
    let planned = quantize(&["--dry-run"]);
    assert!(planned.stderr.contains("instead of Q4_K"), "{}", planned.stderr);
    assert!(!small.exists());
    let written = quantize(&["--keep", "attn_q=F16"]).json();
    assert!(written["bytes"].as_u64() < made["bytes"].as_u64());
    let tensors = written["tensors"].as_array().unwrap();
    assert!(tensors.iter().any(|t| t["name"] == "blk.1.attn_q.weight" && t["to"] == "F16"));
    assert!(tensors.iter().any(|t| t["weighted"] == true));
    let score = run(&["score", text(&small), "--file", text(&words), "--ctx", "128", "--json"]).json();
    assert!(score["perplexity"].as_f64().unwrap().is_finite());
    // Once more into the same place.
    quantize(&[]).failed(2, &["small.gguf", "--force"]);
    run(&collected).failed(2, &["m.gguf", "--resume"]);
    run(&["quantize", text(&small), text(&path("x.gguf")), "--type", "Q2_K"]).failed(2, &["--allow-requantize"]);
    run(&["quantize", text(&full), text(&full), "--type", "Q8_0", "--force"]).failed(2, &["input"]);
    assert!(!path("x.gguf").exists());
}

#[test]
fn what_goes_wrong() {
    run(&["quantize", "m.gguf", "o.gguf", "--type", "Q9"]).failed(2, &["Q9", "Q4_K_M"]);
    run(&["quantize", "m.gguf", "--type", "Q8_0"]).failed(2, &["OUT"]);
    run(&["quantize", "/no/such.gguf", "o.gguf", "--type", "Q8_0"]).failed(3, &["/no/such.gguf"]);
    run(&["quantize", "m.gguf", "o.gguf", "--type", "Q8_0", "--keep", "x=Q9"]).failed(2, &["Q9"]);
    let folder = tempfile::tempdir().unwrap();
    let (words, matrix) = (folder.path().join("words.txt"), folder.path().join("m.gguf"));
    fs::write(&words, "too short").unwrap();
    run(&["imatrix", text(&tiny()), "--text", text(&words), "-o", text(&matrix)]).failed(3, &["words.txt", "512"]);
    run(&["convert", text(folder.path()), text(&matrix)]).failed(3, &["config.json"]);
    run(&["convert", text(&words), text(&matrix)]).failed(3, &["words.txt", "GGUF"]);
    run(&["quantize", text(&tiny()), text(&matrix), "--type", "Q8_0", "--imatrix", text(&words)])
        .failed(3, &["words.txt"]);
}
