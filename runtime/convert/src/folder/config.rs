//! `config.json` out of a GGUF file's keys.

use super::ARCHITECTURES;
use crate::error::ConvertError;
use crate::hf::Hypers;
use crate::input::Input;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use tern::models::{Definition, Hyper, Recorded, Rope, find};
use tern_formats::gguf::ARCHITECTURE_KEY;
use tern_formats::hf::{Config, to_text};
use tern_formats::{Checkpoint, DType};

/// Hyper-parameters by their GGUF key, and where `config.json` has them.
const SETTINGS: &[(&str, &str)] = &[
    ("embedding_length", "hidden_size"),
    ("block_count", "num_hidden_layers"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("context_length", "max_position_embeddings"),
    ("rope.freq_base", "rope_theta"),
];

/// The tensor of divisors that stands for Llama 3's scaling.
const DIVISORS: &str = "rope_freqs.weight";

/// Divisors within this of each other come from the same settings: they are stored in single precision.
const CLOSE: f64 = 1e-5;

/// A model's hyper-parameters as its keys have them.
pub(super) struct Read {
    architecture: String,
    pub definition: Box<dyn Definition>,
    read: Vec<(String, Recorded)>,
}

/// Reads and checks them as for running the model.
pub(super) fn read(input: &Input) -> Result<Read, ConvertError> {
    let name = input.metadata.require_str(ARCHITECTURE_KEY)?;
    let architecture = find(name, true).map_err(tern::Error::from)?;
    if !ARCHITECTURES.contains(&name) {
        let known = ARCHITECTURES.join(" and ");
        let what = format!("models of the architecture {name} are not written as folders; only {known} are");
        return Err(ConvertError::Unsupported { what });
    }
    let of = Hyper::Gguf { metadata: &input.metadata, checkpoint: &input.checkpoint, architecture: name };
    let keys = RefCell::default();
    let definition = (architecture.read)(&Hyper::Recorded { of: &of, keys: &keys }).map_err(tern::Error::from)?;
    let read = keys.into_inner();
    Ok(Read { architecture: name.to_owned(), definition, read })
}

impl Read {
    /// The file's text, after it was read back: every hyper-parameter must be what it was.
    pub(super) fn config(&self, input: &Input, renamed: &Checkpoint, matrices: DType) -> Result<String, ConvertError> {
        let mut config = self.settings(input, renamed, matrices)?;
        let divisors = divisors(input)?;
        let found = self.scalings(divisors.as_deref())?.into_iter().find_map(|scaling| {
            config.insert("rope_scaling".to_owned(), scaling);
            let text = to_text(&Value::Object(config.clone()), true);
            let parsed = Config::parse("config.json", &text).map_err(ConvertError::from);
            let again = parsed.and_then(|config| Hypers::read(&config, renamed));
            match again {
                Ok(again) if agree(divisors.as_deref(), computed(&again).as_deref()) => Some(Ok((text, again))),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        });
        let Some(found) = found else {
            let what = format!(
                "{DIVISORS} holds divisors that are not those of Llama 3's scaling, which is all that config.json can say"
            );
            return Err(ConvertError::Unsupported { what });
        };
        let (text, again) = found?;
        match again.differs(&self.read) {
            Some((key, found)) => {
                let what =
                    format!("{}.{key} is {found}, which config.json of such a model cannot say", self.architecture);
                Err(ConvertError::Unsupported { what })
            }
            None => Ok(text),
        }
    }

    fn settings(
        &self,
        input: &Input,
        renamed: &Checkpoint,
        matrices: DType,
    ) -> Result<Map<String, Value>, ConvertError> {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| _ = config.insert(key.to_owned(), value);
        for (key, value) in &self.read {
            let Some((_, name)) = SETTINGS.iter().find(|(gguf, _)| gguf == key) else { continue };
            match value {
                // No window.
                Recorded::Int(0) => {}
                Recorded::Int(n) => set(name, json!(n)),
                Recorded::Float(x) => set(name, json!(shortest(*x))),
                Recorded::Text(text) => set(name, json!(text)),
                Recorded::Flag(on) => set(name, json!(on)),
                Recorded::Ints(list) => set(name, json!(list)),
            }
        }
        let window = self.read.iter().any(|(key, v)| key == "attention.sliding_window" && *v != Recorded::Int(0));
        let (class, kind) = match self.architecture.as_str() {
            "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
            _ if window => ("MistralForCausalLM", "mistral"),
            _ => ("LlamaForCausalLM", "llama"),
        };
        let has = |part: &str| renamed.tensors().iter().any(|t| t.name.ends_with(part));
        set("architectures", json!([class]));
        set("model_type", json!(kind));
        set("hidden_act", json!("silu"));
        set("vocab_size", json!(self.definition.common().vocab_rows));
        set("tie_word_embeddings", json!(!has("lm_head.weight")));
        // Qwen 2 always has the first and never the second.
        if kind != "qwen2" {
            set("attention_bias", json!(has("q_proj.bias")));
            set("mlp_bias", json!(has("gate_proj.bias")));
        }
        let dtype = match matrices {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            _ => "float32",
        };
        set("torch_dtype", json!(dtype));
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
            let id = input.metadata.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
            set(&format!("{name}_token_id"), json!(id));
        }
        Ok(config)
    }

    /// What `rope_scaling` may be; where there are divisors, all that Llama 3's scaling commonly is.
    fn scalings(&self, divisors: Option<&[f32]>) -> Result<Vec<Value>, ConvertError> {
        let text = |name: &str| self.read.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if let Some(divisors) = divisors {
            // All low frequencies are divided by the factor itself.
            let factor = divisors.iter().copied().fold(1.0, f32::max);
            let original = (5..=20).map(|power| 1u64 << power);
            let llama3 = |original| {
                json!({
                    "rope_type": "llama3", "factor": shortest(f64::from(factor)), "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": original,
                })
            };
            return Ok(original.map(llama3).collect());
        }
        match (text("rope.scaling.type"), text("rope.scaling.factor")) {
            (Some(Recorded::Text(kind)), Some(Recorded::Float(factor))) if kind == "linear" => {
                Ok(vec![json!({"rope_type": "linear", "factor": shortest(*factor)})])
            }
            (Some(Recorded::Text(kind)), _) if kind != "none" && kind != "default" => {
                let what = format!("{}.rope.scaling.type {kind:?} is not written as config.json", self.architecture);
                Err(ConvertError::Unsupported { what })
            }
            _ => Ok(vec![Value::Null]),
        }
    }
}

/// The number that people wrote, of which a GGUF file has the nearest single-precision one.
fn shortest(x: f64) -> f64 {
    (x as f32).to_string().parse().unwrap_or(x)
}

fn divisors(input: &Input) -> Result<Option<Vec<f32>>, ConvertError> {
    let Some(tensor) = input.checkpoint.get(DIVISORS) else { return Ok(None) };
    if tensor.dtype != DType::F32 {
        let what = format!("{DIVISORS} is {}, expected F32", tensor.dtype);
        return Err(ConvertError::Unsupported { what });
    }
    let bytes = input.checkpoint.read(tensor)?;
    Ok(Some(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()))
}

/// The divisors that follow from a configuration.
fn computed(hypers: &Hypers) -> Option<Vec<f32>> {
    let vectors = hypers.definition.rope().map(Rope::vectors).unwrap_or_default();
    vectors.into_iter().find(|(name, _)| *name == DIVISORS).map(|(_, values)| values)
}

fn agree(a: Option<&[f32]>, b: Option<&[f32]>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let close = |(a, b): (&f32, &f32)| f64::from((a - b).abs()) <= CLOSE * f64::from(b.abs());
            a.len() == b.len() && a.iter().zip(b).all(close)
        }
        _ => false,
    }
}
