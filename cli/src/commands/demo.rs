//! `tern demo`: from nothing to an answer.

use crate::answer::Answer;
use crate::args::{BackendArgs, ContextArgs, LengthArgs, SamplingArgs};
use crate::commands::bench::share;
use crate::commands::inspect::size;
use crate::failure::{Failure, Result};
use crate::terminal::{Out, dim, note};
use crate::{bandwidth, fetch, interrupt, setup};
use clap::Args;
use std::path::PathBuf;
use tern::{Message, Sampling, StopReason};

const PROMPT: &str = "Give me three tips for a good night's sleep.";
/// An answer that takes a moment, not a minute.
const MAX_TOKENS: usize = 192;
/// Small models repeat themselves; this much keeps them from it without changing their style.
const REPETITION_PENALTY: f32 = 1.1;

/// Flags of `tern demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Another model: a .gguf file or a Hugging Face folder. Nothing is downloaded then
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Another prompt
    #[arg(short, long, value_name = "TEXT", default_value = PROMPT, allow_hyphen_values = true)]
    pub prompt: String,
    #[command(flatten)]
    pub length: LengthArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Runs `tern demo`.
pub fn demo(backend: &BackendArgs, args: &DemoArgs) -> Result<()> {
    // A missing backend is found out before anything is downloaded.
    backend.runtime()?;
    let path = match &args.model {
        Some(path) => path.clone(),
        None => fetch::DEMO.fetch()?,
    };
    let model = backend.open(&path)?;
    // A base model has no template; it continues the prompt.
    let prompt_tokens = match model.template_source() {
        Some(_) => model.encode_chat(&[Message::new("user", args.prompt.as_str())], true)?,
        None => model.encode(&args.prompt)?,
    };
    let session = model.session(args.context.session())?;
    let base = Sampling { repetition_penalty: REPETITION_PENALTY, ..Sampling::default() };
    let options = args.length.generate(args.sampling.over(base), MAX_TOKENS);
    note(&dim(&format!("> {}", args.prompt)));
    let mut out = Out::new();
    let events = session.generate(&prompt_tokens, options)?;
    let watch = interrupt::watch(session.cancel_flag());
    let answer = Answer::collect(events, |text, _| {
        out.text(text)?;
        out.flush()
    })?;
    out.line("")?;
    out.flush()?;
    if answer.reason == StopReason::Cancelled {
        return Err(Failure::cancelled());
    }
    drop((watch, session));

    let info = model.info();
    let (speed, read) = (answer.tokens_per_second(), info.bytes_per_token);
    note("");
    note(&dim(&format!(
        "{}: loaded in {:.0} ms, prompt of {} tokens in {:.0} ms",
        info.name.as_deref().unwrap_or(&info.architecture),
        info.load_ms,
        prompt_tokens.len(),
        answer.timings.prompt_ms,
    )));
    let ceiling = bandwidth::measure(read, setup::threads(&model)).map_or_else(String::new, |bandwidth| {
        let (percent, gb) = (share(read, speed, bandwidth) * 100.0, bandwidth / 1e9);
        format!(", {percent:.0} % of the memory bandwidth ({} a token, {gb:.0} GB/s)", size(read))
    });
    note(&dim(&format!("{speed:.1} tokens/s{ceiling}, {}", setup::place(&model))));
    note(&dim(&format!("Talk to it: tern chat {}", path.display())));
    Ok(())
}
