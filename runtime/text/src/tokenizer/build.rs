//! Putting a tokenizer together from its checked parts.

use std::collections::BTreeMap;

use super::Tokenizer;
use crate::added::AddedTokens;
use crate::decode::Decoders;
use crate::error::TextError;
use crate::limits::MAX_ADDED_TOKEN_BYTES;
use crate::model::Model;
use crate::model::vocab::Vocab;
use crate::normalize::Normalizers;
use crate::pretok::PreTokenizer;
use crate::spec::{AddedToken, ModelSpec, PreStep, SpecialIds, TokenType, TokenizerSpec};

/// Texts that mean "the reply ends here" where they are added tokens.
pub(crate) const END_TEXTS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end_of_turn|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "<EOT>",
    "</s>",
    "[EOS]",
    "[EOT]",
    "<|END_OF_TURN_TOKEN|>",
];

impl Tokenizer {
    /// A tokenizer from its parts.
    ///
    /// # Errors
    /// Whatever does not fit together: see [`TextError`].
    pub fn new(spec: TokenizerSpec<'_>) -> Result<Self, TextError> {
        let outside = spec.added.iter().filter(|token| token.outside).map(|token| token.id).collect();
        let vocab = Vocab::new(&spec.tokens, spec.types, outside)?;
        let SpecialIds { bos, eos, eot, pad, unk, sep, mask } = spec.special;
        let declared = [
            ("bos", bos),
            ("eos", eos),
            ("eot", eot),
            ("padding", pad),
            ("unknown", unk),
            ("separator", sep),
            ("mask", mask),
        ];
        let around = spec.before.iter().chain(&spec.after).map(|&id| ("post_processor", Some(id)));
        let added = spec.added.iter().map(|token| ("added token", Some(token.id)));
        for (role, id) in declared.into_iter().chain(around).chain(added) {
            if let Some(id) = id.filter(|&id| vocab.kind(id).is_none()) {
                return Err(TextError::SpecialId { role, id, vocab: vocab.len() });
            }
        }
        // Byte-level BPE works on bytes and spares the way through their alphabet.
        let (pre, byte_level) = match (&spec.model, spec.pre.split_last()) {
            (ModelSpec::Bpe(_), Some((PreStep::Bytes, rest))) => (rest, true),
            _ => (spec.pre.as_slice(), false),
        };
        let normalizers = Normalizers::new(&spec.normalizers)?;
        let Added { raw, normalized, shown } = Added::new(spec.added, &normalizers)?;
        let end = |text: &&&str| {
            let id = vocab.id(text)?;
            matches!(vocab.kind(id), Some(TokenType::Control | TokenType::UserDefined)).then_some(id)
        };
        let mut ends: Vec<u32> = END_TEXTS.iter().filter_map(|text| end(&text)).chain(eos).chain(eot).collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            model: Model::new(&vocab, &spec.model, byte_level)?,
            vocab,
            pre: PreTokenizer::new(pre)?,
            decoders: Decoders::new(&spec.decoders)?,
            normalizers,
            raw,
            normalized,
            shown,
            special: spec.special,
            before: spec.before,
            after: spec.after,
            ends,
        })
    }
}

/// The tokens searched for before and after normalization.
struct Added {
    raw: AddedTokens,
    normalized: AddedTokens,
    /// What those become in decoded text whose normalized form is another.
    shown: BTreeMap<u32, String>,
}

impl Added {
    fn new(added: Vec<AddedToken>, normalizers: &Normalizers) -> Result<Self, TextError> {
        let (mut normalized, raw): (Vec<_>, Vec<_>) = added.into_iter().partition(|token| token.normalized);
        let mut shown = BTreeMap::new();
        for token in normalized.iter_mut().filter(|token| token.text.len() <= MAX_ADDED_TOKEN_BYTES) {
            let text = normalizers.token(&token.text)?;
            if text != token.text {
                shown.insert(token.id, text.clone());
                token.text = text;
            }
        }
        Ok(Self { raw: AddedTokens::new(raw)?, normalized: AddedTokens::new(normalized)?, shown })
    }
}
