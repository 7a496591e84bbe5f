//! Text of a given form.

use crate::error::TernError;
use crate::guarded;
use crate::model::Model;
use std::sync::Arc;
use tern_grammar::{GrammarCompiler, GrammarError};

/// A form that generated text must have, compiled for the tokenizer of a model. It serves any number of generations.
#[derive(uniffi::Object)]
pub struct Constraint {
    pub(crate) inner: tern::Constraint,
}

/// What a form is described in.
#[derive(uniffi::Enum)]
pub enum Form {
    /// JSON that a schema describes.
    JsonSchema {
        /// The schema, as text.
        schema: String,
    },
    /// Text that matches a regular expression as a whole.
    Regex {
        /// The expression.
        pattern: String,
    },
    /// What a grammar describes, in GBNF, the notation of llama.cpp.
    Gbnf {
        /// The grammar.
        grammar: String,
    },
}

#[uniffi::export]
impl Model {
    /// Compiles a form. The first one of a model takes longer.
    ///
    /// Fails with `Constraint`.
    pub fn constraint(&self, form: Form) -> Result<Arc<Constraint>, TernError> {
        guarded(|| {
            let compiler = match self.grammars.get() {
                Some(compiler) => compiler,
                None => {
                    let made = GrammarCompiler::new(self.inner.tokenizer())?;
                    self.grammars.get_or_init(|| made)
                }
            };
            let inner = match form {
                Form::JsonSchema { schema } => compiler.json_schema(&schema),
                Form::Regex { pattern } => compiler.regex(&pattern),
                Form::Gbnf { grammar } => compiler.gbnf(&grammar),
            }?;
            Ok(Arc::new(Constraint { inner }))
        })
    }
}

impl From<GrammarError> for TernError {
    fn from(error: GrammarError) -> Self {
        let text = error.to_string();
        match error {
            GrammarError::Syntax { line, column, what, .. } => {
                Self::Constraint { text, line: Some(line as u64), column: Some(column as u64), reason: what }
            }
            other => Self::Constraint { text, line: None, column: None, reason: other.to_string() },
        }
    }
}
