//! What a family does not have is refused by name: folders and files whose settings would change the mathematics.

use serde_json::{Value, json};
use std::path::Path;
use tern::{Error, Model, ModelOptions, SessionOptions};
use tern_formats::gguf::{self, Array, Value as Field};
use tern_tests::{changed, converted, goldens, runtime};

fn open(path: &Path, context: Option<u64>) -> Result<Model, Error> {
    runtime().open(path, ModelOptions { backend: Some("cpu".into()), threads: 1, context, ..Default::default() })
}

/// Golden, settings, and what the message must name.
fn folders() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let gemma3 = "tiny-gemma3";
    vec![
        ("tiny-llama", json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "silu"]),
        ("tiny-llama", json!({"rope_scaling": {"rope_type": "mrope"}}), &["rope scaling", "mrope", "yarn"]),
        ("tiny-llama", json!({"rope_scaling": {"rope_type": "linear"}}), &["rope.scaling.factor|factor", "missing"]),
        ("tiny-llama", json!({"rope_scaling": {"type": "yarn", "factor": 2, "mscale": 0.7}}), &["mscale", "0.7"]),
        ("tiny-llama", json!({"rope_scaling": {"type": "yarn", "factor": 2, "truncate": false}}), &["truncate"]),
        ("tiny-llama", json!({"partial_rotary_factor": 1.5}), &["rope.dimension_count"]),
        ("tiny-llama", json!({"tie_word_embeddings": false}), &["lm_head.weight", "missing"]),
        ("tiny-qwen2", json!({"use_sliding_window": true}), &["use_sliding_window", "true"]),
        ("tiny-qwen3", json!({"use_sliding_window": true}), &["use_sliding_window", "true"]),
        ("tiny-smollm3", json!({"no_rope_layers": [1, 0, 1, 0]}), &["no_rope_layers", "fourth"]),
        ("tiny-smollm3", json!({"no_rope_layers": [1, 1, 1]}), &["no_rope_layers", "4"]),
        ("tiny-smollm3", json!({"no_rope_layers": null, "no_rope_layer_interval": 3}), &["no_rope_layer_interval"]),
        ("tiny-granite", json!({"position_embedding_type": "nope"}), &["position_embedding_type", "nope"]),
        (
            "tiny-phi4",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            &["short_factor", "6"],
        ),
        (
            "tiny-phi4",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 0],
                                              "long_factor": [1, 1, 1, 1, 1, 1]}}),
            &["short_factor", "positive"],
        ),
        (
            "tiny-gemma2",
            json!({"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
            &["layer_types"],
        ),
        (
            "tiny-gemma2",
            json!({"layer_types": ["full_attention", "chunked_attention", "full_attention"]}),
            &["chunked_attention"],
        ),
        (gemma3, json!({"attn_logit_softcapping": 50.0}), &["attn_logit_softcapping"]),
        (gemma3, json!({"use_bidirectional_attention": true}), &["use_bidirectional_attention"]),
        ("tiny-mixtral", json!({"num_experts_per_tok": 6}), &["num_experts_per_tok", "6"]),
        ("tiny-qwen2-moe", json!({"use_sliding_window": true}), &["use_sliding_window", "true"]),
        ("tiny-qwen3-moe", json!({"moe_intermediate_size": null}), &["moe_intermediate_size|expert_feed", "missing"]),
        ("tiny-qwen3-next", json!({"partial_rotary_factor": null}), &["partial_rotary_factor", "missing"]),
        ("tiny-qwen3-next", json!({"linear_num_value_heads": 5}), &["ssm.group_count", "5"]),
        ("tiny-qwen35-text", json!({"attn_output_gate": false}), &["attn_output_gate", "false"]),
        ("tiny-qwen35-text", json!({"attention_bias": true}), &["attention_bias", "true"]),
        (
            "tiny-qwen35-text",
            json!({"layer_types": ["full_attention", "linear_attention", "linear_attention", "full_attention"]}),
            &["layer_types", "irregular"],
        ),
        ("tiny-qwen35-text", json!({"architectures": ["Qwen3_5ForSequenceClassification"]}), &["Classification"]),
        ("tiny-qwen35-moe-text", json!({"num_experts_per_tok": 6}), &["num_experts_per_tok", "6"]),
        ("tiny-olmoe", json!({"clip_qkv": 8.0}), &["clip_qkv", "8.0"]),
        ("tiny-gpt-oss", json!({"attention_bias": false}), &["attention_bias", "false"]),
        ("tiny-gpt-oss", json!({"swiglu_limit": -1.0}), &["swiglu_limit", "-1"]),
        ("tiny-gpt-oss", json!({"layer_types": ["full_attention"]}), &["layer_types", "3"]),
        ("tiny-bitnet", json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "relu2"]),
        ("tiny-bitnet", bitnet(json!({"linear_class": "tl1"})), &["linear_class", "tl1", "autobitlinear"]),
        (
            "tiny-bitnet",
            bitnet(json!({"linear_class": "bitlinear", "quantization_mode": "online"})),
            &["quantization_mode"],
        ),
        ("tiny-bitnet", bitnet(json!({"use_rms_norm": true})), &["use_rms_norm", "true"]),
        ("tiny-bitnet", bitnet(json!({"modules_to_not_convert": ["layers.*.mlp"]})), &["modules_to_not_convert", "*"]),
        (
            "tiny-phi4",
            bitnet(json!({"linear_class": "autobitlinear", "quantization_mode": "online"})),
            &["fused matrices", "qkv_proj"],
        ),
        ("tiny-ttt-linear", json!({"ttt_layer_type": "gru"}), &["ttt_layer_type", "gru", "mlp"]),
        ("tiny-ttt-linear", json!({"mini_batch_size": 0}), &["mini_batch_size", "0"]),
        ("tiny-ttt-linear", json!({"num_key_value_heads": 2}), &["heads", "4 of 12"]),
        ("tiny-ttt-conv", json!({"conv_kernel": 17}), &["conv_kernel", "17", "16"]),
        ("tiny-ttt-mlp", json!({"rope_scaling": {"type": "linear", "factor": 2}}), &["rope_scaling"]),
        ("tiny-lact", json!({"ttt_prenorm": true}), &["ttt_prenorm", "true"]),
        ("tiny-lact", json!({"lr_dim": 24}), &["lr_dim", "24"]),
        ("tiny-lact", json!({"num_lact_heads": 3}), &["ttt.head_count", "3"]),
        ("tiny-lact", json!({"num_attn_heads": 7}), &["heads", "7 of 6"]),
        ("tiny-lact", json!({"lact_chunk_size": 0}), &["lact_chunk_size", "0"]),
        ("tiny-lact", json!({"intermediate_size": null, "hidden_ratio": 1e30}), &["intermediate_size"]),
        ("tiny-lact", json!({"inter_multi": 1e30}), &["ttt.inner_length"]),
        ("tiny-lact", json!({"ttt_loss_type": "l2"}), &["ttt_loss_type", "l2", "dot_product"]),
        ("tiny-gpt2", json!({"activation_function": "relu"}), &["activation_function", "relu"]),
        ("tiny-gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), &["scale_attn_by_inverse_layer_idx"]),
        ("tiny-gpt2", json!({"scale_attn_weights": false}), &["scale_attn_weights"]),
        ("tiny-gpt2", json!({"architectures": ["MambaForCausalLM"]}), &["MambaForCausalLM", "Qwen3ForCausalLM"]),
    ]
}

