//! Tokenizers out of `vocab.json` and `merges.txt`: the same tokens as the `tokenizer.json` that says what their class means.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::borrow::Cow;

use common::read;
use serde_json::{Value, json};
use tern_text::{Bos, DecodeOptions, EncodeOptions, TextError, Tokenizer, TokenizerSpec, VocabFiles};

const TEXTS: [&str; 5] = [
    "Hello world, it's 12345 o'clock",
    " The quick  brown fox\n\n\tx = 1",
    "Съешь же ещё этих булок",
    "<|im_start|>user naïve cafe\u{301} 敏捷的 👍🏽<|im_end|><think>",
    "",
];

/// The files of the test model's small copy.
struct Files {
    json: Value,
    vocab: String,
    merges: String,
}

impl Files {
    fn read() -> Self {
        let json: Value = serde_json::from_str(&read("smollm2.tokenizer.json")).unwrap();
        let vocab = json["model"]["vocab"].to_string();
        let lines = json["model"]["merges"].as_array().unwrap().iter().map(|m| match m {
            Value::String(text) => text.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        });
        let merges = format!("#version: 0.2\n{}\n", lines.collect::<Vec<_>>().join("\n"));
        Self { json, vocab, merges }
    }

    fn with(&self, config: Value) -> VocabFiles<'_> {
        let config = Some(Cow::Owned(config.to_string()));
        VocabFiles { vocab: &self.vocab, merges: &self.merges, config, ..VocabFiles::default() }
    }

    /// Compares with the `tokenizer.json` of these steps.
    fn same(&self, files: &VocabFiles<'_>, normalizer: Value, steps: Value) {
        let mut json = self.json.clone();
        (json["normalizer"], json["pre_tokenizer"]) = (normalizer, steps);
        let config = files.config.as_deref();
        let expected = Tokenizer::from_hf(&json.to_string(), config).unwrap();
        let found = Tokenizer::from_vocab(files).unwrap();
        assert_eq!(found.vocab_size(), expected.vocab_size());
        for text in TEXTS {
            for special in [false, true] {
                let options = EncodeOptions { special, bos: Bos::Auto };
                let ids = found.encode(text, options).unwrap();
                assert_eq!(ids, expected.encode(text, options).unwrap(), "{text:?}");
                let all = DecodeOptions::default();
                assert_eq!(found.decode(&ids, all).unwrap(), expected.decode(&ids, all).unwrap());
            }
        }
    }
}

fn bytes(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex})
}

