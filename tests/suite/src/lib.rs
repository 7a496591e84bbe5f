//! What the tests share: backends, model files, goldens.

pub mod trained;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::backend::Registry;
use tern::{CancelFlag, Model, ModelOptions, Runtime};
use tern_convert::{Input, Mix, Plan, Wish, WriteOptions};
use tern_cpu::tier::Tier;
use tern_formats::gguf::{self, ReadOptions, Value};
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
    let (have, lack): (Vec<_>, Vec<_>) = Tier::ALL.map(Tier::name).into_iter().partition(|t| cpu.open(0, 1, t).is_ok());
    println!("tiers: {have:?}; this machine lacks {lack:?}");
    assert!(have.contains(&"scalar"));
    have
}

/// Opens `path` on the CPU backend.
pub fn open(path: &Path, tier: &str, threads: u32) -> Model {
    let options = ModelOptions { backend: Some("cpu".into()), tier: tier.into(), threads, ..Default::default() };
    runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Makes the GGUF file `to` of a Hugging Face folder, types as they are.
pub fn converted(folder: &Path, to: &Path) -> PathBuf {
    written(folder, to, Wish::default())
}

/// Makes the GGUF file `to` of another one, with the types that `tern quantize --type name` chooses.
pub fn quantized(from: &Path, to: &Path, name: &str) -> PathBuf {
    written(from, to, Wish { mix: Some(Mix::find(name).unwrap()), ..Wish::default() })
}

fn written(from: &Path, to: &Path, wish: Wish) -> PathBuf {
    let input = Input::open(from, ReadOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    let plan = Plan::new(&input, &wish).unwrap();
    let options = WriteOptions { force: true, threads: 1, imatrix_name: String::new(), cancel: CancelFlag::new() };
    tern_convert::write(&input, &plan, &wish, to, &options, &mut |_| {}).unwrap();
    to.to_owned()
}

/// A copy of the golden `name`, without folders in it, in `to` with `settings` in its configuration.
pub fn changed(name: &str, to: &Path, settings: &serde_json::Value) {
    for entry in std::fs::read_dir(goldens().join(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    let path = to.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(path, config.to_string()).unwrap();
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

/// The real test encoder, which `tests/fixtures/fetch-minilm` puts into the cache.
pub fn minilm() -> PathBuf {
    let path = models().join("all-MiniLM-L6-v2");
    assert!(path.exists(), "{} is missing: run tests/fixtures/fetch-minilm first", path.display());
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
    made(&format!("smollm2-{}", dtype.name()), |source, part| requantize(source, part, dtype))
}

/// A file made of the test model, once.
fn made(name: &str, make: impl FnOnce(&Path, &Path)) -> PathBuf {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let source = smollm2();
    let folder = models().join("made");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.gguf"));
    if !path.exists() {
        let part = folder.join(format!("{name}.{}.part", std::process::id()));
        make(&source, &part);
        std::fs::rename(&part, &path).unwrap();
    }
    path
}

fn requantize(from: &Path, to: &Path, dtype: DType) {
    let file = gguf::open(Arc::new(FileSource::open(from).unwrap())).unwrap();
    let mut writer = gguf::Writer::new(to.display().to_string());
    for (key, value) in file.metadata.entries() {
        if key != "general.file_type" {
            writer.key(key, value).unwrap();
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

/// The first `layers` layers of the test model, made on first use: fast, with the same tokens, and mostly wrong.
pub fn smollm2_cut(layers: u32) -> PathBuf {
    made(&format!("smollm2-{layers}-layers"), |source, part| {
        let file = gguf::open(Arc::new(FileSource::open(source).unwrap())).unwrap();
        let mut writer = gguf::Writer::new(part.display().to_string());
        for (key, value) in file.metadata.entries() {
            let value = if key == "llama.block_count" { Value::U32(layers) } else { value };
            writer.key(key, value).unwrap();
        }
        let layer = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse::<u32>().ok();
        let kept: Vec<_> =
            file.checkpoint.tensors().iter().filter(|t| layer(&t.name).is_none_or(|l| l < layers)).collect();
        for t in &kept {
            writer.tensor(t.name.clone(), t.dtype, t.shape.clone()).unwrap();
        }
        let mut body = writer.begin(std::io::BufWriter::new(std::fs::File::create(part).unwrap())).unwrap();
        for t in &kept {
            body.write(&file.checkpoint.read(t).unwrap()).unwrap();
        }
        body.finish().unwrap();
    })
}
