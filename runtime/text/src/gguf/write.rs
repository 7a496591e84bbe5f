//! From a tokenizer's parts to keys.

use std::borrow::Cow;

use super::{GgufTokenizer, INSIDE, SPACE};
use crate::error::{TextError, short};
use crate::normalize::charsmap;
use crate::pretok::table;
use crate::spec::{
    Behavior, BpeSpec, Merges, ModelSpec, Normalizer, Pattern, PreStep, Prepend, TokenType, TokenizerSpec,
};

pub(super) fn keys<'s>(spec: &'s TokenizerSpec<'_>) -> Result<GgufTokenizer<'s>, TextError> {
    let mut keys = match &spec.model {
        ModelSpec::Bpe(bpe) if spec.pre.last() == Some(&PreStep::Bytes) => byte_bpe(spec, bpe)?,
        ModelSpec::Bpe(bpe) => spaced_bpe(spec, bpe)?,
        ModelSpec::ScoredBpe { scores, .. } => scored(spec, Some(scores.clone()))?,
        ModelSpec::Unigram { scores, .. } => unigram(spec, scores)?,
        ModelSpec::WordPiece { prefix, .. } => word_piece(spec, prefix)?,
        ModelSpec::WordLevel { .. } => return Err(refused("model", &"WordLevel")),
    };
    keys.special = spec.special;
    keys.token_type = Some(spec.types.iter().map(|&kind| i32::from(kind as u8)).collect());
    if keys.model == "bert" {
        keys.cls = spec.before.first().copied();
        (keys.add_bos, keys.add_sep) = (Some(!spec.before.is_empty()), Some(!spec.after.is_empty()));
        keys.special.bos = keys.special.bos.or(keys.cls);
        keys.special.sep = keys.special.sep.or(spec.after.first().copied());
        if spec.before.len() > 1 || spec.after.len() > 1 {
            return Err(around(spec));
        }
    } else {
        keys.add_bos = Some(single(spec, &spec.before, spec.special.bos)?);
        keys.add_eos = Some(single(spec, &spec.after, spec.special.eos)?);
    }
    for token in &spec.added {
        // GGUF finds tokens in the text as it stands, without regard to neighbours.
        if token.single_word || token.lstrip {
            return Err(refused("added token", &token.text));
        }
    }
    Ok(keys)
}

fn refused(part: &'static str, found: &dyn std::fmt::Debug) -> TextError {
    TextError::NotInGguf { part, found: short(&format!("{found:?}")) }
}

fn around(spec: &TokenizerSpec<'_>) -> TextError {
    refused("tokens around a text", &(&spec.before, &spec.after))
}

/// Whether the tokens on one side of a text are this one; else they must be none.
fn single(spec: &TokenizerSpec<'_>, ids: &[u32], id: Option<u32>) -> Result<bool, TextError> {
    match ids {
        [] => Ok(false),
        [one] if Some(*one) == id => Ok(true),
        _ => Err(around(spec)),
    }
}

