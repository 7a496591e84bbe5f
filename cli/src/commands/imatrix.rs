//! `tern imatrix`: how much every column of a model's matrices matters.

use crate::args::BackendArgs;
use crate::commands::quantize::clock;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{self, Out, Progress, count};
use crate::{input, interrupt};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tern::CancelFlag;
use tern_convert::imatrix::{CollectOptions, Imatrix};

const TEXT: &str = "\
The text should be like what the model will be used for, in all its languages; 100 pieces of 512 tokens (some 200 KB) \
are enough. Use the F16 or BF16 model, or another one that is nearly exact. After Ctrl-C what has been collected is \
written, and --resume goes on from there. tern quantize --imatrix uses the file, and so do llama.cpp's programs.";

/// Flags of `tern imatrix`.
#[derive(Debug, Args)]
#[command(after_help = TEXT)]
pub struct ImatrixArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// File with text to read; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub text: Vec<PathBuf>,
    /// The .gguf file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Most pieces to read; all if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Tokens of a piece
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub context: u32,
    /// Go on where the output ends that was made from the same texts
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Replace the output if it exists
    #[arg(long)]
    pub force: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern imatrix`.
pub fn imatrix(backend: &BackendArgs, args: &ImatrixArgs) -> Result<()> {
    let shown = |path: &Path| terminal::printable(&path.display().to_string()).into_owned();
    let exists = args.output.exists();
    if exists && !args.force && !args.resume {
        // Told now rather than after an hour.
        let what = format!("{} exists; --resume goes on, --force replaces it", shown(&args.output));
        return Err(Failure::new(Exit::Usage, what));
    }
    let resumed = if args.resume && exists { Some(Imatrix::read(&args.output)?) } else { None };
    let text = |path: &PathBuf| Ok((path.display().to_string(), input::read_text(path)?));
    let texts = args.text.iter().map(text).collect::<Result<Vec<_>>>()?;
    let model = backend.open(&args.model)?;
    let cancel = CancelFlag::new();
    let options = CollectOptions { context: args.context, chunks: args.chunks, resumed, cancel };
    let before = options.resumed.as_ref().map_or(0, |m| m.chunks);
    let watch = interrupt::watch(options.cancel.clone());
    let (mut line, started) = (Progress::new(), Instant::now());
    let collected = Imatrix::collect(&model, &texts, &options, &mut |done, total| {
        line.update(|| match done - before.min(done) {
            0 => format!("piece 1 of {total}"),
            n => {
                let left = started.elapsed().as_secs_f64() / f64::from(n) * f64::from(total - done);
                format!("piece {} of {total}, {} left", done + 1, clock(left))
            }
        });
    })?;
    drop((line, watch));
    let (matrix, new) = (&collected.imatrix, collected.imatrix.chunks > before);
    if new {
        matrix.write(&args.output, args.force || args.resume)?;
    }
    if collected.cancelled {
        if new {
            terminal::note(&format!(
                "{} has {} of {}; --resume goes on",
                shown(&args.output),
                matrix.chunks,
                count(collected.pieces as usize, "piece")
            ));
        }
        return Err(Failure::cancelled());
    }
    let mut out = Out::new();
    if args.json {
        return out.json(&json!({
            "output": args.output.display().to_string(),
            "entries": matrix.entries.len(),
            "chunks": matrix.chunks,
            "chunk_size": matrix.chunk_size,
            "seconds": started.elapsed().as_secs_f64(),
        }));
    }
    let (matrices, pieces) = (matrix.entries.len(), count(matrix.chunks as usize, "piece"));
    out.line(&format!(
        "{}: {matrices} matrices over {pieces} of {}",
        shown(&args.output),
        count(matrix.chunk_size as usize, "token")
    ))?;
    out.flush()
}
