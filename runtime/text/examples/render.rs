//! Renders chat templates, for scripts that compare: a JSON object per line in, one per line out.
//!
//! In: `template`, `messages`, `variables` (as for `apply_chat_template`), `now` in seconds. Out: `text`, or `error`.

use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tern_text::{ChatTemplate, Message, RenderOptions};

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: Vec<Message>,
    #[serde(default)]
    variables: Map<String, Value>,
    #[serde(default)]
    now: i64,
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match render(&line?) {
            Ok(text) => json!({ "text": text }),
            Err(error) => json!({ "error": error }),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn render(line: &str) -> Result<String, String> {
    let mut case: Case = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let mut text = |name: &str| case.variables.remove(name).and_then(|v| v.as_str().map(str::to_string));
    let options = RenderOptions {
        bos_token: text("bos_token"),
        eos_token: text("eos_token"),
        add_generation_prompt: case.variables.remove("add_generation_prompt") == Some(Value::Bool(true)),
        tools: case.variables.remove("tools"),
        extra: case.variables,
        now: case.now,
    };
    let template = ChatTemplate::new(&case.template).map_err(|e| e.to_string())?;
    template.render(&case.messages, &options).map_err(|e| e.to_string())
}
