//! `tern bench`: speed and memory, and their share of what the machine allows.

mod profile;
mod report;
mod speculate;
mod together;

use crate::args::{AdapterArgs, BackendArgs, KvArg, SpeculateArgs};
use crate::experts::ExpertsUsed;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt::Watch;
use crate::stats::Spread;
use crate::terminal::{Out, Progress};
use crate::{bandwidth, interrupt, machine, setup};
use clap::Args;
use profile::Profile;
use report::Report;
use std::path::PathBuf;
use std::time::Instant;
use tern::{ExpertCache, Model, Session, SessionOptions};

const NOTES: &str = "\
Prefill is the prompt in an empty context; decode is one token after the other, from --depth tokens on. One round \
of both warms up, then come --repeats rounds. --sequences also decodes that many texts together, from --depth tokens \
on (at least one), each token chosen as `tern batch` does: the tokens of all of them per second. --speculate also \
generates -n tokens after two built-in texts, one that repeats itself and one that does not, with and without it in \
turns. Bandwidth is measured afterwards, with as many threads, over an array as large as what a token reads. Peak \
memory is the process's, before --sequences, --speculate and bandwidth. With --experts-on-disk, the share of experts' matrices \
that decoding found packed.";

/// Flags of `tern bench`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct BenchArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// Tokens of the prompt; 0 leaves prefill out
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub prompt: usize,
    /// Tokens to decode; 0 leaves decode out
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    pub tokens: usize,
    /// Tokens in the context before decoding
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: usize,
    /// Also decode K texts together, which read the weights once for all of them
    #[arg(short, long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub sequences: Option<u16>,
    /// Numbers in which keys and values are kept
    #[arg(long, value_enum, default_value_t)]
    pub kv: KvArg,
    /// Rounds; medians are told
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    pub repeats: usize,
    /// Also tell each op's share of the time, from one more round, and how close it comes to the bandwidth or the arithmetic
    #[arg(long)]
    pub profile: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub speculate: SpeculateArgs,
    #[command(flatten)]
    pub adapters: AdapterArgs,
}

/// Runs `tern bench`.
pub fn bench(backend: &BackendArgs, args: &BenchArgs) -> Result<()> {
    if args.repeats == 0 || args.prompt + args.tokens == 0 {
        let what = "nothing to measure: --repeats must be 1 or more, and -p or -n";
        return Err(Failure::new(Exit::Usage, what));
    }
    if args.sequences.is_some() && args.tokens == 0 {
        return Err(Failure::new(Exit::Usage, "--sequences needs tokens to decode: -n must be 1 or more"));
    }
    if args.speculate.is_on() && args.tokens < 2 {
        return Err(Failure::new(Exit::Usage, "--speculate needs tokens to decode: -n must be 2 or more"));
    }
    let model = backend.open(&args.model)?;
    args.adapters.apply(&model, &args.model)?;
    let speculation = args.speculate.open(backend)?;
    let context = args.prompt.max(args.depth.saturating_add(args.tokens));
    let session = model.session(args.session(context))?;
    let watch = interrupt::watch(session.cancel_flag());
    let bench = Bench { tokens: tokens(&model, context), session, model: &model, args, watch };
    let (mut prefill, mut decode, mut fetched, mut experts) = (Vec::new(), Vec::new(), Some(0), None);
    let mut progress = Progress::new();
    for round in 0..=args.repeats {
        progress.update(|| format!("round {round} of {}", args.repeats));
        let one = bench.round()?;
        // The first one warms up.
        if round > 0 {
            prefill.extend(one.prefill);
            decode.extend(one.decode);
            fetched = fetched.zip(one.fetched).map(|(sum, more): (u64, u64)| sum + more);
            experts = one.experts.map(|more| experts.map_or(more, |sum| more.and(&sum)));
        }
    }
    let peak_rss_bytes = machine::peak_memory();
    let mut profile = args.profile.then(|| Profile::measure(&bench)).transpose()?;
    drop(bench);
    let together = match args.sequences {
        Some(sequences) => Some(together::measure(&model, args, usize::from(sequences), &mut progress)?),
        None => None,
    };
    let speculated = match args.speculate.is_on() {
        true => Some(speculate::measure(&model, args, &speculation, &mut progress)?),
        false => None,
    };
    progress.update(|| "measuring memory bandwidth".to_owned());
    let info = model.info();
    let bandwidth = bandwidth::measure(info.bytes_per_token, setup::threads(&model));
    if let (Some(profile), Some(bandwidth)) = (&mut profile, bandwidth) {
        profile.compare(bandwidth);
    }
    let (prefill, decode) = (Spread::of(&prefill), Spread::of(&decode));
    drop(progress);
    let report = Report {
        prefill_tok_s: prefill,
        decode_tok_s: decode,
        load_ms: info.load_ms,
        bytes_per_token: info.bytes_per_token,
        bandwidth_gb_s: bandwidth.map(|b| b / 1e9),
        share_of_bandwidth: bandwidth.zip(decode).map(|(b, d)| share(info.bytes_per_token, d.median, b)),
        hit_rate: fetched.filter(|_| args.tokens > 0).map(|fetched| {
            let read = info.bytes_per_token as f64 * args.tokens as f64 * args.repeats as f64;
            (1.0 - fetched as f64 / read.max(1.0)).max(0.0)
        }),
        experts: experts.filter(|_| args.tokens > 0).map(ExpertsUsed::from),
        peak_rss_bytes,
        tier: info.tier.clone(),
        sequences: args.sequences,
        decode_together_tok_s: together,
        speculation: speculated,
        profile,
    };
    let mut out = Out::new();
    if args.json { out.json(&report) } else { report.print(&mut out, &model, args) }
}

