//! Flags. What several commands share is here, the rest is with its command.

use crate::commands::{
    adapt, batch, bench, chat, convert, create, delta, demo, doctor, embed, imatrix, inspect, plan, quantize, run,
    score, tokenize,
};
use crate::failure::{EXIT_CODES, Exit, Failure, Result as Outcome};
use crate::store;
use crate::terminal::note;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use tern::learn::Adapter;
use tern::learn::store::{Delta, STATE};
use tern::{
    Bos, EncodeOptions, Error, GenerateOptions, KvType, Model, Sampling, SessionOptions, Speculation, Tokenizer,
};

/// Run small language models on this machine.
#[derive(Debug, Parser)]
#[command(name = "tern", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub backend: BackendArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer a prompt with a small model, which is downloaded on first use
    Demo(demo::DemoArgs),
    /// Talk to a model
    Chat(chat::ChatArgs),
    /// Continue a prompt, or answer it with --chat
    Run(run::RunArgs),
    /// Answer many prompts from a file, several at the same time
    Batch(batch::BatchArgs),
    /// Measure how well a model predicts a text
    Score(score::ScoreArgs),
    /// Turn texts into vectors that are near where texts mean alike, for search
    Embed(embed::EmbedArgs),
    /// Measure speed and memory, and compare them with what the memory bandwidth allows
    Bench(bench::BenchArgs),
    /// Turn text into token ids, or back
    Tokenize(tokenize::TokenizeArgs),
    /// Show what is in a model file
    Inspect(inspect::InspectArgs),
    /// Tell how much memory a model will take, without loading it
    Plan(plan::PlanArgs),
    /// Write a model with smaller weights
    Quantize(quantize::QuantizeArgs),
    /// Find out which weights matter most, for `tern quantize`
    Imatrix(imatrix::ImatrixArgs),
    /// Make one .gguf file of a Hugging Face folder
    Convert(convert::ConvertArgs),
    /// Make a randomly initialised model of a configuration, for experiments
    Create(create::CreateArgs),
    /// Learn from text files: into a store, if it helps and harms nothing, or an adapter without such checks
    Adapt(adapt::AdaptArgs),
    /// Look at what was learned, take it back, forget a source, export it
    Delta(delta::DeltaArgs),
    /// Show backends, processor, memory and folders, and what is wrong with them
    Doctor(doctor::DoctorArgs),
}

/// What does the computing. For every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Backend")]
pub struct BackendArgs {
    /// Backend to use; the best one if not given (see `tern doctor`)
    #[arg(long, global = true, value_name = "NAME")]
    pub backend: Option<String>,
    /// Folder with backend plugins, searched before all others; may be repeated
    #[arg(long, global = true, value_name = "DIR")]
    pub backend_path: Vec<PathBuf>,
    /// Threads; 0 lets the backend choose
    #[arg(short, long, global = true, value_name = "N", default_value_t = 0)]
    pub threads: u32,
    /// Instruction-set tier of the backend, for example avx2; the best one if not given
    #[arg(long, global = true, value_name = "TIER", default_value = "", hide_default_value = true)]
    pub tier: String,
    /// Most memory for model and contexts, as 512MiB, 2GB or a number of bytes; more is refused before it is taken
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes)]
    pub max_bytes: Option<u64>,
    /// Leave the experts of a mixture in the mapped file: an expert is packed when it is first chosen, and those chosen last are kept in
    /// SIZE of memory. The same text, slower the fewer fit; files of more experts than memory run
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes)]
    pub experts_on_disk: Option<u64>,
    /// Block order of I2_S weights, which BitNet files do not state: that of the machine that made the file
    #[arg(long, global = true, value_name = "x86|arm", value_parser = i2_s_order)]
    pub i2_s_order: Option<tern::I2sOrder>,
    /// Read and check every weight first; refuse a file with NaN or infinities
    #[arg(long, global = true)]
    pub check_finite: bool,
}

/// How tokens are chosen. What is not given is the library's default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Randomness; 0 always takes the most likely token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Choose among the K most likely tokens; 0 is no limit
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Choose among the most likely tokens that together have this probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Leave out tokens below this share of the most likely one's probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Weaken tokens that occurred; 1 does not
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    /// Subtract this once from the logit of a token that occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtract this from a token's logit for each time it occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// How many of the last tokens the penalties look at
    #[arg(long, value_name = "N")]
    pub penalty_window: Option<usize>,
    /// Random numbers: the same seed gives the same text
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Add X to the logit of token ID; may be repeated
    #[arg(long, value_name = "ID=X", value_parser = logit_bias)]
    pub logit_bias: Vec<(u32, f32)>,
}

