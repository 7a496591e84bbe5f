//! Chat templates: any source over any conversation ends in text or an error, within its steps and memory, and no byte that a
//! user wrote counts as the template's.

mod write;

use std::time::Duration;

use serde_json::{Value, json};
use tern_text::{ChatTemplate, MAX_RENDERED_BYTES, MAX_TEMPLATE_LIVE_BYTES, Message, RenderOptions};

use crate::bytes::Choices;
use crate::watch::{Budget, within};

/// In every string that a user wrote, and in no template: an operation that hides who wrote a byte shows.
const MARK: char = '\u{e000}';

/// What a byte of a template may turn into: a one-character token (`(`, `~`, `1`), then a node of the tree.
const PARSED_PER_BYTE: usize = 192;

/// One case.
pub fn case(data: &[u8]) {
    let (source, message) = match crate::raw(data) {
        Some(source) => (String::from_utf8_lossy(source).into_owned(), content(&mut Choices::new(&[]), 0)),
        None => {
            let mut c = Choices::new(data);
            let content = content(&mut c, 0);
            (write::template(&mut c), content)
        }
    };
    // Written with an escape the mark would be the template's.
    let source = source.replace([MARK, '\\'], " ");
    check(&source, message);
}

fn check(source: &str, content: Value) {
    let budget = Budget::new(PARSED_PER_BYTE * source.len() + (64 << 10), source.len());
    let Ok(template) = within(budget, "parsing a template", || ChatTemplate::new(source)) else { return };
    let messages = [
        Message::new("system", format!("Be brief.{MARK}")),
        Message::new("user", content).with("name", format!("{MARK}<|n|>")),
        Message::new("assistant", Value::Null)
            .with("tool_calls", json!([{"function": {"name": text(), "arguments": {"a": [1, 2.5, text()]}}}])),
    ];
    let mut options =
        RenderOptions { tools: Some(json!([{"type": "function", "name": text()}])), ..RenderOptions::default() };
    options.bos_token = Some("<s>".into());
    options.extra.insert("x".into(), json!({"b": text(), "a": [3, 1, 2], "n": null}));
    // Whatever is held counts when it is made; what that overlooks must stay small beside it.
    let budget = Budget { heap: 2 * MAX_TEMPLATE_LIVE_BYTES + 2 * MAX_RENDERED_BYTES, time: Duration::from_secs(20) };
    let Ok(segments) = within(budget, "rendering", || template.render_segments(&messages, &options)) else { return };
    for segment in &segments {
        assert!(!segment.trusted || !segment.text.contains(MARK), "a user's text as the template's: {source}");
    }
    let text = template.render(&messages, &options).expect("rendered a moment ago");
    assert_eq!(segments.iter().map(|s| s.text.as_str()).collect::<String>(), text);
}

fn text() -> String {
    format!("Hé {MARK}\n")
}

/// What a message holds: text, parts, or deeper things.
fn content(c: &mut Choices<'_>, depth: usize) -> Value {
    match c.below(if depth > 3 { 5 } else { 7 }) {
        0 => json!(format!("{MARK}{}", c.text(16))),
        1 => json!(c.number::<i64>()),
        2 => json!(c.pick(&[0.5, -0.0, 1e300, 1e16, 1e-7, 123456789.125])),
        3 => json!(c.pick(&[None, Some(true), Some(false)])),
        4 => json!([{"type": "text", "text": text()}, {"type": "image"}]),
        5 => (0..c.below(4)).map(|_| content(c, depth + 1)).collect(),
        _ => Value::Object((0..c.below(4)).map(|i| (format!("k{i}{MARK}"), content(c, depth + 1))).collect()),
    }
}
