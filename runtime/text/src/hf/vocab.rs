//! Byte-level BPE out of `vocab.json` and `merges.txt`, the form before `tokenizer.json`.
//!
//! These two say nothing of how text is cut before merging: the tokenizer's class does. Classes whose rules are not here
//! are refused by name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::schema::{AddedJson, Config, Text, VocabJson};
use super::{parse, token_list};
use crate::error::{TextError, short};
use crate::pretok::table;
use crate::spec::{
    Behavior, BpeSpec, Decoder, Merges, ModelSpec, Normalizer, Pattern, PreStep, SpecialIds, TokenizerSpec,
};
use crate::tokenizer::Tokenizer;

/// The contents of the files.
#[derive(Debug, Clone, Default)]
pub struct VocabFiles<'a> {
    /// `vocab.json`: ids by text.
    pub vocab: &'a str,
    /// `merges.txt`: a merge a line, by falling priority.
    pub merges: &'a str,
    /// `tokenizer_config.json`.
    pub config: Option<Cow<'a, str>>,
    /// `special_tokens_map.json`: special tokens that `tokenizer_config.json` does not name.
    pub special_tokens_map: Option<Cow<'a, str>>,
    /// `added_tokens.json`: ids of tokens beyond the vocabulary.
    pub added_tokens: Option<Cow<'a, str>>,
    /// The model's `config.json`, which tells the class where `tokenizer_config.json` does not.
    pub model: Option<Cow<'a, str>>,
}

/// What a class does.
struct Class {
    /// Its name, without `Fast`.
    name: &'static str,
    /// Values of `model_type` that stand for it.
    models: &'static [&'static str],
    regex: &'static str,
    nfc: bool,
    /// Whether BOS is `<|endoftext|>` where nothing is said; EOS and padding are in all of them.
    bos: bool,
}

const CLASSES: &[Class] = &[
    Class {
        name: "GPT2Tokenizer",
        models: &["gpt2", "gpt_neo", "gptj", "gpt_bigcode", "opt"],
        regex: table::GPT2,
        nfc: false,
        bos: true,
    },
    Class { name: "CodeGenTokenizer", models: &["codegen", "phi"], regex: table::GPT2, nfc: false, bos: true },
    Class {
        name: "Qwen2Tokenizer",
        models: &["qwen2", "qwen2_moe", "qwen3", "qwen3_moe"],
        regex: table::QWEN2,
        nfc: true,
        bos: false,
    },
];

/// What the classes begin and end texts with where nothing is said.
const END_OF_TEXT: &str = "<|endoftext|>";

impl Tokenizer {
    /// From the files of a tokenizer without `tokenizer.json`.
    ///
    /// # Errors
    /// Those of [`TokenizerSpec::from_vocab`] and [`Tokenizer::new`].
    pub fn from_vocab(files: &VocabFiles<'_>) -> Result<Self, TextError> {
        Self::new(TokenizerSpec::from_vocab(files)?)
    }
}

impl<'a> TokenizerSpec<'a> {
    /// What `vocab.json` and `merges.txt` describe, with the rules of the tokenizer's class.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for a class that this crate does not have, or none; else as [`TokenizerSpec::from_hf`].
    pub fn from_vocab(files: &VocabFiles<'a>) -> Result<Self, TextError> {
        let config = Config::parse(files.config.as_deref())?;
        let class = class(&config, files.model.as_deref())?;
        let vocab: VocabJson<'a> = parse("vocab.json", files.vocab)?;
        if vocab.scores.is_some() {
            let (expected, found) = ("a map from texts to ids", "a list".to_owned());
            return Err(TextError::BadField { field: "vocab.json".to_owned(), expected, found });
        }
        let special = Special::read(&config, files.special_tokens_map.as_deref(), class)?;
        let added = added(&config, files.added_tokens.as_deref(), &special, &vocab)?;
        let id = |role, text: Option<&str>| {
            let Some(text) = text else { return Ok(None) };
            let id = added.iter().find(|t| t.content == text).map(|t| t.id);
            id.map(Some).ok_or_else(|| TextError::SpecialText { role, text: short(text) })
        };
        let ids = SpecialIds {
            bos: id("bos", special.bos.as_deref())?,
            eos: id("eos", special.eos.as_deref())?,
            pad: id("padding", special.pad.as_deref())?,
            unk: id("unknown", special.unk.as_deref())?,
            ..SpecialIds::default()
        };
        let (tokens, types, added) = token_list(vocab.entries, &added, None, false)?;
        let mut pre = Vec::new();
        if config.is_true("add_prefix_space") {
            pre.push(PreStep::PrefixSpace);
        }
        let (pattern, behavior) = (Pattern::Regex(class.regex.to_owned()), Behavior::Isolated);
        pre.extend([PreStep::Split { pattern, behavior, invert: false }, PreStep::Bytes]);
        Ok(Self {
            tokens,
            types,
            model: ModelSpec::Bpe(BpeSpec::new(merges(files.merges))),
            added,
            normalizers: if class.nfc { vec![Normalizer::Nfc] } else { Vec::new() },
            pre,
            decoders: vec![Decoder::Bytes],
            special: ids,
            before: ids.bos.filter(|_| config.is_true("add_bos_token")).into_iter().collect(),
            after: ids.eos.filter(|_| config.is_true("add_eos_token")).into_iter().collect(),
        })
    }
}

