//! `tern chat`: a conversation.

mod editor;
mod saved;

use crate::answer::Answer;
use crate::args::{AdapterArgs, BackendArgs, ContextArgs, LengthArgs, SamplingArgs, SpeculateArgs};
use crate::commands::inspect::size;
use crate::experts::ExpertsUsed;
use crate::failure::{Exit, Failure, Result};
use crate::form::FormArgs;
use crate::interrupt;
use crate::terminal::{Out, count, dim, error_line, is_interactive, note, printable};
use clap::Args;
use editor::{Editor, Input};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tern::{Chat, GenerateOptions, Message, Model, Overflow, Sampling, SessionOptions, StopReason, ToolCall};

/// Longer answers are rarely wanted, and never end by themselves where a small model repeats itself.
const MAX_TOKENS: usize = 1024;
/// Lively but sensible, for models that do not say what suits them.
const TEMPERATURE: f32 = 0.7;
const TOP_P: f32 = 0.95;
const MIN_P: f32 = 0.05;

const HELP: &str = "\
/reset      start over
/undo       take back the last exchange
/fork       go on in a copy of the conversation
/back       leave the copy, return to the original
/save FILE  keep the conversation in a file
/load FILE  go on with a conversation from a file
/result TEXT  what a tool that the model called gave; where it called several, in their order
/stats      speed, context and memory
/exit       leave (also Ctrl-D)
//text      say /text
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
    #[arg(long, value_name = "TEXT", conflicts_with = "load")]
    pub system: Option<String>,
    /// Go on with a conversation that /save kept, system message included
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// File that keeps what you write, for the arrow keys next time; without it nothing is kept
    #[arg(long, value_name = "FILE", env = "TERN_HISTORY")]
    pub history: Option<PathBuf>,
    /// File with what the model may call: a list of descriptions in JSON, as OpenAI's interface has it. A call is shown as a
    /// line of JSON; /result answers it
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// Where the context is full, forget the oldest questions and answers rather than stop
    #[arg(long)]
    pub shift: bool,
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

/// Runs `tern chat`.
pub fn chat(backend: &BackendArgs, args: &ChatArgs) -> Result<()> {
    let interactive = is_interactive();
    let mut editor = Editor::new(interactive, args.history.as_deref())?;
    let model = backend.open_for(&args.model, args.context.ctx)?;
    args.adapters.apply(&model, &args.model)?;
    let speculation = args.speculate.open(backend)?;
    let constraint = args.constraint.compile(&model)?;
    let session = SessionOptions { speculate: args.speculate.is_on(), ..args.context.session() };
    let base =
        Sampling { temperature: TEMPERATURE, top_p: TOP_P, min_p: MIN_P, seed: any_seed(), ..Sampling::default() };
    let chat = match &args.load {
        Some(file) => restore(&model, file, session, args.shift)?,
        None => {
            let mut chat = Chat::new(&model, model.session(session)?, args.system.clone())?;
            chat.set_overflow(overflow(args.shift));
            chat
        }
    };
    let mut chat = chat;
    if let Some(file) = &args.tools {
        chat.set_tools(Some(tools(file)?))?;
    }
    let mut talk = Talk {
        chat,
        waiting: VecDeque::new(),
        results: Vec::new(),
        originals: Vec::new(),
        session,
        shift: args.shift,
        interactive,
        options: GenerateOptions {
            speculation,
            constraint,
            ..args.length.generate(args.sampling.over(base), MAX_TOKENS)
        },
        last: None,
        out: Out::new(),
    };
    if interactive {
        interrupt::stay();
        note(&dim(&printable(&greeting(&model))));
    }
    if let Some(file) = &args.load {
        talk.tell_loaded(file);
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
                other => match talk.obey(other) {
                    // What cannot be done is no reason to leave.
                    Err(failure) if interactive && failure.exit != Exit::Success => error_line(&failure.message),
                    outcome => outcome?,
                },
            },
        }
    }
    Ok(())
}

/// A conversation with its settings.
struct Talk {
    chat: Chat,
    /// Those that the chat is a copy of, the first one first.
    originals: Vec<Chat>,
    /// Calls whose results the model waits for, and those that are there.
    waiting: VecDeque<ToolCall>,
    results: Vec<Message>,
    session: SessionOptions,
    shift: bool,
    interactive: bool,
    options: GenerateOptions,
    last: Option<Answer>,
    out: Out,
}

