//! The shape of the two files.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{TextError, short};

#[derive(Deserialize)]
pub(super) struct TokenizerJson<'a> {
    #[serde(borrow, default)]
    pub added_tokens: Vec<AddedJson<'a>>,
    #[serde(default)]
    pub normalizer: Option<Value>,
    #[serde(default)]
    pub pre_tokenizer: Option<Value>,
    #[serde(default)]
    pub post_processor: Option<Value>,
    #[serde(default)]
    pub decoder: Option<Value>,
    #[serde(borrow)]
    pub model: ModelJson<'a>,
}

#[derive(Deserialize)]
pub(super) struct AddedJson<'a> {
    pub id: u32,
    #[serde(borrow)]
    pub content: Cow<'a, str>,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

/// A text that is borrowed where the file has no escapes in it; serde borrows inside collections only through a wrapper.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A merge in either of its forms. (An untagged enum would first copy the whole list to look at it.)
pub(super) enum MergeJson<'a> {
    Joined(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for MergeJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MergeJson<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: \"left right\" or [\"left\", \"right\"]")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(MergeJson::Joined(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(MergeJson::Joined(Cow::Owned(text.to_string())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut next =
                    |i| list.next_element::<Text<'de>>()?.ok_or_else(|| de::Error::invalid_length(i, &"two texts"));
                let (left, right) = (next(0)?, next(1)?);
                match list.next_element::<de::IgnoredAny>()? {
                    None => Ok(MergeJson::Pair(left.0, right.0)),
                    Some(_) => Err(de::Error::invalid_length(3, &"two texts")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The vocabulary in the file's order; a map would cost more to fill than to read the file, and would hide duplicates.
pub(super) struct VocabJson<'a>(pub Vec<(Text<'a>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for VocabJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = VocabJson<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from texts to ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(VocabJson(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(Deserialize)]
pub(super) struct ModelJson<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub dropout: Option<f32>,
    #[serde(default)]
    pub unk_token: Option<String>,
    #[serde(default)]
    pub continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub fuse_unk: bool,
    #[serde(default)]
    pub byte_fallback: bool,
    #[serde(default)]
    pub ignore_merges: bool,
    #[serde(borrow)]
    pub vocab: VocabJson<'a>,
    #[serde(borrow)]
    pub merges: Vec<MergeJson<'a>>,
}

impl ModelJson<'_> {
    /// The id of a text; a search through all.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.vocab.0.iter().find(|(t, _)| t.as_ref() == text).map(|(_, id)| *id)
    }

    /// Refuses settings that would change the tokens and that this crate does not have.
    pub(super) fn check(&self) -> Result<(), TextError> {
        let refuse =
            |what, found: &dyn ToString| Err(TextError::Unsupported { what, found: short(&found.to_string()) });
        // Old files leave the type of BPE out; only BPE has merges.
        if let Some(kind) = self.kind.as_deref().filter(|&k| k != "BPE") {
            return refuse("model.type", &kind);
        }
        if let Some(dropout) = self.dropout.filter(|&d| d != 0.0) {
            return refuse("model.dropout", &dropout);
        }
        for (what, text) in [
            ("model.continuing_subword_prefix", &self.continuing_subword_prefix),
            ("model.end_of_word_suffix", &self.end_of_word_suffix),
        ] {
            if let Some(text) = text.as_deref().filter(|t| !t.is_empty()) {
                return refuse(what, &text);
            }
        }
        if self.byte_fallback {
            return refuse("model.byte_fallback", &true);
        }
        if self.fuse_unk && self.unk_token.is_some() {
            return refuse("model.fuse_unk", &true);
        }
        Ok(())
    }
}

/// `tokenizer_config.json`, of which a few fields matter here.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(super) struct ConfigJson(serde_json::Map<String, Value>);

impl ConfigJson {
    /// A token's text: written as a string or as an object with `content`.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, TextError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => match other.get("content") {
                Some(Value::String(text)) => Ok(Some(text)),
                _ => Err(TextError::BadField {
                    field: format!("tokenizer_config.json: {field}"),
                    expected: "a string or an object with content",
                    found: short(&other.to_string()),
                }),
            },
        }
    }

    /// A flag that is set.
    pub(super) fn is_true(&self, field: &str) -> bool {
        self.0.get(field) == Some(&Value::Bool(true))
    }
}