/// A folder's settings for ternary matrices.
fn bitnet(settings: Value) -> Value {
    let mut all = json!({"quant_method": "bitnet"});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"quantization_config": all})
}

#[test]
fn settings_of_folders_that_are_not_supported_are_named() {
    for (name, settings, words) in folders() {
        let folder = tempfile::tempdir().unwrap();
        changed(name, folder.path(), &settings);
        let error = open(folder.path(), None).err().unwrap_or_else(|| panic!("{name} with {settings} opens"));
        assert!(matches!(error, Error::Config(_)), "{name}: {error}");
        let text = error.to_string();
        for word in words {
            assert!(word.split('|').any(|w| text.contains(w)), "{name} with {settings}: {text}");
        }
    }
}

#[test]
fn settings_of_files_that_are_not_supported_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, key, value, word) in [
        ("tiny-olmo2", "olmo2.attention.sliding_window", Field::U32(64), "sliding_window"),
        ("tiny-granite", "granite.rope.scaling.finetuned", Field::Bool(false), "finetuned"),
        ("tiny-qwen2", "qwen2.rope.scaling.type", Field::String("mrope".into()), "mrope"),
        ("tiny-olmoe", "olmoe.attention.clamp_kqv", Field::F32(8.0), "clamp_kqv"),
        ("tiny-mixtral", "llama.expert_used_count", Field::U32(9), "expert_used_count"),
        ("tiny-gpt2", "gpt2.attention.head_count_kv", Field::U32(1), "head_count_kv"),
        ("tiny-qwen3", "general.architecture", Field::String("qwen3next".into()), "qwen3next"),
        ("tiny-qwen35", "qwen35.rope.dimension_sections", Array::U32([4, 0, 0, 0].into()).into(), "dimension_sections"),
        ("tiny-qwen35", "qwen35.nextn_predict_layers", Field::U32(3), "nextn_predict_layers"),
        ("tiny-qwen35", "qwen35.attention.recurrent_layers", Array::Bool([true; 2].into()).into(), "recurrent_layers"),
        (
            "tiny-qwen35",
            "qwen35.attention.recurrent_layers",
            Array::Bool([false, true, false].into()).into(),
            "irregular",
        ),
    ] {
        let plain = converted(&goldens().join(name), &folder.path().join("plain.gguf"));
        let file = gguf::open(std::sync::Arc::new(tern_formats::FileSource::open(plain).unwrap())).unwrap();
        let mut writer = gguf::Writer::new("changed.gguf");
        let mut keys: Vec<_> = file.metadata.entries().filter(|(k, _)| *k != key).collect();
        keys.push((key, value));
        for (k, v) in keys {
            writer.key(k, v).unwrap();
        }
        let tensors = file.checkpoint.tensors();
        for t in tensors {
            writer.tensor(t.name.clone(), t.dtype, t.shape.clone()).unwrap();
        }
        let path = folder.path().join("changed.gguf");
        let mut body = writer.begin(std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
        tensors.iter().for_each(|t| body.write(&file.checkpoint.read(t).unwrap()).unwrap());
        body.finish().unwrap();
        let error = open(&path, None).err().unwrap_or_else(|| panic!("{name} with {key} opens"));
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains(word), "{name}: {error}");
    }
}

#[test]
fn sessions_do_not_outgrow_the_positions_that_a_model_was_opened_for() {
    let context = |n| SessionOptions { context: Some(n), ..Default::default() };
    for (name, opened, fits, too_long) in [
        // Learned positions end.
        ("tiny-gpt2", None, 128, 129),
        // Frequencies for short texts are not those for long ones.
        ("tiny-phi4", Some(32), 32, 33),
        ("tiny-dynamic", Some(10), 24, 25),
        ("tiny-dynamic", Some(60), 60, 61),
    ] {
        let model = open(&goldens().join(name), opened).unwrap();
        model.session(context(fits)).unwrap();
        let error = model.session(context(too_long)).err().unwrap_or_else(|| panic!("{name} takes {too_long}"));
        assert!(matches!(error, Error::Setting { setting: "context", .. }), "{name}: {error}");
    }
    // Those for long texts serve any length.
    open(&goldens().join("tiny-phi4"), Some(100)).unwrap().session(context(5000)).unwrap();
}
