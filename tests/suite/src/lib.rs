//! What the tests share: backends, model files, goldens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::backend::Registry;
use tern::{Model, ModelOptions, Runtime};
use tern_cpu::tier::Tier;
use tern_formats::gguf::{self, Value};
use tern_formats::{DType, FileSource};

/// Both static backends.
pub fn runtime() -> Runtime {
    let mut registry = Registry::new();
    registry.register(tern_cpu::entry).unwrap();
    registry.register(tern_reference::entry).unwrap();
    Runtime::new(registry)
}

/// CPU tiers that this machine has.
pub fn tiers() -> Vec<&'static str> {
    let cpu = runtime().registry().get("cpu").unwrap();
    let (have, lack): (Vec<_>, Vec<_>) =
        Tier::ALL.map(Tier::name).into_iter().partition(|t| cpu.open(0, 1, t).is_ok());
    println!("tiers: {have:?}; this machine lacks {lack:?}");
    assert!(have.contains(&"scalar"));
    have
}

/// Opens `path` on the CPU backend.
pub fn open(path: &Path, tier: &str, threads: u32) -> Model {
    let options = ModelOptions { backend: Some("cpu".into()), tier: tier.into(), threads, ..Default::default() };
    runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `tests/goldens`.
pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens")
}

/// A golden's JSON.
pub fn json(path: impl AsRef<Path>) -> serde_json::Value {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Token ids in JSON.
pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// The real test model, which `tests/fixtures/fetch` puts into the cache.
pub fn smollm2() -> PathBuf {
    let path = models().join("SmolLM2-135M-Instruct-Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run tests/fixtures/fetch first", path.display());
    path
}

fn models() -> PathBuf {
    let cache = std::env::var_os("TERN_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is not set")).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("tern")
    });
    cache.join("models")
}

/// The test model with its matrices requantized to `dtype`, made on first use beside it.
pub fn smollm2_as(dtype: DType) -> PathBuf {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let source = smollm2();
    let folder = models().join("made");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("smollm2-{}.gguf", dtype.name()));
    if !path.exists() {
        let part = folder.join(format!("smollm2-{}.{}.part", dtype.name(), std::process::id()));
        requantize(&source, &part, dtype);
        std::fs::rename(&part, &path).unwrap();
    }
    path
}

fn requantize(from: &Path, to: &Path, dtype: DType) {
    let file = gguf::open(Arc::new(FileSource::open(from).unwrap())).unwrap();
    let mut writer = gguf::Writer::new(to.display().to_string());
    for (key, value) in file.metadata.entries() {
        if key != "general.file_type" {
            writer.key(key.clone(), Value::clone(value)).unwrap();
        }
    }
    let target = |t: &tern_formats::TensorInfo| if t.shape.len() == 2 { dtype } else { DType::F32 };
    for t in file.checkpoint.tensors() {
        writer.tensor(t.name.clone(), target(t), t.shape.clone()).unwrap();
    }
    let mut body = writer.begin(std::io::BufWriter::new(std::fs::File::create(to).unwrap())).unwrap();
    for t in file.checkpoint.tensors() {
        let mut exact = vec![0.0; t.elements() as usize];
        tern_quant::dequantize(t.dtype, &file.checkpoint.read(t).unwrap(), &mut exact).unwrap();
        let to = target(t);
        let row = *t.shape.last().unwrap() as usize;
        let mut bytes = vec![0; to.row_bytes(row).unwrap() * (exact.len() / row)];
        tern_quant::quantize(to, &exact, &mut bytes).unwrap();
        body.write(&bytes).unwrap();
    }
    body.finish().unwrap();
}