#[test]
fn a_class_says_how_text_is_cut() {
    let files = Files::read();
    // The special tokens of the vocabulary that the configuration names.
    let special = json!(["<|im_start|>", "<|im_end|>"]);
    let config = |class: &str, more: &[(&str, Value)]| {
        let mut config = json!({"tokenizer_class": class, "additional_special_tokens": special});
        more.iter().for_each(|(key, value)| config[*key] = value.clone());
        config
    };
    for class in ["GPT2Tokenizer", "GPT2TokenizerFast", "CodeGenTokenizer"] {
        files.same(&files.with(config(class, &[])), Value::Null, bytes(false, true));
    }
    let flags =
        [("add_prefix_space", json!(true)), ("add_bos_token", json!(true)), ("bos_token", json!("<|im_start|>"))];
    files.same(&files.with(config("GPT2Tokenizer", &flags)), Value::Null, bytes(true, true));
    let regex = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let steps = json!({"type": "Sequence", "pretokenizers": [split, bytes(false, false)]});
    files.same(&files.with(config("Qwen2Tokenizer", &[])), json!({"type": "NFC"}), steps.clone());
    // What config.json says counts where the tokenizer's own file does not.
    let model = |text: &'static str| VocabFiles {
        model: Some(text.into()),
        ..files.with(json!({"additional_special_tokens": special}))
    };
    files.same(&model(r#"{"model_type": "qwen2"}"#), json!({"type": "NFC"}), steps.clone());
    files.same(&model(r#"{"model_type": "x", "tokenizer_class": "GPT2Tokenizer"}"#), Value::Null, bytes(false, true));
}

#[test]
fn tokens_beyond_the_vocabulary_come_from_either_list() {
    let files = Files::read();
    let size = files.json["model"]["vocab"].as_object().unwrap().len() as u32;
    let listed = json!({
        "tokenizer_class": "GPT2Tokenizer",
        "added_tokens_decoder": {
            "0": {"content": "<|endoftext|>", "special": true},
            (size.to_string()): {"content": "<think>", "special": false, "rstrip": true},
        },
    });
    let think = |files: &VocabFiles<'_>, text: &str| {
        let tokenizer = Tokenizer::from_vocab(files).unwrap();
        let ids = tokenizer.encode(text, EncodeOptions { special: false, bos: Bos::No }).unwrap();
        (ids[0], ids.len())
    };
    // The flag makes it swallow the spaces behind it.
    assert_eq!(think(&files.with(listed), "<think>   "), (size, 1));
    let plain = files.with(json!({"tokenizer_class": "GPT2Tokenizer"}));
    let ids = format!("{{\"<think>\": {size}}}");
    let with = VocabFiles { added_tokens: Some(ids.into()), ..plain.clone() };
    assert_eq!(think(&with, "<think>"), (size, 1));
    assert!(think(&plain, "<think>").1 > 1);
    // A special token is none for plain text.
    let map = Some(r#"{"additional_special_tokens": [{"content": "<think>"}], "eos_token": "<|im_end|>"}"#.into());
    let special = VocabFiles { special_tokens_map: map, ..with };
    assert!(think(&special, "<think>").1 > 1);
    let spec = TokenizerSpec::from_vocab(&special).unwrap();
    assert_eq!((spec.special.eos, spec.special.bos), (Some(2), Some(0)));
}

#[test]
fn other_classes_and_broken_files_are_refused_by_name() {
    let files = Files::read();
    let gpt2 = files.with(json!({"tokenizer_class": "GPT2Tokenizer"}));
    let refused = |files: &VocabFiles<'_>| Tokenizer::from_vocab(files).unwrap_err();
    let class = |config| match refused(&files.with(config)) {
        TextError::Unsupported { found, .. } => found,
        other => panic!("{other}"),
    };
    assert_eq!(class(json!({"tokenizer_class": "CLIPTokenizer"})), "CLIPTokenizer");
    assert_eq!(class(json!({})), "nothing");
    let model = VocabFiles { model: Some(r#"{"model_type": "whisper"}"#.into()), ..files.with(json!({})) };
    assert!(matches!(refused(&model), TextError::Unsupported { found, .. } if found == "whisper"));
    let vocab = |vocab| refused(&VocabFiles { vocab, ..gpt2.clone() });
    assert!(matches!(vocab("{"), TextError::Json { file: "vocab.json", .. }));
    assert!(matches!(vocab("[[\"a\", 0.5]]"), TextError::BadField { .. }));
    assert!(matches!(vocab(r#"{"a": 4000000000}"#), TextError::SpecialText { .. } | TextError::TooLarge { .. }));
    assert!(matches!(vocab("{\"<|endoftext|>\": 0, \"a\": 0}"), TextError::BadField { .. }));
    let merges = |merges| refused(&VocabFiles { merges, ..gpt2.clone() });
    assert!(matches!(merges("#version: 0.2\nno-such-token x\n"), TextError::MergeToken { index: 0, .. }));
    let config = |config| refused(&files.with(config));
    for bad in [json!([]), json!({"a": {"content": "x"}}), json!({"1": "x"})] {
        let found = config(json!({"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": bad}));
        assert!(matches!(found, TextError::BadField { .. }), "{found}");
    }
    let named = config(json!({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<none>"}));
    assert!(matches!(named, TextError::SpecialText { role: "bos", .. }), "{named}");
    let ids = VocabFiles { added_tokens: Some(r#"{"<x>": -1}"#.into()), ..gpt2 };
    assert!(matches!(refused(&ids), TextError::BadField { .. }));
}
