//! `tern create`: a randomly initialised model of any family, for experiments.

use crate::args::BackendArgs;
use crate::commands::quantize;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{self, Out};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use tern::CancelFlag;
use tern_convert::{Creation, Input, Mix, Plan, Wish, WriteOptions};
use tern_formats::DType;
use tern_formats::gguf::ReadOptions;

/// Flags of `tern create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A config.json in Hugging Face's words (architectures, hidden_size, vocab_size, ...) or in gpt-oss's own
    /// (num_experts, experts_per_token, initial_context_length, ...)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The .gguf file to write, or a Hugging Face folder, which is made if need be
    #[arg(long = "out", value_name = "OUT")]
    pub output: PathBuf,
    /// A model folder or .gguf file whose tokenizer it gets; without one, every byte is a token
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// Random numbers: the same seed gives the same model
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Type of the weights: F32, F16 or BF16; of a .gguf file any that tern quantize knows
    #[arg(long = "type", value_name = "TYPE", value_parser = quantize::mix, default_value = "BF16")]
    pub mix: &'static Mix,
    /// Replace OUT if it exists
    #[arg(long)]
    pub force: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern create`.
pub fn create(backend: &BackendArgs, args: &CreateArgs) -> Result<()> {
    let gguf = args.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    let float = match args.mix.base {
        dtype if !dtype.is_quantized() => dtype,
        _ if gguf => DType::F32,
        dtype => {
            let what = format!("a Hugging Face folder holds F32, F16 or BF16, not {dtype}; name OUT .gguf");
            return Err(Failure::new(Exit::Usage, what));
        }
    };
    let creation = Creation::new(&args.config, args.tokenizer.as_deref(), float, args.seed)?;
    let cancel = CancelFlag::new();
    let watch = interrupt::watch(cancel.clone());
    if gguf {
        let threads = backend.threads as usize;
        let options = WriteOptions { force: args.force, threads, imatrix_name: String::new(), cancel };
        as_gguf(&creation, args, &options)?;
    } else {
        creation.write(&args.output, args.force, &cancel)?;
    }
    drop(watch);
    let mut out = Out::new();
    let (path, parameters) = (args.output.display().to_string(), creation.elements());
    if args.json {
        return out.json(&json!({"output": path, "parameters": parameters, "seed": args.seed, "type": args.mix.name}));
    }
    let millions = parameters as f64 / 1e6;
    out.line(&format!("{}: {millions:.1} million parameters, {}", terminal::printable(&path), args.mix.name))?;
    out.flush()
}

/// A folder beside the file, which is converted.
fn as_gguf(creation: &Creation, args: &CreateArgs, options: &WriteOptions) -> Result<()> {
    let name = args.output.file_stem().unwrap_or_default();
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.part", std::process::id()));
    let folder = Remove(args.output.with_file_name(beside));
    // The model is named after its folder.
    let inner = folder.0.join(name);
    creation.write(&inner, true, &options.cancel)?;
    let input = Input::open(&inner, ReadOptions::default())?;
    let wish = Wish { mix: Some(args.mix), ..Wish::default() };
    let plan = Plan::new(&input, &wish)?;
    tern_convert::write(&input, &plan, &wish, &args.output, options, &mut |_| {})?;
    Ok(())
}

/// Removes a folder in the end, whatever that is.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // What cannot be removed stays: there is nobody to tell.
        let _ = std::fs::remove_dir_all::<&Path>(&self.0);
    }
}
