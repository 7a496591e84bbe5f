//! Structured output: text of a given form, whatever the model would rather say.
//!
//! A [`GrammarCompiler`] turns a JSON Schema, a regular expression or a grammar in GBNF (the notation of llama.cpp) into a
//! [`Constraint`](tern::Constraint) for [`GenerateOptions::constraint`](tern::GenerateOptions::constraint): before each choice
//! it leaves only the tokens with which the text can still become one of that form.
//!
//! ```text
//! compiler.rs    from source to constraint
//! matcher.rs     a text on its way
//! vocabulary.rs  a tokenizer as bytes of tokens
//! gbnf.rs        GBNF: parser, and the form in which the engine takes it
//! limits.rs      how large a source may be
//! ```
//!
//! The engine is `llguidance`: an Earley parser over a lexer of regular-expression derivatives, walked along the trie of the
//! vocabulary. It is kept to this crate, so that a program without constraints does not carry it.
#![forbid(unsafe_code)]

mod compiler;
mod error;
mod gbnf;
mod limits;
mod matcher;
mod vocabulary;

pub use compiler::GrammarCompiler;
pub use error::GrammarError;
pub use limits::*;
