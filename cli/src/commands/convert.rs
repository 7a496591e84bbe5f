//! `tern convert`: a Hugging Face folder as one GGUF file.

use crate::args::BackendArgs;
use crate::commands::quantize::{self, WriteArgs};
use crate::failure::{Exit, Failure, Result};
use clap::Args;
use std::path::PathBuf;
use tern_convert::{Input, Mix, Wish};

/// Flags of `tern convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A Hugging Face folder with config.json, tokenizer.json and *.safetensors
    #[arg(value_name = "DIR")]
    pub input: PathBuf,
    /// The .gguf file to write
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Type of the weights, as for tern quantize; as they are if not given
    #[arg(long = "type", value_name = "TYPE", value_parser = quantize::mix)]
    pub mix: Option<&'static Mix>,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Runs `tern convert`.
pub fn convert(backend: &BackendArgs, args: &ConvertArgs) -> Result<()> {
    if args.input.is_file() {
        let what = format!("{} is a file; tern convert makes a .gguf file of a folder", args.input.display());
        return Err(Failure::new(Exit::Usage, what));
    }
    let input = Input::open(&args.input, backend.read_options())?;
    let wish = Wish { mix: args.mix, ..Wish::default() };
    quantize::convert(backend, &input, args.output.as_deref(), &wish, &args.write, String::new())
}
