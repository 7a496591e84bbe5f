//! `tern tokenize`: text to token ids, and back.

use crate::args::{BackendArgs, EncodeArgs};
use crate::failure::{Exit, Failure, Result};
use crate::input;
use crate::terminal::{Out, printable};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tern::{DecodeOptions, Tokenizer};

/// Flags of `tern tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// A .gguf file, a Hugging Face folder, a tokenizer.json, or a SentencePiece .model file; weights are not needed
    pub model: PathBuf,
    /// From ids to text; ids are numbers apart from each other, a JSON array, or what --json writes
    #[arg(long)]
    pub decode: bool,
    /// The text, or ids
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File with the text, or ids; - is standard input, which is also what is read if nothing is given
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub encode: EncodeArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize, Deserialize)]
struct Tokens {
    tokens: Vec<u32>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

/// Runs `tern tokenize`.
pub fn tokenize(backend: &BackendArgs, args: &TokenizeArgs) -> Result<()> {
    let input = match (&args.prompt, &args.file) {
        (Some(text), _) => text.clone(),
        (None, file) => input::read_text(file.as_deref().unwrap_or(Path::new("-")))?,
    };
    let ids = if args.decode { parse_ids(&input)? } else { Vec::new() };
    let tokenizer = tern::open_tokenizer(&args.model, &backend.options())?;
    let mut out = Out::new();
    if args.decode {
        let text = tokenizer.decode(&ids, DecodeOptions::default()).map_err(tern::Error::from)?;
        if args.json {
            return out.json(&Text { text });
        }
        // As it is, so that a file comes back byte for byte.
        out.text(&text)?;
        return out.flush();
    }
    let tokens = args.encode.encode(&tokenizer, &input)?;
    if args.json {
        return out.json(&Tokens { tokens });
    }
    for id in tokens {
        out.line(&format!("{id:>7}  {}", shown(&tokenizer, id)))?;
    }
    out.flush()
}

/// A token's text for people: quoted, with escapes, so that spaces and line breaks are seen.
fn shown(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    printable(&format!("{:?}", String::from_utf8_lossy(&bytes))).into_owned()
}

/// Numbers apart from each other, a JSON array of them, or `{"tokens": [...]}`.
fn parse_ids(text: &str) -> Result<Vec<u32>> {
    let wrong = |what: String| Failure::new(Exit::Input, format!("token ids: {what}"));
    let text = text.trim();
    match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str(text).map(|t: Tokens| t.tokens).map_err(|e| wrong(e.to_string())),
        Some(b'[') => serde_json::from_str(text).map_err(|e| wrong(e.to_string())),
        _ => {
            let numbers = text.split(|c: char| c.is_whitespace() || c == ',').filter(|n| !n.is_empty());
            numbers.map(|n| n.parse().map_err(|_| wrong(format!("\"{n}\" is not a token id")))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_three_forms() {
        for text in ["1 2,3\n", "[1, 2, 3]", r#"{"tokens":[1,2,3]}"#] {
            assert_eq!(parse_ids(text).unwrap(), [1, 2, 3]);
        }
        assert_eq!(parse_ids("").unwrap(), Vec::<u32>::new());
        assert_eq!(parse_ids("1 two").unwrap_err().message, "token ids: \"two\" is not a token id");
        assert!(parse_ids("[1, -2]").is_err());
    }
}
