//! Tokens of many texts, for comparing with other programs.
//!
//! ```text
//! tokens hf TOKENIZER.JSON [TOKENIZER_CONFIG.JSON] < texts > tokens
//! tokens sentencepiece TOKENIZER.MODEL < texts > tokens
//! tokens gguf KEYS.JSON < texts > tokens
//! ```
//!
//! Texts come as JSON strings, one per line. For each, a line: ids with what belongs around a text, ids without, and the text of
//! the latter as a JSON string, with tabs between. Special tokens in texts count. `KEYS.JSON` has the keys of a GGUF file by name;
//! byte arrays as lists. With `--keys` instead of texts, `hf` prints the keys of a GGUF file that describe the tokenizer, and `model`;
//! with `--json`, `gguf` and `sentencepiece` print the `tokenizer.json` that does.

use std::borrow::Cow;
use std::io::{BufRead, Write};

use serde_json::{Map, Value, json};
use tern_text::{Bos, DecodeOptions, EncodeOptions, GgufTokenizer, SpecialIds, TextError, Tokenizer, TokenizerSpec};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let keys = args.last().is_some_and(|last| last == "--keys");
    let json = args.last().is_some_and(|last| last == "--json");
    args.truncate(args.len() - usize::from(keys || json));
    let (Some(kind), Some(path)) = (args.first(), args.get(1)) else { return Err("usage: tokens KIND FILE".into()) };
    let bytes = std::fs::read(path)?;
    let config = args.get(2).map(std::fs::read_to_string).transpose()?;
    let text = || String::from_utf8(bytes.clone());
    if keys {
        let text = text()?;
        let spec = TokenizerSpec::from_hf(&text, config.as_deref())?;
        writeln!(std::io::stdout(), "{}", written(&spec.to_gguf()?))?;
        return Ok(());
    }
    if json {
        let written = match kind.as_str() {
            "gguf" => TokenizerSpec::from_gguf(read(&serde_json::from_slice(&bytes)?))?.to_hf()?,
            _ => TokenizerSpec::from_sentencepiece(&bytes, config.as_deref())?.to_hf()?,
        };
        return Ok(std::io::stdout().write_all(written.as_bytes())?);
    }
    let tokenizer = match kind.as_str() {
        "hf" => Tokenizer::from_hf(&text()?, config.as_deref())?,
        "sentencepiece" => Tokenizer::from_sentencepiece(&bytes, config.as_deref())?,
        "gguf" => Tokenizer::from_gguf(read(&serde_json::from_slice(&bytes)?))?,
        other => return Err(format!("no kind of file is called {other}").into()),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        writeln!(out, "{}", tokens(&tokenizer, &text)?)?;
    }
    Ok(out.flush()?)
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Result<String, TextError> {
    let encode = |bos| tokenizer.encode(text, EncodeOptions { special: true, bos });
    let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let (around, plain) = (encode(Bos::Auto)?, encode(Bos::No)?);
    let back = tokenizer.decode(&plain, DecodeOptions { skip_special: true })?;
    Ok(format!("{}\t{}\t{}", list(&around), list(&plain), Value::from(back)))
}

fn read(keys: &Map<String, Value>) -> GgufTokenizer<'_> {
    let key = |name: &str| keys.get(&format!("tokenizer.ggml.{name}"));
    let list = |name: &str| key(name).and_then(Value::as_array);
    let texts = |name: &str| list(name).map(|l| l.iter().filter_map(Value::as_str).map(Cow::Borrowed).collect());
    let flag = |name: &str| key(name).and_then(Value::as_bool);
    let id = |name: &str| key(&format!("{name}_token_id")).and_then(Value::as_u64).map(|id| id as u32);
    GgufTokenizer {
        model: key("model").and_then(Value::as_str).unwrap_or_default().into(),
        pre: key("pre").and_then(Value::as_str).map(Cow::Borrowed),
        tokens: texts("tokens").unwrap_or_default(),
        token_type: list("token_type").map(|l| l.iter().filter_map(Value::as_i64).map(|n| n as i32).collect()),
        scores: list("scores").map(|l| l.iter().filter_map(Value::as_f64).map(|n| n as f32).collect()),
        merges: texts("merges"),
        special: SpecialIds {
            bos: id("bos"),
            eos: id("eos"),
            eot: id("eot"),
            pad: id("padding"),
            unk: id("unknown"),
            sep: id("seperator"),
            mask: id("mask"),
        },
        cls: id("cls"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_sep: flag("add_sep_token"),
        add_space_prefix: flag("add_space_prefix"),
        remove_extra_whitespaces: flag("remove_extra_whitespaces"),
        precompiled_charsmap: list("precompiled_charsmap")
            .map(|l| l.iter().filter_map(Value::as_u64).map(|n| n as u8).collect()),
        lowercase: flag("normalizer.lowercase"),
        strip_accents: flag("normalizer.strip_accents"),
    }
}

fn written(keys: &GgufTokenizer<'_>) -> Value {
    let SpecialIds { bos, eos, eot, pad, unk, sep, mask } = keys.special;
    let all = json!({
        "model": keys.model, "pre": keys.pre, "tokens": keys.tokens, "token_type": keys.token_type, "scores": keys.scores,
        "merges": keys.merges, "bos_token_id": bos, "eos_token_id": eos, "eot_token_id": eot, "padding_token_id": pad,
        "unknown_token_id": unk, "seperator_token_id": sep, "mask_token_id": mask, "cls_token_id": keys.cls,
        "add_bos_token": keys.add_bos, "add_eos_token": keys.add_eos, "add_sep_token": keys.add_sep,
        "add_space_prefix": keys.add_space_prefix, "remove_extra_whitespaces": keys.remove_extra_whitespaces,
        "precompiled_charsmap": keys.precompiled_charsmap, "normalizer.lowercase": keys.lowercase,
        "normalizer.strip_accents": keys.strip_accents,
    });
    let fields = all.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.map(|(name, value)| (format!("tokenizer.ggml.{name}"), value.clone())).collect::<Map<_, _>>().into()
}
