//! A randomly initialised model of any family, out of its configuration: a Hugging Face folder, for experiments.
//!
//! Names and shapes come from the architecture's table, so what is made is what the runtime reads.

mod tokenizer;
mod values;

use crate::error::ConvertError;
use crate::place;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use tern::CancelFlag;
use tern::models::{Change, Hyper, Kind, TensorSpec, TensorTable, find, hugging_face};
use tern_formats::hf::{Config, WEIGHTS_FILE, to_text};
use tern_formats::safetensors::Writer;
use tern_formats::{AtomicFile, DType, FileSource, commit_all};
use values::{Start, Values};

/// Largest configuration that is read.
const CONFIG_LIMIT: u64 = 1 << 24;
/// Numbers made at a time.
const PIECE: u64 = 1 << 16;

/// A model to be made.
#[derive(Debug)]
pub struct Creation {
    config: String,
    tokenizer: Vec<(String, Vec<u8>)>,
    tensors: Vec<New>,
    dtype: DType,
    seed: u64,
}

/// A tensor to be made.
#[derive(Debug)]
struct New {
    name: String,
    shape: Vec<u64>,
    start: Start,
}

impl Creation {
    /// A model of the configuration in the file `config`, in Hugging Face's words or gpt-oss's own. `tokenizer`: a folder or a
    /// .gguf file whose tokenizer it gets, else a byte-level one. The same `seed` gives the same model. `dtype`: F32, F16 or BF16.
    ///
    /// # Errors
    /// [`ConvertError::Model`] for an architecture or a setting that is not supported, or more tokens than rows;
    /// [`ConvertError::Unsupported`] for another type; [`ConvertError::Format`], [`ConvertError::Io`].
    pub fn new(config: &Path, tokenizer: Option<&Path>, dtype: DType, seed: u64) -> Result<Self, ConvertError> {
        let Some(torch) = torch_name(dtype) else {
            return Err(ConvertError::Unsupported { what: format!("a model made of {dtype}; it is F32, F16 or BF16") });
        };
        let io = |error| ConvertError::Io { path: config.to_owned(), error };
        let stated = Config::read(&FileSource::open(config).map_err(io)?, CONFIG_LIMIT)?;
        let read = hugging_face(&stated).map_err(tern::Error::from)?;
        let missing = || tern::models::ConfigError::Missing { key: "architectures".to_owned() };
        let names = read.strings("architectures")?.unwrap_or_default();
        let name = names.first().ok_or_else(missing).map_err(tern::Error::from)?;
        let architecture = find(name, false).map_err(tern::Error::from)?;
        let hyper = Hyper::Hf { config: &read, checkpoint: None };
        let definition = (architecture.read)(&hyper).map_err(tern::Error::from)?;
        let deviation = read.f64("initializer_range")?.unwrap_or(0.02);
        let tensors = tensors(&definition.tensors(), &read, deviation as f32)?;
        let tokenizer = tokenizer::files(tokenizer, definition.common().vocab_rows)?;
        let mut settings = read.value().clone();
        settings["torch_dtype"] = json!(torch);
        // The language model of one that also sees is made by itself.
        if stated.get("text_config").is_some() {
            settings["architectures"] = json!([name.replace("ForConditionalGeneration", "ForCausalLM")]);
        }
        // Weights are made as plain numbers, whatever the model of the configuration has them packed as.
        let online = read.str("quantization_config.quantization_mode")? == Some("online");
        if let (Some(all), false) = (settings.as_object_mut(), online) {
            all.remove("quantization_config");
        }
        Ok(Self { config: to_text(&settings, true), tokenizer, tensors, dtype, seed })
    }

