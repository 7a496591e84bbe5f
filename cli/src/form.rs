//! `--json-schema`, `--grammar`, `--regex`: text of a given form.

use crate::failure::{Exit, Failure, Result};
use crate::input;
use clap::Args;
use std::path::PathBuf;
use tern::{Constraint, Model};
use tern_grammar::GrammarCompiler;

/// The form that the text must have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Structured output", group = clap::ArgGroup::new("form_of_text"))]
pub struct FormArgs {
    /// Write JSON that this schema describes; - is standard input
    #[arg(long, value_name = "FILE", group = "form_of_text")]
    pub json_schema: Option<PathBuf>,
    /// Write what this grammar describes, in GBNF, the notation of llama.cpp; - is standard input
    #[arg(long, value_name = "FILE", group = "form_of_text")]
    pub grammar: Option<PathBuf>,
    /// Write text that matches this regular expression as a whole
    #[arg(long, value_name = "REGEX", group = "form_of_text", allow_hyphen_values = true)]
    pub regex: Option<String>,
}

impl FormArgs {
    /// The constraint for `model`, where one is asked for.
    pub fn compile(&self, model: &Model) -> Result<Option<Constraint>> {
        let compiler = || GrammarCompiler::new(model.tokenizer()).map_err(|e| Failure::new(Exit::Input, e.to_string()));
        let compiled = match self {
            Self { json_schema: Some(file), .. } => {
                let text = input::read_text(file)?;
                compiler()?
                    .json_schema(&text)
                    .map_err(|e| Failure::new(Exit::Input, format!("{}: {e}", file.display())))
            }
            Self { grammar: Some(file), .. } => {
                let text = input::read_text(file)?;
                compiler()?.gbnf(&text).map_err(|e| Failure::new(Exit::Input, format!("{}: {e}", file.display())))
            }
            Self { regex: Some(pattern), .. } => {
                compiler()?.regex(pattern).map_err(|e| Failure::new(Exit::Usage, format!("--regex: {e}")))
            }
            _ => return Ok(None),
        };
        compiled.map(Some)
    }
}
