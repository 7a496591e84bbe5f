//! Putting a tokenizer together from its checked parts.

use super::{Model, Tokenizer};
use crate::added::{AddedToken, AddedTokens};
use crate::bpe::Bpe;
use crate::error::TextError;
use crate::pretok::PreTokenizer;
use crate::spec::{BpeSpec, Merges, SpecialIds, TokenType};
use crate::vocab::Vocab;

/// Texts that mean "the reply ends here" where they are added tokens.
const END_TEXTS: &[&str] = &[
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

/// A byte-level BPE tokenizer's parts, whatever file they come from.
pub(crate) struct Parts<'a> {
    pub tokens: Vec<&'a str>,
    pub types: Vec<TokenType>,
    pub merges: Merges<'a>,
    pub pre: PreTokenizer,
    pub nfc: bool,
    /// Added tokens matched before and after normalization.
    pub raw: Vec<AddedToken>,
    pub normalized: Vec<AddedToken>,
    pub special: SpecialIds,
    pub before: Vec<u32>,
    pub after: Vec<u32>,
    pub ignore_merges: bool,
}

impl Tokenizer {
    /// A byte-level BPE tokenizer from its parts (see [`BpeSpec`] for where GGUF keeps them).
    ///
    /// # Errors
    /// Whatever does not fit together: see [`TextError`].
    pub fn from_bpe(spec: BpeSpec<'_>) -> Result<Self, TextError> {
        let mut types = spec.types;
        if types.is_empty() {
            types = vec![TokenType::Normal; spec.tokens.len()];
            let declared = [spec.special.bos, spec.special.eos, spec.special.eot];
            for (id, text) in spec.tokens.iter().enumerate() {
                if END_TEXTS.contains(text) || declared.contains(&Some(id as u32)) {
                    types[id] = TokenType::Control;
                }
            }
        }
        let raw = spec.tokens.iter().zip(&types).enumerate().filter_map(|(id, (text, kind))| {
            let control = match kind {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
            };
            Some(AddedToken { id: id as u32, text: (*text).to_string(), control, ..AddedToken::default() })
        });
        let declared = |wanted: bool, id: Option<u32>, role| match (wanted, id) {
            (false, _) => Ok(Vec::new()),
            (true, Some(id)) => Ok(vec![id]),
            (true, None) => Err(TextError::NoSpecial { role, vocab: spec.tokens.len() }),
        };
        let (before, after) =
            (declared(spec.add_bos, spec.special.bos, "bos")?, declared(spec.add_eos, spec.special.eos, "eos")?);
        Self::from_parts(Parts {
            raw: raw.collect(),
            tokens: spec.tokens,
            types,
            merges: spec.merges,
            pre: PreTokenizer::named(spec.pre, spec.add_prefix_space)?,
            nfc: false,
            normalized: Vec::new(),
            special: spec.special,
            before,
            after,
            ignore_merges: spec.ignore_merges,
        })
    }

    pub(crate) fn from_parts(parts: Parts<'_>) -> Result<Self, TextError> {
        let vocab = Vocab::new(&parts.tokens, parts.types)?;
        let SpecialIds { bos, eos, eot, pad, unk } = parts.special;
        for (role, id) in [("bos", bos), ("eos", eos), ("eot", eot), ("padding", pad), ("unknown", unk)] {
            if let Some(id) = id.filter(|&id| vocab.kind(id).is_none()) {
                return Err(TextError::SpecialId { role, id, vocab: vocab.len() });
            }
        }
        for &id in parts.before.iter().chain(&parts.after) {
            if vocab.kind(id).is_none() {
                return Err(TextError::SpecialId { role: "post_processor", id, vocab: vocab.len() });
            }
        }
        let emitted = unk.filter(|&id| vocab.kind(id) != Some(TokenType::Control));
        let bpe = Bpe::new(&vocab, &parts.merges, emitted, parts.ignore_merges)?;
        let added = |text: &&&str| {
            let id = vocab.id(text)?;
            matches!(vocab.kind(id), Some(TokenType::Control | TokenType::UserDefined)).then_some(id)
        };
        let mut ends: Vec<u32> = END_TEXTS.iter().filter_map(|text| added(&text)).chain(eos).chain(eot).collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            model: Model::Bpe(bpe),
            vocab,
            pre: parts.pre,
            nfc: parts.nfc,
            raw: AddedTokens::new(parts.raw)?,
            normalized: AddedTokens::new(parts.normalized)?,
            special: parts.special,
            before: parts.before,
            after: parts.after,
            ends,
        })
    }
}
