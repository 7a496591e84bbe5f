//! Configurations in other styles, in the words of Hugging Face's for a language model: gpt-oss's own, and those of models that also see.

use super::ConfigError;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use tern_formats::hf::Config;

/// Fields under another name; the rest (`hidden_size`, `head_dim`, `sliding_window`, `swiglu_limit`, ...) have the same.
const RENAMED: &[(&str, &str)] = &[("num_experts", "num_local_experts"), ("experts_per_token", "num_experts_per_tok")];

/// How matrices are stored, whatever part of a model they are in.
const QUANTIZED: &str = "quantization_config";

/// What the published code assumes where a configuration says nothing.
fn defaults() -> Value {
    json!({
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_act": "silu", "attention_bias": true,
        "tie_word_embeddings": false, "rms_norm_eps": 1e-5, "num_hidden_layers": 36, "num_local_experts": 128,
        "num_experts_per_tok": 4, "vocab_size": 201_088, "hidden_size": 2880, "intermediate_size": 2880,
        "swiglu_limit": 7.0, "head_dim": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
        "sliding_window": 128, "rope_theta": 150_000.0,
    })
}

/// The configuration of a model that also sees, as that of its language model: `text`, and what is stated for both.
fn flat(all: &Value, text: &Map<String, Value>) -> Value {
    let mut flat = text.clone();
    let outer = all.as_object().into_iter().flatten().filter(|(key, _)| !key.ends_with("_config") || *key == QUANTIZED);
    for (key, value) in outer {
        // The class of the files, and what it goes by itself.
        if ["architectures", "tie_word_embeddings"].contains(&key.as_str()) || !flat.contains_key(key) {
            flat.insert(key.clone(), value.clone());
        }
    }
    Value::Object(flat)
}

/// `config`, or what it means in Hugging Face's words if it is in the other style: without a class, with `experts_per_token`.
///
/// # Errors
/// [`ConfigError`] for a field of the wrong type.
pub fn hugging_face(config: &Config) -> Result<Cow<'_, Config>, ConfigError> {
    if let Some(text) = config.get("text_config").and_then(Value::as_object) {
        return Ok(Cow::Owned(Config::parse(config.file(), &flat(config.value(), text).to_string())?));
    }
    if config.get("architectures").is_some() || config.get("experts_per_token").is_none() {
        return Ok(Cow::Borrowed(config));
    }
    let Value::Object(mut all) = defaults() else { return Ok(Cow::Borrowed(config)) };
    for (key, value) in config.value().as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        let name = RENAMED.iter().find(|(own, _)| own == key).map_or(key.as_str(), |(_, name)| name);
        all.insert(name.to_owned(), value.clone());
    }
    let original = config.u64("initial_context_length")?.unwrap_or(4096);
    let factor = config.f64("rope_scaling_factor")?.unwrap_or(32.0);
    let longest = config.u64("max_context_length")?.unwrap_or((original as f64 * factor.max(1.0)) as u64);
    all.insert("max_position_embeddings".to_owned(), json!(longest));
    if factor > 1.0 {
        let mut yarn = Map::new();
        yarn.insert("rope_type".to_owned(), json!("yarn"));
        yarn.insert("factor".to_owned(), json!(factor));
        yarn.insert("original_max_position_embeddings".to_owned(), json!(original));
        yarn.insert("beta_slow".to_owned(), json!(config.f64("rope_ntk_alpha")?.unwrap_or(1.0)));
        yarn.insert("beta_fast".to_owned(), json!(config.f64("rope_ntk_beta")?.unwrap_or(32.0)));
        yarn.insert("truncate".to_owned(), json!(false));
        all.insert("rope_scaling".to_owned(), Value::Object(yarn));
    }
    Ok(Cow::Owned(Config::parse(config.file(), &Value::Object(all).to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_style_is_read_and_ordinary_ones_stay() {
        let text = r#"{"num_experts": 8, "experts_per_token": 2, "hidden_size": 64, "initial_context_length": 512,
                       "rope_scaling_factor": 4.0, "rope_ntk_beta": 16, "sliding_window": null}"#;
        let config = Config::parse("config.json", text).unwrap();
        let read = hugging_face(&config).unwrap();
        for (path, expected) in [
            ("num_local_experts", 8),
            ("num_experts_per_tok", 2),
            ("hidden_size", 64),
            ("max_position_embeddings", 2048),
            ("rope_scaling.original_max_position_embeddings", 512),
            ("rope_scaling.beta_fast", 16),
            ("sliding_window", 128),
        ] {
            assert_eq!(read.f64(path).unwrap(), Some(f64::from(expected)), "{path}");
        }
        let plain = Config::parse("config.json", r#"{"architectures": ["A"], "experts_per_token": 2}"#).unwrap();
        assert!(matches!(hugging_face(&plain).unwrap(), Cow::Borrowed(_)));
    }
}
