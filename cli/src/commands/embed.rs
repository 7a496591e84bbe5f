//! `tern embed`: texts as vectors.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, Progress};
use crate::{input, interrupt};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use tern::{EmbedOptions, Pooling};

/// Texts that are embedded between two reports.
const BATCH: usize = 64;

/// Flags of `tern embed`.
#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// Files, each a text; - is standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Each line is a text, without what is white space at its ends; empty lines are none
    #[arg(long)]
    pub lines: bool,
    /// How a text's tokens become one vector; as the model's files say if not given, else their mean
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
    /// Scale vectors to length 1; as the model's files say if neither this nor --raw is given, else scaled
    #[arg(long, conflicts_with = "raw")]
    pub normalize: bool,
    /// Leave vectors as long as they are
    #[arg(long)]
    pub raw: bool,
    /// Leave out what does not fit the model's context, rather than refuse the text; what closes a text, such as [SEP], stays
    #[arg(long)]
    pub truncate: bool,
    /// Tokens that fit
    #[arg(long, value_name = "N")]
    pub ctx: Option<u64>,
    /// Write a matrix with a row for each text, as NumPy reads it, instead of a JSON object for each
    #[arg(long, value_name = "FILE")]
    pub npy: Option<PathBuf>,
}

/// See [`Pooling`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PoolingArg {
    Mean,
    Cls,
    Last,
}

impl From<PoolingArg> for Pooling {
    fn from(arg: PoolingArg) -> Self {
        match arg {
            PoolingArg::Mean => Self::Mean,
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Last => Self::Last,
        }
    }
}

/// A text, and where it is from.
#[derive(Serialize)]
struct Text {
    file: String,
    /// From 1; only with `--lines`.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip)]
    text: String,
}

/// A line of the output.
#[derive(Serialize)]
struct Embedded<'a> {
    #[serde(flatten)]
    text: &'a Text,
    embedding: &'a [f32],
}

/// Runs `tern embed`.
pub fn embed(backend: &BackendArgs, args: &EmbedArgs) -> Result<()> {
    let texts = read(args)?;
    let model = backend.open_for(&args.model, args.ctx)?;
    let options = EmbedOptions {
        pooling: args.pooling.map(Pooling::from),
        normalize: if args.raw { Some(false) } else { args.normalize.then_some(true) },
        truncate: args.truncate,
        ..EmbedOptions::default()
    };
    let _watch = interrupt::watch(options.cancel.clone());
    let (mut out, mut progress) = (Out::new(), Progress::new());
    let mut rows = Vec::new();
    for (i, batch) in texts.chunks(BATCH).enumerate() {
        progress.update(|| format!("embedding: text {} of {}", i * BATCH, texts.len()));
        let all: Vec<&str> = batch.iter().map(|t| t.text.as_str()).collect();
        let embedded = model.embed(&all, &options)?;
        progress.clear();
        if args.npy.is_some() {
            rows.extend(embedded);
            continue;
        }
        for (text, embedding) in batch.iter().zip(&embedded) {
            out.json(&Embedded { text, embedding })?;
        }
        out.flush()?;
    }
    match &args.npy {
        Some(path) => write_npy(path, &rows)
            .map_err(|e| Failure::new(Exit::Failure, format!("cannot write {}: {e}", path.display()))),
        None => Ok(()),
    }
}

fn read(args: &EmbedArgs) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in &args.files {
        let (file, content) = (path.display().to_string(), input::read_text(path)?);
        if !args.lines {
            texts.push(Text { file, line: None, text: content });
            continue;
        }
        let lines = (1..).zip(content.lines()).map(|(n, line)| (n, line.trim())).filter(|l| !l.1.is_empty());
        texts.extend(lines.map(|(n, line)| Text { file: file.clone(), line: Some(n), text: line.to_owned() }));
    }
    Ok(texts)
}

/// NumPy's format, version 1.0: magic, a header whose end is aligned to 64 bytes, little-endian numbers.
fn write_npy(path: &Path, rows: &[Vec<f32>]) -> std::io::Result<()> {
    let width = rows.first().map_or(0, Vec::len);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {width}), }}", rows.len()).into_bytes();
    const BEFORE: usize = 10;
    header.resize((BEFORE + header.len() + 1).next_multiple_of(64) - BEFORE - 1, b' ');
    header.push(b'\n');
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(&header)?;
    for x in rows.iter().flatten() {
        file.write_all(&x.to_le_bytes())?;
    }
    file.flush()
}
