//! Opens a model, asks it one question, and prints the answer as it comes.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which model? Give the path of a GGUF file or a Hugging Face folder")?;
    let question = std::env::args().nth(2).unwrap_or_else(|| "Name the capital of France.".to_owned());

    let mut registry = tern::backend::Registry::new();
    registry.register(tern_cpu::entry)?;
    let model = tern::Runtime::new(registry).open(path, tern::ModelOptions::default())?;
    let session = model.session(tern::SessionOptions::default())?;
    let mut chat = tern::Chat::new(&model, session, None)?;

    let mut out = std::io::stdout();
    for event in chat.send(&question, tern::GenerateOptions::default())? {
        write!(out, "{}", event?.text())?;
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}