fn borrowed<'s>(tokens: &'s [Cow<'_, str>]) -> Vec<Cow<'s, str>> {
    tokens.iter().map(|text| Cow::Borrowed(&**text)).collect()
}

fn byte_bpe<'s>(spec: &'s TokenizerSpec<'_>, bpe: &'s BpeSpec<'_>) -> Result<GgufTokenizer<'s>, TextError> {
    let nfc = match spec.normalizers.as_slice() {
        [] => false,
        [Normalizer::Nfc] => true,
        other => return Err(refused("normalizer", &other)),
    };
    let (_, steps) = spec.pre.split_last().unwrap_or((&PreStep::Bytes, &[]));
    let mut expressions = Vec::new();
    for step in steps {
        expressions.push(match step {
            PreStep::Split { pattern: Pattern::Regex(regex), behavior: Behavior::Isolated, invert: false } => &**regex,
            PreStep::Digits { individual: true } => table::DIGIT,
            PreStep::Digits { individual: false } => r"\p{N}+",
            other => return Err(refused("pre-tokenizer", other)),
        });
    }
    // An expression that no name stands for is refused: a file under another name would give other tokens.
    let name = table::name_of(&expressions, bpe.ignore_merges, nfc)
        .ok_or_else(|| refused("pre-tokenizer (no tokenizer.ggml.pre stands for it)", &(&expressions, nfc)))?;
    Ok(GgufTokenizer {
        model: Cow::Borrowed("gpt2"),
        pre: Some(Cow::Borrowed(name)),
        tokens: borrowed(&spec.tokens),
        merges: Some(joined(&bpe.merges)?),
        ..GgufTokenizer::default()
    })
}

/// The merges as `left right`.
fn joined<'s>(merges: &'s Merges<'_>) -> Result<Vec<Cow<'s, str>>, TextError> {
    match merges {
        Merges::Joined(list) => Ok(borrowed(list)),
        Merges::Pairs(list) => {
            let join = |(left, right): &(Cow<'_, str>, Cow<'_, str>)| {
                if left.contains(' ') || right.contains(' ') {
                    return Err(refused("merge", &(left, right)));
                }
                Ok(Cow::Owned(format!("{left} {right}")))
            };
            list.iter().map(join).collect()
        }
    }
}

/// BPE over characters is written as BPE with scores: the first merge that makes a token gives its place in the order.
fn spaced_bpe<'s>(spec: &'s TokenizerSpec<'_>, bpe: &BpeSpec<'_>) -> Result<GgufTokenizer<'s>, TextError> {
    if !bpe.prefix.is_empty() || !bpe.suffix.is_empty() || bpe.ignore_merges {
        return Err(refused("BPE settings", &(&bpe.prefix, &bpe.suffix, bpe.ignore_merges)));
    }
    let ids: std::collections::HashMap<&str, usize> =
        spec.tokens.iter().enumerate().map(|(id, text)| (&**text, id)).collect();
    let mut scores = vec![0.0; spec.tokens.len()];
    let mut order: Option<usize> = None;
    let mut rank = 0.0_f32;
    for at in 0..bpe.merges.len() {
        let text = match &bpe.merges {
            Merges::Joined(list) => list[at].replacen(' ', "", 1),
            Merges::Pairs(list) => format!("{}{}", list[at].0, list[at].1),
        };
        let id = *ids.get(&*text).ok_or_else(|| TextError::MergeToken { index: at, token: short(&text) })?;
        if order != Some(id) {
            if scores[id] < 0.0 {
                // Its merges are not side by side: no score gives their order.
                return Err(refused("order of merges", &text));
            }
            rank -= 1.0;
            scores[id] = rank;
            order = Some(id);
        }
    }
    scored(spec, Some(scores))
}

fn scored<'s>(spec: &'s TokenizerSpec<'_>, scores: Option<Vec<f32>>) -> Result<GgufTokenizer<'s>, TextError> {
    let spaces = spaces(spec)?;
    Ok(GgufTokenizer {
        model: Cow::Borrowed("llama"),
        pre: Some(Cow::Borrowed("default")),
        tokens: plain_spaces(spec),
        scores,
        add_space_prefix: Some(spaces.prefix),
        remove_extra_whitespaces: spaces.tidy.then_some(true),
        precompiled_charsmap: (!spaces.charsmap.is_empty()).then_some(spaces.charsmap),
        ..GgufTokenizer::default()
    })
}

fn unigram<'s>(spec: &'s TokenizerSpec<'_>, scores: &[f64]) -> Result<GgufTokenizer<'s>, TextError> {
    let spaces = spaces(spec)?;
    // Added tokens beyond the model's need a score, too.
    let scores = scores.iter().copied().chain(std::iter::repeat(0.0)).take(spec.tokens.len());
    Ok(GgufTokenizer {
        model: Cow::Borrowed("t5"),
        pre: Some(Cow::Borrowed("default")),
        tokens: plain_spaces(spec),
        scores: Some(scores.map(|score| score as f32).collect()),
        add_space_prefix: Some(spaces.prefix),
        remove_extra_whitespaces: Some(spaces.tidy),
        precompiled_charsmap: (!spaces.charsmap.is_empty()).then_some(spaces.charsmap),
        ..GgufTokenizer::default()
    })
}

/// User-defined tokens are searched for before spaces become `▁`. Where SentencePiece itself normalizes, it knows those that are
/// spelled with one; others, as a GGUF file may have them, mean the character.
fn plain_spaces<'s>(spec: &'s TokenizerSpec<'_>) -> Vec<Cow<'s, str>> {
    let symbols = spec.normalizers.iter().find_map(|step| match step {
        Normalizer::SentencePiece { symbols, .. } => Some(symbols),
        _ => None,
    });
    let means_space = |text: &str| text.contains(SPACE) && symbols.is_none_or(|known| known.iter().any(|s| s == text));
    let text = |(text, kind): (&'s Cow<'_, str>, &TokenType)| {
        if *kind == TokenType::UserDefined && means_space(text) {
            Cow::Owned(text.replace(SPACE, " "))
        } else {
            Cow::Borrowed(&**text)
        }
    };
    spec.tokens.iter().zip(&spec.types).map(text).collect()
}

