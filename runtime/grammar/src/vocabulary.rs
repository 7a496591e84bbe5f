//! A tokenizer as the engine sees it: the bytes of each token, in a trie.

use crate::error::GrammarError;
use crate::limits::{MAX_TOKEN_BYTES, MAX_VOCABULARY};
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};
use std::sync::Arc;
use tern::{TokenType, Tokenizer};

/// The vocabulary of `tokenizer`. Ordinary, byte and user-defined tokens are their bytes in the middle of a text, control
/// tokens are names that no text contains, end tokens end a text; all else never comes.
pub fn vocabulary(tokenizer: &Tokenizer) -> Result<TokEnv, GrammarError> {
    let size = tokenizer.vocab_size();
    if size > MAX_VOCABULARY {
        return Err(GrammarError::Vocabulary { what: format!("it has {size} tokens, more than {MAX_VOCABULARY}") });
    }
    let size = size as u32;
    let words: Vec<Vec<u8>> = (0..size).map(|id| word(tokenizer, id)).collect();
    let ends = tokenizer.end_ids();
    let info = TokRxInfo {
        vocab_size: size,
        tok_eos: ends.first().copied().unwrap_or(INVALID_TOKEN),
        tok_bos: tokenizer.bos(),
        tok_pad: None,
        tok_unk: None,
        tok_end_of_turn: None,
    };
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(ends);
    }
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let marked = || {
        let name = tokenizer.token_text(id).unwrap_or_default();
        std::iter::once(TokTrie::SPECIAL_TOKEN_MARKER).chain(name.bytes()).collect()
    };
    let bytes: Vec<u8> = match tokenizer.token_type(id) {
        _ if tokenizer.is_end(id) => marked(),
        Some(TokenType::Control) => marked(),
        // 0xff never is in UTF-8, and would mark a name.
        Some(TokenType::Normal | TokenType::Byte | TokenType::UserDefined) => {
            tokenizer.token_bytes(id).filter(|b| !b.contains(&TokTrie::SPECIAL_TOKEN_MARKER)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    if bytes.len() > MAX_TOKEN_BYTES { Vec::new() } else { bytes }
}
