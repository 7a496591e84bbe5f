//! From a source to a constraint.

use crate::error::GrammarError;
use crate::gbnf;
use crate::limits::{MAX_NESTING, MAX_REGEX_BYTES, MAX_SOURCE_BYTES};
use crate::matcher::Compiled;
use crate::vocabulary::vocabulary;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use tern::{Constraint, Tokenizer};

/// White space that schemas allow between the parts of a value: a space, or a line's end and what indents the next. Without
/// a bound, small models go on with it for ever.
const SPACE: &str = r"\x20|\n[\x20\t]{0,20}";

/// Compiles sources for one vocabulary. Making one reads the whole vocabulary, so keep it; it may be shared.
pub struct GrammarCompiler {
    factory: ParserFactory,
}

impl GrammarCompiler {
    /// For the models with this tokenizer.
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`].
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let failed = |e: anyhow::Error| GrammarError::Vocabulary { what: reason(&e) };
        let env = vocabulary(tokenizer)?;
        let mut factory = guarded(|| ParserFactory::new_simple(&env)).map_err(failed)?;
        factory.set_stderr_log_level(0);
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    /// JSON that a schema describes (2020-12 and older drafts): objects with their properties in the schema's order, at most a
    /// space or a line's end with indentation between parts. References go to the schema itself. What cannot be kept to
    /// by masks is refused by name.
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn json_schema(&self, schema: &str) -> Result<Constraint, GrammarError> {
        let language = "JSON Schema";
        within(language, "its length in bytes", schema.len(), MAX_SOURCE_BYTES)?;
        let schema: Value = serde_json::from_str(schema).map_err(|e| GrammarError::Syntax {
            language,
            line: e.line(),
            column: e.column(),
            what: text_of(&e.to_string()),
        })?;
        self.json_schema_value(schema)
    }

    /// The same from a parsed schema.
    ///
    /// # Errors
    /// As [`GrammarCompiler::json_schema`].
    pub fn json_schema_value(&self, mut schema: Value) -> Result<Constraint, GrammarError> {
        let language = "JSON Schema";
        within(language, "its depth", depth(&schema), MAX_NESTING)?;
        if let Value::Bool(true) = schema {
            schema = json!({});
        }
        if let Value::Object(fields) = &mut schema {
            fields.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": SPACE }));
        }
        self.compile(language, TopLevelGrammar::from_json_schema(schema))
    }

    /// Any JSON value that is an object.
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn json_object(&self) -> Result<Constraint, GrammarError> {
        self.json_schema_value(json!({ "type": "object" }))
    }

    /// Text that matches a regular expression as a whole (the syntax of Rust's `regex`; neither look-around nor back references).
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn regex(&self, pattern: &str) -> Result<Constraint, GrammarError> {
        let language = "regular expression";
        within(language, "its length in bytes", pattern.len(), MAX_REGEX_BYTES)?;
        let parsed = regex_syntax::ParserBuilder::new().nest_limit(MAX_NESTING as u32).build().parse(pattern);
        parsed.map_err(|e| {
            let (what, span) = match &e {
                regex_syntax::Error::Parse(e) => (e.kind().to_string(), *e.span()),
                regex_syntax::Error::Translate(e) => (e.kind().to_string(), *e.span()),
                other => return GrammarError::Refused { language, what: other.to_string() },
            };
            GrammarError::Syntax { language, line: span.start.line, column: span.start.column, what }
        })?;
        // The whole text has to match, so what anchors it there says nothing.
        let inner = pattern.strip_prefix('^').unwrap_or(pattern);
        let escaped = |text: &str| text.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1;
        let inner = inner.strip_suffix('$').filter(|rest| !escaped(rest)).unwrap_or(inner);
        self.compile(language, TopLevelGrammar::from_regex(if inner.is_empty() { "()" } else { inner }))
    }

    /// Text that a grammar in GBNF describes, the notation of llama.cpp; its rule `root` is the whole text. Where a part that
    /// is a regular expression could end sooner or later, it takes as much as it can, as in a lexer.
    ///
    /// # Errors
    /// [`GrammarError`].
    pub fn gbnf(&self, grammar: &str) -> Result<Constraint, GrammarError> {
        within(gbnf::LANGUAGE, "its length in bytes", grammar.len(), MAX_SOURCE_BYTES)?;
        let parsed = gbnf::parse(grammar)?;
        self.compile(gbnf::LANGUAGE, TopLevelGrammar::from_lark(gbnf::lark(&parsed)?))
    }

    fn compile(&self, language: &'static str, grammar: TopLevelGrammar) -> Result<Constraint, GrammarError> {
        let parser = guarded(|| self.factory.create_parser(grammar));
        let refused = |what| GrammarError::Refused { language, what };
        let engine = Matcher::new(Ok(parser.map_err(|e| refused(reason(&e)))?));
        if let Some(error) = engine.get_error() {
            return Err(refused(text_of(&error)));
        }
        // What no text of these tokens satisfies is better told now.
        engine.clone().compute_mask_or_eos().map_err(|e| refused(reason(&e)))?;
        Ok(Constraint::new(Compiled::new(engine, language.to_owned())))
    }
}

/// The engine keeps its limits with errors; what it does not foresee, it panics at, and that goes no further.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    panic_utils::catch_unwind(AssertUnwindSafe(work))
}

/// An engine's error in one line.
pub fn reason(error: &anyhow::Error) -> String {
    text_of(&error.to_string())
}

/// The first line, and the one that says more: the others show the source in the engine's own notation, or a backtrace.
fn text_of(message: &str) -> String {
    if message.contains("NoExtensionBias") {
        return "no text satisfies it".to_owned();
    }
    let mut lines = message.lines();
    let line = lines.next().unwrap_or_default();
    let place = line.rfind(" at line ").filter(|_| line.contains(" column "));
    let line = line.get(..place.unwrap_or(line.len())).unwrap_or(line);
    match lines.find_map(|l| l.trim().strip_prefix("error: ")) {
        Some(more) => format!("{line} {more}"),
        None => line.to_owned(),
    }
}

fn within(language: &'static str, what: &'static str, found: usize, limit: usize) -> Result<(), GrammarError> {
    if found > limit { Err(GrammarError::TooLarge { language, what, found, limit }) } else { Ok(()) }
}

/// Values inside values; parsed ones are at most 128 deep.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
