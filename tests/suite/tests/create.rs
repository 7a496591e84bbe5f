//! Random models of every family in the registry: made, opened, converted, run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tern::{CancelFlag, EmbedOptions, ModelOptions, SessionOptions};
use tern_convert::{ConvertError, Creation};
use tern_formats::{DType, FileSource, safetensors};
use tern_tests::{converted, goldens, json, runtime};

fn logits(path: &Path) -> Vec<f32> {
    let options = ModelOptions { backend: Some("cpu".into()), threads: 1, ..Default::default() };
    let model = runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if model.info().encoder {
        return model.embed_tokens(&[vec![7, 200, 41, 3]], &EmbedOptions::default()).unwrap().remove(0);
    }
    let session = model.session(SessionOptions::default()).unwrap();
    session.forward(&[7, 200, 41, 3]).unwrap()
}

#[test]
fn every_family_can_be_made_and_runs() {
    let mut classes = BTreeSet::new();
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let golden = entry.unwrap().path();
        let name = golden.file_name().unwrap().to_string_lossy().into_owned();
        let config = golden.join("config.json");
        if !(name.starts_with("tiny-") || name.starts_with("encoder-")) || !config.exists() {
            continue;
        }
        let class = json(&config)["architectures"][0].as_str().unwrap().to_owned();
        let made = tempfile::tempdir().unwrap();
        let make = |seed, to: &str| {
            let creation =
                Creation::new(&config, Some(&golden), DType::F32, seed).unwrap_or_else(|e| panic!("{name}: {e}"));
            creation.write(&made.path().join(to), false, &CancelFlag::new()).unwrap();
            made.path().join(to)
        };
        let (one, same, other) = (make(1, "one"), make(1, "same"), make(2, "other"));
        let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
        assert!(weights(&one) == weights(&same) && weights(&one) != weights(&other), "{name}: seeds");
        let found = logits(&one);
        assert!(found.iter().all(|l| l.is_finite()) && found.iter().any(|l| *l != found[0]), "{name}: {found:?}");
        let file = logits(&converted(&one, &made.path().join("one.gguf")));
        let scale = found.iter().fold(0f32, |m, l| m.max(l.abs()));
        let distance = found.iter().zip(&file).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(distance <= 1e-4 * scale, "{name}: {distance} of {scale}");
        classes.insert(class);
    }
    for class in tern::models::ARCHITECTURES.iter().flat_map(|a| a.hf) {
        assert!(classes.contains(*class), "{class} was not made");
    }
}

#[test]
fn a_configuration_in_the_style_of_gpt_oss_makes_a_model_with_a_byte_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("small.json");
    let text = r#"{"num_hidden_layers": 2, "num_experts": 4, "experts_per_token": 2, "vocab_size": 260, "hidden_size": 32,
        "intermediate_size": 48, "swiglu_limit": 5.0, "head_dim": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
        "sliding_window": 16, "initial_context_length": 64, "max_context_length": 256, "rope_theta": 1000.0,
        "rope_scaling_factor": 4.0, "rope_ntk_alpha": 1.0, "rope_ntk_beta": 8.0, "backend": "cpu", "dtype": "bfloat16",
        "device": "cpu", "sampling": {"temperature": 0.7}}"#;
    std::fs::write(&config, text).unwrap();
    let made = folder.path().join("made");
    Creation::new(&config, None, DType::BF16, 3).unwrap().write(&made, false, &CancelFlag::new()).unwrap();
    assert!(logits(&made).iter().all(|l| l.is_finite()));
    let model = runtime().open(&made, ModelOptions::default()).unwrap();
    let text = "Größe\n\u{1f426} 5";
    assert_eq!(model.encode(text).unwrap(), text.bytes().map(u32::from).collect::<Vec<_>>());
    // The folder may have such a configuration itself, too.
    let own = logits(&made);
    std::fs::copy(&config, made.join("config.json")).unwrap();
    assert!(logits(&made) == own);
}

/// The numbers of a tensor of a folder.
fn numbers(folder: &Path, name: &str) -> Vec<f32> {
    let source = FileSource::open(folder.join("model.safetensors")).unwrap();
    let file = safetensors::open(Arc::new(source)).unwrap().checkpoint;
    let info = file.tensors().iter().find(|t| *t.name == *name).unwrap_or_else(|| panic!("no {name}"));
    file.read(info).unwrap().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

#[test]
fn fast_weights_begin_such_that_something_comes_through() {
    let made = tempfile::tempdir().unwrap();
    let config = goldens().join("tiny-ttt-conv").join("config.json");
    let creation = Creation::new(&config, None, DType::F32, 1).unwrap();
    creation.write(made.path(), false, &CancelFlag::new()).unwrap();
    let layer = "model.layers.0";
    let norm = numbers(made.path(), &format!("{layer}.seq_modeling_block.ttt_norm_weight"));
    assert!(norm.iter().all(|&v| v == 1.0), "{norm:?}");
    let weights = numbers(made.path(), &format!("{layer}.conv.conv.weight"));
    let deviation = (weights.iter().map(|v| v * v).sum::<f32>() / weights.len() as f32).sqrt();
    let width = json(&config)["conv_kernel"].as_u64().unwrap() as f32;
    assert!((0.7..1.4).contains(&(deviation * (3.0 * width).sqrt())), "{deviation}");
}

#[test]
fn what_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let refused = |text: &str, tokenizer: Option<&Path>, dtype| {
        std::fs::write(&config, text).unwrap();
        Creation::new(&config, tokenizer, dtype, 0).unwrap_err()
    };
    let error = refused(r#"{"architectures": ["MambaForCausalLM"]}"#, None, DType::F32);
    assert!(error.to_string().contains("MambaForCausalLM"), "{error}");
    assert!(refused("{}", None, DType::F32).to_string().contains("architectures"));
    let mut small = json(goldens().join("tiny-untied/config.json"));
    small["vocab_size"] = 100.into();
    let error = refused(&small.to_string(), None, DType::F32);
    assert!(matches!(error, ConvertError::Model(tern::Error::Vocabulary { tokens: 257, rows: 100 })), "{error}");
    let error = refused(&small.to_string(), None, DType::Q4_0);
    assert!(error.to_string().contains("Q4_0"), "{error}");
}
