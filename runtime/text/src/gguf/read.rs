//! From keys to a tokenizer's parts.

use std::borrow::Cow;

use super::{GgufTokenizer, INSIDE, SPACE};
use crate::decode::hex_byte;
use crate::error::{TextError, short};
use crate::pretok::table;
use crate::spec::{
    AddedToken, Behavior, BpeSpec, Decoder, Merges, ModelSpec, Normalizer, Pattern, PreStep, Prepend, SpecialIds,
    TokenType, TokenizerSpec,
};
use crate::tokenizer::build::END_TEXTS;

/// Longest word of BERT's vocabularies, in characters; GGUF has no key for it.
const BERT_WORD_CHARS: usize = 100;

pub(super) fn spec(keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    match &*keys.model {
        "gpt2" if matches!(keys.pre.as_deref(), Some("gemma4" | "granite-embed-multi-311m" | "sarvam-moe")) => {
            spaced_bpe(keys)
        }
        "gpt2" => byte_bpe(keys),
        "gemma4" => spaced_bpe(keys),
        "llama" => scored_bpe(keys),
        "t5" => unigram(keys),
        "bert" => word_piece(keys),
        other => Err(TextError::Unsupported {
            what: "tokenizer.ggml.model (known are gpt2, llama, gemma4, t5 and bert)",
            found: short(other),
        }),
    }
}

fn byte_bpe(keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    let name = keys.pre.as_deref().unwrap_or("default");
    let pre = table::named(name).ok_or_else(|| TextError::UnknownPre { found: short(name) })?;
    let types = types(&keys)?;
    let unk = keys.special.unk.filter(|&id| types.get(id as usize) == Some(&TokenType::Normal));
    let mut steps: Vec<PreStep> = pre.steps.iter().map(|step| isolated(step)).collect();
    steps.push(PreStep::Bytes);
    let (before, after) = around(&keys, pre.add_bos, false)?;
    let merges = keys.merges.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
    Ok(TokenizerSpec {
        model: ModelSpec::Bpe(BpeSpec {
            ignore_merges: pre.ignore_merges,
            unk,
            ..BpeSpec::new(Merges::Joined(merges))
        }),
        added: added(&keys.tokens, &types),
        types,
        tokens: keys.tokens,
        normalizers: if pre.nfc { vec![Normalizer::Nfc] } else { Vec::new() },
        pre: steps,
        decoders: vec![Decoder::Bytes],
        special: keys.special,
        before,
        after,
    })
}

/// BPE over characters with `▁` for spaces; lines are cut apart.
fn spaced_bpe(keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    let types = types(&keys)?;
    let (before, after) = around(&keys, false, false)?;
    let merges = keys.merges.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
    let (pattern, content) = (Pattern::Text(" ".into()), SPACE.to_owned());
    Ok(TokenizerSpec {
        model: ModelSpec::Bpe(BpeSpec {
            unk: keys.special.unk,
            fuse_unk: true,
            byte_fallback: true,
            ..BpeSpec::new(Merges::Joined(merges))
        }),
        added: added(&keys.tokens, &types),
        types,
        tokens: keys.tokens,
        normalizers: vec![Normalizer::Replace { pattern, content }],
        pre: vec![isolated(r"[^\n]+|[\n]+")],
        decoders: Decoder::sentencepiece(0),
        special: keys.special,
        before,
        after,
    })
}

fn scored_bpe(mut keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    let defaults = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..SpecialIds::default() };
    declare(&mut keys.special, defaults, keys.tokens.len());
    let types = types(&keys)?;
    let scores = keys.scores.take().ok_or_else(|| missing("tokenizer.ggml.scores"))?;
    let space = keys.add_space_prefix.unwrap_or(true);
    let (before, after) = around(&keys, true, false)?;
    Ok(TokenizerSpec {
        model: ModelSpec::ScoredBpe { scores, unk: keys.special.unk, fuse_unk: false },
        added: added(&keys.tokens, &types),
        types,
        tokens: keys.tokens,
        normalizers: vec![Normalizer::SentencePiece {
            charsmap: keys.precompiled_charsmap.map(Cow::into_owned).unwrap_or_default(),
            remove_extra_whitespaces: keys.remove_extra_whitespaces.unwrap_or(false),
            symbols: Vec::new(),
            prepend: if space { Prepend::Always } else { Prepend::Never },
        }],
        pre: Vec::new(),
        decoders: Decoder::sentencepiece(usize::from(space)),
        special: keys.special,
        before,
        after,
    })
}

