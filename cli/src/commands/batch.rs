//! `tern batch`: many prompts from a file, several at the same time.

mod feed;
mod request;
mod results;

use crate::args::{AdapterArgs, BackendArgs, ContextArgs, EncodeArgs, LengthArgs, SamplingArgs};
use crate::experts::ExpertsUsed;
use crate::failure::{Exit, Failure, Result, kind};
use crate::input::Line;
use crate::interrupt::{self, Watch};
use crate::terminal::{Progress, dim, is_watched, note};
use clap::Args;
use feed::{Feed, Next};
use request::{Prompt, Settings};
use results::{Problem, Record, Results, Written};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tern::{Batch, BatchOptions, Error, Event, Sampling};

/// Enough for a few paragraphs.
const MAX_TOKENS: usize = 256;
/// As often it is seen whether Ctrl-C was pressed.
const PATIENCE: Duration = Duration::from_millis(20);

const FILES: &str = "\
Input: a JSON object on each line, {\"prompt\": TEXT} or {\"messages\": [{\"role\", \"content\"}, ...]}, and where \
wanted \"id\" (anything), \"max_tokens\", \"temperature\", \"seed\" and \"stop\" (a text or several), which count before the \
flags. Other fields are ignored, and so are blank lines.

Output: a JSON object on each line, as each prompt ends, so in another order: id, index (the input's line, from 0), \
text, tokens, stop, prompt_tokens, reused_tokens (those of them that were not computed again), error (null or \
{kind, message}) and input, a hash of the line, the model and the flags that matter. A line that cannot be used has \
an error; the others go on.

--resume skips the lines whose index is in the output, whether they have an error or not: delete lines from the output \
to have them tried again. A last line that is cut off is removed. An output of another input, model or settings is refused.";

/// Flags of `tern batch`.
#[derive(Debug, Args)]
#[command(after_help = FILES)]
pub struct BatchArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// File with the prompts, one JSON object a line; - is standard input
    #[arg(short, long = "in", value_name = "FILE")]
    pub input: PathBuf,
    /// File for the results; - is standard output. Without --resume it must be new or empty
    #[arg(short, long = "out", value_name = "FILE")]
    pub output: PathBuf,
    /// Go on with an output that has some of the results
    #[arg(long)]
    pub resume: bool,
    /// Prompts that are worked on at the same time; each has memory for a context of its own
    #[arg(short, long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub sequences: u16,
    /// Put each prompt into the model's chat template, as a user's message
    #[arg(long)]
    pub chat: bool,
    /// The system message of those chats
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    #[command(flatten)]
    pub encode: EncodeArgs,
    #[command(flatten)]
    pub length: LengthArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub adapters: AdapterArgs,
}

/// Runs `tern batch`.
pub fn batch(backend: &BackendArgs, args: &BatchArgs) -> Result<()> {
    let mut options = args.length.generate(args.sampling.over(Sampling::default()), MAX_TOKENS);
    options.special = args.encode.special;
    options.sampling.check()?;
    let mut input = feed::Input::open(&args.input)?;
    let resumable = input.rereadable() && !results::is_stdout(&args.output);
    if args.resume && !resumable {
        return Err(Failure::new(Exit::Usage, "--resume needs files as --in and --out"));
    }
    let model = backend.open_for(&args.model, args.context.ctx)?;
    args.adapters.apply(&model, &args.model)?;
    let settings = Settings::new(&model, args, options);
    let (results, written) = Results::open(&args.output, args.resume)?;
    let total = input.check(&written, |line| settings.hash(line))?;
    let left = total.map_or(u64::MAX, |n| n - written.len() as u64);
    let session = args.context.session();
    let sequences = usize::from(args.sequences).min(usize::try_from(left).unwrap_or(usize::MAX)).max(1);
    // What does not fit is found out here, and not by each prompt.
    let batch = model.batch(BatchOptions { sequences, session })?;
    let watch = interrupt::watch(batch.cancel_flag());
    let mut work = Work {
        batch,
        settings,
        tally: Tally {
            done: written.len() as u64,
            failed: 0,
            tokens: 0,
            total,
            enough: 2 * sequences as u64,
            started: Instant::now(),
            begun: written.len() as u64,
        },
        written,
        ahead: 2 * sequences,
        jobs: HashMap::new(),
        results,
        feed: Feed::new(input),
        watch,
        progress: Progress::new(),
    };
    let outcome = work.run();
    let Work { progress, tally, .. } = work;
    drop(progress);
    if tally.failed > 0 {
        note(&dim(&format!("[{} failed: see the \"error\" of {}]", tally.failed, args.output.display())));
    }
    match &outcome {
        Err(failure) if failure.exit == Exit::Cancelled => {
            let resume = if resumable { "; --resume goes on" } else { "" };
            note(&dim(&format!("[stopped: {} done{resume}]", tally.count())));
        }
        _ if is_watched() => note(&dim(&tally.summary(ExpertsUsed::since(&model, None)?))),
        _ => {}
    }
    outcome
}

/// A prompt that is worked on.
struct Job {
    id: Value,
    index: u64,
    hash: String,
    prompt_tokens: usize,
    text: String,
    tokens: Vec<u32>,
}

