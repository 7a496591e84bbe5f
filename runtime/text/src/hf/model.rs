//! The model of `tokenizer.json`.

use std::borrow::Cow;

use super::schema::{MergeJson, ModelJson};
use crate::error::{TextError, short};
use crate::spec::{BpeSpec, Merges, ModelSpec};

/// What BERT's tokens inside a word begin with, and its longest word, where the file does not say.
const WORD_PIECE: (&str, usize) = ("##", 100);

/// The model's description. `unk`: the id of its `unk_token`.
pub(super) fn spec(model: ModelJson<'_>, unk: Option<u32>) -> Result<ModelSpec<'_>, TextError> {
    if let Some(dropout) = model.dropout.filter(|&d| d != 0.0) {
        return Err(TextError::Unsupported { what: "model.dropout", found: dropout.to_string() });
    }
    match model.kind.as_deref().or_else(|| untold(&model)) {
        Some("BPE") => Ok(bpe(model, unk)),
        Some("Unigram") => {
            let scores = model.vocab.scores.ok_or_else(|| field("model.vocab", "texts with scores", "a map"))?;
            Ok(ModelSpec::Unigram {
                scores,
                unk: model.unk_id,
                byte_fallback: model.byte_fallback,
                single_precision: false,
            })
        }
        Some("WordPiece") => Ok(ModelSpec::WordPiece {
            prefix: model.continuing_subword_prefix.map_or(Cow::Borrowed(WORD_PIECE.0), Cow::Owned),
            max_chars: model.max_input_chars_per_word.unwrap_or(WORD_PIECE.1),
            unk: unk.ok_or_else(|| field("model.unk_token", "a token", "nothing"))?,
        }),
        Some("WordLevel") => Ok(ModelSpec::WordLevel { unk }),
        other => Err(TextError::Unsupported { what: "model.type", found: short(other.unwrap_or("nothing")) }),
    }
}

/// The kind of a model in an old file, which leaves it out: only BPE has merges, only Unigram scores.
fn untold(model: &ModelJson<'_>) -> Option<&'static str> {
    if model.merges.is_some() {
        Some("BPE")
    } else if model.vocab.scores.is_some() {
        Some("Unigram")
    } else if model.continuing_subword_prefix.is_some() && model.max_input_chars_per_word.is_some() {
        Some("WordPiece")
    } else {
        model.unk_token.is_some().then_some("WordLevel")
    }
}

fn field(name: &str, expected: &'static str, found: &str) -> TextError {
    TextError::BadField { field: name.to_owned(), expected, found: found.to_owned() }
}

fn bpe(model: ModelJson<'_>, unk: Option<u32>) -> ModelSpec<'_> {
    ModelSpec::Bpe(BpeSpec {
        ignore_merges: model.ignore_merges,
        unk,
        fuse_unk: model.fuse_unk,
        byte_fallback: model.byte_fallback,
        prefix: Cow::Owned(model.continuing_subword_prefix.unwrap_or_default()),
        suffix: Cow::Owned(model.end_of_word_suffix.unwrap_or_default()),
        merges: merges(model.merges.unwrap_or_default()),
    })
}

/// One form for all: the joined one where the file has only that, so that its entries are checked as such.
fn merges(list: Vec<MergeJson<'_>>) -> Merges<'_> {
    if list.iter().all(|m| matches!(m, MergeJson::Joined(_))) {
        let text = |m| if let MergeJson::Joined(text) = m { Some(text) } else { None };
        return Merges::Joined(list.into_iter().filter_map(text).collect());
    }
    let pair = |m| match m {
        MergeJson::Pair(left, right) => (left, right),
        MergeJson::Joined(text) => match text.split_once(' ') {
            Some((left, right)) => (Cow::Owned(left.to_owned()), Cow::Owned(right.to_owned())),
            None => (text, Cow::Borrowed("")),
        },
    };
    Merges::Pairs(list.into_iter().map(pair).collect())
}
