//! A very small vocabulary of every kind against Hugging Face's tokenizers and sentencepiece (`goldens/kinds.py` made the files).

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::sync::Arc;

use common::read;
use serde::Deserialize;
use serde_json::Value;
use tern_text::{Bos, DecodeOptions, Detokenizer, EncodeOptions, TextError, Tokenizer, TokenizerSpec};

#[derive(Deserialize)]
struct Golden {
    kind: String,
    file: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    around: Vec<u32>,
    plain: Vec<u32>,
    /// Absent where the other side writes something of its own for unknown characters.
    decoded: Option<String>,
}

fn check(name: &str) {
    let golden: Golden = serde_json::from_str(&read(&format!("kinds/{name}.json"))).unwrap();
    let tokenizer = match golden.kind.as_str() {
        "hf" => Tokenizer::from_hf(&golden.file.to_string(), None).unwrap(),
        _ => Tokenizer::from_sentencepiece(&common::base64(golden.file.as_str().unwrap()), None).unwrap(),
    };
    let tokenizer = Arc::new(tokenizer);
    assert!(golden.cases.len() > 25);
    for case in &golden.cases {
        let encode = |bos| tokenizer.encode(&case.text, EncodeOptions { special: true, bos }).unwrap();
        assert_eq!(encode(Bos::No), case.plain, "{name}: {:?}", case.text);
        assert_eq!(encode(Bos::Auto), case.around, "{name}: {:?}", case.text);
        let options = DecodeOptions { skip_special: true };
        let decoded = tokenizer.decode(&case.plain, options).unwrap();
        assert_eq!(case.decoded.as_ref().unwrap_or(&decoded), &decoded, "{name}: {:?}", case.text);
        let mut stream = Detokenizer::new(Arc::clone(&tokenizer), options);
        let mut streamed: String = case.plain.iter().map(|&id| stream.push(id).unwrap()).collect();
        streamed += &stream.finish();
        assert_eq!(streamed, decoded, "{name}: {:?}", case.text);
    }
}

#[test]
fn bpe_over_characters() {
    check("bpe-fallback-prepend");
    check("bpe-gemma");
    check("bpe-fuse-unk");
    check("bpe-word-end");
    check("bpe-inside-prefix");
}

#[test]
fn bpe_with_scores() {
    check("spm-bpe-bytes");
    check("spm-bpe-no-prefix");
}

#[test]
fn unigram() {
    check("unigram-t5");
    check("unigram-never");
    check("unigram-plain");
    check("spm-unigram");
}

#[test]
fn scripts_chunks_and_decoders_of_the_whole_text() {
    check("bpe-chunks");
    check("bpe-scripts");
    check("bpe-whole-decoders");
    check("unigram-scripts");
}

#[test]
fn word_level() {
    check("wordlevel");
    check("wordlevel-ctc");
    check("wordlevel-ctc-metaspace");
}

#[test]
fn user_defined_tokens_beside_equal_scores() {
    check("spm-unigram-symbols");
    check("spm-unigram-lines");
}

/// For readers that have Hugging Face's library alone.
#[test]
fn sentencepiece_is_written_as_tokenizer_json() {
    let golden = |name: &str| serde_json::from_str::<Golden>(&read(&format!("kinds/{name}.json"))).unwrap();
    let written = |golden: &Golden| {
        let model = common::base64(golden.file.as_str().unwrap());
        TokenizerSpec::from_sentencepiece(&model, None).unwrap().to_hf()
    };
    let plain = golden("spm-bpe-no-prefix");
    let tokenizer = Tokenizer::from_hf(&written(&plain).unwrap(), None).unwrap();
    for case in &plain.cases {
        let ids = tokenizer.encode(&case.text, EncodeOptions { special: false, bos: Bos::No }).unwrap();
        assert_eq!(ids, case.plain, "{:?}", case.text);
    }
    // A token with a space in it would be searched for before spaces are spelled.
    let refused = written(&golden("spm-bpe-bytes"));
    assert!(matches!(refused, Err(TextError::NotInJson { part: "added token", .. })), "{refused:?}");
}

#[test]
fn word_piece() {
    check("wordpiece-uncased");
    check("wordpiece-cased");
    check("wordpiece-inverted");
}
