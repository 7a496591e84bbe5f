//! Experts that nobody chose are not read: of a mapped file they never come into memory.
#![cfg(target_os = "linux")]

use serde_json::json;
use std::path::Path;
use tern::{CancelFlag, ModelOptions, SessionOptions};
use tern_convert::Creation;
use tern_formats::DType;
use tern_tests::{converted, runtime};

/// Bytes of the file that are in this process's memory.
fn resident(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (name, mut ours, mut kilobytes) = (path.file_name().unwrap().to_str().unwrap(), false, 0);
    for line in maps.lines() {
        if let Some(rest) = line.strip_prefix("Rss:") {
            kilobytes += rest.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * u64::from(ours);
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            ours = line.ends_with(name);
        }
    }
    kilobytes * 1024
}

#[test]
fn decoding_reads_the_chosen_experts_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let (experts, bytes) = (16u64, 3 * 256 * 1024 * 4u64);
    let settings = json!({
        "architectures": ["MixtralForCausalLM"], "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 1024, "num_hidden_layers": 2, "num_local_experts": experts, "num_experts_per_tok": 1,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "vocab_size": 300, "initializer_range": 0.1,
    });
    std::fs::write(&config, settings.to_string()).unwrap();
    let made = folder.path().join("made");
    Creation::new(&config, None, DType::F32, 5).unwrap().write(&made, false, &CancelFlag::new()).unwrap();
    let file = converted(&made, &folder.path().join("experts.gguf"));
    let options = ModelOptions { backend: Some("cpu".into()), threads: 1, ..Default::default() };
    let model = runtime().open(&file, options).unwrap();
    // Two layers' experts, and all that is no expert.
    let (all, rest) = (2 * experts * bytes, model.info().file_bytes - 2 * experts * bytes);
    assert_eq!(model.info().bytes_per_token, rest - 299 * 256 * 4 + 2 * bytes);
    let session = model.session(SessionOptions::default()).unwrap();
    session.forward(&[7]).unwrap();
    // The system maps neighbouring pages along, up to some megabytes for each matrix.
    let one = resident(&file);
    assert!((2 * bytes..all / 2).contains(&one), "{one} of {all} after a token");
    let prompt: Vec<u32> = (0..200).map(|i| i * 37 % 256).collect();
    session.forward(&prompt).unwrap();
    let many = resident(&file);
    assert!(many > all / 2 && many > 2 * one, "{many} of {all} after many tokens, which choose many experts");
}
