//! Tokenizer files that do not fit together, or use what is not there, are refused by name.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use common::read;
use serde_json::{Value, json};
use std::borrow::Cow;
use tern_text::{
    Bos, DecodeOptions, EncodeOptions, GgufTokenizer, MAX_TOKEN_BYTES, SpecialIds, TextError, TokenType, Tokenizer,
};

fn spec() -> GgufTokenizer<'static> {
    let texts = |list: &[&'static str]| list.iter().map(|&text| Cow::Borrowed(text)).collect::<Vec<_>>();
    GgufTokenizer {
        model: "gpt2".into(),
        tokens: texts(&["<s>", "</s>", "a", "b", "ab", "Ġ", "<|im_end|>"]),
        token_type: Some(vec![3, 3, 1, 1, 1, 1, 3]),
        merges: Some(texts(&["a b"])),
        pre: Some("gpt-2".into()),
        special: SpecialIds { bos: Some(0), eos: Some(1), ..SpecialIds::default() },
        add_bos: Some(true),
        ..GgufTokenizer::default()
    }
}

fn refused(change: impl FnOnce(&mut GgufTokenizer<'static>)) -> TextError {
    let mut spec = spec();
    change(&mut spec);
    Tokenizer::from_gguf(spec).unwrap_err()
}

fn merges(list: &[&'static str]) -> Option<Vec<Cow<'static, str>>> {
    Some(list.iter().map(|&text| Cow::Borrowed(text)).collect())
}

#[test]
fn a_small_vocabulary_works() {
    let tokenizer = Tokenizer::from_gguf(spec()).unwrap();
    assert_eq!(tokenizer.encode("ab ba", EncodeOptions::default()).unwrap(), [0, 4, 5, 3, 2]);
    assert_eq!(tokenizer.encode("ab", EncodeOptions { bos: Bos::No, special: false }).unwrap(), [4]);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.vocab_size()), (Some(0), Some(1), 7));
    assert_eq!(tokenizer.end_ids(), [1, 6]);
    assert!(tokenizer.adds_bos() && tokenizer.is_control(0) && !tokenizer.is_control(2) && !tokenizer.is_end(0));
    assert_eq!(tokenizer.token_bytes(5).as_deref(), Some(&b" "[..]));
    assert_eq!((tokenizer.token_text(5), tokenizer.token_text(7), tokenizer.id_of("ab")), (Some("Ġ"), None, Some(4)));
    assert!(matches!(
        tokenizer.decode(&[4, 7], DecodeOptions::default()),
        Err(TextError::UnknownId { id: 7, vocab: 7 })
    ));
    assert_eq!(tokenizer.decode(&[0, 4, 1], DecodeOptions { skip_special: true }).unwrap(), "ab");
    // Bytes without a token are left out, as the reference implementations do; never a control token in their place.
    assert_eq!(tokenizer.encode("a?b", EncodeOptions { bos: Bos::No, special: false }).unwrap(), [2, 3]);
}

#[test]
fn parts_that_do_not_fit_are_named() {
    assert!(matches!(refused(|s| s.tokens.clear()), TextError::LengthMismatch { found: 7, expected: 0, .. }));
    assert!(matches!(
        refused(|s| {
            s.token_type.as_mut().unwrap().pop();
        }),
        TextError::LengthMismatch { found: 6, expected: 7, .. }
    ));
    assert!(matches!(refused(|s| s.tokens[3] = "a".into()), TextError::DuplicateToken { first: 2, second: 3, .. }));
    assert!(matches!(refused(|s| s.special.eos = Some(7)), TextError::SpecialId { role: "eos", id: 7, vocab: 7 }));
    assert!(matches!(refused(|s| s.special.pad = Some(u32::MAX)), TextError::SpecialId { role: "padding", .. }));
    assert!(matches!(refused(|s| s.special.bos = None), TextError::NoSpecial { role: "bos", .. }));
    assert!(matches!(refused(|s| s.pre = Some("unheard-of".into())), TextError::UnknownPre { .. }));
    for bad in ["ab", "a  b", " a", "a ", "", "a b c"] {
        assert!(matches!(refused(|s| s.merges = merges(&[bad])), TextError::BadMerge { index: 0, .. }), "{bad:?}");
    }
    assert!(matches!(refused(|s| s.merges = merges(&["a b", "b a"])), TextError::MergeToken { index: 1, .. }));
    assert!(matches!(refused(|s| s.merges = None), TextError::BadField { .. }));
    assert!(matches!(refused(|s| s.token_type.as_mut().unwrap()[2] = 9), TextError::BadField { .. }));
    assert!(matches!(refused(|s| s.token_type.as_mut().unwrap()[2] = 0), TextError::BadField { .. }));
    assert!(matches!(
        refused(|s| s.merges = merges(&["a b", "a b"])),
        TextError::DuplicateMerge { first: 0, second: 1 }
    ));
    let long: &'static str = "x".repeat(MAX_TOKEN_BYTES + 1).leak();
    assert!(matches!(refused(|s| s.tokens[3] = long.into()), TextError::TooLarge { .. }));
    assert!(matches!(
        refused(|s| s.tokens[0] = long[..2000].into()),
        TextError::TooLarge { what: "bytes of an added token", .. }
    ));
    assert_eq!(TokenType::from_gguf(0), None);
    assert_eq!(TokenType::from_gguf(7), None);
}

#[test]
fn merges_do_not_make_control_tokens() {
    let mut bad = spec();
    bad.token_type.as_mut().unwrap()[4] = 3;
    let tokenizer = Tokenizer::from_gguf(bad).unwrap();
    assert_eq!(tokenizer.encode("ab", EncodeOptions { bos: Bos::No, special: false }).unwrap(), [2, 3]);
}

#[test]
fn files_without_types_know_their_special_tokens() {
    let mut bare = spec();
    bare.token_type = None;
    let tokenizer = Tokenizer::from_gguf(bare).unwrap();
    assert!(tokenizer.is_control(0) && tokenizer.is_control(1) && tokenizer.is_end(6) && !tokenizer.is_control(4));
}

fn changed(path: &str, value: Value) -> Result<Tokenizer, TextError> {
    let mut json: Value = serde_json::from_str(&read("smollm2.tokenizer.json")).unwrap();
    *json.pointer_mut(path).unwrap() = value;
    Tokenizer::from_hf(&json.to_string(), None)
}

#[test]
fn what_is_not_supported_is_named() {
    let refused = |path: &str, value: Value| match changed(path, value.clone()) {
        Err(TextError::Unsupported { .. }) => {}
        other => panic!("{path} {value}: {other:?}"),
    };
    refused("/model/type", json!("Unheard"));
    refused("/model/dropout", json!(0.1));
    refused("/model/continuing_subword_prefix", json!("##"));
    refused("/model/end_of_word_suffix", json!("</w>"));
    refused("/normalizer", json!({"type": "Unheard"}));
    refused("/normalizer", json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Unheard"}]}));
    refused("/decoder", json!({"type": "Unheard"}));
    refused("/pre_tokenizer/pretokenizers/0", json!({"type": "Unheard"}));
    refused("/pre_tokenizer/pretokenizers/0", json!({"type": "FixedLength", "length": 0}));
    refused(
        "/pre_tokenizer/pretokenizers/0",
        json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Scattered"}),
    );
    refused("/post_processor", json!({"type": "Unheard"}));
    // A hundred million tokens out of a file of a megabyte.
    let many = json!({
        "type": "TemplateProcessing",
        "single": vec![json!({"SpecialToken": {"id": "q"}}); 2000],
        "special_tokens": {"q": {"id": "q", "ids": vec![0; 1000], "tokens": ["q"]}},
    });
    assert!(matches!(
        changed("/post_processor", many),
        Err(TextError::TooLarge { limit: tern_text::MAX_TOKENS_AROUND, .. })
    ));
    let behind = |step: Value| json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, step]});
    refused("/decoder", behind(json!({"type": "ByteLevel"})));
    refused("/decoder", behind(json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""})));
    refused("/decoder", behind(json!({"type": "Replace", "pattern": {"String": ""}, "content": "a"})));
    assert!(matches!(
        changed(
            "/pre_tokenizer/pretokenizers/0",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})
        ),
        Err(TextError::Regex { .. })
    ));
    assert!(matches!(
        changed("/model/vocab", json!({"a": 0, "b": 2})),
        Err(TextError::LengthMismatch { .. } | TextError::BadField { .. })
    ));
    assert!(matches!(changed("/model/vocab", json!({"a": 4_294_967_295u32})), Err(TextError::TooLarge { .. })));
    assert!(matches!(changed("/model/merges", json!([["a", "b", "c"]])), Err(TextError::Json { .. })));
    assert!(matches!(changed("/model/merges", json!([3])), Err(TextError::Json { .. })));
    assert!(matches!(
        changed("/added_tokens/0/id", json!(7)),
        Err(TextError::BadField { .. } | TextError::DuplicateToken { .. })
    ));
    assert!(matches!(Tokenizer::from_hf("{", None), Err(TextError::Json { .. })));
    assert!(matches!(Tokenizer::from_hf(&"[".repeat(100_000), None), Err(TextError::Json { .. })));
    let config = |text: &str| Tokenizer::from_hf(&read("smollm2.tokenizer.json"), Some(text));
    assert!(matches!(config(r#"{"eos_token": "nope"}"#), Err(TextError::SpecialText { role: "eos", .. })));
    assert!(matches!(config(r#"{"eos_token": 3}"#), Err(TextError::BadField { .. })));
}

#[test]
fn both_forms_of_merges_and_the_config_are_read() {
    let mut json: Value = serde_json::from_str(&read("smollm2.tokenizer.json")).unwrap();
    let joined: Vec<Value> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| json!(format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap())))
        .collect();
    json["model"]["merges"] = json!(joined);
    let config = r#"{"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>", "add_bos_token": true, "add_eos_token": true}"#;
    let tokenizer = Tokenizer::from_hf(&json.to_string(), Some(config)).unwrap();
    let other = common::tokenizer("smollm2");
    let text = "The same, in 2 forms.";
    let plain = other.encode(text, EncodeOptions::default()).unwrap();
    let framed = tokenizer.encode(text, EncodeOptions::default()).unwrap();
    assert_eq!(framed, [&[1], plain.as_slice(), &[2]].concat());
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.is_end(0)), (Some(1), Some(2), true));
    assert!(matches!(
        other.encode("", EncodeOptions { bos: Bos::Yes, special: false }),
        Err(TextError::NoSpecial { role: "bos", .. })
    ));
}

#[test]
fn mutilated_files_do_not_panic() {
    let source = read("smollm2.tokenizer.json");
    let mut random = common::Random(9);
    for _ in 0..400 {
        let mut bytes = source.clone().into_bytes();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = b"\"{}[],:0019aX\\"[random.below(14)];
        }
        if let Ok(tokenizer) = Tokenizer::from_hf(&String::from_utf8_lossy(&bytes), None) {
            let _ = tokenizer.encode("any text", EncodeOptions::default());
        }
    }
}