impl SamplingArgs {
    /// The settings, where `base` has those that are not given.
    pub fn over(&self, base: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            penalty_window: self.penalty_window.unwrap_or(base.penalty_window),
            seed: self.seed.unwrap_or(base.seed),
            logit_bias: self.logit_bias.clone(),
        }
    }
}

/// When to stop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Length")]
pub struct LengthArgs {
    /// Most tokens to write
    #[arg(short = 'n', long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Stop where this text would come; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after the model has said that it is done
    #[arg(long)]
    pub ignore_eos: bool,
}

impl LengthArgs {
    /// Options for a generation of `max_tokens` where no other number is given.
    pub fn generate(&self, sampling: Sampling, max_tokens: usize) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens.unwrap_or(max_tokens),
            sampling,
            stop: self.stop.clone(),
            ignore_end: self.ignore_eos,
            ..GenerateOptions::default()
        }
    }
}

/// How several tokens come out of one step.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speculative decoding")]
pub struct SpeculateArgs {
    /// Guess next tokens and check several at once: the same text, often sooner. From the text itself with "lookup", or
    /// with a smaller model of the same tokenizer, given as a file or folder. What does not pay is not done. --max-bytes
    /// then holds for each of the two models
    #[arg(long, value_name = "off|lookup|MODEL", default_value = "off")]
    pub speculate: PathBuf,
}

impl SpeculateArgs {
    /// Was it asked for?
    pub fn is_on(&self) -> bool {
        self.speculate != Path::new("off")
    }

    /// As the library takes it; opens the smaller model.
    pub fn open(&self, backend: &BackendArgs) -> Outcome<Speculation> {
        Ok(match self.speculate.to_str() {
            Some("off") => Speculation::default(),
            Some("lookup") => Speculation::lookup(),
            _ => Speculation::model(backend.open(&self.speculate)?),
        })
    }
}

/// Adapters that a model gets.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Adapters")]
pub struct AdapterArgs {
    /// LoRA adapter to use, a .gguf file or a PEFT folder, with a weight other than 1 behind a colon; may be repeated
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    pub adapter: Vec<String>,
    /// Delta to use, as it counts in the store, with a weight other than 1 behind a colon; may be repeated
    #[arg(long, value_name = "NAME[:WEIGHT]")]
    pub delta: Vec<String>,
    /// Folder of the store with the deltas; $TERN_STORE, else a folder in the user's data if not given
    #[arg(long, value_name = "DIR", requires = "delta")]
    pub store: Option<PathBuf>,
}

impl AdapterArgs {
    /// Reads them; sessions from here on have them. `path` is the model's.
    pub fn apply(&self, model: &Model, path: &Path) -> Outcome<()> {
        match self.apply_and_state(model, path)? {
            None => Ok(()),
            Some(delta) => Err(Failure::new(
                Exit::Usage,
                format!("{}: a state, in which a session begins; only `tern run` begins in one", delta.name),
            )),
        }
    }

    /// The same; a delta that is a state is returned.
    pub fn apply_and_state(&self, model: &Model, path: &Path) -> Outcome<Option<Delta>> {
        let (mut chosen, mut state) = (Vec::new(), None);
        for text in &self.adapter {
            let (file, weight) = weighted(text);
            chosen.push((model.add_adapter(Adapter::read(model, file)?)?, weight));
        }
        for text in &self.delta {
            let (name, weight) = weighted(text);
            match store::existing(&store::open(self.store.as_deref())?, name)? {
                Some(delta) if delta.manifest.kind() == Some(STATE) => {
                    if weight != 1.0 || state.replace(delta).is_some() {
                        let what = format!(
                            "{name}: a session begins in one state, whole: give one delta of this kind, without a weight"
                        );
                        return Err(Failure::new(Exit::Usage, what));
                    }
                }
                Some(delta) => chosen.push((model.add_adapter(store::adapter(&delta, model, path)?)?, weight)),
                None => note(&format!("{name}: nothing that was learned counts, so this is the model as it is")),
            }
        }
        model.choose_adapters(&chosen)?;
        Ok(state)
    }
}

/// A path or a name, and a weight; without a number behind its last colon, all of it is the path.
fn weighted(text: &str) -> (&str, f32) {
    let number = |(path, weight): (_, &str)| Some((path, weight.parse().ok()?));
    text.rsplit_once(':').and_then(number).unwrap_or((text, 1.0))
}

