//! Loading tokenizers: from `tokenizer.json` and from the parts that GGUF metadata holds. What loads must encode and decode.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use tern_text::{DecodeOptions, Detokenizer, GgufTokenizer, PRE_TOKENIZER_NAMES, SpecialIds, Tokenizer};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// Tables and automata of the pre-tokenizer's expression, which its size limits bound.
const CONSTANT: usize = 32 << 20;

/// What a byte of the file may turn into: a short merge (`"a b",`) is a pair of strings, then an entry of a sparse table.
const PER_BYTE: usize = 64;

/// The longest text to encode with what loaded.
const TEXT: usize = 64;

/// One case.
pub fn case(data: &[u8]) {
    if let Some(file) = crate::raw(data) {
        let Ok(text) = std::str::from_utf8(file) else { return };
        return load_json(text, None, "It's 12345 o'clock,\n\n  naïve <s>e\u{301}</s>");
    }
    let mut c = Choices::new(data);
    let text = c.text(TEXT);
    if c.once_in(3) {
        return load_parts(&mut c, &text);
    }
    let mut file = tokenizer(&mut c);
    for _ in 0..c.below(3) {
        break_something(&mut c, &mut file);
    }
    let config = json!({
        "bos_token": c.pick(&[json!("<s>"), json!({"content": "<s>"}), json!(null), json!(3)]),
        "eos_token": "</s>",
        "add_bos_token": c.once_in(2),
    });
    load_json(&file.to_string(), Some(&config.to_string()), &text);
}

fn load_json(file: &str, config: Option<&str>, text: &str) {
    let budget = Budget::new(PER_BYTE * file.len() + CONSTANT, file.len());
    if let Ok(tokenizer) = within(budget, "loading a tokenizer", || Tokenizer::from_hf(file, config)) {
        use_it(&Arc::new(tokenizer), text);
    }
}

/// What loaded must work: ids within the vocabulary, and the stream equal to the whole.
pub(crate) fn use_it(tokenizer: &Arc<Tokenizer>, text: &str) {
    for special in [false, true] {
        let options = tern_text::EncodeOptions { special, ..Default::default() };
        let Ok(ids) = tokenizer.encode(text, options) else { continue };
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "an id outside of the vocabulary");
        let whole = tokenizer.decode(&ids, DecodeOptions::default()).expect("our own ids");
        let mut stream = Detokenizer::new(Arc::clone(tokenizer), DecodeOptions::default());
        let mut pieces: String = ids.iter().map(|&id| stream.push(id).expect("our own ids")).collect();
        pieces.push_str(&stream.finish());
        assert_eq!(pieces, whole, "decoded one by one");
    }
}

/// A token's text: single letters, as many as the file needs, then pairs of earlier ones.
fn vocabulary(c: &mut Choices<'_>) -> (Vec<String>, Vec<(String, String)>) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<pad>", "[UNK]"].map(String::from).to_vec();
    tokens.extend("abcdefghijklmnopqrstuvwxyzĠĊÃ©▁'##0123456789.,".chars().map(String::from));
    if c.once_in(2) {
        tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
    }
    let mut merges = Vec::new();
    for _ in 0..c.below(24) {
        let (left, right) = (c.pick(&tokens).clone(), c.pick(&tokens).clone());
        tokens.push(format!("{left}{right}"));
        merges.push((left, right));
    }
    // A token may well come about twice; most files have each once.
    if !c.once_in(8) {
        let mut seen = std::collections::HashSet::new();
        tokens.retain(|t| seen.insert(t.clone()));
    }
    (tokens, merges)
}

fn tokenizer(c: &mut Choices<'_>) -> Value {
    let (tokens, merges) = vocabulary(c);
    let map: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let model = match c.below(5) {
        0 | 1 => json!({
            "type": "BPE", "dropout": null, "unk_token": *c.pick(&[None, Some("<unk>")]), "fuse_unk": c.once_in(2),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": c.once_in(2),
            "ignore_merges": c.once_in(2), "vocab": map,
            "merges": if c.once_in(2) { json!(merges) } else {
                json!(merges.iter().map(|(l, r)| format!("{l} {r}")).collect::<Vec<_>>())
            },
        }),
        2 => json!({
            "type": "Unigram", "unk_id": 0, "byte_fallback": c.once_in(2),
            "vocab": tokens.iter().map(|t| json!([t, -f64::from(c.number::<u8>()) / 8.0])).collect::<Vec<_>>(),
        }),
        3 => json!({
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": c.below(101), "vocab": map,
        }),
        _ => json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": map}),
    };
    let steps: Vec<Value> = (0..c.below(3)).map(|_| pre_tokenizer(c)).collect();
    let normalizers: Vec<Value> = (0..c.below(3)).map(|_| normalizer(c)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..c.below(5)).map(|i| added(c, &tokens, i)).collect::<Vec<_>>(),
        "normalizer": sequence(normalizers, "normalizers"),
        "pre_tokenizer": sequence(steps, "pretokenizers"),
        "post_processor": c.pick(&[
            json!(null),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}),
            json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}),
            json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true, "add_prefix_space": true}),
        ]).clone(),
        "decoder": c.pick(&[
            json!(null),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            json!({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
        ]).clone(),
        "model": model,
    })
}

fn sequence(mut steps: Vec<Value>, name: &str) -> Value {
    match steps.len() {
        0 => Value::Null,
        1 => steps.remove(0),
        _ => json!({ "type": "Sequence", name: steps }),
    }
}

