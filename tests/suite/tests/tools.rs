//! Calls of tools in conversations. What the model says is forced by a constraint, so that a model of random numbers calls.

use serde_json::{Value, json};
use tern::{Chat, Error, GenerateOptions, Message, Model, SessionOptions, ToolCall};
use tern_grammar::GrammarCompiler;
use tern_tests::{changed, open};

const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}\
{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% endfor %}<assistant>";

/// The tiny model with a template.
fn model(template: &str) -> Model {
    let folder = tempfile::tempdir().unwrap();
    changed("tiny-llama", folder.path(), &json!({}));
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    open(folder.path(), "", 1)
}

fn chat(model: &Model) -> Chat {
    let session = model.session(SessionOptions { context: Some(2048), ..Default::default() }).unwrap();
    Chat::new(model, session, None).unwrap()
}

fn saying(model: &Model, text: &str) -> GenerateOptions {
    let literal: String = text.chars().map(|c| format!("\\x{{{:x}}}", u32::from(c))).collect();
    let constraint = Some(GrammarCompiler::new(model.tokenizer()).unwrap().regex(&literal).unwrap());
    GenerateOptions { max_tokens: 1000, constraint, ..Default::default() }
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }])
}

#[test]
fn calls_come_out_of_answers_and_go_into_the_next_prompt() {
    let model = model(TEMPLATE);
    let mut chat = chat(&model);
    chat.set_tools(Some(tools())).unwrap();
    let call = r#"<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>"#;
    let broken = "<tool_call>weather!</tool_call>";
    let options = saying(&model, &format!("I look. {call}{broken}"));
    let mut reply = chat.send("How is it?", options).unwrap();
    let visible: String = reply.by_ref().map(|event| event.unwrap().text().to_owned()).collect();
    assert_eq!(visible, "I look. ");
    let [Ok(ToolCall { name, arguments, id: Some(id) }), Err(lost)] = reply.tool_calls() else {
        panic!("{:?}", reply.tool_calls())
    };
    assert_eq!((name.as_str(), &arguments["city"], id.len()), ("weather", &json!("Oslo"), 9));
    assert_eq!(lost.text, broken);
    let id = id.clone();
    drop(reply);
    // What could not be read stays a part of what was said.
    let said = chat.messages().pop().unwrap();
    assert_eq!(said.content, json!(format!("I look. {broken}")));
    assert_eq!(said.extra["tool_calls"][0]["id"], json!(id));

    let result = Message::new("tool", "3 degrees").with("tool_call_id", id);
    let events = chat.send_messages(vec![result], saying(&model, "It is cold.")).unwrap();
    let text: String = events.map(|event| event.unwrap().text().to_owned()).collect();
    assert_eq!(text, "It is cold.");
    let prompt = model.tokenizer().decode(&chat.session().tokens(), Default::default()).unwrap();
    let function = r#"<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>"#;
    for part in [r#""parameters": {"type": "object"}"#, function, "<tool>3 degrees<assistant>It is cold."] {
        assert!(prompt.contains(part), "{part}\n{prompt}");
    }
    // Without tools an answer is text, whatever stands in it.
    chat.set_tools(None).unwrap();
    let text: String =
        chat.send("Again", saying(&model, call)).unwrap().map(|event| event.unwrap().text().to_owned()).collect();
    assert_eq!(text, call);
}

#[test]
fn tools_need_a_template_that_knows_them() {
    let model = model("{% for m in messages %}{{ m.content }}{% endfor %}");
    let mut chat = chat(&model);
    let error = chat.set_tools(Some(tools())).unwrap_err();
    assert!(matches!(error, Error::Setting { setting: "tools", .. }), "{error}");
}
