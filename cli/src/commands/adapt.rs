//! `tern adapt`: learning from text files, into a store as a transaction or into an adapter's file.

mod alone;
mod data;
mod mode;
mod optimizer;
mod plan;
mod transaction;

use crate::args::{BackendArgs, bytes, seconds};
use crate::failure::{Exit, Failure, Result};
use crate::store::StoreArgs;
use clap::Args;
use mode::ModeArg;
use optimizer::OptimizerArg;
use std::path::PathBuf;
use tern::Model;
use tern::learn::learner::Evidence;
use tern::learn::{LearnOptions, LoraOptions, Mode, OptimizerKind, Origin};

const NOTES: &str = "\
Every file is a document, so is every text file of a folder, and so is every line of a .jsonl file (docs/learning.md). A fifth of the \
documents, chosen by what they say, is held out: it is not learned from, and tells how much was gained.

With --name it is a transaction: what was learned is committed to the store only where held-out documents are predicted better than \
chance explains, and the model's own answers to everyday questions stay what they were. Else nothing changes, the output says which bound \
stopped it, and the exit code is 1; where there is too little text to tell, it waits in the store for more. `tern run --delta NAME` uses \
what was learned, `tern delta` shows, undoes and forgets it. With --out an adapter is trained without such checks, and Ctrl-C keeps what \
was learned so far.

Training takes no more than --max-bytes together with the model: where that is little, the intermediate values of some layers are computed \
twice rather than kept, which takes up to a third longer. --plan tells bytes and time.";

