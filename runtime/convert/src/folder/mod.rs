//! A GGUF file as a Hugging Face folder: `config.json`, a tokenizer, `model.safetensors`.
//!
//! The way of `hf/` backwards, over the same table of names. What was decided is read back by the very code that reads
//! folders for running, so that nothing is written that would be understood as another model.

mod config;
mod tokenizer;

pub(crate) use tokenizer::files as tokenizer_files;

use crate::error::ConvertError;
use crate::input::{Input, Rows, Tensor};
use crate::place;
use crate::policy::{Assignment, Plan, Wish};
use crate::write::{Progress, WriteOptions, recode};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use tern::models::{Change, Definition, TensorSpec};
use tern_formats::hf::WEIGHTS_FILE;
use tern_formats::safetensors::Writer;
use tern_formats::{AtomicFile, Checkpoint, DType, commit_all};

/// The architectures that are written; others have names and settings of their own, which are not here.
const ARCHITECTURES: [&str; 2] = ["llama", "qwen2"];

/// What a folder will hold.
#[derive(Debug)]
pub struct FolderPlan {
    /// The tensors' types.
    pub plan: Plan,
    /// Under the folder's names.
    tensors: Vec<Tensor>,
    /// All but the weights, by name; the configuration, with which readers begin, is the first.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl FolderPlan {
    /// Decides. `float`: what matrices become, F32, F16 or BF16; without it they stay, if they are that already.
    ///
    /// # Errors
    /// [`ConvertError::Quantized`], [`ConvertError::Unsupported`] for an architecture or a setting that is not written,
    /// [`ConvertError::Model`], [`ConvertError::Text`].
    pub fn new(input: &Input, float: Option<DType>) -> Result<Self, ConvertError> {
        let model = config::read(input)?;
        let (tensors, assignments) = tensors(input, &*model.definition, float)?;
        let matrices =
            assignments.iter().zip(&tensors).find(|(_, t)| t.shape.len() > 1).map_or(DType::F32, |(a, _)| a.to);
        let mut files = tokenizer::files(&input.metadata)?;
        files.insert(0, ("config.json", model.config(input, &renamed(input, &tensors)?, matrices)?.into_bytes()));
        Ok(Self { plan: Plan { assignments, unmatched: Vec::new() }, tensors, files })
    }
}

/// The table's tensors with the folder's names, in its order.
fn tensors(
    input: &Input,
    definition: &dyn Definition,
    float: Option<DType>,
) -> Result<(Vec<Tensor>, Vec<Assignment>), ConvertError> {
    let file = || input.path.display().to_string();
    let (mut tensors, mut assignments) = (Vec::new(), Vec::new());
    let mut left: HashMap<&str, &Tensor> = input.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    for spec in &definition.tensors().specs {
        if matches!(spec.change, Change::Stack(_)) {
            let what = format!("{}: mixtures of experts are not written as folders", spec.gguf);
            return Err(ConvertError::Unsupported { what });
        }
        let Some(found) = left.remove(spec.gguf.as_str()) else {
            if spec.optional {
                continue;
            }
            return Err(tern::Error::MissingTensor { file: file(), tensor: spec.gguf.clone() }.into());
        };
        if found.shape != spec.shape {
            let (tensor, found, expected) = (spec.gguf.clone(), found.shape.clone(), spec.shape.clone());
            return Err(tern::Error::TensorShape { file: file(), tensor, found, expected }.into());
        }
        if spec.hf.is_empty() {
            continue; // The configuration says it.
        }
        let to = target(found, float)?;
        let (elements, from) = (found.elements(), found.dtype);
        let bytes = (found.row_bytes(to)? as u64).saturating_mul(found.row_count());
        assignments.push(Assignment { name: spec.hf.clone(), elements, from, to, wanted: to, bytes, weighted: false });
        let rows = rows(found, spec);
        tensors.push(Tensor { name: spec.hf.clone(), dtype: found.dtype, shape: found.shape.clone(), rows });
    }
    match input.tensors.iter().find(|t| left.contains_key(t.name.as_str())) {
        Some(extra) => Err(tern::Error::ExtraTensor { file: file(), tensor: extra.name.clone() }.into()),
        None => Ok((tensors, assignments)),
    }
}

/// Folders have plain numbers only. Vectors keep all of theirs.
fn target(tensor: &Tensor, float: Option<DType>) -> Result<DType, ConvertError> {
    let plain = matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16);
    match (tensor.shape.len() > 1, float) {
        (true, Some(float)) => Ok(float),
        _ if plain => Ok(tensor.dtype),
        (false, _) => Ok(DType::F32),
        (true, None) => Err(ConvertError::Quantized { tensor: tensor.name.clone(), dtype: tensor.dtype }),
    }
}

fn rows(tensor: &Tensor, spec: &TensorSpec) -> Rows {
    match (&tensor.rows, spec.change) {
        (Rows::Stored { info, .. }, Change::Pairs(head_dim)) => Rows::Parted { info: info.clone(), head_dim },
        (rows, _) => rows.clone(),
    }
}

/// The input's data under the folder's names, as the reader of folders wants to see it.
fn renamed(input: &Input, tensors: &[Tensor]) -> Result<Checkpoint, ConvertError> {
    let info = |t: &Tensor| match &t.rows {
        Rows::Stored { info, .. } | Rows::Parted { info, .. } | Rows::Ordered { info, .. } => {
            Some(tern_formats::TensorInfo { name: t.name.as_str().into(), ..info.clone() })
        }
        Rows::Stack(_) | Rows::Computed(_) | Rows::Ternary { .. } => None,
    };
    Ok(Checkpoint::new(tensors.iter().filter_map(info).collect(), input.checkpoint.sources().to_vec())?)
}

/// Writes the folder at `path`, which is made where there is none. Files appear together, once all are complete.
///
/// # Errors
/// [`ConvertError`]; no file is left behind then.
pub fn write_folder(
    input: &Input,
    folder: &FolderPlan,
    path: &Path,
    options: &WriteOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), ConvertError> {
    let output = |error| ConvertError::Output { path: path.to_owned(), error };
    std::fs::create_dir_all(path).map_err(output)?;
    let create = |name: &str| place::create(&path.join(name), &input.files(), options.force);
    let mut files: Vec<AtomicFile> = Vec::new();
    for (name, bytes) in &folder.files {
        let mut file = create(name)?;
        file.write_all(bytes).map_err(output)?;
        files.push(file);
    }
    let mut writer = Writer::new(path.join(WEIGHTS_FILE).display().to_string());
    // What transformers asks of files that it loads.
    writer.metadata("format", "pt")?;
    for (t, a) in folder.tensors.iter().zip(&folder.plan.assignments) {
        writer.tensor(&t.name, a.to, &*t.shape)?;
    }
    let mut body = writer.begin(create(WEIGHTS_FILE)?)?;
    let total = folder.plan.assignments.iter().map(|a| a.elements).sum();
    let mut done = 0;
    for (i, (tensor, assignment)) in folder.tensors.iter().zip(&folder.plan.assignments).enumerate() {
        recode(input, tensor, assignment, &Wish::default(), options, &mut body, &mut |elements| {
            let (number, tensors) = (i + 1, folder.tensors.len());
            progress(Progress { tensor: &tensor.name, number, tensors, done: done + elements, total });
        })?;
        done += assignment.elements;
    }
    files.push(body.finish()?);
    commit_all(files).map_err(|error| place::failed(path, error))
}
