//! Chat templates against Python's Jinja: `goldens/templates/`, each with several conversations (see `make_templates.py`).

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may fail loudly too.

mod common;

use std::collections::BTreeMap;

use common::read;
use serde::Deserialize;
use serde_json::{Map, Value};
use tern_text::{ChatTemplate, Message, RenderOptions, TextError};

#[derive(Deserialize)]
struct Goldens {
    now: i64,
    conversations: BTreeMap<String, Conversation>,
    /// By template and conversation.
    rendered: BTreeMap<String, BTreeMap<String, Expected>>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    variables: Map<String, Value>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Text(String),
    /// With the template's own message, where it has one.
    Raises(Option<String>),
}

#[test]
fn templates_render_as_in_python() {
    let goldens: Goldens = serde_json::from_str(&read("templates.cases.json")).unwrap();
    assert!(goldens.rendered.len() >= 40);
    let mut wrong = Vec::new();
    for (name, cases) in &goldens.rendered {
        let template = ChatTemplate::new(&read(&format!("templates/{name}"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (conversation, expected) in cases {
            let Conversation { messages, variables } = &goldens.conversations[conversation];
            let mut extra = variables.clone();
            let mut text = |name: &str| extra.remove(name).and_then(|v| v.as_str().map(str::to_string));
            let options = RenderOptions {
                bos_token: text("bos_token"),
                eos_token: text("eos_token"),
                add_generation_prompt: extra.remove("add_generation_prompt") == Some(Value::Bool(true)),
                tools: extra.remove("tools"),
                extra,
                now: goldens.now,
            };
            let got = template.render(messages, &options);
            let same = match (&got, expected) {
                (Ok(got), Expected::Text(text)) => got == text,
                (Err(TextError::TemplateRaised { message }), Expected::Raises(Some(expected))) => message == expected,
                (Err(_), Expected::Raises(None)) => true,
                _ => false,
            };
            if !same {
                wrong.push(format!("{name} / {conversation}\n  expected {expected:?}\n  got      {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
