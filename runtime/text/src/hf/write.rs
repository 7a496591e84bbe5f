//! From a tokenizer's parts to `tokenizer.json`.

mod sentencepiece;

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::error::{TextError, short};
use crate::pretok::table;
use crate::spec::{
    Behavior, BpeSpec, Decoder, Merges, ModelSpec, Normalizer, Pattern, PreStep, TokenType, TokenizerSpec,
};

impl TokenizerSpec<'_> {
    /// The contents of a `tokenizer.json` that describes this tokenizer: BPE or Unigram.
    ///
    /// SentencePiece's BPE becomes BPE with merges as Hugging Face's converters write it: where a token overlaps with itself (`aaa`
    /// in `aaaa`) the library begins with another one than SentencePiece does.
    ///
    /// Tokens that only pad the vocabulary (`[PAD123]`, unused) are left out: a reader finds none at their ids.
    ///
    /// # Errors
    /// [`TextError::NotInJson`] for a part that Hugging Face's library does not have, or that is not written here.
    pub fn to_hf(&self) -> Result<String, TextError> {
        let spm = || sentencepiece::Steps::new(self);
        let (steps, added, model) = match &self.model {
            ModelSpec::Bpe(bpe) => {
                let steps = sentencepiece::Steps {
                    normalizers: self.normalizers.iter().map(normalizer).collect::<Result<_, _>>()?,
                    pre: pre_tokenizers(&self.pre)?,
                    decoders: self.decoders.iter().map(decoder).collect::<Result<_, _>>()?,
                };
                (steps, self.added.clone(), self.bpe(bpe, merges(&bpe.merges)))
            }
            ModelSpec::ScoredBpe { scores, unk, fuse_unk } => {
                let byte_fallback = self.types.contains(&TokenType::Byte);
                let none = Merges::Pairs(Vec::new());
                let bpe = BpeSpec { unk: *unk, fuse_unk: *fuse_unk, byte_fallback, ..BpeSpec::new(none) };
                let merges = sentencepiece::merges(self, scores)?;
                (spm()?, sentencepiece::added(self)?, self.bpe(&bpe, merges))
            }
            ModelSpec::Unigram { .. } => {
                (spm()?, sentencepiece::added(self)?, sentencepiece::unigram(self).unwrap_or_default())
            }
            _ => return Err(refused("model", &"neither BPE nor Unigram")),
        };
        // Member by member: the vocabulary in the order of ids, which a JSON map would lose.
        Ok(format!(
            "{{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":{},\"normalizer\":{},\
             \"pre_tokenizer\":{},\"post_processor\":{},\"decoder\":{},\"model\":{model}}}\n",
            Value::Array(added.iter().map(self::added).collect()),
            sequence(steps.normalizers, "normalizers"),
            sequence(steps.pre, "pretokenizers"),
            self.post_processor(),
            sequence(steps.decoders, "decoders"),
        ))
    }

    fn bpe(&self, bpe: &BpeSpec<'_>, merges: Vec<Value>) -> String {
        let some = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        let text = |id: u32| self.tokens.get(id as usize).map(|t| json!(t)).unwrap_or_default();
        let tokens = self.tokens.iter().zip(&self.types).enumerate();
        let listed = tokens.filter(|(id, (text, kind))| !(**kind == TokenType::Unused && **text == *padding(*id)));
        let outside: HashSet<usize> = self.added.iter().filter(|t| t.outside).map(|t| t.id as usize).collect();
        let vocab: Vec<String> = listed
            .filter(|(id, _)| !outside.contains(id))
            .map(|(id, (text, _))| format!("{}:{id}", json!(text)))
            .collect();
        format!(
            "{{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":{},\"continuing_subword_prefix\":{},\
             \"end_of_word_suffix\":{},\"fuse_unk\":{},\"byte_fallback\":{},\"ignore_merges\":{},\"vocab\":{{{}}},\
             \"merges\":{}}}",
            bpe.unk.map(text).unwrap_or_default(),
            some(&bpe.prefix),
            some(&bpe.suffix),
            bpe.fuse_unk,
            bpe.byte_fallback,
            bpe.ignore_merges,
            vocab.join(","),
            Value::Array(merges),
        )
    }

    /// What stands around every text.
    fn post_processor(&self) -> Value {
        if self.before.is_empty() && self.after.is_empty() {
            return Value::Null;
        }
        let text = |id: &u32| self.tokens.get(*id as usize).map(|t| t.to_string()).unwrap_or_default();
        let item = |id: &u32| json!({"SpecialToken": {"id": text(id), "type_id": 0}});
        let single: Vec<Value> = (self.before.iter().map(item))
            .chain([json!({"Sequence": {"id": "A", "type_id": 0}})])
            .chain(self.after.iter().map(item))
            .collect();
        let mut named = serde_json::Map::new();
        for id in self.before.iter().chain(&self.after) {
            named.insert(text(id), json!({"id": text(id), "ids": [id], "tokens": [text(id)]}));
        }
        json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": named})
    }
}