/// Flags of `tern adapt`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct AdaptArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// Text, Markdown, code or JSONL files, and folders of them; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Learn into a store, under this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only train an adapter, without checks: a .gguf file, or a folder for PEFT
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Tell what it takes, and learn nothing
    #[arg(long)]
    pub plan: bool,
    /// Share of the documents that is held out to test with, 0.01 to 0.9; a fifth if not given
    #[arg(long, value_name = "X")]
    pub held_out: Option<f64>,
    /// Who wrote the files: user, model, tool or web
    #[arg(long, value_name = "WHO", default_value_t)]
    pub origin: Origin,
    /// Also learn from what such a writer wrote; may be repeated
    #[arg(long, value_name = "WHO")]
    pub allow: Vec<Origin>,
    /// Most steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub steps: Option<u64>,
    /// Most time for learning, as 90s, 2m or 1h; measuring before and after comes on top
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub budget: Option<f64>,
    /// How often each document is seen at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub epochs: Option<u64>,
    /// Rank of the adapter
    #[arg(long, value_name = "N")]
    pub rank: Option<u64>,
    /// The adapter's weight is alpha / rank, which stays what it is where only the rank is given
    #[arg(long, value_name = "X")]
    pub alpha: Option<f32>,
    /// Learning rate at its height
    #[arg(long, visible_alias = "learning-rate", value_name = "X")]
    pub lr: Option<f64>,
    /// What makes steps of gradients
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerArg>,
    /// Tokens of a sample
    #[arg(long, value_name = "N")]
    pub context: Option<u64>,
    /// Samples of a step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub batch: Option<u64>,
    /// Share of the adapter's inputs that sit a step out
    #[arg(long, value_name = "X")]
    pub dropout: Option<f32>,
    /// Train an adapter, or keep the state after reading the text: that where fast weights are all of the model's memory; with --name
    #[arg(long, value_enum)]
    pub mode: Option<ModeArg>,
    /// Learn the query matrices only
    #[arg(long)]
    pub query_only: bool,
    /// Most memory that learning takes beside the model
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub training_bytes: Option<u64>,
    /// Random numbers: the same seed gives the same adapter
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Facts that the documents state, to see what is remembered: {"statement", "question", "answer"} a line; with --name
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// For a few examples of a task: learn from all, and test with each of them after learning from the others alone; with --name
    #[arg(long)]
    pub leave_one_out: bool,
    /// Do not keep the documents in the store: it asks for them then to forget or rebuild; with --name
    #[arg(long)]
    pub no_sources: bool,
    /// Write what came of it as a page; with --name
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What came of it as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern adapt`.
pub fn adapt(backend: &BackendArgs, args: &AdaptArgs) -> Result<()> {
    args.check()?;
    args.learn_options().check()?;
    match (&args.name, &args.out) {
        _ if args.plan => plan::plan(backend, args),
        (Some(name), _) => transaction::run(backend, args, name),
        (None, Some(out)) => alone::run(backend, args, out),
        // Ruled out above.
        (None, None) => Ok(()),
    }
}

impl AdaptArgs {
    /// Do the flags fit together? What does not says what to do.
    fn check(&self) -> Result<()> {
        let is_store = self.name.is_some();
        let only_store = [
            ("--store", self.store.store.is_some()),
            ("--report", self.report.is_some()),
            ("--facts", self.facts.is_some()),
            ("--no-sources", self.no_sources),
            ("--leave-one-out", self.leave_one_out),
            ("--mode", self.mode.is_some()),
        ];
        let wrong = if is_store && self.out.is_some() {
            "--name learns into a store, --out without one: give one of them. `tern delta export` writes what is in a store as \
             an adapter"
                .to_owned()
        } else if let Some((flag, _)) = only_store.into_iter().find(|(_, given)| *given && !is_store) {
            format!("{flag} is for learning into a store: add --name NAME, under which it is kept")
        } else if !is_store && self.out.is_none() && !self.plan {
            "where is it to go? --name NAME learns into a store and keeps only what helps, --out FILE.gguf writes an adapter, \
             --plan tells what it takes"
                .to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::Usage, wrong))
    }

    /// How `model` learns. A state has no use for what is said of factors, which would be left out silently otherwise.
    fn mode(&self, model: &Model) -> Result<Mode> {
        let mode = self.mode.map_or_else(|| Mode::of(model), Mode::from);
        let of_factors = [
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--lr", self.lr.is_some()),
            ("--optimizer", self.optimizer.is_some()),
            ("--dropout", self.dropout.is_some()),
            ("--query-only", self.query_only),
            ("--training-bytes", self.training_bytes.is_some()),
            ("--epochs", self.epochs.is_some()),
            ("--batch", self.batch.is_some()),
        ];
        match of_factors.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) if mode == Mode::State => Err(Failure::new(
                Exit::Usage,
                format!(
                    "{flag} is about training, and a state is not trained, only read into: --mode lora trains an adapter"
                ),
            )),
            _ => Ok(mode),
        }
    }

    /// How much, and within which bounds. What is not given is the library's.
    fn learn_options(&self) -> LearnOptions {
        let mut options = LearnOptions { seed: self.seed, keep_sources: !self.no_sources, ..LearnOptions::default() };
        options.corpus.origins.extend(&self.allow);
        options.corpus.seed = self.seed;
        options.corpus.held_out = self.held_out.unwrap_or(options.corpus.held_out);
        let budget = &mut options.budget;
        budget.steps = self.steps.unwrap_or(budget.steps);
        budget.seconds = self.budget.unwrap_or(budget.seconds);
        budget.epochs = self.epochs.unwrap_or(budget.epochs);
        options.batch = self.batch.map_or(options.batch, |b| b as usize);
        if self.leave_one_out {
            options.evidence = Evidence::LeaveOneOut;
        }
        options
    }

    /// How an adapter learns.
    fn lora_options(&self) -> LoraOptions {
        let mut lora = LoraOptions { origins: self.learn_options().corpus.origins, ..LoraOptions::default() };
        let t = &mut lora.training;
        let scale = t.alpha / t.rank as f32;
        t.rank = self.rank.unwrap_or(t.rank);
        t.alpha = self.alpha.unwrap_or(scale * t.rank as f32);
        t.dropout = self.dropout.unwrap_or(t.dropout);
        t.learning_rate = self.lr.unwrap_or(t.learning_rate);
        t.optimizer = self.optimizer.map_or(t.optimizer, OptimizerKind::from);
        t.context = self.context.unwrap_or(t.context);
        t.max_bytes = self.training_bytes;
        t.seed = self.seed;
        if self.query_only {
            t.targets = vec!["attn_q".to_owned()];
        }
        lora
    }
}

#[cfg(test)]
mod tests {
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn check(flags: &str) -> Result<(), String> {
        let words = ["tern", "adapt", "m.gguf", "--data", "f"].into_iter().chain(flags.split_whitespace());
        let Command::Adapt(args) = Cli::try_parse_from(words).unwrap().command else { panic!("not adapt") };
        args.check().map_err(|f| f.message)
    }

    #[test]
    fn what_does_not_fit_says_what_to_do() {
        for fine in [
            "--name n --optimizer sgd",
            "--name n --store d --report r",
            "--out a.gguf --optimizer muon",
            "--plan",
            "--plan --name n",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        let cases = [
            ("", "where is it to go?"),
            ("--name n --out a.gguf", "give one of them"),
            ("--store d --out a.gguf", "add --name NAME"),
            ("--facts f --plan", "add --name NAME"),
            ("--out a --leave-one-out", "add --name NAME"),
        ];
        for (flags, expected) in cases {
            assert!(check(flags).unwrap_err().contains(expected), "{flags}");
        }
    }
}
