//! Tokenizers as GGUF metadata: what is written reads back to the same tokens, what cannot be written is refused by name.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::borrow::Cow;

use common::read;
use serde_json::{Value, json};
use tern_text::{Bos, EncodeOptions, GgufTokenizer, SpecialIds, TextError, Tokenizer, TokenizerSpec};

const TEXTS: [&str; 8] = [
    "Hello world",
    " The quick  brown fox can't jump, 12345 times!\n\n\tx = 1",
    "Съешь же ещё этих булок",
    "naïve café 敏捷的 👍🏽",
    "<s>a</s> b<think>c",
    "",
    "   ",
    "a\u{301}\u{1f468}\u{200d}\u{1f469}",
];

fn config(json: &str) -> Option<&'static str> {
    json.contains("\"<s>\"").then_some(r#"{"bos_token": "<s>", "eos_token": "</s>"}"#)
}

/// Written as keys and read again, a tokenizer gives the same tokens.
fn round_trip(name: &str, json: &str, model: &str, pre: Option<&str>) {
    let spec = TokenizerSpec::from_hf(json, config(json)).unwrap();
    let keys = spec.to_gguf().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!((&*keys.model, keys.pre.as_deref()), (model, pre), "{name}");
    let (ours, theirs) = (Tokenizer::new(spec.clone()).unwrap(), Tokenizer::from_gguf(keys).unwrap());
    assert_eq!((ours.bos(), ours.eos(), ours.vocab_size()), (theirs.bos(), theirs.eos(), theirs.vocab_size()));
    for text in TEXTS {
        for bos in [Bos::Auto, Bos::No] {
            let options = EncodeOptions { special: true, bos };
            let (a, b) = (ours.encode(text, options).unwrap(), theirs.encode(text, options).unwrap());
            assert_eq!(a, b, "{name}: {text:?}");
            let all = tern_text::DecodeOptions::default();
            assert_eq!(ours.decode(&a, all).unwrap(), theirs.decode(&b, all).unwrap(), "{name}: {text:?}");
        }
    }
}

/// A golden of `kinds/` without the added tokens whose flags GGUF has no keys for.
fn kind(name: &str) -> Value {
    let golden: Value = serde_json::from_str(&read(&format!("kinds/{name}.json"))).unwrap();
    let mut file = golden["file"].clone();
    let plain = |token: &Value| !["single_word", "lstrip", "rstrip"].iter().any(|flag| token[*flag] == true);
    for token in file["added_tokens"].as_array_mut().unwrap() {
        if !plain(token) {
            for flag in ["single_word", "lstrip", "rstrip"] {
                token[flag] = json!(false);
            }
        }
        token["normalized"] = json!(false);
    }
    file
}

#[test]
fn byte_level_bpe_has_a_name_for_its_expressions() {
    round_trip("smollm2", &read("smollm2.tokenizer.json"), "gpt2", Some("smollm"));
    let mut llama: Value = serde_json::from_str(&read("llama3.tokenizer.json")).unwrap();
    for token in llama["added_tokens"].as_array_mut().unwrap() {
        token["lstrip"] = json!(false);
        token["single_word"] = json!(false);
        token["normalized"] = json!(false);
    }
    let text = llama.to_string();
    let config = r#"{"bos_token": "<|begin_of_text|>"}"#;
    let spec = TokenizerSpec::from_hf(&text, Some(config)).unwrap();
    let keys = spec.to_gguf().unwrap();
    assert_eq!((keys.pre.as_deref(), keys.add_bos, keys.special.bos), (Some("llama-bpe"), Some(true), Some(0)));
    // Without a declared BOS, the token before every text has no key.
    let spec = TokenizerSpec::from_hf(&text, None).unwrap();
    assert!(matches!(spec.to_gguf(), Err(TextError::NotInGguf { part: "tokens around a text", .. })));
}

#[test]
fn other_kinds_are_written_too() {
    round_trip("bpe-fallback-prepend", &kind("bpe-fallback-prepend").to_string(), "llama", Some("default"));
    round_trip("bpe-gemma", &kind("bpe-gemma").to_string(), "llama", Some("default"));
    round_trip("wordpiece-uncased", &kind("wordpiece-uncased").to_string(), "bert", None);
}

