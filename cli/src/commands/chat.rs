//! `tern chat`: a conversation.

mod editor;

use crate::answer::Answer;
use crate::args::{BackendArgs, ContextArgs, LengthArgs, SamplingArgs};
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{Out, dim, error_line, is_interactive, note, printable};
use clap::Args;
use editor::{Editor, Input};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tern::{Chat, GenerateOptions, Model, Sampling, StopReason};

/// Longer answers are rarely wanted, and never end by themselves where a small model repeats itself.
const MAX_TOKENS: usize = 1024;
/// Lively but sensible, for models that do not say what suits them.
const TEMPERATURE: f32 = 0.7;
const TOP_P: f32 = 0.95;
const MIN_P: f32 = 0.05;

const HELP: &str = "\
/reset  start over
/undo   take back the last question and its answer
/stats  speed of the last answer, and how full the context is
/exit   leave (also Ctrl-D)
//text  say /text
Ctrl-C stops an answer. Arrow keys bring back what you wrote.";

/// Flags of `tern chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "While talking: /help lists the commands. Where input is not a terminal, each of its lines is a message."
)]
pub struct ChatArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// The system message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// File that keeps what you write, for the arrow keys next time; without it nothing is kept
    #[arg(long, value_name = "FILE", env = "TERN_HISTORY")]
    pub history: Option<PathBuf>,
    #[command(flatten)]
    pub length: LengthArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Runs `tern chat`.
pub fn chat(backend: &BackendArgs, args: &ChatArgs) -> Result<()> {
    let interactive = is_interactive();
    let mut editor = Editor::new(interactive, args.history.as_deref())?;
    let model = backend.open(&args.model)?;
    let session = model.session(args.context.session())?;
    let base =
        Sampling { temperature: TEMPERATURE, top_p: TOP_P, min_p: MIN_P, seed: any_seed(), ..Sampling::default() };
    let mut talk = Talk {
        chat: Chat::new(&model, session, args.system.clone())?,
        options: args.length.generate(args.sampling.over(base), MAX_TOKENS),
        last: None,
        out: Out::new(),
    };
    if interactive {
        interrupt::stay();
        note(&dim(&printable(&greeting(&model))));
    }
    loop {
        match editor.line()? {
            Input::End => break,
            Input::Interrupted => note(&dim("(Ctrl-D or /exit leaves)")),
            Input::Line(line) => match command(&line) {
                Command::Nothing => {}
                Command::Exit => break,
                Command::Say(text) => match talk.say(text) {
                    // The conversation goes on: a full context can be reset, another question asked.
                    Err(failure) if interactive && failure.exit == Exit::Capacity => error_line(&failure.message),
                    Err(failure) if interactive && failure.exit == Exit::Cancelled => {}
                    other => other?,
                },
                other => talk.obey(other)?,
            },
        }
    }
    Ok(())
}

/// A conversation with its settings.
struct Talk {
    chat: Chat,
    options: GenerateOptions,
    last: Option<Answer>,
    out: Out,
}

impl Talk {
    /// Sends a message and shows the answer.
    fn say(&mut self, text: &str) -> Result<()> {
        let events = self.chat.send(text, self.options.clone())?;
        let watch = interrupt::watch(self.chat.session().cancel_flag());
        let out = &mut self.out;
        let shown = Answer::collect(events, |text, _| {
            out.text(text)?;
            out.flush()
        });
        self.out.line("")?;
        self.out.flush()?;
        drop(watch);
        let answer = shown?;
        let reason = answer.reason;
        self.last = Some(answer);
        match reason {
            StopReason::Cancelled => {
                note(&dim("[stopped]"));
                Err(Failure::cancelled())
            }
            StopReason::Length => {
                note(&dim(&format!("[stopped after {} tokens; -n sets another limit]", self.options.max_tokens)));
                Ok(())
            }
            StopReason::Context => {
                note(&dim("[the context is full; /reset starts over, --ctx sets another size]"));
                Ok(())
            }
            StopReason::End | StopReason::StopString => Ok(()),
        }
    }

    fn obey(&mut self, command: Command<'_>) -> Result<()> {
        match command {
            Command::Help => note(HELP),
            Command::Reset => {
                self.chat.reset()?;
                note(&dim("[starting over]"));
            }
            Command::Undo => match self.chat.undo()? {
                true => note(&dim("[took back the last question]")),
                false => note(&dim("[there is nothing to take back]")),
            },
            Command::Stats => self.stats(),
            Command::Unknown(name) => note(&dim(&printable(&format!("[no command {name}; /help lists them]")))),
            Command::Nothing | Command::Exit | Command::Say(_) => {}
        }
        Ok(())
    }

    fn stats(&self) {
        if let Some(answer) = &self.last {
            note(&answer.summary());
        }
        let session = self.chat.session();
        let Sampling { temperature, seed, .. } = self.options.sampling;
        note(&dim(&format!(
            "[context: {} of {} tokens, {} messages; temperature {temperature}, seed {seed}]",
            session.tokens().len(),
            session.capacity(),
            self.chat.messages().len(),
        )));
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Say(&'a str),
    Reset,
    Undo,
    Stats,
    Help,
    Exit,
    Unknown(&'a str),
    Nothing,
}

fn command(line: &str) -> Command<'_> {
    let trimmed = line.trim();
    match trimmed {
        "" => Command::Nothing,
        "/reset" => Command::Reset,
        "/undo" => Command::Undo,
        "/stats" => Command::Stats,
        "/help" | "/?" => Command::Help,
        "/exit" | "/quit" => Command::Exit,
        _ => match trimmed.strip_prefix('/') {
            Some(text) if text.starts_with('/') => Command::Say(text),
            Some(_) => Command::Unknown(trimmed.split_whitespace().next().unwrap_or(trimmed)),
            None => Command::Say(line),
        },
    }
}

fn greeting(model: &Model) -> String {
    let info = model.info();
    let name = info.name.as_deref().unwrap_or(&info.architecture);
    format!("{name} on {}, tier {}. /help lists the commands, Ctrl-D leaves.", info.backend, info.tier)
}

/// Another conversation every time; `/stats` tells the seed, so that one can be had again.
fn any_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| u64::from(t.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(command("  "), Command::Nothing);
        assert_eq!(command("/reset "), Command::Reset);
        assert_eq!(command("/tmp is full"), Command::Unknown("/tmp"));
        assert_eq!(command("//tmp is full"), Command::Say("/tmp is full"));
        assert_eq!(command(" hello "), Command::Say(" hello "));
    }
}
