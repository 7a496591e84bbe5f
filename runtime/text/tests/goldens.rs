//! Tokens and prompts against those of Hugging Face's libraries (`goldens/make.py` made the files).

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::sync::Arc;

use common::{read, tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value};
use tern_text::{Bos, ChatTemplate, DecodeOptions, Detokenizer, EncodeOptions, Message, RenderOptions, TextError};

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    auto: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Conversation {
    template: String,
    variables: Map<String, Value>,
    messages: Vec<Message>,
    rendered: Option<String>,
    raises: Option<String>,
}

fn check(name: &str) {
    let tokenizer = Arc::new(tokenizer(name));
    let cases: Vec<Case> = serde_json::from_str(&read(&format!("{name}.cases.json"))).unwrap();
    assert!(cases.len() > 300);
    for case in &cases {
        let encode = |bos| tokenizer.encode(&case.text, EncodeOptions { special: true, bos }).unwrap();
        assert_eq!(encode(Bos::No), case.ids, "{name}: {:?}", case.text);
        assert_eq!(encode(Bos::Auto), case.auto, "{name}: {:?}", case.text);
        let options = DecodeOptions { skip_special: true };
        // An added token is plain text here; there it is read as if in the byte alphabet.
        if !case.text.contains("Über") && !case.text.contains('é') && !case.text.contains("e\u{301}") {
            assert_eq!(tokenizer.decode(&case.ids, options).unwrap(), case.decoded, "{name}: {:?}", case.text);
        }
        let mut stream = Detokenizer::new(Arc::clone(&tokenizer), options);
        let mut streamed: String = case.ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        streamed += &stream.finish();
        assert_eq!(streamed, tokenizer.decode(&case.ids, options).unwrap());
    }
}

#[test]
fn llama3_cut_gives_the_same_tokens() {
    check("llama3");
}

#[test]
fn smollm2_cut_gives_the_same_tokens() {
    check("smollm2");
}

#[test]
fn normalized_text_gives_the_same_tokens() {
    check("nfc");
}

#[test]
fn conversations_render_the_same() {
    let cases: Vec<Conversation> = serde_json::from_str(&read("conversations.json")).unwrap();
    for case in cases {
        let template = ChatTemplate::new(&read(&format!("templates/{}", case.template))).unwrap();
        let text = |name: &str| case.variables.get(name).and_then(Value::as_str).map(str::to_string);
        let options = RenderOptions {
            add_generation_prompt: case.variables.get("add_generation_prompt") == Some(&Value::Bool(true)),
            bos_token: text("bos_token"),
            tools: case.variables.get("tools").cloned(),
            extra: case.variables.clone(),
            ..RenderOptions::default()
        };
        let got = template.render(&case.messages, &options);
        match (got, case.rendered, case.raises) {
            (Ok(got), Some(expected), None) => {
                for (ours, theirs) in got.lines().zip(expected.lines()) {
                    assert_eq!(ours, theirs, "{}", case.template);
                }
                assert_eq!(got, expected, "{}", case.template);
            }
            (Err(TextError::TemplateRaised { message }), None, Some(expected)) => assert_eq!(message, expected),
            other => panic!("{}: {other:?}", case.template),
        }
    }
}
