//! `tern learn`: learning into a store, as a transaction.

use crate::args::BackendArgs;
use crate::commands::delta::{StoreArgs, watched, write_page};
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, note};
use clap::Args;
use std::path::PathBuf;
use tern::Error;
use tern::learn::corpus::read;
use tern::learn::store::{DEFAULT_KEEP, Edit};
use tern::learn::{Document, Fact, LearnOptions, Learner, LoraOptions, LoraPupil, Origin};

const NOTES: &str = "\
Text is scored before it is learned from; a fifth of the documents is held out. What was learned is committed only where held-out \
documents are predicted better than chance explains, and the model's own answers to everyday questions stay what they were; else \
nothing changes, the output says which bound stopped it, and the exit code is 1. Where there is too little text to tell, it waits in \
the store for more. `tern delta` shows what was learned, undoes and forgets it.";

/// Flags of `tern learn`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct LearnArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// Text, Markdown, code or JSONL files, and folders of them
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Name of the delta
    #[arg(long)]
    pub name: String,
    /// Who wrote the files: user, model, tool or web
    #[arg(long, value_name = "WHO", default_value_t)]
    pub origin: Origin,
    /// Also learn from what such a writer wrote; may be repeated
    #[arg(long, value_name = "WHO")]
    pub allow: Vec<Origin>,
    /// Most optimizer steps
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Most seconds of learning
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,
    /// How often each document is seen
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Rank of the factors
    #[arg(long, value_name = "R")]
    pub rank: Option<u64>,
    /// Learning rate at its height
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Tokens of a sample
    #[arg(long, value_name = "N")]
    pub window: Option<u64>,
    /// Samples of a step
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Of all that is random
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Facts that the documents state, to see what is remembered: {"statement", "question", "answer"} a line
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Do not keep the documents in the store: it cannot forget or rebuild by itself then
    #[arg(long)]
    pub no_sources: bool,
    /// Write what came of it as a page
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What came of it as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern learn`.
pub fn learn(backend: &BackendArgs, args: &LearnArgs) -> Result<()> {
    let documents = documents(&args.data, args.origin)?;
    let options = args.options()?;
    let edit = Edit::open(&args.store.open(), DEFAULT_KEEP).map_err(Error::from)?;
    let model = backend.open(&args.model)?;
    let mut pupil = LoraPupil::new(&model, args.lora(&options))?;
    let (control, watch) = watched();
    let outcome = Learner::new(&mut pupil, &edit, &args.name, options)?.learn(documents, &control)?;
    drop((control, watch));
    if let Some(path) = &args.report {
        write_page(path, &outcome)?;
    }
    let mut out = Out::new();
    if args.json {
        out.json(&outcome)?;
    } else {
        let g = &outcome.gain;
        if g.documents > 0 {
            out.line(&format!(
                "{} held-out documents: {:.4} -> {:.4} bits per byte, {:.1}% better (95% interval {:.1}% to {:.1}%)",
                g.documents,
                g.before,
                g.after,
                100.0 * g.share(),
                100.0 * g.low / g.before,
                100.0 * g.high / g.before
            ))?;
            let h = &outcome.harm;
            out.line(&format!(
                "the model's own answers: loss +{:.4}, KL {:.4} nats per token; largest change of a matrix {:.4}",
                h.anchor_rise, h.divergence, h.norm
            ))?;
        }
        out.line(&format!(
            "{}: {}; {} steps, {} tokens, {:.0} s",
            args.name, outcome.verdict, outcome.steps, outcome.tokens, outcome.seconds
        ))?;
    }
    match outcome.verdict {
        tern::learn::evidence::Verdict::Commit => Ok(()),
        _ => Err(Failure::new(Exit::Failure, "")),
    }
}

/// The documents of files and folders, written by `origin` where they do not say otherwise.
pub fn documents(paths: &[PathBuf], origin: Origin) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        let reading = read(path, origin).map_err(Error::from)?;
        if !reading.skipped.is_empty() {
            note(&format!("{}: {} files are no text and were skipped", path.display(), reading.skipped.len()));
        }
        documents.extend(reading.documents);
    }
    Ok(documents)
}

impl LearnArgs {
    fn options(&self) -> Result<LearnOptions> {
        let mut options = LearnOptions { seed: self.seed, keep_sources: !self.no_sources, ..LearnOptions::default() };
        options.corpus.origins.extend(&self.allow);
        options.corpus.seed = self.seed;
        let budget = &mut options.budget;
        budget.steps = self.steps.unwrap_or(budget.steps);
        budget.seconds = self.seconds.unwrap_or(budget.seconds);
        budget.epochs = self.epochs.unwrap_or(budget.epochs);
        options.batch = self.batch.unwrap_or(options.batch);
        if let Some(path) = &self.facts {
            let text = crate::input::read_text(path)?;
            let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
            let fact = |(line, number): (&str, usize)| {
                serde_json::from_str::<Fact>(line)
                    .map_err(|e| Failure::new(Exit::Input, format!("{}, line {number}: {e}", path.display())))
            };
            options.facts = lines.map(fact).collect::<Result<_>>()?;
        }
        Ok(options)
    }

    fn lora(&self, options: &LearnOptions) -> LoraOptions {
        let mut lora = LoraOptions { origins: options.corpus.origins.clone(), ..LoraOptions::default() };
        let t = &mut lora.training;
        t.rank = self.rank.unwrap_or(t.rank);
        t.learning_rate = self.learning_rate.unwrap_or(t.learning_rate);
        t.context = self.window.unwrap_or(t.context);
        lora
    }
}
