//! Text in, token ids out, and back: tokenizers, streaming detokenizer, stop strings, chat templates.
//!
//! Nothing here opens a file or a socket or starts a thread; models reach this crate as strings that the caller has read.
//! Everything a model file or a user can put into those strings ends in a value or in a [`TextError`].
//!
//! The rule that shapes the interfaces: text from a user never turns into a control token unless the caller asks for it
//! ([`EncodeOptions::special`]); in a chat only the template writes those ([`Tokenizer::encode_chat`]).
#![forbid(unsafe_code)]

mod added;
mod alphabet;
mod chat;
mod decode;
mod detok;
mod error;
mod gguf;
mod hash;
mod hf;
mod jinja;
mod limits;
mod model;
mod normalize;
mod pretok;
mod sentencepiece;
mod spec;
mod stop;
mod tokenizer;
mod tools;

pub use chat::{ChatTemplate, ChatTokens, DEFAULT_NOW, Message, RenderOptions, Segment};
pub use detok::{Detokenizer, Utf8Stream};
pub use error::TextError;
pub use gguf::GgufTokenizer;
pub use hf::VocabFiles;
pub use limits::*;
pub use pretok::PRE_TOKENIZER_NAMES;
pub use spec::{
    AddedToken, Behavior, BpeSpec, Decoder, Merges, ModelSpec, Normalizer, Pattern, PreStep, Prepend, SpecialIds,
    TokenType, TokenizerSpec,
};
pub use stop::{StopMatcher, Stopped};
pub use tokenizer::{Bos, DecodeOptions, EncodeOptions, Tokenizer};
pub use tools::{MalformedCall, ToolCall, ToolFormat, ToolParser, ToolPiece};
