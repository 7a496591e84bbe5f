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

#[derive(Deserialize, Default)]
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
#[derive(Default)]
pub(super) struct VocabJson<'a> {
    /// Texts and ids.
    pub entries: Vec<(Text<'a>, u32)>,
    /// Scores by id, where the file has a list of texts and scores.
    pub scores: Option<Vec<f64>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for VocabJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = VocabJson<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from texts to ids, or a list of texts with scores")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(VocabJson { entries, scores: None })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (mut entries, mut scores) = (Vec::new(), Vec::new());
                while let Some((text, score)) = list.next_element::<(Text<'de>, f64)>()? {
                    let id = u32::try_from(entries.len()).map_err(de::Error::custom)?;
                    entries.push((text, id));
                    scores.push(score);
                }
                Ok(VocabJson { entries, scores: Some(scores) })
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// The model: the fields of all kinds side by side.
#[derive(Deserialize)]
pub(super) struct ModelJson<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub dropout: Option<f32>,
    #[serde(default)]
    pub unk_token: Option<String>,
    #[serde(default)]
    pub unk_id: Option<u32>,
    #[serde(default)]
    pub continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub max_input_chars_per_word: Option<usize>,
    #[serde(default)]
    pub fuse_unk: bool,
    #[serde(default)]
    pub byte_fallback: bool,
    #[serde(default)]
    pub ignore_merges: bool,
    #[serde(borrow)]
    pub vocab: VocabJson<'a>,
    #[serde(borrow, default)]
    pub merges: Option<Vec<MergeJson<'a>>>,
}

impl ModelJson<'_> {
    /// The id of a text; a search through all.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.vocab.entries.iter().find(|(t, _)| t.as_ref() == text).map(|(_, id)| *id)
    }
}

/// `tokenizer_config.json`, of which a few fields matter here.
#[derive(Deserialize, Default)]
#[serde(transparent)]
pub(crate) struct Config(serde_json::Map<String, Value>);

impl Config {
    /// From the file's contents; an empty one where there is no file.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, TextError> {
        text.map_or_else(|| Ok(Self::default()), |text| super::parse("tokenizer_config.json", text))
    }

    /// A token's text: written as a string or as an object with `content`.
    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, TextError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => match other.get("content") {
                Some(Value::String(text)) => Ok(Some(text)),
                _ => Err(bad(field, "a string or an object with content", other)),
            },
        }
    }

    /// A flag that is set.
    pub(crate) fn is_true(&self, field: &str) -> bool {
        self.0.get(field) == Some(&Value::Bool(true))
    }

    /// Whether there is such a field, be it null.
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// A list of tokens' texts, each written as [`Config::text`] has it; empty where there is none.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<String>, TextError> {
        let list = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(bad(field, "a list", other)),
        };
        let text = |item: &Value| item.as_str().or_else(|| item.get("content")?.as_str()).map(str::to_owned);
        list.iter().map(|item| text(item).ok_or_else(|| bad(field, "tokens", item))).collect()
    }

    /// `added_tokens_decoder`: tokens by their ids.
    pub(super) fn added_tokens(&self) -> Result<Vec<AddedJson<'static>>, TextError> {
        const FIELD: &str = "added_tokens_decoder";
        let map = match self.0.get(FIELD) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(bad(FIELD, "a map from ids to tokens", other)),
        };
        let token = |(id, token): (&String, &Value)| {
            let flag = |name| token.get(name).and_then(Value::as_bool).unwrap_or(false);
            Some(AddedJson {
                id: id.parse().ok()?,
                content: Cow::Owned(token.get("content")?.as_str()?.to_owned()),
                single_word: flag("single_word"),
                lstrip: flag("lstrip"),
                rstrip: flag("rstrip"),
                normalized: flag("normalized"),
                special: flag("special"),
            })
        };
        map.iter().map(|entry| token(entry).ok_or_else(|| bad(FIELD, "ids and tokens with content", entry.1))).collect()
    }
}

fn bad(field: &str, expected: &'static str, found: &Value) -> TextError {
    TextError::BadField { field: format!("tokenizer_config.json: {field}"), expected, found: short(&found.to_string()) }
}