/// GGUF tidies up spaces only; a table of replacements makes spaces of the other blanks.
#[test]
fn words_between_blanks_of_any_kind() {
    let mut file = kind("unigram-t5");
    file["normalizer"] = Value::Null;
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    ]});
    let json = file.to_string();
    round_trip("unigram between blanks", &json, "t5", Some("default"));
    let spec = TokenizerSpec::from_hf(&json, config(&json)).unwrap();
    let (ours, theirs) =
        (Tokenizer::new(spec.clone()).unwrap(), Tokenizer::from_gguf(spec.to_gguf().unwrap()).unwrap());
    // Every character that is blank, beside its neighbours in Unicode, which are not.
    let blank = |c: &char| c.is_whitespace();
    let near = |c: char| (c as u32).saturating_sub(1)..=c as u32 + 1;
    for c in ('\0'..=char::MAX).filter(blank).flat_map(near).filter_map(char::from_u32) {
        let text = format!("{c}the{c}{c}tide {c} table{c}");
        assert_eq!(
            ours.encode(&text, EncodeOptions::default()),
            theirs.encode(&text, EncodeOptions::default()),
            "{text:?}"
        );
    }
}

/// A user-defined `▁` in a GGUF file is the character, and stays it.
#[test]
fn user_defined_tokens_are_spelled_as_texts_have_them() {
    let mut keys = scored();
    keys.tokens.push("▁▁".into());
    keys.scores.as_mut().unwrap().push(0.0);
    keys.token_type.as_mut().unwrap().push(4);
    let spec = TokenizerSpec::from_gguf(keys.clone()).unwrap();
    let again = spec.to_gguf().unwrap();
    assert_eq!(again.tokens, keys.tokens);
    let (first, second) = (Tokenizer::new(spec.clone()).unwrap(), Tokenizer::from_gguf(again).unwrap());
    for text in ["a▁▁b", "a  b"] {
        let ids = first.encode(text, EncodeOptions::default()).unwrap();
        assert_eq!(ids, second.encode(text, EncodeOptions::default()).unwrap());
    }
}