/// What the normalizers and pre-tokenizers of a SentencePiece tokenizer come to.
#[derive(Default)]
struct Spaces<'s> {
    charsmap: Cow<'s, [u8]>,
    tidy: bool,
    prefix: bool,
}

fn spaces<'s>(spec: &'s TokenizerSpec<'_>) -> Result<Spaces<'s>, TextError> {
    let mut spaces = Spaces::default();
    let space = Pattern::Text(" ".to_owned());
    for step in &spec.normalizers {
        match step {
            Normalizer::SentencePiece { charsmap, remove_extra_whitespaces, prepend, .. } => {
                (spaces.charsmap, spaces.tidy) = (charsmap.into(), *remove_extra_whitespaces);
                spaces.prefix = *prepend != Prepend::Never;
            }
            Normalizer::Charsmap(charsmap) if spaces.charsmap.is_empty() => spaces.charsmap = charsmap.into(),
            Normalizer::Prepend(text) if text == SPACE => spaces.prefix = true,
            Normalizer::Replace { pattern, content } if *pattern == space && content == SPACE => {}
            Normalizer::Replace { pattern: Pattern::Regex(regex), content }
                if regex == " {2,}" && matches!(&**content, " " | SPACE) =>
            {
                spaces.tidy = true;
            }
            Normalizer::Strip { .. } => spaces.tidy = true,
            other => return Err(refused("normalizer", other)),
        }
    }
    for step in &spec.pre {
        match step {
            PreStep::Metaspace { replacement: '▁', prepend, .. } => spaces.prefix |= *prepend != Prepend::Never,
            // There are no spaces left to split at.
            PreStep::Split { pattern, behavior: Behavior::MergedWithPrevious, invert: false } if *pattern == space => {}
            PreStep::Split { pattern: Pattern::Regex(regex), behavior: Behavior::Removed, invert: false }
                if regex == r"\s" =>
            {
                spaces.tidy = true;
                // Only spaces are tidied up: other blanks have to become some first. Published tables see to that.
                if spaces.charsmap.is_empty() {
                    let blanks = ('\0'..=char::MAX).filter(|&c| c.is_whitespace() && c != ' ');
                    spaces.charsmap = charsmap::replacing(blanks, " ").into();
                }
            }
            other => return Err(refused("pre-tokenizer", other)),
        }
    }
    Ok(spaces)
}

fn word_piece<'s>(spec: &'s TokenizerSpec<'_>, prefix: &str) -> Result<GgufTokenizer<'s>, TextError> {
    let [Normalizer::Bert { clean_text: true, chinese_chars: true, strip_accents, lowercase }] = *spec.normalizers
    else {
        return Err(refused("normalizer", &spec.normalizers));
    };
    if prefix != INSIDE || spec.pre != PreStep::bert() {
        return Err(refused("pre-tokenizer", &(prefix, &spec.pre)));
    }
    let tokens = spec.tokens.iter().zip(&spec.types).map(|(text, &kind)| word_piece_token(text, kind));
    Ok(GgufTokenizer {
        model: Cow::Borrowed("bert"),
        tokens: tokens.collect::<Result<_, _>>()?,
        lowercase: Some(lowercase),
        strip_accents: Some(strip_accents),
        ..GgufTokenizer::default()
    })
}

/// A token in the spelling from which reading makes this text again.
fn word_piece_token<'s>(text: &'s str, kind: TokenType) -> Result<Cow<'s, str>, TextError> {
    let bracketed = |text: &str| text.starts_with('[') && text.ends_with(']');
    let written = match text.strip_prefix(INSIDE) {
        Some(rest) if kind == TokenType::Normal => {
            // Without its mark it would be read as something else.
            if rest.starts_with(SPACE) || rest.starts_with(INSIDE) || bracketed(rest) {
                return Err(refused("token", &text));
            }
            Cow::Borrowed(rest)
        }
        _ if (kind != TokenType::Normal || bracketed(text)) && !text.starts_with(SPACE) => Cow::Borrowed(text),
        _ => Cow::Owned(format!("{SPACE}{text}")),
    };
    Ok(written)
}