/// What a session can remember.
#[derive(Debug, Args)]
#[command(next_help_heading = "Context")]
pub struct ContextArgs {
    /// Tokens that fit; what the model was made for, but not more than 4096, if not given
    #[arg(long, value_name = "N")]
    pub ctx: Option<u64>,
    /// Numbers in which keys and values are kept: f32 is exact and takes twice the memory, i8 about half
    #[arg(long, value_enum, default_value_t)]
    pub kv: KvArg,
}

impl ContextArgs {
    /// Options for a session.
    pub fn session(&self) -> SessionOptions {
        SessionOptions { context: self.ctx, kv: self.kv.into(), ..SessionOptions::default() }
    }
}

/// See [`KvType`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KvArg {
    #[default]
    F16,
    F32,
    I8,
}

impl From<KvArg> for KvType {
    fn from(arg: KvArg) -> Self {
        match arg {
            KvArg::F16 => Self::F16,
            KvArg::F32 => Self::F32,
            KvArg::I8 => Self::I8,
        }
    }
}

/// Whether the begin-of-sequence token goes in front.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BosArg {
    // As the model's files say. No doc comments here: they would make every help text twice as long.
    #[default]
    Auto,
    Yes,
    No,
}

impl From<BosArg> for Bos {
    fn from(arg: BosArg) -> Self {
        match arg {
            BosArg::Auto => Self::Auto,
            BosArg::Yes => Self::Yes,
            BosArg::No => Self::No,
        }
    }
}

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, Args)]
pub struct EncodeArgs {
    /// Take control tokens written in the text as what they are, and show those that the model writes
    #[arg(long)]
    pub special: bool,
    /// Begin-of-sequence token in front of the text; auto is as the model's files say
    #[arg(long, value_enum, default_value_t)]
    pub bos: BosArg,
}

impl EncodeArgs {
    /// Token ids of a text.
    pub fn encode(&self, tokenizer: &Tokenizer, text: &str) -> std::result::Result<Vec<u32>, Error> {
        let options = EncodeOptions { special: self.special, bos: self.bos.into() };
        Ok(tokenizer.encode(text, options)?)
    }
}

fn logit_bias(text: &str) -> std::result::Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.trim().parse().ok()?, bias.trim().parse().ok()?)));
    parsed.ok_or_else(|| "expected a token id, '=' and a number, as in 42=-1.5".to_owned())
}

/// Bytes: a number and a unit. As with Docker and Java, a single letter is the binary unit.
pub fn bytes(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 13] = [
        ("", 1),
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let parsed = UNITS.iter().find(|u| u.0 == unit).and_then(|&(_, size)| match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(size),
        // Such numbers are not meant to the byte.
        Err(_) if number.contains('.') => number.parse::<f64>().ok().map(|n| (n * size as f64) as u64),
        Err(_) => None,
    });
    parsed.ok_or_else(|| "expected a size, as 512MiB, 2GB or a number of bytes".to_owned())
}

/// A time: a number and s, m or h.
pub fn seconds(text: &str) -> std::result::Result<f64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => 0.0,
    };
    let seconds = number.parse::<f64>().ok().map(|n| n * factor).filter(|s| s.is_finite() && *s > 0.0);
    seconds.ok_or_else(|| "expected a time, as 90s, 2m or 1h".to_owned())
}

fn i2_s_order(text: &str) -> Result<tern::I2sOrder, String> {
    match text {
        "x86" => Ok(tern::I2sOrder::X86),
        "arm" => Ok(tern::I2sOrder::Arm),
        _ => Err("expected x86 or arm".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        let cases = [
            ("12345", 12345),
            ("0", 0),
            ("512MiB", 512 << 20),
            ("2GB", 2_000_000_000),
            ("2 gb", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("64k", 65536),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GB", "-1", "1.2.3GB", "2XB", "two", "1e9", "18446744073709551616", "99999999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!((seconds("90s"), seconds("1.5m"), seconds("1h")), (Ok(90.0), Ok(90.0), Ok(3600.0)));
        for text in ["", "2 days", "-1s", "0s", "m"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn adapters_and_their_weights() {
        assert_eq!(weighted("a.gguf"), ("a.gguf", 1.0));
        assert_eq!(weighted("a.gguf:0.5"), ("a.gguf", 0.5));
        assert_eq!(weighted("c:/a.gguf"), ("c:/a.gguf", 1.0));
        assert_eq!(weighted("c:/a:-2"), ("c:/a", -2.0));
    }

    #[test]
    fn biases() {
        assert_eq!(logit_bias("42=-1.5"), Ok((42, -1.5)));
        assert!(logit_bias("42").is_err());
        assert!(logit_bias("-1=2").is_err());
    }
}