    /// Numbers of all tensors.
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|t| values::count(&t.shape)).fold(0, u64::saturating_add)
    }

    /// Writes the folder at `path`, which is made where there is none. Files appear together, once all are complete.
    ///
    /// # Errors
    /// [`ConvertError::Exists`], [`ConvertError::Output`], [`ConvertError::Cancelled`]; no file is left behind then.
    pub fn write(&self, path: &Path, force: bool, cancel: &CancelFlag) -> Result<(), ConvertError> {
        let output = |error| ConvertError::Output { path: path.to_owned(), error };
        std::fs::create_dir_all(path).map_err(output)?;
        let create = |name: &str| place::create(&path.join(name), &[], force);
        let mut files: Vec<AtomicFile> = Vec::new();
        let config = [("config.json".to_owned(), self.config.clone().into_bytes())];
        for (name, bytes) in config.iter().chain(&self.tokenizer) {
            let mut file = create(name)?;
            file.write_all(bytes).map_err(output)?;
            files.push(file);
        }
        let mut writer = Writer::new(path.join(WEIGHTS_FILE).display().to_string());
        // What transformers asks of files that it loads.
        writer.metadata("format", "pt")?;
        for t in &self.tensors {
            writer.tensor(&t.name, self.dtype, &*t.shape)?;
        }
        let mut body = writer.begin(create(WEIGHTS_FILE)?)?;
        for (i, t) in (0..).zip(&self.tensors) {
            let mut values = Values::new(self.seed, i, t.start);
            let mut left = values::count(&t.shape);
            while left > 0 {
                if cancel.is_cancelled() {
                    return Err(ConvertError::Cancelled);
                }
                let now = left.min(PIECE);
                let piece: Vec<f32> = (0..now).map(|_| values.next()).collect();
                let mut bytes = vec![0; piece.len() * self.dtype.block_bytes()];
                let failed = |error| ConvertError::Quantize { tensor: t.name.clone(), row: 0, error };
                tern_quant::quantize(self.dtype, &piece, &mut bytes).map_err(failed)?;
                body.write(&bytes)?;
                left -= now;
            }
        }
        files.push(body.finish()?);
        commit_all(files).map_err(|error| place::failed(path, error))
    }
}

fn torch_name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("float32"),
        DType::F16 => Some("float16"),
        DType::BF16 => Some("bfloat16"),
        _ => None,
    }
}

/// The tensors that a folder of the model has.
fn tensors(table: &TensorTable, config: &Config, deviation: f32) -> Result<Vec<New>, ConvertError> {
    let (mut seen, mut tensors) = (HashSet::new(), Vec::new());
    for spec in &table.specs {
        let name = spec.name_in(false);
        if name.is_empty() || spec.optional && !stated(name, config)? {
            continue;
        }
        for (name, shape) in spec.sources(false) {
            if seen.insert(name.clone()) {
                tensors.push(New { start: start(spec, &name, deviation), name, shape });
            }
        }
    }
    Ok(tensors)
}

/// Does the configuration say that a model has this tensor, which others of its family lack?
fn stated(name: &str, config: &Config) -> Result<bool, ConvertError> {
    let switch = match name {
        _ if !name.ends_with(".bias") => return Ok(false),
        _ if name.contains("mlp") => "mlp_bias",
        _ => "attention_bias",
    };
    Ok(config.bool(switch)?.unwrap_or(false))
}

/// What its numbers are at first: norms do nothing, biases neither. Weights that learn along a text keep their first length, so theirs follow
/// from how many they are, as their authors have it (arXiv 2505.23884).
fn start(spec: &TensorSpec, name: &str, deviation: f32) -> Start {
    let (root, inputs) = (|n: u64| (n as f32).sqrt(), spec.shape.get(1).copied().unwrap_or(1));
    let norm = name.to_lowercase().contains("norm") || name.contains("ln_");
    match spec.change {
        _ if name.ends_with("bias") || spec.change == Change::PlusOne => Start::Constant(0.0),
        // One for each head, in TTT.
        _ if norm && (spec.shape.len() == 1 || name.ends_with("norm_weight")) => Start::Constant(1.0),
        // As wide as PyTorch makes the weights of a convolution of every channel: with less, nothing comes through.
        _ if name.contains("conv") => Start::Normal(1.0 / root(3 * inputs)),
        Change::Column { .. } => Start::Constant(if name.ends_with("scale") { 1.0 } else { 0.0 }),
        Change::LowRank { rank } if name.ends_with("w_left") => Start::Normal(0.5 / root(rank)),
        Change::LowRank { .. } => Start::Normal(0.5 / root(inputs)),
        Change::Stack(_) if spec.kind == Kind::Vector && spec.shape.len() == 3 => Start::Normal(1.0 / root(inputs)),
        _ => Start::Normal(deviation),
    }
}

/// A tokenizer's files by name.
type Files = Vec<(String, Vec<u8>)>;

/// Settings as text.
fn text(value: &Value) -> Vec<u8> {
    to_text(value, false).into_bytes()
}
