//! A Hugging Face folder and the file made of it are the same model.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::backend::Registry;
use tern::{CancelFlag, KvType, ModelOptions, Runtime, ScoreOptions};
use tern_convert::{Input, Mix, Plan, Wish, WriteOptions};
use tern_formats::gguf::{self, Gguf, ReadOptions};
use tern_formats::{DType, FileSource};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens").join(name)
}

fn convert(name: &str, to: &Path, mix: Option<&str>) -> Gguf {
    let input = Input::open(&golden(name), ReadOptions::default()).unwrap();
    let wish = Wish { mix: mix.and_then(Mix::find), ..Wish::default() };
    let plan = Plan::new(&input, &wish).unwrap();
    let (imatrix_name, cancel) = (String::new(), CancelFlag::new());
    let options = WriteOptions { force: false, threads: 1, imatrix_name, cancel };
    tern_convert::write(&input, &plan, &wish, to, &options, &mut |_| {}).unwrap();
    gguf::open(Arc::new(FileSource::open(to).unwrap())).unwrap()
}

/// Tokens of a text and their log-probabilities.
fn score(path: &Path) -> (Vec<u32>, Vec<f32>) {
    let mut registry = Registry::new();
    registry.register(tern_cpu::entry).unwrap();
    let model = Runtime::new(registry).open(path, ModelOptions::default()).unwrap();
    let tokens = model.encode("The river runs, the river sleeps; 1234 things it keeps.").unwrap();
    let options = ScoreOptions { kv: KvType::F32, ..ScoreOptions::default() };
    let scored = model.score(&tokens, &options, &mut |_, _| {}).unwrap();
    (tokens, scored.iter().filter_map(|s| s.logprob).collect())
}

#[test]
fn the_file_predicts_what_the_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    // Grouped queries, a head of its own, biases, heads of another width, Llama 3's frequencies, several files.
    for name in
        ["tiny-llama", "tiny-untied", "tiny-bias", "tiny-head-dim", "tiny-llama3", "tiny-sharded", "tiny-mistral"]
    {
        let path = folder.path().join(format!("{name}.gguf"));
        convert(name, &path, None);
        let ((tokens, expected), (found_tokens, found)) = (score(&golden(name)), score(&path));
        assert_eq!(found_tokens, tokens, "{name}");
        // Rotated pairs lie elsewhere in a head, so sums over it are in another order.
        let worst = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(expected.len() == found.len() && worst < 2e-4, "{name}: {worst}");
    }
}

#[test]
fn keys_are_those_that_other_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = convert("tiny-llama", &folder.path().join("m.gguf"), None);
    let m = &file.metadata;
    assert_eq!(m.require_str("general.architecture").unwrap(), "llama");
    let number = |key: &str| m.require_u32(key).unwrap();
    assert_eq!(number("llama.embedding_length"), 96);
    assert_eq!(number("llama.block_count"), 2);
    assert_eq!((number("llama.attention.head_count"), number("llama.attention.head_count_kv")), (6, 2));
    assert_eq!(number("llama.rope.dimension_count"), 16);
    assert_eq!(number("general.file_type"), 0);
    assert_eq!(m.require_f32("llama.attention.layer_norm_rms_epsilon").unwrap(), 1e-6);
    assert_eq!(m.require_f32("llama.rope.freq_base").unwrap(), 10000.0);
    assert!(m.contains("tokenizer.ggml.add_bos_token") && !m.contains("llama.rope.scaling.type"));
    // As many tokens as rows.
    let rows = file.checkpoint.require("token_embd.weight").unwrap().shape[0];
    assert_eq!(m.require_array_str("tokenizer.ggml.tokens").unwrap().len() as u64, rows);
    assert_eq!(m.require_array_i32("tokenizer.ggml.token_type").unwrap().len() as u64, rows);
}

#[test]
fn types_are_as_asked_for_and_vectors_exact() {
    let folder = tempfile::tempdir().unwrap();
    let file = convert("tiny-bias", &folder.path().join("m.gguf"), Some("BF16"));
    for t in file.checkpoint.tensors() {
        assert_eq!(t.dtype, if t.shape.len() == 1 { DType::F32 } else { DType::BF16 }, "{}", t.name);
    }
    assert_eq!(file.metadata.require_u32("general.file_type").unwrap(), 32);
    let file = convert("tiny-llama3", &folder.path().join("l3.gguf"), Some("Q8_0"));
    let divisors = file.checkpoint.require("rope_freqs.weight").unwrap();
    assert_eq!((divisors.dtype, divisors.shape.len()), (DType::F32, 1));
}