/// The class that `tokenizer_config.json` names, else the one that the model's configuration names or its type has.
fn class(config: &Config, model: Option<&str>) -> Result<&'static Class, TextError> {
    let model: Map<String, Value> = model.map_or_else(|| Ok(Map::new()), |text| parse("config.json", text))?;
    let text = |field: &str| model.get(field).and_then(Value::as_str);
    let named = config.text("tokenizer_class")?.or_else(|| text("tokenizer_class"));
    let found = match named {
        Some(name) => {
            let name = name.strip_suffix("Fast").unwrap_or(name);
            CLASSES.iter().find(|class| class.name == name)
        }
        None => text("model_type").and_then(|kind| CLASSES.iter().find(|class| class.models.contains(&kind))),
    };
    found.ok_or_else(|| TextError::Unsupported {
        what: "the tokenizer_class of vocab.json and merges.txt (known are GPT2Tokenizer, CodeGenTokenizer and Qwen2Tokenizer)",
        found: short(named.or_else(|| text("model_type")).unwrap_or("nothing")),
    })
}

/// The lines; the first may name a version.
fn merges(text: &str) -> Merges<'_> {
    let lines =
        text.lines().enumerate().filter(|(i, line)| !(line.is_empty() || *i == 0 && line.starts_with("#version")));
    Merges::Joined(lines.map(|(_, line)| Cow::Borrowed(line)).collect())
}

/// The texts of special tokens.
#[derive(Default)]
struct Special {
    bos: Option<String>,
    eos: Option<String>,
    pad: Option<String>,
    unk: Option<String>,
    others: Vec<String>,
}

impl Special {
    fn read(config: &Config, map: Option<&str>, class: &Class) -> Result<Self, TextError> {
        let map = map.map_or_else(|| Ok(Config::default()), |text| parse("special_tokens_map.json", text))?;
        // A token that is null is none, whatever comes after.
        let named = |field: &str, default: bool| match (config.has(field), map.has(field)) {
            (true, _) => config.text(field),
            (false, true) => map.text(field),
            (false, false) => Ok(default.then_some(END_OF_TEXT)),
        };
        let owned = |field, default| named(field, default).map(|text| text.map(str::to_owned));
        let mut others = config.texts("additional_special_tokens")?;
        others.extend(map.texts("additional_special_tokens")?);
        Ok(Self {
            bos: owned("bos_token", class.bos)?,
            eos: owned("eos_token", true)?,
            pad: owned("pad_token", !class.bos)?,
            unk: owned("unk_token", true)?,
            others,
        })
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let named = [&self.bos, &self.eos, &self.pad, &self.unk];
        named.into_iter().flatten().chain(&self.others).map(String::as_str)
    }
}

/// The tokens to search for in a text: listed with their flags, listed with an id, or special ones of the vocabulary.
fn added(
    config: &Config,
    added_tokens: Option<&str>,
    special: &Special,
    vocab: &VocabJson<'_>,
) -> Result<Vec<AddedJson<'static>>, TextError> {
    let mut list: Vec<AddedJson<'static>> = config.added_tokens()?;
    let others: Map<String, Value> =
        added_tokens.map_or_else(|| Ok(Map::new()), |text| parse("added_tokens.json", text))?;
    // Sets, since a file may list as many as it likes.
    let specials: HashSet<&str> = special.texts().collect();
    let listed: HashSet<(u32, String)> = list.iter().map(|t| (t.id, t.content.to_string())).collect();
    for (text, id) in others {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| TextError::BadField {
            field: format!("added_tokens.json: {}", short(&text)),
            expected: "an id",
            found: short(&id.to_string()),
        })?;
        let special = specials.contains(text.as_str());
        let token = (id, text);
        if !listed.contains(&token) {
            let content = Cow::Owned(token.1);
            list.push(AddedJson { id, content, special, normalized: !special, ..AddedJson::default() });
        }
    }
    let mut ids: HashMap<&str, u32> = HashMap::new();
    for (Text(text), id) in &vocab.entries {
        ids.entry(text).or_insert(*id);
    }
    let mut known: HashSet<String> = list.iter().map(|t| t.content.to_string()).collect();
    for text in special.texts() {
        if let Some(&id) = ids.get(text)
            && known.insert(text.to_owned())
        {
            list.push(AddedJson { id, content: Cow::Owned(text.to_owned()), special: true, ..AddedJson::default() });
        }
    }
    Ok(list)
}