fn merges(merges: &Merges<'_>) -> Vec<Value> {
    match merges {
        Merges::Joined(list) => list.iter().map(|m| json!(m.split_once(' ').unwrap_or((m, "")))).collect(),
        Merges::Pairs(list) => list.iter().map(|pair| json!(pair)).collect(),
    }
}

/// What converters to GGUF call ids without a token.
fn padding(id: usize) -> String {
    format!("[PAD{id}]")
}

fn refused(part: &'static str, found: &dyn std::fmt::Debug) -> TextError {
    TextError::NotInJson { part, found: short(&format!("{found:?}")) }
}

fn sequence(mut steps: Vec<Value>, name: &str) -> Value {
    match steps.len() {
        0 => Value::Null,
        1 => steps.remove(0),
        _ => json!({ "type": "Sequence", name: steps }),
    }
}

fn added(token: &crate::spec::AddedToken) -> Value {
    json!({
        "id": token.id, "content": token.text, "single_word": token.single_word, "lstrip": token.lstrip,
        "rstrip": token.rstrip, "normalized": token.normalized, "special": token.control,
    })
}

fn pattern(pattern: &Pattern) -> Value {
    match pattern {
        Pattern::Text(text) => json!({ "String": text }),
        Pattern::Regex(regex) => json!({ "Regex": regex }),
    }
}

fn normalizer(step: &Normalizer) -> Result<Value, TextError> {
    Ok(match step {
        Normalizer::Nfc => json!({"type": "NFC"}),
        Normalizer::Nfd => json!({"type": "NFD"}),
        Normalizer::Nfkc => json!({"type": "NFKC"}),
        Normalizer::Nfkd => json!({"type": "NFKD"}),
        Normalizer::Lowercase => json!({"type": "Lowercase"}),
        Normalizer::Prepend(text) => json!({"type": "Prepend", "prepend": text}),
        Normalizer::Replace { pattern: p, content } => {
            json!({"type": "Replace", "pattern": pattern(p), "content": content})
        }
        other => return Err(refused("normalizer", other)),
    })
}

fn pre_tokenizers(steps: &[PreStep]) -> Result<Vec<Value>, TextError> {
    let bytes = |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
    let gpt2 = |step: &PreStep| {
        let (pattern, behavior) = (Pattern::Regex(table::GPT2.to_owned()), Behavior::Isolated);
        *step == PreStep::Split { pattern, behavior, invert: false }
    };
    let mut out = Vec::new();
    let mut rest = steps;
    while let [step, after @ ..] = rest {
        rest = after;
        out.push(match (step, after) {
            // One step there: a space in front, GPT-2's expression, bytes.
            (PreStep::PrefixSpace, [split, PreStep::Bytes, after @ ..]) if gpt2(split) => {
                rest = after;
                bytes(true, true)
            }
            (PreStep::PrefixSpace, [PreStep::Bytes, after @ ..]) => {
                rest = after;
                bytes(true, false)
            }
            (PreStep::Bytes, _) => bytes(false, false),
            (PreStep::Digits { individual }, _) => json!({"type": "Digits", "individual_digits": individual}),
            (PreStep::Split { pattern: p, behavior, invert }, _) => {
                json!({"type": "Split", "pattern": pattern(p), "behavior": format!("{behavior:?}"), "invert": invert})
            }
            (other, _) => return Err(refused("pre-tokenizer", other)),
        });
    }
    Ok(out)
}

fn decoder(step: &Decoder) -> Result<Value, TextError> {
    Ok(match step {
        Decoder::Bytes => {
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
        }
        Decoder::ByteFallback => json!({"type": "ByteFallback"}),
        Decoder::Fuse => json!({"type": "Fuse"}),
        Decoder::Replace { pattern: p, content } => {
            json!({"type": "Replace", "pattern": pattern(p), "content": content})
        }
        Decoder::Strip { content, start, stop } if *start <= u32::MAX as usize => {
            json!({"type": "Strip", "content": content, "start": start, "stop": stop})
        }
        other => return Err(refused("decoder", other)),
    })
}
