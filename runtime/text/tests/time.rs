//! A megabyte of one character takes a tokenizer of any kind about as long as a megabyte of words: no step is quadratic.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use common::read;
use serde_json::Value;
use tern_text::{EncodeOptions, GgufTokenizer, PRE_TOKENIZER_NAMES, Tokenizer};

/// Generous for a loaded machine and a build without optimization. A quadratic step takes hours for a megabyte, and minutes
/// for the quarter of one that tells it as well where there are many cases.
const LIMIT: Duration = Duration::from_secs(60);

fn timed(name: &str, tokenizer: &Tokenizer, part: &str, size: usize) {
    let text = part.repeat(size / part.len());
    let start = Instant::now();
    let ids = tokenizer.encode(&text, EncodeOptions::default()).unwrap_or_else(|e| panic!("{name}, {part:?}: {e}"));
    assert!(start.elapsed() < LIMIT, "{name}, {part:?}: {:?}, {} tokens", start.elapsed(), ids.len());
}

#[test]
fn every_kind() {
    let mut kinds: Vec<(String, Tokenizer)> = Vec::new();
    let names = "bpe-fallback-prepend bpe-gemma bpe-fuse-unk bpe-word-end bpe-inside-prefix unigram-t5 unigram-never unigram-plain \
                 wordpiece-uncased wordpiece-cased wordpiece-inverted spm-bpe-bytes spm-bpe-no-prefix spm-unigram";
    for name in names.split_whitespace() {
        let golden: Value = serde_json::from_str(&read(&format!("kinds/{name}.json"))).unwrap();
        let tokenizer = match golden["file"].as_str() {
            None => Tokenizer::from_hf(&golden["file"].to_string(), None).unwrap(),
            Some(model) => Tokenizer::from_sentencepiece(&common::base64(model), None).unwrap(),
        };
        kinds.push((name.to_owned(), tokenizer));
    }
    for (name, tokenizer) in &kinds {
        for part in [
            "a",
            " ",
            "1",
            ".",
            "\n",
            "é",
            "\u{301}",
            "é\u{301}\u{323}",
            "漢",
            "\u{1f468}\u{200d}",
            "\u{378}",
            "the ",
            "▁",
        ] {
            timed(name, tokenizer, part, if part == "a" { 1 << 20 } else { 1 << 18 });
        }
    }
}

#[test]
fn every_expression() {
    let bytes = (0..=255u8).map(|b| format!("<0x{b:02X}>"));
    let tokens: Vec<Cow<'_, str>> = bytes.map(Cow::Owned).collect();
    let mut done: Vec<String> = Vec::new();
    for &pre in PRE_TOKENIZER_NAMES {
        let keys = GgufTokenizer {
            model: "gpt2".into(),
            pre: Some(pre.into()),
            token_type: Some(vec![6; 256]),
            tokens: tokens.clone(),
            merges: Some(Vec::new()),
            add_bos: Some(false),
            ..GgufTokenizer::default()
        };
        let tokenizer = Tokenizer::from_gguf(keys).unwrap();
        for part in ["a", "A", " ", "1", ".", "\n", "\u{301}", "漢", "a ", "aB", "' ", " \n", "٣", "\r\n\t"] {
            timed(pre, &tokenizer, part, 1 << 18);
        }
        done.push(pre.to_owned());
    }
    assert_eq!(done, PRE_TOKENIZER_NAMES);
}
