//! `tern run`: one prompt, one answer.

use crate::answer::Answer;
use crate::args::{AdapterArgs, BackendArgs, ContextArgs, EncodeArgs, LengthArgs, SamplingArgs, SpeculateArgs};
use crate::experts::ExpertsUsed;
use crate::failure::{Failure, Result};
use crate::form::FormArgs;
use crate::terminal::{Out, is_watched, note};
use crate::{input, interrupt, store};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tern::{Endless, Message, Model, Sampling, SessionOptions, StopReason};

/// Enough for a few paragraphs.
const MAX_TOKENS: usize = 256;

/// Flags of `tern run`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
#[command(group = clap::ArgGroup::new("form"))]
pub struct RunArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// The prompt
    #[arg(short, long, value_name = "TEXT", group = "source", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File with the prompt, used as it is; - is standard input
    #[arg(long, value_name = "FILE", group = "source")]
    pub prompt_file: Option<PathBuf>,
    /// Put the prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// The chat's system message
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    #[command(flatten)]
    pub encode: EncodeArgs,
    /// One JSON object at the end
    #[arg(long, group = "form")]
    pub json: bool,
    /// A JSON object on a line for each token, then one with everything
    #[arg(long, group = "form")]
    pub jsonl: bool,
    /// Go on where the context is full: the first few tokens and the recent half stay. Writes until the model ends its text,
    /// or -n tokens, in fixed memory
    #[arg(long)]
    pub endless: bool,
    #[command(flatten)]
    pub length: LengthArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub constraint: FormArgs,
    #[command(flatten)]
    pub speculate: SpeculateArgs,
    #[command(flatten)]
    pub adapters: AdapterArgs,
}

/// A line of `--jsonl`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    /// `at_ms` counts from when the prompt was begun.
    Token {
        id: u32,
        text: &'a str,
        logprob: Option<f32>,
        at_ms: f64,
    },
    Done(&'a Answer),
}

/// Runs `tern run`.
pub fn run(backend: &BackendArgs, args: &RunArgs) -> Result<()> {
    // Before the model, which takes longer to open.
    let prompt = match (&args.prompt, &args.prompt_file) {
        (None, Some(path)) => input::read_text(path)?,
        (prompt, _) => prompt.clone().unwrap_or_default(),
    };
    let model = backend.open_for(&args.model, args.context.ctx)?;
    let state = args.adapters.apply_and_state(&model, &args.model)?;
    let prompt_tokens = encode(&model, args, &prompt)?;
    let speculation = args.speculate.open(backend)?;
    let of_session = SessionOptions { speculate: args.speculate.is_on(), ..args.context.session() };
    let session = match state {
        Some(delta) => store::begin(&delta, &model, &args.model, of_session)?,
        None => model.session(of_session)?,
    };
    let most = if args.endless { usize::MAX } else { MAX_TOKENS };
    let mut options = args.length.generate(args.sampling.over(Sampling::default()), most);
    options.endless = args.endless.then(Endless::default);
    options.logprobs = args.json || args.jsonl;
    options.special = args.encode.special;
    options.speculation = speculation;
    options.constraint = args.constraint.compile(&model)?;

    let mut out = Out::new();
    let events = session.generate(&prompt_tokens, options)?;
    // Not before: beginning to generate lowers the flag.
    let watch = interrupt::watch(session.cancel_flag());
    let mut answer = Answer::collect(events, |text, token| match (args.json, args.jsonl, token) {
        (true, _, _) | (_, true, None) => Ok(()),
        (_, true, Some(token)) => {
            out.json(&Line::Token { id: token.id, text, logprob: token.logprob, at_ms: token.at_ms })
        }
        _ => out.text(text).and_then(|()| out.flush()),
    })?;
    drop(watch);
    answer.prompt_tokens = prompt_tokens;
    if args.speculate.is_on() {
        answer.speculation.get_or_insert_default();
    }
    answer.timings.load_ms = model.info().load_ms;
    answer.experts = ExpertsUsed::since(&model, None)?;
    match (args.json, args.jsonl) {
        (true, _) => out.json(&answer)?,
        (_, true) => out.json(&Line::Done(&answer))?,
        _ => {
            out.line("")?;
            out.flush()?;
            if is_watched() {
                note(&answer.summary());
            }
        }
    }
    if answer.reason == StopReason::Cancelled { Err(Failure::cancelled()) } else { Ok(()) }
}

fn encode(model: &Model, args: &RunArgs, prompt: &str) -> Result<Vec<u32>> {
    if !args.chat {
        return Ok(args.encode.encode(model.tokenizer(), prompt)?);
    }
    let system = args.system.as_deref().map(|text| Message::new("system", text));
    let messages: Vec<_> = system.into_iter().chain([Message::new("user", prompt)]).collect();
    Ok(model.encode_chat(&messages, true)?)
}