#[test]
fn an_expression_without_a_name_is_refused() {
    let change = |path: &str, value: Value| {
        let mut json: Value = serde_json::from_str(&read("smollm2.tokenizer.json")).unwrap();
        *json.pointer_mut(path).unwrap() = value;
        let text = json.to_string();
        TokenizerSpec::from_hf(&text, None).unwrap().to_gguf().map(|keys| keys.pre.map(Cow::into_owned)).unwrap_err()
    };
    let split = json!({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": false});
    let refused = change("/pre_tokenizer/pretokenizers/0", split);
    assert!(refused.to_string().contains("[a-z]+"), "{refused}");
    let runs = json!({"type": "Digits", "individual_digits": false});
    assert!(matches!(change("/pre_tokenizer/pretokenizers/0", runs), TextError::NotInGguf { .. }));
    assert!(matches!(change("/normalizer", json!({"type": "NFKC"})), TextError::NotInGguf { part: "normalizer", .. }));
    assert!(matches!(change("/added_tokens/0/lstrip", json!(true)), TextError::NotInGguf { part: "added token", .. }));
    // Composition changes the name, not the tokens: there is no name for these digits with it.
    assert!(matches!(change("/model/ignore_merges", json!(true)), TextError::NotInGguf { .. }));
}

fn scored() -> GgufTokenizer<'static> {
    let mut tokens: Vec<Cow<'static, str>> = ["<unk>", "<s>", "</s>"].map(Cow::Borrowed).to_vec();
    tokens.extend((0..256).map(|byte| Cow::Owned(format!("<0x{byte:02X}>"))));
    tokens.extend(["▁", "a", "b", "ab", "▁a"].map(Cow::Borrowed));
    let mut types = vec![2, 3, 3];
    types.extend([6; 256]);
    types.extend([1; 5]);
    let mut scores = vec![0.0; 259];
    scores.extend([-3.0, -4.0, -5.0, -1.0, -2.0]);
    GgufTokenizer {
        model: "llama".into(),
        tokens,
        token_type: Some(types),
        scores: Some(scores),
        ..GgufTokenizer::default()
    }
}

#[test]
fn scores_decide_merges() {
    let tokenizer = Tokenizer::from_gguf(scored()).unwrap();
    let encode = |text| tokenizer.encode(text, EncodeOptions::default()).unwrap();
    // "ab" outranks "▁a"; BOS and the space in front are defaults of this kind.
    assert_eq!(encode("ab"), [1, 259, 262]);
    assert_eq!(encode("aa"), [1, 263, 260]);
    assert_eq!(encode("é"), [1, 259, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(encode(""), [1]);
    assert_eq!(tokenizer.decode(&encode("a é"), tern_text::DecodeOptions { skip_special: true }).unwrap(), "a é");
    let mut bare = scored();
    (bare.add_space_prefix, bare.add_bos, bare.token_type) = (Some(false), Some(false), None);
    let tokenizer = Tokenizer::from_gguf(bare).unwrap();
    assert_eq!(tokenizer.encode("abé", EncodeOptions::default()).unwrap(), [262, 3 + 0xc3, 3 + 0xa9]);
}

#[test]
fn bad_keys_are_named() {
    let refused = |change: &dyn Fn(&mut GgufTokenizer<'static>)| {
        let mut keys = scored();
        change(&mut keys);
        Tokenizer::from_gguf(keys).unwrap_err()
    };
    assert!(matches!(refused(&|k| k.model = "rwkv".into()), TextError::Unsupported { .. }));
    assert!(matches!(refused(&|k| k.model = "".into()), TextError::Unsupported { .. }));
    assert!(matches!(refused(&|k| k.scores = None), TextError::BadField { .. }));
    for model in ["llama", "t5"] {
        let with = |change: &dyn Fn(&mut Vec<f32>)| {
            refused(&|k| {
                k.model = model.into();
                change(k.scores.as_mut().unwrap());
            })
        };
        assert!(matches!(with(&|s| s.truncate(5)), TextError::LengthMismatch { what: "scores", found: 5, .. }));
        assert!(matches!(with(&|s| s.push(0.0)), TextError::LengthMismatch { what: "scores", .. }));
        assert!(matches!(with(&|s| s[7] = f32::NAN), TextError::BadScore { id: 7, .. }));
        assert!(matches!(with(&|s| s[8] = f32::INFINITY), TextError::BadScore { id: 8, .. }));
    }
    let special = |special| refused(&|k| k.special = special);
    assert!(matches!(
        special(SpecialIds { unk: Some(900), ..SpecialIds::default() }),
        TextError::SpecialId { role: "unknown", id: 900, .. }
    ));
    assert!(matches!(
        special(SpecialIds { mask: Some(264), ..SpecialIds::default() }),
        TextError::SpecialId { role: "mask", .. }
    ));
    let charsmap = |bytes: Vec<u8>| refused(&|k| k.precompiled_charsmap = Some(Cow::Owned(bytes.clone())));
    assert!(matches!(charsmap(vec![1, 2]), TextError::BadCharsmap { found: 2, expected: 4, .. }));
    assert!(matches!(charsmap(vec![0; 4]), TextError::BadCharsmap { .. }));
    assert!(matches!(charsmap(vec![3, 0, 0, 0, 1, 2, 3]), TextError::BadCharsmap { found: 3, .. }));
    assert!(matches!(charsmap(vec![8, 0, 0, 0, 1, 2, 3, 4]), TextError::BadCharsmap { found: 8, expected: 4, .. }));
    assert!(matches!(charsmap(vec![4, 0, 0, 0, 1, 2, 3, 4, 0xff]), TextError::BadCharsmap { .. }));
    assert!(matches!(charsmap(vec![4, 0, 0, 0, 1, 2, 3, 4, b'a']), TextError::BadCharsmap { .. }));
    let long = [vec![4, 0, 0, 0, 1, 2, 3, 4], vec![b'a'; 300], vec![0]].concat();
    assert!(matches!(charsmap(long), TextError::TooLarge { found: 300, .. }));
    let long = "a".repeat(2000);
    for model in ["t5", "bert"] {
        assert!(matches!(
            refused(&|k| {
                k.model = model.into();
                k.tokens[262] = Cow::Owned(long.clone());
            }),
            TextError::TooLarge { limit: tern_text::MAX_TRIE_TOKEN_BYTES, .. }
        ));
    }
}

/// Unusable replacements must not lead out of their table, whatever bytes the trie has.
#[test]
fn any_table_of_replacements_is_safe() {
    let mut random = common::Random(5);
    for round in 0..3000 {
        let units = 1 + random.below(300);
        let mut table = ((units * 4) as u32).to_le_bytes().to_vec();
        for _ in 0..units {
            // Small offsets and labels, so that many searches get far.
            let unit = (random.below(256) | random.below(512) << 10 | random.below(4) << 8) as u32;
            table.extend((if round % 7 == 0 { unit << 9 } else { unit }).to_le_bytes());
        }
        table.extend(b"x\0yy\0");
        let mut keys = scored();
        (keys.precompiled_charsmap, keys.model) = (Some(table.into()), "t5".into());
        let tokenizer = Tokenizer::from_gguf(keys).unwrap();
        tokenizer.encode("aab \u{7f}\u{e9}\u{1f468}zz\0b", EncodeOptions::default()).unwrap();
    }
}