/// What there is to tell about the whole.
struct Tally {
    /// Results, with those of earlier runs.
    done: u64,
    /// Those of earlier runs.
    begun: u64,
    failed: u64,
    tokens: usize,
    /// Lines of the input, where it could be read beforehand.
    total: Option<u64>,
    /// Results that say how long the rest will take; the first ones come together.
    enough: u64,
    started: Instant,
}

struct Work {
    settings: Settings,
    batch: Batch,
    /// Those that the batch has, by its numbers.
    jobs: HashMap<usize, Job>,
    /// How many it has at most, so that it never waits for one.
    ahead: usize,
    written: Written,
    results: Results,
    feed: Feed,
    tally: Tally,
    watch: Watch,
    progress: Progress,
}

impl Work {
    fn run(&mut self) -> Result<()> {
        loop {
            let more = self.refill()?;
            if self.watch.pressed() {
                return Err(Failure::cancelled());
            }
            match self.batch.next() {
                // What was given up is not a result.
                Some(_) if self.watch.pressed() => return Err(Failure::cancelled()),
                Some((number, event)) => self.take(number, event)?,
                // The other end of a pipe thinks.
                None if more => self.feed.wait(PATIENCE),
                None => return Ok(()),
            }
            self.progress.update(|| self.tally.line());
        }
    }

    /// Gives the batch what there is room for. Is there more to come?
    fn refill(&mut self) -> Result<bool> {
        while self.jobs.len() < self.ahead {
            match self.feed.next()? {
                Next::Line(line) => self.add(&line)?,
                Next::NotYet => return Ok(true),
                Next::End => return Ok(false),
            }
        }
        Ok(true)
    }

    fn add(&mut self, line: &Line) -> Result<()> {
        if self.written.contains(line.index) {
            return Ok(());
        }
        let Prompt { id, request } = self.settings.prompt(line);
        let mut job = Job {
            id,
            index: line.index,
            hash: self.settings.hash(line),
            prompt_tokens: 0,
            text: String::new(),
            tokens: Vec::new(),
        };
        match request {
            Ok((tokens, options)) => {
                job.prompt_tokens = tokens.len();
                self.jobs.insert(self.batch.add(tokens, options), job);
                Ok(())
            }
            Err(problem) => self.end(&job, None, 0, Some(problem)),
        }
    }

    fn take(&mut self, number: usize, event: std::result::Result<Event, Error>) -> Result<()> {
        match event {
            Ok(Event::Token(token)) => {
                self.tally.tokens += 1;
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.tokens.push(token.id);
                    job.text.push_str(&token.text);
                }
                Ok(())
            }
            Ok(Event::Done(finish)) => match self.jobs.remove(&number) {
                Some(mut job) => {
                    job.text.push_str(&finish.text);
                    self.end(&job, Some(finish.reason.as_str()), finish.timings.reused_tokens, None)
                }
                None => Ok(()),
            },
            Err(error) => match self.jobs.remove(&number) {
                Some(job) => self.end(&job, None, 0, Some(Problem::from(&error))),
                None => Ok(()),
            },
        }
    }

    fn end(&mut self, job: &Job, stop: Option<&str>, reused_tokens: usize, error: Option<Problem>) -> Result<()> {
        self.tally.done += 1;
        self.tally.failed += u64::from(error.is_some());
        self.results.write(&Record {
            id: &job.id,
            index: job.index,
            text: &job.text,
            tokens: &job.tokens,
            stop,
            prompt_tokens: job.prompt_tokens,
            reused_tokens,
            error,
            input: &job.hash,
        })
    }
}

impl Tally {
    /// While it goes on.
    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let speed = self.tokens as f64 / seconds;
        let left = match (self.total, self.done - self.begun) {
            (Some(total), fresh) if fresh > self.enough => {
                let rest = total.saturating_sub(self.done) as f64 * seconds / fresh as f64;
                format!(", {} left", duration(Duration::from_secs_f64(rest)))
            }
            _ => String::new(),
        };
        format!("{}, {speed:.1} tokens/s{left}", self.count())
    }

    /// At the end.
    fn summary(&self, experts: Option<ExpertsUsed>) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let speed = self.tokens as f64 / seconds;
        let experts = ExpertsUsed::added(experts);
        format!("[{}; {} tokens in {seconds:.1} s, {speed:.1}/s{experts}]", self.count(), self.tokens)
    }

    fn count(&self) -> String {
        match self.total {
            Some(total) => format!("{} of {total} prompts", self.done),
            None => format!("{} prompts", self.done),
        }
    }
}

/// Roughly, for people.
fn duration(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..100 => format!("{s} s"),
        s @ 100..6000 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { kind: kind(error), message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_meanwhile() {
        let started = Instant::now() - Duration::from_secs(10);
        let tally = Tally { done: 30, begun: 20, failed: 0, tokens: 1000, total: Some(230), enough: 9, started };
        assert_eq!(tally.line(), "30 of 230 prompts, 100.0 tokens/s, 3 min left");
        let tally = Tally { enough: 10, ..tally };
        assert_eq!(tally.line(), "30 of 230 prompts, 100.0 tokens/s");
        let tally = Tally { total: None, ..tally };
        assert_eq!(tally.line(), "30 prompts, 100.0 tokens/s");
        assert_eq!(duration(Duration::from_secs(7384)), "2 h 3 min");
    }
}
