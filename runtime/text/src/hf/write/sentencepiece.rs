//! SentencePiece's models as `tokenizer.json`: BPE with scores as BPE with merges, Unigram as it is.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{decoder, refused};
use crate::error::TextError;
use crate::limits::MAX_TRIE_TOKEN_BYTES;
use crate::spec::{AddedToken, Decoder, ModelSpec, Normalizer, Prepend, TokenType, TokenizerSpec};

/// Normalizers, pre-tokenizers and decoders.
pub(super) struct Steps {
    pub normalizers: Vec<Value>,
    pub pre: Vec<Value>,
    pub decoders: Vec<Value>,
}

impl Steps {
    /// Those of a tokenizer whose one normalizer is SentencePiece's.
    ///
    /// # Errors
    /// [`TextError::NotInJson`] for any other.
    pub(super) fn new(spec: &TokenizerSpec<'_>) -> Result<Self, TextError> {
        let [Normalizer::SentencePiece { charsmap, remove_extra_whitespaces, prepend, .. }] = &*spec.normalizers else {
            return Err(refused("normalizer", &spec.normalizers));
        };
        if !spec.pre.is_empty() {
            return Err(refused("pre-tokenizer", &spec.pre));
        }
        let mut normalizers = Vec::new();
        if !charsmap.is_empty() {
            normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": base64(charsmap)}));
        }
        if *remove_extra_whitespaces {
            normalizers.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
            normalizers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
        }
        let mut pre = Vec::new();
        if *prepend == Prepend::First {
            // A text that begins with a space gets none in front there.
            pre.push(json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}));
        } else {
            if *prepend == Prepend::Always {
                normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
            }
            normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        }
        let mut decoders = Vec::new();
        for step in spec.decoders.iter().filter(|step| **step != Decoder::LeadingSpace) {
            decoders.push(decoder(step)?);
        }
        if spec.decoders.contains(&Decoder::LeadingSpace) {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(Self { normalizers, pre, decoders })
    }
}

/// The tokens to search for: those of the description, and what SentencePiece finds by its score.
///
/// # Errors
/// [`TextError::NotInJson`] for a token with a space in SentencePiece's spelling: the search comes before spelling.
pub(super) fn added(spec: &TokenizerSpec<'_>) -> Result<Vec<AddedToken>, TextError> {
    let mut added = spec.added.clone();
    for (id, text) in of_type(spec, |kind| kind == TokenType::UserDefined) {
        if !added.iter().any(|token| token.id == id) {
            added.push(AddedToken { id, text: text.to_owned(), normalized: true, ..AddedToken::default() });
        }
    }
    match added.iter().find(|token| !token.control && token.text.contains('▁')) {
        Some(token) => Err(refused("added token", &token.text)),
        None => Ok(added),
    }
}

fn of_type<'s>(spec: &'s TokenizerSpec<'_>, is: fn(TokenType) -> bool) -> impl Iterator<Item = (u32, &'s str)> {
    let tokens = spec.tokens.iter().zip(&spec.types).enumerate();
    tokens.filter(move |(_, (_, kind))| is(**kind)).map(|(id, (text, _))| (id as u32, &**text))
}

/// What merges are, by falling score: every way to put a token together of two others. Of ways to the same token those come first
/// whose parts do.
///
/// # Errors
/// [`TextError::NotInJson`] for a token that is too long to look at all its parts.
pub(super) fn merges(spec: &TokenizerSpec<'_>, scores: &[f32]) -> Result<Vec<Value>, TextError> {
    let text = |kind| matches!(kind, TokenType::Normal | TokenType::UserDefined);
    let ids: HashMap<&str, u32> = of_type(spec, text).map(|(id, text)| (text, id)).collect();
    let mut merges = Vec::new();
    for (id, text) in of_type(spec, text) {
        if text.len() > MAX_TRIE_TOKEN_BYTES {
            return Err(refused("token", &text));
        }
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                merges.push((scores.get(id as usize).copied().unwrap_or_default(), id, l, r, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    Ok(merges.into_iter().map(|(.., left, right)| json!([left, right])).collect())
}

/// The model `Unigram`.
pub(super) fn unigram(spec: &TokenizerSpec<'_>) -> Option<String> {
    let ModelSpec::Unigram { scores, unk, byte_fallback, .. } = &spec.model else { return None };
    let scores = scores.iter().copied().chain(std::iter::repeat(0.0));
    let vocab: Vec<Value> = spec.tokens.iter().zip(scores).map(|(text, score)| json!([text, score])).collect();
    let model = json!({"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": byte_fallback});
    Some(model.to_string())
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |all, &byte| all << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_written_as_the_rfc_says() {
        let written: Vec<String> = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())).to_vec();
        assert_eq!(written, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
