//! A Hugging Face folder and the file made of it are the same model.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::backend::Registry;
use tern::{CancelFlag, KvType, ModelOptions, Runtime, ScoreOptions};
use tern_convert::{ConvertError, FolderPlan, Input, Mix, Plan, Wish, WriteOptions};
use tern_formats::gguf::{self, Gguf, Header, ReadOptions, Value};
use tern_formats::{DType, FileSource, TensorInfo, hf};

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

fn back(from: &Path, to: &Path, float: Option<DType>) -> Result<FolderPlan, ConvertError> {
    let input = Input::open(from, ReadOptions::default())?;
    let plan = FolderPlan::new(&input, float)?;
    let options = WriteOptions { force: false, threads: 1, imatrix_name: String::new(), cancel: CancelFlag::new() };
    tern_convert::write_folder(&input, &plan, to, &options, &mut |_| {})?;
    Ok(plan)
}

fn tensors(folder: &Path) -> Vec<(String, Vec<u64>, Vec<f32>)> {
    let checkpoint = hf::open_dir(folder).unwrap().checkpoint;
    let read = |t: &TensorInfo| {
        let mut values = vec![0.0; t.elements() as usize];
        tern_quant::dequantize(t.dtype, &checkpoint.read(t).unwrap(), &mut values).unwrap();
        (t.name.to_string(), t.shape.to_vec(), values)
    };
    let mut all: Vec<_> = checkpoint.tensors().iter().map(read).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn a_folder_comes_back_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "tiny-llama",
        "tiny-untied",
        "tiny-bias",
        "tiny-head-dim",
        "tiny-llama3",
        "tiny-sharded",
        "tiny-mistral",
        "tiny-qwen2",
    ] {
        let (file, again) = (folder.path().join(format!("{name}.gguf")), folder.path().join(name));
        convert(name, &file, None);
        back(&file, &again, None).unwrap();
        assert_eq!(tensors(&again), tensors(&golden(name)), "{name}");
        // The same rows in the same order: not a bit differs.
        assert_eq!(score(&again), score(&golden(name)), "{name}");
        let (before, after) = (hf::open_dir(golden(name)).unwrap(), hf::open_dir(&again).unwrap());
        for key in
            ["hidden_size", "num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "vocab_size"]
        {
            assert_eq!(after.config.get(key), before.config.get(key), "{name}: {key}");
        }
        assert_eq!(after.config.get("rope_scaling.factor"), before.config.get("rope_scaling.factor"), "{name}");
        // Files that are there stay.
        assert!(matches!(back(&file, &again, None), Err(ConvertError::Exists { .. })));
    }
}

#[test]
fn blocks_become_floats_only_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (file, again) = (folder.path().join("q.gguf"), folder.path().join("folder"));
    convert("tiny-llama", &file, Some("Q8_0"));
    let refused = back(&file, &again, None);
    assert!(matches!(refused, Err(ConvertError::Quantized { dtype: DType::Q8_0, .. })));
    assert!(!again.exists());
    let plan = back(&file, &again, Some(DType::F32)).unwrap();
    assert!(plan.plan.assignments.iter().all(|a| a.to == DType::F32));
    let file = gguf::open(Arc::new(FileSource::open(&file).unwrap())).unwrap();
    let output = file.checkpoint.require("token_embd.weight").unwrap();
    let mut expected = vec![0.0; output.elements() as usize];
    tern_quant::dequantize(output.dtype, &file.checkpoint.read(output).unwrap(), &mut expected).unwrap();
    let found = tensors(&again);
    assert_eq!(found.iter().find(|t| t.0 == "model.embed_tokens.weight").unwrap().2, expected);
    assert_eq!(hf::open_dir(&again).unwrap().config.require_str("torch_dtype").unwrap(), "float32");
}

#[test]
fn what_a_configuration_cannot_say_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = convert("tiny-llama3", &path("m.gguf"), None);
    let mut bytes = std::fs::read(path("m.gguf")).unwrap();
    // Divisors of no known scaling.
    let at = file.checkpoint.require("rope_freqs.weight").unwrap().offset as usize;
    bytes[at + 4..at + 8].copy_from_slice(&7.5f32.to_le_bytes());
    std::fs::write(path("odd.gguf"), &bytes).unwrap();
    let refused = back(&path("odd.gguf"), &path("odd"), None);
    assert!(matches!(&refused, Err(ConvertError::Unsupported { what }) if what.contains("rope_freqs")), "{refused:?}");
    assert!(!path("odd").exists());
    // Nor is anything written of what does not load.
    let with = |name: &str, key: &str, value: Value| {
        let header = Header::read(&FileSource::open(path("m.gguf")).unwrap()).unwrap();
        let mut writer = gguf::Writer::like(name, &header).unwrap();
        writer.key(key, value).unwrap();
        let mut body = writer.begin(Vec::new()).unwrap();
        header.tensors.iter().for_each(|t| body.write(&bytes[t.offset as usize..][..t.bytes as usize]).unwrap());
        std::fs::write(path(name), body.finish().unwrap()).unwrap();
        back(&path(name), &path("never"), None).unwrap_err()
    };
    let refused = with("scaled.gguf", "llama.rope.scaling.type", Value::String("yarn".into()));
    assert!(matches!(refused, ConvertError::Model(_) | ConvertError::Unsupported { .. }), "{refused}");
    let refused = with("sep.gguf", "tokenizer.ggml.add_sep_token", Value::U32(1));
    assert!(matches!(refused, ConvertError::Model(_)), "{refused}");
    assert!(!path("never").exists());
}