impl BenchArgs {
    /// A session that has nothing of others, nor gives them anything.
    fn session(&self, context: usize) -> SessionOptions {
        let context = Some(context as u64);
        SessionOptions { context, kv: self.kv.into(), isolated: true, ..SessionOptions::default() }
    }
}

/// The part of the ceiling that is reached: bytes of weights read per second over what the memory gives.
pub fn share(bytes_per_token: u64, tokens_per_second: f64, bandwidth: f64) -> f64 {
    bytes_per_token as f64 * tokens_per_second / bandwidth
}

struct Bench<'a> {
    tokens: Vec<u32>,
    session: Session,
    model: &'a Model,
    args: &'a BenchArgs,
    watch: Watch,
}

/// What a round has measured.
struct Round {
    /// Tokens per second.
    prefill: Option<f64>,
    decode: Option<f64>,
    /// Bytes that decoding fetched from storage.
    fetched: Option<u64>,
    /// Of experts on disk, what decoding counted.
    experts: Option<ExpertCache>,
}

impl Bench<'_> {
    fn round(&self) -> Result<Round> {
        let Self { session, args, .. } = self;
        session.reset()?;
        let prefill = match args.prompt {
            0 => None,
            n => Some(self.timed(n, || self.forward(0, n))?),
        };
        let (mut before, mut packed) = (None, None);
        let decode = match args.tokens {
            0 => None,
            n => {
                self.fill()?;
                (before, packed) = (machine::fetched(), self.model.expert_cache()?);
                Some(self.timed(n, || (0..n).try_for_each(|i| self.forward(args.depth + i, 1)))?)
            }
        };
        let fetched = machine::fetched().zip(before).map(|(now, before)| now.saturating_sub(before));
        let experts = self.model.expert_cache()?.zip(packed).map(|(now, before)| now.since(&before));
        Ok(Round { prefill, decode, fetched, experts })
    }

    /// The context as decoding finds it.
    fn fill(&self) -> Result<()> {
        self.session.reset()?;
        if self.args.depth > 0 {
            self.forward(0, self.args.depth)?;
        }
        Ok(())
    }

    fn timed(&self, count: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let start = Instant::now();
        work()?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Computes `count` tokens from `first` on.
    fn forward(&self, first: usize, count: usize) -> Result<()> {
        self.session.forward(self.tokens.get(first..first + count).unwrap_or_default())?;
        // Each call lowers the session's flag, and may so miss what came just before.
        if self.watch.pressed() { Err(Failure::cancelled()) } else { Ok(()) }
    }
}

/// Ordinary tokens, spread over the vocabulary, the same ones every time.
fn tokens(model: &Model, count: usize) -> Vec<u32> {
    let vocab = model.info().vocab.max(1);
    let mut state = 1_u64;
    let next = |_| {
        // Knuth's MMIX constants.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab) as u32
    };
    (0..count).map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_the_ceiling() {
        assert_eq!(share(100_000_000, 300.0, 60e9), 0.5);
    }
}
