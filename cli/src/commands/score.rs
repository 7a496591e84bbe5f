//! `tern score`: how well a model predicts a text.

use crate::args::{AdapterArgs, BackendArgs, ContextArgs, EncodeArgs};
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, Progress};
use crate::{input, interrupt};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tern::{CancelFlag, ScoreOptions, Scored, Tokenizer};

const WINDOWS: &str = "\
Windows: a text that fits the context is read in one piece. A longer one is read in windows of the context's size \
that overlap by half; of every window but the first only what is new counts, so that each token is predicted once, \
and from at least half a context of what comes before it. The first token has nothing before it: its log-probability \
is null, and its bytes do not count.";

/// Flags of `tern score`.
#[derive(Debug, Args)]
#[command(after_help = WINDOWS)]
pub struct ScoreArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// File with the text; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Also list the K most likely tokens at every position
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top: usize,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub encode: EncodeArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub adapters: AdapterArgs,
}

/// The JSON form.
#[derive(Serialize)]
struct Score {
    tokens: Vec<u32>,
    /// In nats; null where a token has nothing before it.
    logprobs: Vec<Option<f32>>,
    top: Vec<Option<Vec<Candidate>>>,
    nats: f64,
    bits_per_byte: f64,
    perplexity: f64,
    #[serde(skip)]
    counted: Counted,
}

#[derive(Serialize)]
struct Candidate {
    id: u32,
    logprob: f32,
}

/// What the averages are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    tokens: usize,
    bytes: usize,
}

/// Runs `tern score`.
pub fn score(backend: &BackendArgs, args: &ScoreArgs) -> Result<()> {
    let text = input::read_text(&args.file)?;
    let model = backend.open_for(&args.model, args.context.ctx)?;
    args.adapters.apply(&model, &args.model)?;
    let tokens = args.encode.encode(model.tokenizer(), &text)?;
    if tokens.len() < 2 {
        let what = format!("{}: {} tokens; a score needs at least 2", args.file.display(), tokens.len());
        return Err(Failure::new(Exit::Input, what));
    }
    let cancel = CancelFlag::new();
    let options = ScoreOptions { context: args.context.ctx, kv: args.context.kv.into(), top: args.top, cancel };
    let watch = interrupt::watch(options.cancel.clone());
    let mut progress = Progress::new();
    let scored = model.score(&tokens, &options, &mut |done, total| {
        progress.update(|| format!("scoring: token {done} of {total}"));
    })?;
    drop((progress, watch));
    let result = summarize(model.tokenizer(), text.len(), tokens, scored);
    let mut out = Out::new();
    if args.json {
        return out.json(&result);
    }
    let Counted { tokens, bytes } = result.counted;
    out.line(&format!("perplexity     {:.4} per token", result.perplexity))?;
    out.line(&format!("bits per byte  {:.4}", result.bits_per_byte))?;
    out.line(&format!("nats           {:.2} over {tokens} tokens, {bytes} bytes", result.nats))?;
    if args.top > 0 {
        let first = agreement(&result);
        out.line(&format!("most likely    {:.1} % of the tokens were the model's first choice", first * 100.0))?;
    }
    out.flush()
}

fn summarize(tokenizer: &Tokenizer, text_bytes: usize, tokens: Vec<u32>, scored: Vec<Scored>) -> Score {
    let unscored = tokens.iter().zip(&scored).filter(|(_, s)| s.logprob.is_none());
    let unscored = unscored.filter(|&(&id, _)| !tokenizer.is_control(id));
    let skipped: usize = unscored.filter_map(|(&id, _)| tokenizer.token_bytes(id)).map(|bytes| bytes.len()).sum();
    let logprobs: Vec<_> = scored.iter().map(|s| s.logprob).collect();
    let counted = Counted { tokens: logprobs.iter().flatten().count(), bytes: text_bytes.saturating_sub(skipped) };
    let nats = -logprobs.iter().flatten().map(|&x| f64::from(x)).sum::<f64>();
    let candidates = |(id, logprob)| Candidate { id, logprob };
    let top = scored.into_iter().map(|s| s.logprob.map(|_| s.top.into_iter().map(candidates).collect()));
    Score {
        top: top.collect(),
        tokens,
        logprobs,
        nats,
        bits_per_byte: nats / std::f64::consts::LN_2 / counted.bytes.max(1) as f64,
        perplexity: (nats / counted.tokens.max(1) as f64).exp(),
        counted,
    }
}

/// The share of tokens that were the model's first choice.
fn agreement(score: &Score) -> f64 {
    let firsts = score.tokens.iter().zip(&score.top).filter_map(|(id, top)| Some((id, top.as_ref()?.first()?)));
    let same = firsts.filter(|(id, first)| **id == first.id).count();
    same as f64 / score.counted.tokens.max(1) as f64
}