fn pre_tokenizer(c: &mut Choices<'_>) -> Value {
    const EXPRESSIONS: &[&str] = &[
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"\d",
        " ",
        "",
        "(a+)+b",
        r"(?=x)",
        "(",
        "[^\\s]+|\\s+",
        r"\p{Han}+",
        "(?:(?:(?:a?){9}){9}){9}",
        r"(a)\1",
    ];
    match c.below(8) {
        0 | 1 => {
            json!({"type": "ByteLevel", "add_prefix_space": c.once_in(2), "trim_offsets": true, "use_regex": c.once_in(2)})
        }
        2 | 3 => {
            let pattern = if c.once_in(4) { c.text(24) } else { c.word(EXPRESSIONS).to_string() };
            let pattern = if c.once_in(4) { json!({ "String": pattern }) } else { json!({ "Regex": pattern }) };
            let behavior =
                c.word(&["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous", "Odd"]);
            json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": c.once_in(4)})
        }
        4 => json!({"type": "Digits", "individual_digits": c.once_in(2)}),
        5 => {
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": c.word(&["always", "first", "never"]), "split": c.once_in(2)})
        }
        6 => json!({"type": "BertPreTokenizer"}),
        _ => json!({"type": c.word(&["Whitespace", "WhitespaceSplit", "Punctuation"])}),
    }
}

fn normalizer(c: &mut Choices<'_>) -> Value {
    match c.below(8) {
        0 => json!({"type": "Prepend", "prepend": "▁"}),
        1 => json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
        2 => json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}),
        3 => {
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})
        }
        4 => json!({"type": "Strip", "strip_left": true, "strip_right": c.once_in(2)}),
        5 => json!({"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}),
        _ => json!({"type": c.word(&["NFC", "NFKC", "NFD", "NFKD", "Lowercase", "StripAccents"])}),
    }
}

fn added(c: &mut Choices<'_>, tokens: &[String], i: usize) -> Value {
    let (id, content) = if c.once_in(3) {
        (tokens.len() + i, format!("<|{}|>", c.text(5)))
    } else {
        let id = c.below(5);
        (id, tokens[id].clone())
    };
    json!({
        "id": id, "content": content, "single_word": c.once_in(4), "lstrip": c.once_in(4), "rstrip": c.once_in(4),
        "normalized": c.once_in(4), "special": !c.once_in(3),
    })
}

/// Another value in place of one somewhere in the document, a member less, or one twice.
fn break_something(c: &mut Choices<'_>, at: &mut Value) {
    match at {
        Value::Object(map) if !map.is_empty() && !c.once_in(12) => {
            let key = map.keys().nth(c.below(map.len())).cloned().unwrap_or_default();
            if c.once_in(12) {
                map.shift_remove(&key);
            } else if let Some(value) = map.get_mut(&key) {
                break_something(c, value);
            }
        }
        Value::Array(items) if !items.is_empty() && !c.once_in(12) => {
            let i = c.below(items.len());
            match c.below(8) {
                0 => drop(items.remove(i)),
                1 => items.push(items[i].clone()),
                _ => break_something(c, &mut items[i]),
            }
        }
        Value::Number(_) if c.once_in(2) => *at = json!(c.extreme()),
        Value::String(_) if c.once_in(2) => *at = json!(c.text(12)),
        _ => {
            let others =
                [json!(null), json!(true), json!(-1), json!(0.5), json!(""), json!([]), json!({}), json!("a b")];
            *at = c.pick(&others).clone();
        }
    }
}

fn load_parts(c: &mut Choices<'_>, text: &str) {
    let (tokens, merges) = vocabulary(c);
    let mut joined: Vec<String> = merges.iter().map(|(l, r)| format!("{l} {r}")).collect();
    if c.once_in(4) {
        joined.push(c.text(6));
    }
    let id = |c: &mut Choices<'_>| match c.below(4) {
        0 => None,
        1 => Some(c.extreme() as u32),
        _ => Some(c.below(tokens.len()) as u32),
    };
    let special = SpecialIds { bos: id(c), eos: id(c), eot: id(c), pad: id(c), unk: id(c), sep: id(c), mask: id(c) };
    let token_type = match c.below(3) {
        0 => None,
        1 => Some(vec![1; c.below(2 * tokens.len())]),
        _ => Some(tokens.iter().map(|_| 1 + c.below(6) as i32).collect()),
    };
    let size: usize = tokens.iter().chain(&joined).map(|t| t.len() + 8).sum();
    let other = c.text(8);
    let flag = |c: &mut Choices<'_>| c.once_in(2).then(|| c.once_in(2));
    let keys = GgufTokenizer {
        model: Cow::Borrowed(c.word(&["gpt2", "gpt2", "llama", "t5", "bert", "gemma4"])),
        tokens: tokens.iter().map(|t| Cow::Borrowed(t.as_str())).collect(),
        token_type,
        scores: c.once_in(2).then(|| tokens.iter().map(|_| f32::from(c.below(256) as u8) - 200.0).collect()),
        merges: Some(joined.iter().map(|m| Cow::Borrowed(m.as_str())).collect()),
        pre: Some(Cow::Borrowed(if c.once_in(16) { &other } else { c.word(PRE_TOKENIZER_NAMES) })),
        special,
        cls: id(c),
        add_bos: flag(c),
        add_eos: flag(c),
        add_sep: flag(c),
        add_space_prefix: flag(c),
        remove_extra_whitespaces: flag(c),
        precompiled_charsmap: c.once_in(4).then(|| (0..c.below(64)).map(|_| c.below(256) as u8).collect()),
        lowercase: flag(c),
        strip_accents: flag(c),
    };
    let budget = Budget::new(PER_BYTE * size + CONSTANT, size);
    if let Ok(tokenizer) = within(budget, "putting a tokenizer together", || Tokenizer::from_gguf(keys)) {
        use_it(&Arc::new(tokenizer), text);
    }
}