impl Talk {
    /// Sends a message and shows the answer.
    fn say(&mut self, text: &str) -> Result<()> {
        self.waiting.clear();
        self.results.clear();
        self.send(vec![Message::new("user", text)])
    }

    /// Takes the result of a call; with that of the last one the model goes on.
    fn result(&mut self, text: &str) -> Result<()> {
        let Some(call) = self.waiting.pop_front() else {
            note(&dim("[no call waits for a result]"));
            return Ok(());
        };
        let message = Message::new("tool", text).with("name", call.name).with("tool_call_id", call.id);
        self.results.push(message);
        if let Some(next) = self.waiting.front() {
            note(&dim(&format!("[{} waits, too]", printable(&next.name))));
            return Ok(());
        }
        let results = std::mem::take(&mut self.results);
        self.send(results)
    }

    fn send(&mut self, messages: Vec<Message>) -> Result<()> {
        let model = self.chat.session().model().clone();
        let before = model.expert_cache()?;
        let mut reply = self.chat.send_messages(messages, self.options.clone())?;
        let watch = interrupt::watch(self.chat.session().cancel_flag());
        let out = &mut self.out;
        let shown = Answer::collect(&mut reply, |text, _| {
            out.text(text)?;
            out.flush()
        });
        self.out.line("")?;
        for call in reply.tool_calls() {
            match call {
                Ok(call) => {
                    self.out.json(&Called { tool_call: call })?;
                    self.waiting.push_back(call.clone());
                }
                Err(lost) => {
                    note(&dim(&printable(&format!("[no call that can be made: {}; {}]", lost.what, lost.text))))
                }
            }
        }
        self.out.flush()?;
        drop((watch, reply));
        let mut answer = shown?;
        answer.experts = ExpertsUsed::since(&model, before.as_ref())?;
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
                note(&dim(
                    "[the context is full; /reset starts over, --ctx sets another size, --shift forgets what is old]",
                ));
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
            Command::Fork => {
                let copy = self.chat.fork()?;
                self.originals.push(std::mem::replace(&mut self.chat, copy));
                note(&dim(&format!("[in a copy; {}; /back returns]", self.open())));
            }
            Command::Back => match self.originals.pop() {
                Some(original) => {
                    self.go_on_with(original)?;
                    note(&dim(&format!("[back in the original; {}]", self.open())));
                }
                None => note(&dim("[this is no copy; /fork makes one]")),
            },
            Command::Result(text) => return self.result(text),
            Command::Save(file) => self.save(&path(file))?,
            Command::Load(file) => self.load(&path(file))?,
            Command::Incomplete(name) => note(&dim(&format!("[{name} FILE: the file is missing]"))),
            Command::Stats => self.stats(),
            Command::Unknown(name) => note(&dim(&printable(&format!("[no command {name}; /help lists them]")))),
            Command::Nothing | Command::Exit | Command::Say(_) => {}
        }
        Ok(())
    }

    /// Puts `chat` in the place of the one under way, whose memory goes.
    fn go_on_with(&mut self, chat: Chat) -> Result<()> {
        self.last = None;
        let model = chat.session().model().clone();
        drop(std::mem::replace(&mut self.chat, chat));
        Ok(model.trim()?)
    }

    fn save(&self, path: &Path) -> Result<()> {
        if !saved::may_replace(path) {
            let what =
                format!("{}: it is there already and is no saved conversation; name another file", path.display());
            return Err(Failure::new(Exit::Input, what));
        }
        self.chat.save(path)?;
        let bytes = std::fs::metadata(path).map_or_else(|_| String::new(), |m| format!(", {}", size(m.len())));
        note(&dim(&printable(&format!("[saved {}{bytes}, to {}]", self.messages(), path.display()))));
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        let chat = restore(self.chat.session().model(), path, self.session, self.shift).map_err(|mut failure| {
            if failure.exit == Exit::Capacity {
                failure.message += "; begun with --load, it needs room only for itself";
            }
            failure
        })?;
        self.go_on_with(chat)?;
        self.tell_loaded(path);
        Ok(())
    }

    fn tell_loaded(&self, path: &Path) {
        note(&dim(&printable(&format!("[loaded {} from {}]", self.messages(), path.display()))));
        if self.interactive {
            // Where were we?
            let messages = self.chat.messages();
            let last = messages.iter().rposition(|m| m.role == "user").unwrap_or(messages.len());
            for message in messages.iter().skip(last) {
                let mark = if message.role == "user" { "> " } else { "" };
                note(&dim(&format!("{mark}{}", printable(message.content.as_str().unwrap_or_default()))));
            }
        }
    }

    fn stats(&self) {
        if let Some(answer) = &self.last {
            note(&answer.summary());
        }
        let session = self.chat.session();
        let info = session.model().info();
        let Sampling { temperature, seed, .. } = self.options.sampling;
        let hidden = match self.chat.hidden() {
            0 => String::new(),
            count => format!(", {count} of them forgotten"),
        };
        note(&dim(&format!(
            "[context: {} of {} tokens; {}{hidden}; {}]",
            session.tokens().len(),
            session.capacity(),
            self.messages(),
            self.open(),
        )));
        let memory = session.model().memory();
        let weights = size(info.resident_bytes);
        let context = size(memory.used.saturating_sub(info.resident_bytes));
        let limit = memory.limit.map_or_else(String::new, |limit| format!("; at most {}", size(limit)));
        note(&dim(&format!("[memory: {weights} of weights, {context} of keys and values, tokenizer and such{limit}]")));
        note(&dim(&format!("[temperature {temperature}, seed {seed}]")));
    }

    fn messages(&self) -> String {
        count(self.chat.messages().len(), "message")
    }

    fn open(&self) -> String {
        format!("{} open", count(self.originals.len() + 1, "conversation"))
    }
}

