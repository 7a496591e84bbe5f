use super::*;
use serde_json::json;

fn call(name: &str, arguments: serde_json::Value) -> ToolPiece {
    call_with(name, arguments, None)
}

fn call_with(name: &str, arguments: serde_json::Value, id: Option<&str>) -> ToolPiece {
    let arguments = arguments.as_object().unwrap().clone();
    ToolPiece::Call(ToolCall { name: name.to_owned(), arguments, id: id.map(str::to_owned) })
}

fn text(text: &str) -> ToolPiece {
    ToolPiece::Text(text.to_owned())
}

fn thought(text: &str) -> ToolPiece {
    ToolPiece::Reasoning(text.to_owned())
}

/// Neighbours of the same kind as one: where they are cut depends on how the text came.
fn joined(pieces: Vec<ToolPiece>) -> Vec<ToolPiece> {
    let mut out: Vec<ToolPiece> = Vec::new();
    for piece in pieces {
        match (out.last_mut(), piece) {
            (Some(ToolPiece::Text(all)), ToolPiece::Text(more)) => *all += &more,
            (Some(ToolPiece::Reasoning(all)), ToolPiece::Reasoning(more)) => *all += &more,
            (_, piece) => out.push(piece),
        }
    }
    out
}

/// The same however the text arrives: in pieces of every length, cut anywhere.
fn reads(format: ToolFormat, reply: &str, expected: &[ToolPiece]) {
    let characters: Vec<char> = reply.chars().collect();
    for length in 1..=characters.len().max(1) {
        let mut parser = ToolParser::new(format);
        // Twice: the end of a reply is the beginning of the next.
        for _ in 0..2 {
            let mut pieces: Vec<ToolPiece> =
                characters.chunks(length).flat_map(|c| parser.push(&c.iter().collect::<String>())).collect();
            pieces.extend(parser.finish());
            assert_eq!(joined(pieces), expected, "{reply:?} in pieces of {length}");
        }
    }
}

#[test]
fn hermes() {
    let paris = call("weather", json!({"city": "Paris"}));
    reads(
        ToolFormat::Hermes,
        "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>{\"name\": \"now\"}</tool_call> <b",
        &[text("I look.\n"), paris.clone(), text("\n"), call("now", json!({})), text(" <b")],
    );
    reads(
        ToolFormat::Hermes,
        "<tool_call>{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}",
        &[paris],
    );
    let reply = "<tool_call>{\"name\": oops}</tool_call>";
    let ToolPiece::Malformed(MalformedCall { text: lost, what }) = &ToolParser::new(ToolFormat::Hermes).push(reply)[0]
    else {
        panic!("no call")
    };
    assert_eq!(lost, reply);
    assert!(what.contains("expected value"), "{what}");
    reads(ToolFormat::Hermes, "no call < tool", &[text("no call < tool")]);
}

#[test]
fn llama() {
    let sum = call("sum", json!({"a": 1, "b": [2]}));
    let json = r#"{"name": "sum", "parameters": {"a": 1, "b": [2]}}"#;
    reads(ToolFormat::Llama, json, std::slice::from_ref(&sum));
    reads(ToolFormat::Llama, &format!("\n{json}; {json}"), &[sum.clone(), sum.clone()]);
    reads(ToolFormat::Llama, &format!("<|python_tag|>{json}"), std::slice::from_ref(&sum));
    reads(ToolFormat::Llama, "<|python_tag|>print(1)\n", &[call("code_interpreter", json!({"code": "print(1)"}))]);
    reads(
        ToolFormat::Llama,
        "Code: <|python_tag|>1",
        &[text("Code: "), call("code_interpreter", json!({"code": "1"}))],
    );
    // JSON that is an answer.
    reads(ToolFormat::Llama, r#"{"answer": 3}"#, &[text(r#"{"answer": 3}"#)]);
    reads(ToolFormat::Llama, "{ is a brace", &[text("{ is a brace")]);
    let broken = r#"{"name": "sum", "parameters": {"a": "#;
    let what = "EOF while parsing a value at line 1 column 36".to_owned();
    reads(ToolFormat::Llama, broken, &[ToolPiece::Malformed(MalformedCall { text: broken.to_owned(), what })]);
}

#[test]
fn mistral() {
    reads(
        ToolFormat::Mistral,
        r#"Hm.[TOOL_CALLS] [{"name": "f", "arguments": {"x": "]"}, "id": "a1b2c3d4e"}, {"name": "g", "arguments": {}}]"#,
        &[text("Hm."), call_with("f", json!({"x": "]"}), Some("a1b2c3d4e")), call("g", json!({}))],
    );
    reads(
        ToolFormat::Mistral,
        r#"[TOOL_CALLS]f[CALL_ID]12[ARGS]{"x": 1}[TOOL_CALLS]g[ARGS]{}"#,
        &[call_with("f", json!({"x": 1}), Some("12")), call("g", json!({}))],
    );
    let what = "the arguments are missing".to_owned();
    reads(
        ToolFormat::Mistral,
        "[TOOL_CALLS]f",
        &[ToolPiece::Malformed(MalformedCall { text: "[TOOL_CALLS]f".into(), what })],
    );
    reads(ToolFormat::Mistral, "[TOOL", &[text("[TOOL")]);
}

#[test]
fn harmony() {
    reads(
        ToolFormat::Harmony,
        "<|channel|>analysis<|message|>Weather < needed.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\":\"Oslo\"}<|call|>",
        &[thought("Weather < needed."), call("weather", json!({"city": "Oslo"}))],
    );
    reads(ToolFormat::Harmony, " to=functions.f<|channel|>commentary json<|message|>{}", &[call("f", json!({}))]);
    reads(ToolFormat::Harmony, "<|channel|>final<|message|>It is warm.", &[text("It is warm.")]);
    reads(
        ToolFormat::Harmony,
        "<|channel|>analysis to=python<|message|>1+1",
        &[call("python", json!({"code": "1+1"}))],
    );
    let (header, body) = ("<|channel|>commentary to=functions.f", "{");
    let what = "EOF while parsing an object at line 1 column 1".to_owned();
    let reply = format!("{header}<|message|>{body}");
    reads(ToolFormat::Harmony, &reply, &[ToolPiece::Malformed(MalformedCall { text: reply.clone(), what })]);
    reads(ToolFormat::Harmony, "plain", &[text("plain")]);
}

#[test]
fn forms_are_known_by_their_templates() {
    let of = |source: &str| ToolFormat::detect(source);
    assert_eq!(of("{% if tools %}<tool_call>"), Some(ToolFormat::Hermes));
    assert_eq!(of("{% if tools %}<|python_tag|>"), Some(ToolFormat::Llama));
    assert_eq!(of("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]"), Some(ToolFormat::Mistral));
    assert_eq!(of("{% if tools %}<|channel|>commentary"), Some(ToolFormat::Harmony));
    assert_eq!(of("{{ messages[0].content }}"), None);
}