fn unigram(mut keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    let defaults = SpecialIds { eos: Some(1), unk: Some(2), pad: Some(0), ..SpecialIds::default() };
    declare(&mut keys.special, defaults, keys.tokens.len());
    let types = types(&keys)?;
    let scores = keys.scores.take().ok_or_else(|| missing("tokenizer.ggml.scores"))?;
    if scores.len() != keys.tokens.len() {
        return Err(TextError::LengthMismatch { what: "scores", found: scores.len(), expected: keys.tokens.len() });
    }
    let space = keys.add_space_prefix.unwrap_or(false);
    let (before, after) = around(&keys, false, true)?;
    Ok(TokenizerSpec {
        model: ModelSpec::Unigram {
            scores: scores.into_iter().map(f64::from).collect(),
            unk: keys.special.unk,
            byte_fallback: types.contains(&TokenType::Byte),
            single_precision: true,
        },
        added: added(&keys.tokens, &types),
        types,
        tokens: keys.tokens,
        normalizers: vec![Normalizer::SentencePiece {
            charsmap: keys.precompiled_charsmap.map(Cow::into_owned).unwrap_or_default(),
            remove_extra_whitespaces: keys.remove_extra_whitespaces.unwrap_or(false),
            symbols: Vec::new(),
            prepend: if space { Prepend::Always } else { Prepend::Never },
        }],
        pre: Vec::new(),
        decoders: Decoder::sentencepiece(usize::from(space)),
        special: keys.special,
        before,
        after,
    })
}

