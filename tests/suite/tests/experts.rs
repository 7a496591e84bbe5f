//! Experts that nobody chose are not read: of a mapped file they never come into memory. Those that stay there take no more of it
//! than their cache.
#![cfg(target_os = "linux")]

use serde_json::json;
use std::path::{Path, PathBuf};
use tern::{CancelFlag, Experts, ModelOptions, SessionOptions};
use tern_convert::Creation;
use tern_formats::DType;
use tern_tests::{converted, quantized, runtime};

const EXPERTS: u64 = 16;

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

/// A model of two layers with random weights and 16 experts of this width.
fn made(folder: &Path, width: u64, per_token: u64) -> PathBuf {
    let config = folder.join("config.json");
    let settings = json!({
        "architectures": ["MixtralForCausalLM"], "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": width, "num_hidden_layers": 2, "num_local_experts": EXPERTS, "num_experts_per_tok": per_token,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "vocab_size": 300, "initializer_range": 0.1,
    });
    std::fs::write(&config, settings.to_string()).unwrap();
    let made = folder.join("made");
    Creation::new(&config, None, DType::F32, 5).unwrap().write(&made, false, &CancelFlag::new()).unwrap();
    converted(&made, &folder.join("experts.gguf"))
}

#[test]
fn decoding_reads_the_chosen_experts_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = 3 * 256 * 1024 * 4u64;
    let file = made(folder.path(), 1024, 1);
    let options = ModelOptions { backend: Some("cpu".into()), threads: 1, ..Default::default() };
    let model = runtime().open(&file, options).unwrap();
    // Two layers' experts, and all that is no expert.
    let (all, rest) = (2 * EXPERTS * bytes, model.info().file_bytes - 2 * EXPERTS * bytes);
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

#[test]
fn experts_on_disk_take_no_more_than_their_cache() {
    let folder = tempfile::tempdir().unwrap();
    let plain = made(folder.path(), 2048, 1);
    let file = quantized(&plain, &folder.path().join("small.gguf"), "Q8_0");
    std::fs::remove_file(plain).unwrap();
    let all = 2 * EXPERTS * 3 * 256 * 2048 / 32 * 34;
    let cache_bytes = all / 4;
    let options = |experts| ModelOptions { backend: Some("cpu".into()), threads: 2, experts, ..Default::default() };
    let model = runtime().open(&file, options(Experts::Paged { cache_bytes })).unwrap();
    // What else is in the file is a tenth of it, and is let go, too.
    let opened = resident(&file);
    assert!(opened < all / 8, "{opened} of {all} after opening");
    assert!(model.info().resident_bytes < cache_bytes + all / 8);
    let session = model.session(SessionOptions::default()).unwrap();
    let prompt: Vec<u32> = (0..200).map(|i| i * 37 % 256).collect();
    session.forward(&prompt).unwrap();
    let before = model.expert_cache().unwrap().unwrap();
    assert!(before.misses * 3 > 2 * 3 * EXPERTS, "a prompt chooses many: {before:?}");
    for token in 0..30 {
        session.forward(&[token * 5]).unwrap();
    }
    let counted = model.expert_cache().unwrap().unwrap();
    // One expert of each of three matrices in each of two layers.
    assert_eq!(counted.since(&before).hits + counted.since(&before).misses, 30 * 3 * 2);
    assert_eq!((counted.file_bytes, counted.read_bytes), (all, counted.misses * (all / (2 * 3 * EXPERTS))));
    assert!(counted.cache_bytes <= cache_bytes && counted.cache_bytes > cache_bytes / 2, "{counted:?}");
    let many = resident(&file);
    assert!(many < all / 8, "{many} of {all} after many tokens: pages that were read are let go");
}