/// A saved conversation; with `shift`, whatever it was before, one that forgets.
fn restore(model: &Model, path: &Path, session: SessionOptions, shift: bool) -> Result<Chat> {
    let mut chat = Chat::restore(model, path, session)?;
    if shift {
        chat.set_overflow(overflow(true));
    }
    Ok(chat)
}

fn overflow(shift: bool) -> Overflow {
    if shift { Overflow::Shift } else { Overflow::Error }
}

/// A line that shows a call.
#[derive(Serialize)]
struct Called<'a> {
    tool_call: &'a ToolCall,
}

/// Descriptions of tools from a file.
fn tools(file: &Path) -> Result<serde_json::Value> {
    let text = crate::input::read_text(file)?;
    serde_json::from_str(&text).map_err(|e| Failure::new(Exit::Input, format!("{}: {e}", file.display())))
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Say(&'a str),
    Reset,
    Undo,
    Fork,
    Back,
    /// Of a tool.
    Result(&'a str),
    Save(&'a str),
    Load(&'a str),
    Stats,
    Help,
    Exit,
    /// A command that needs a file.
    Incomplete(&'a str),
    Unknown(&'a str),
    Nothing,
}

fn command(line: &str) -> Command<'_> {
    let trimmed = line.trim();
    let (name, file) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    match (name, file.trim_start()) {
        ("/save" | "/load", "") => return Command::Incomplete(name),
        ("/result", text) => return Command::Result(text),
        ("/save", file) => return Command::Save(file),
        ("/load", file) => return Command::Load(file),
        _ => {}
    }
    match trimmed {
        "" => Command::Nothing,
        "/reset" => Command::Reset,
        "/undo" => Command::Undo,
        "/fork" => Command::Fork,
        "/back" => Command::Back,
        "/stats" => Command::Stats,
        "/help" | "/?" => Command::Help,
        "/exit" | "/quit" => Command::Exit,
        _ => match trimmed.strip_prefix('/') {
            Some(text) if text.starts_with('/') => Command::Say(text),
            Some(_) => Command::Unknown(name),
            None => Command::Say(line),
        },
    }
}

/// As a shell would have it.
fn path(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
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
        assert_eq!(command("/save my file "), Command::Save("my file"));
        assert_eq!(command("/load"), Command::Incomplete("/load"));
        assert_eq!(command("/saved"), Command::Unknown("/saved"));
        assert_eq!(command(" hello "), Command::Say(" hello "));
    }
}
