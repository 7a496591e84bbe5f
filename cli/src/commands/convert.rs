//! `tern convert`: a Hugging Face folder as one GGUF file, and back.

use crate::args::BackendArgs;
use crate::commands::quantize::{self, WriteArgs};
use crate::failure::{Exit, Failure, Result};
use clap::Args;
use std::path::PathBuf;
use tern::CancelFlag;
use tern_convert::{FolderPlan, Input, Mix, Wish, WriteOptions};

/// Flags of `tern convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A Hugging Face folder with config.json, a tokenizer and *.safetensors, or a .gguf file
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The .gguf file to write, or the folder, which is made if need be
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Type of the weights, as for tern quantize, of a folder F32, F16 or BF16; as they are if not given
    #[arg(long = "type", value_name = "TYPE", value_parser = quantize::mix)]
    pub mix: Option<&'static Mix>,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Runs `tern convert`.
pub fn convert(backend: &BackendArgs, args: &ConvertArgs) -> Result<()> {
    let input = Input::open(&args.input, backend.read_options())?;
    if args.input.is_file() {
        return to_folder(backend, &input, args);
    }
    let wish = Wish { mix: args.mix, ..Wish::default() };
    quantize::convert(backend, &input, args.output.as_deref(), &wish, &args.write, String::new())
}

/// A .gguf file as a folder.
fn to_folder(backend: &BackendArgs, input: &Input, args: &ConvertArgs) -> Result<()> {
    let float = match args.mix.map(|mix| (mix.name, mix.base)) {
        None => None,
        Some((_, dtype)) if !dtype.is_quantized() => Some(dtype),
        Some((name, _)) => {
            let what =
                format!("a Hugging Face folder holds F32, F16 or BF16, not {name}; tern quantize makes .gguf files");
            return Err(Failure::new(Exit::Usage, what));
        }
    };
    let folder = FolderPlan::new(input, float)?;
    let (threads, cancel, wish) = (backend.threads as usize, CancelFlag::new(), Wish::default());
    let options = WriteOptions { force: args.write.force, threads, imatrix_name: String::new(), cancel };
    let output = args.output.as_deref();
    quantize::carry_out(input, output, &folder.plan, &wish, &args.write, &options.cancel, |output, progress| {
        tern_convert::write_folder(input, &folder, output, &options, progress)
    })
}
