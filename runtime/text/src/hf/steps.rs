//! Normalizers, pre-tokenizers and decoders of `tokenizer.json`.

use serde_json::Value;

use super::part::{behavior, character, count, flag, kind, parts, pattern, prepend, text, unsupported};
use crate::error::TextError;
use crate::pretok::table;
use crate::spec::{Behavior, Decoder, Normalizer, Pattern, PreStep, Prepend};

/// `\w+|[^\w\s]+` of the engine that Hugging Face uses there, whose word characters differ from Oniguruma's.
const WORDS: &str =
    r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\s]+";

/// What `FixedLength` means where the file does not say.
const FIXED_LENGTH: usize = 5;

/// The steps of `normalizer`.
pub(super) fn normalizers(part: Option<&Value>) -> Result<Vec<Normalizer>, TextError> {
    parts(part, "normalizers").into_iter().map(normalizer).collect()
}

fn normalizer(part: &Value) -> Result<Normalizer, TextError> {
    Ok(match kind(part) {
        "NFC" => Normalizer::Nfc,
        "NFD" => Normalizer::Nfd,
        "NFKC" => Normalizer::Nfkc,
        "NFKD" => Normalizer::Nfkd,
        "Lowercase" => Normalizer::Lowercase,
        "Strip" => Normalizer::Strip { left: flag(part, "strip_left", true)?, right: flag(part, "strip_right", true)? },
        "StripAccents" => Normalizer::StripAccents,
        "Replace" => Normalizer::Replace { pattern: pattern(part)?, content: text(part, "content")?.to_owned() },
        "Prepend" => Normalizer::Prepend(text(part, "prepend")?.to_owned()),
        "Nmt" => Normalizer::Nmt,
        "Precompiled" => {
            Normalizer::Charsmap(base64(text(part, "precompiled_charsmap")?).ok_or_else(|| TextError::BadField {
                field: "Precompiled.precompiled_charsmap".to_owned(),
                expected: "base64",
                found: crate::error::short(text(part, "precompiled_charsmap").unwrap_or_default()),
            })?)
        }
        "BertNormalizer" => {
            let lowercase = flag(part, "lowercase", true)?;
            Normalizer::Bert {
                clean_text: flag(part, "clean_text", true)?,
                chinese_chars: flag(part, "handle_chinese_chars", true)?,
                strip_accents: flag(part, "strip_accents", lowercase)?,
                lowercase,
            }
        }
        "ByteLevel" => Normalizer::Bytes,
        _ => return Err(unsupported("normalizer", part)),
    })
}

/// The steps of `pre_tokenizer`.
pub(super) fn pre_tokenizers(part: Option<&Value>) -> Result<Vec<PreStep>, TextError> {
    let mut steps = Vec::new();
    for part in parts(part, "pretokenizers") {
        pre_tokenizer(part, &mut steps)?;
    }
    Ok(steps)
}

fn pre_tokenizer(part: &Value, steps: &mut Vec<PreStep>) -> Result<(), TextError> {
    let split =
        |regex: &str, behavior, invert| PreStep::Split { pattern: Pattern::Regex(regex.to_owned()), behavior, invert };
    match kind(part) {
        "Split" => steps.push(PreStep::Split {
            pattern: pattern(part)?,
            behavior: behavior(part)?,
            invert: flag(part, "invert", false)?,
        }),
        "ByteLevel" => {
            if flag(part, "add_prefix_space", true)? {
                steps.push(PreStep::PrefixSpace);
            }
            if flag(part, "use_regex", true)? {
                steps.push(split(table::GPT2, Behavior::Isolated, false));
            }
            steps.push(PreStep::Bytes);
        }
        "Digits" => steps.push(PreStep::Digits { individual: flag(part, "individual_digits", false)? }),
        "Metaspace" => steps.push(PreStep::Metaspace {
            replacement: character(part, "replacement")?,
            prepend: prepend(part)?,
            split: flag(part, "split", true)?,
        }),
        "Whitespace" => steps.push(split(WORDS, Behavior::Removed, true)),
        "WhitespaceSplit" => steps.push(PreStep::whitespace()),
        "Punctuation" if part.get("behavior").is_none() => steps.push(PreStep::Punctuation(Behavior::Isolated)),
        "Punctuation" => steps.push(PreStep::Punctuation(behavior(part)?)),
        "UnicodeScripts" => steps.push(PreStep::Scripts),
        "FixedLength" => steps.push(PreStep::Chunks { chars: length(part)? }),
        "BertPreTokenizer" => steps.extend(PreStep::bert()),
        "CharDelimiterSplit" => steps.push(PreStep::Split {
            pattern: Pattern::Text(character(part, "delimiter")?.to_string()),
            behavior: Behavior::Removed,
            invert: false,
        }),
        _ => return Err(unsupported("pre_tokenizer", part)),
    }
    Ok(())
}

/// How many characters a piece of `FixedLength` has.
fn length(part: &Value) -> Result<usize, TextError> {
    match part.get("length") {
        None => Ok(FIXED_LENGTH),
        Some(Value::Number(n)) if n.as_u64() == Some(0) => Err(unsupported("pre_tokenizer", part)),
        Some(_) => count(part, "length"),
    }
}

/// The steps of `decoder`.
pub(super) fn decoders(part: Option<&Value>) -> Result<Vec<Decoder>, TextError> {
    parts(part, "decoders").into_iter().map(decoder).collect()
}

fn decoder(part: &Value) -> Result<Decoder, TextError> {
    Ok(match kind(part) {
        "ByteLevel" => Decoder::Bytes,
        "ByteFallback" => Decoder::ByteFallback,
        "Replace" => Decoder::Replace { pattern: pattern(part)?, content: text(part, "content")?.to_owned() },
        "Fuse" => Decoder::Fuse,
        "Strip" => Decoder::Strip {
            content: character(part, "content")?,
            start: count(part, "start")?,
            stop: count(part, "stop")?,
        },
        "Metaspace" => Decoder::Metaspace {
            replacement: character(part, "replacement")?,
            prepended: prepend(part)? != Prepend::Never,
        },
        "WordPiece" => {
            Decoder::WordPiece { prefix: text(part, "prefix")?.to_owned(), cleanup: flag(part, "cleanup", true)? }
        }
        "CTC" => Decoder::Ctc {
            pad: text(part, "pad_token")?.to_owned(),
            delimiter: text(part, "word_delimiter_token")?.to_owned(),
            cleanup: flag(part, "cleanup", true)?,
        },
        "BPEDecoder" => Decoder::WordEnd { suffix: text(part, "suffix")?.to_owned() },
        _ => return Err(unsupported("decoder", part)),
    })
}

/// RFC 4648, with or without padding; `None` for what is not of it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..=bytes]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_read_as_the_rfc_says() {
        let read = |text| base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(read("Zm9vYmFy").as_deref(), Some("foobar"));
        assert_eq!(read("Zm9vYg==").as_deref(), Some("foob"));
        assert_eq!(read("Zm9vYmE").as_deref(), Some("fooba"));
        assert_eq!((read(""), read("Z"), read("Zm9v!")), (Some(String::new()), None, None));
    }
}