fn word_piece(mut keys: GgufTokenizer<'_>) -> Result<TokenizerSpec<'_>, TextError> {
    let defaults = SpecialIds {
        bos: Some(101),
        sep: Some(102),
        unk: Some(100),
        pad: Some(0),
        mask: Some(103),
        ..SpecialIds::default()
    };
    declare(&mut keys.special, defaults, keys.tokens.len());
    let types = types(&keys)?;
    let count = keys.tokens.len();
    let unk = keys.special.unk.ok_or(TextError::NoSpecial { role: "unknown", vocab: count })?;
    let one = |wanted: Option<bool>, id: Option<u32>, role| match (wanted.unwrap_or(true), id) {
        (false, _) => Ok(Vec::new()),
        (true, Some(id)) => Ok(vec![id]),
        (true, None) => Err(TextError::NoSpecial { role, vocab: count }),
    };
    let before = one(keys.add_bos, keys.cls.or(keys.special.bos), "bos")?;
    let after = one(keys.add_sep, keys.special.sep.or(keys.special.eos), "separator")?;
    let tokens: Vec<Cow<'_, str>> =
        keys.tokens.into_iter().zip(&types).map(|(t, kind)| with_prefix(t, *kind)).collect();
    let lowercase = keys.lowercase.unwrap_or(true);
    Ok(TokenizerSpec {
        model: ModelSpec::WordPiece { prefix: Cow::Borrowed(INSIDE), max_chars: BERT_WORD_CHARS, unk },
        added: added(&tokens, &types),
        types,
        tokens,
        normalizers: vec![Normalizer::Bert {
            clean_text: true,
            chinese_chars: true,
            strip_accents: keys.strip_accents.unwrap_or(lowercase),
            lowercase,
        }],
        pre: PreStep::bert(),
        decoders: vec![Decoder::WordPiece { prefix: INSIDE.to_owned(), cleanup: true }],
        special: keys.special,
        before,
        after,
    })
}

/// BERT's own form of a token: `▁word` is `word`, `ing` is `##ing`; `[CLS]` and other special ones stay.
fn with_prefix(token: Cow<'_, str>, kind: TokenType) -> Cow<'_, str> {
    if let Some(word) = token.strip_prefix(SPACE) {
        return Cow::Owned(word.to_owned());
    }
    let bracketed = token.starts_with('[') && token.ends_with(']');
    if kind != TokenType::Normal || bracketed || token.starts_with(INSIDE) {
        return token;
    }
    Cow::Owned(format!("{INSIDE}{token}"))
}

fn isolated(expression: &str) -> PreStep {
    PreStep::Split { pattern: Pattern::Regex(expression.to_owned()), behavior: Behavior::Isolated, invert: false }
}

fn missing(key: &'static str) -> TextError {
    TextError::BadField { field: key.to_owned(), expected: "an array", found: "nothing".to_owned() }
}

/// Fills in the ids that older files leave out, where the vocabulary reaches so far.
fn declare(special: &mut SpecialIds, defaults: SpecialIds, tokens: usize) {
    let fill = |slot: &mut Option<u32>, id: Option<u32>| {
        *slot = slot.or(id.filter(|&id| (id as usize) < tokens));
    };
    fill(&mut special.bos, defaults.bos);
    fill(&mut special.eos, defaults.eos);
    fill(&mut special.unk, defaults.unk);
    fill(&mut special.pad, defaults.pad);
    fill(&mut special.sep, defaults.sep);
    fill(&mut special.mask, defaults.mask);
}

/// The kinds of all tokens. Where the file does not say, what is declared special or usually ends a text is a control token.
fn types(keys: &GgufTokenizer<'_>) -> Result<Vec<TokenType>, TextError> {
    let Some(numbers) = &keys.token_type else {
        let SpecialIds { bos, eos, eot, pad, unk, sep, mask } = keys.special;
        let control = [bos, eos, eot, pad, sep, mask, keys.cls];
        let kind = |(id, text): (usize, &Cow<'_, str>)| {
            let id = Some(id as u32);
            if keys.model != "gpt2" && id == unk {
                TokenType::Unknown
            } else if keys.model != "gpt2" && hex_byte(text).is_some() {
                TokenType::Byte
            } else if control.contains(&id) || END_TEXTS.contains(&&**text) {
                TokenType::Control
            } else {
                TokenType::Normal
            }
        };
        return Ok(keys.tokens.iter().enumerate().map(kind).collect());
    };
    if numbers.len() != keys.tokens.len() {
        return Err(TextError::LengthMismatch {
            what: "token types",
            found: numbers.len(),
            expected: keys.tokens.len(),
        });
    }
    let kind = |(id, &number): (usize, &i32)| {
        TokenType::from_gguf(number).ok_or_else(|| TextError::BadField {
            field: format!("tokenizer.ggml.token_type[{id}]"),
            expected: "1 to 6",
            found: number.to_string(),
        })
    };
    numbers.iter().enumerate().map(kind).collect()
}

/// The tokens to search for in a text.
fn added(tokens: &[Cow<'_, str>], types: &[TokenType]) -> Vec<AddedToken> {
    let special = |(id, (text, kind)): (usize, (&Cow<'_, str>, &TokenType))| {
        let control = match kind {
            TokenType::Control | TokenType::Unknown => true,
            TokenType::UserDefined => false,
            TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
        };
        Some(AddedToken { id: id as u32, text: text.to_string(), control, ..AddedToken::default() })
    };
    tokens.iter().zip(types).enumerate().filter_map(special).collect()
}

/// What is put around a text.
fn around(keys: &GgufTokenizer<'_>, bos: bool, eos: bool) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let one = |wanted: Option<bool>, default: bool, id: Option<u32>, role| match (wanted.unwrap_or(default), id) {
        (false, _) => Ok(Vec::new()),
        (true, Some(id)) => Ok(vec![id]),
        (true, None) => Err(TextError::NoSpecial { role, vocab: keys.tokens.len() }),
    };
    let before = one(keys.add_bos, bos, keys.special.bos, "bos")?;
    Ok((before, one(keys.add_eos, eos, keys.special.eos, "eos")?))
}
