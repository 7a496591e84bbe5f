//! `tern adapt`: an adapter learned from text files.

mod data;

use crate::args::{BackendArgs, bytes};
use crate::commands::learn::documents;
use crate::commands::quantize::clock;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{Out, Progress, count};
use clap::Args;
use data::Data;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use tern::Model;
use tern::learn::corpus::Sample;
use tern::learn::{Decay, Nats, OptimizerKind, Origin, Schedule, Training, TrainingOptions, TrainingPlan};

const NOTES: &str = "\
Every file is a document, so is every text file of a folder, and so is every line of a .jsonl file (docs/learning.md). A fifth of the \
documents, chosen by what they say, is held out: it is not learned from, and tells how much was gained. Each step learns from one stretch of --context tokens; the learning rate \
rises over the first twentieth of the steps and falls to nothing at the last. --budget finds out how long a step takes and how many fit. \
Training takes no more than --max-bytes together with the model: where that is little, the intermediate values of some layers are computed \
twice rather than kept, which takes up to a third longer. --plan tells bytes and time.";

/// Flags of `tern adapt`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct AdaptArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// File or folder to learn from; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Where the adapter goes: a .gguf file, or a folder for PEFT
    #[arg(short, long, value_name = "FILE", required_unless_present = "plan")]
    pub out: Option<PathBuf>,
    /// Steps; once through the data if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub steps: Option<u64>,
    /// Most time for learning, as 90s, 2m or 1h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub budget: Option<f64>,
    /// Rank of the adapter
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub rank: u64,
    /// The adapter's weight is alpha / rank; twice the rank if not given
    #[arg(long, value_name = "X")]
    pub alpha: Option<f32>,
    /// Learning rate at its height
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    pub lr: f64,
    /// What makes steps of gradients
    #[arg(long, value_enum, default_value_t)]
    pub optimizer: OptimizerArg,
    /// Tokens of a stretch
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub context: u64,
    /// Stretches per step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub batch: u64,
    /// Share of the adapter's inputs that sit a step out
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub dropout: f32,
    /// Learn the query matrices only
    #[arg(long)]
    pub query_only: bool,
    /// Most memory that learning takes beside the model
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub training_bytes: Option<u64>,
    /// Random numbers: the same seed gives the same adapter
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Tell what it takes, and learn nothing
    #[arg(long)]
    pub plan: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// See [`OptimizerKind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OptimizerArg {
    #[default]
    Adamw,
    Adamw8,
    Sgd,
    Muon,
}

impl OptimizerArg {
    fn kind(self) -> OptimizerKind {
        let (betas, eps, weight_decay) = ([0.9, 0.999], 1e-8, 0.0);
        match self {
            Self::Adamw => OptimizerKind::AdamW { betas, eps, weight_decay },
            Self::Adamw8 => OptimizerKind::AdamW8 { betas, eps, weight_decay },
            Self::Sgd => OptimizerKind::Sgd { momentum: 0.9, weight_decay },
            Self::Muon => OptimizerKind::Muon { momentum: 0.95, weight_decay },
        }
    }
}

impl AdaptArgs {
    fn options(&self) -> TrainingOptions {
        TrainingOptions {
            targets: if self.query_only { vec!["attn_q".to_owned()] } else { Vec::new() },
            rank: self.rank,
            alpha: self.alpha.unwrap_or(2.0 * self.rank as f32),
            dropout: self.dropout,
            optimizer: self.optimizer.kind(),
            learning_rate: self.lr,
            seed: self.seed,
            context: self.context,
            max_bytes: self.training_bytes,
            ..TrainingOptions::default()
        }
    }

    fn steps(&self, training: &mut Training, stretches: u64) -> Result<u64> {
        let once = stretches.div_ceil(self.batch).max(1);
        Ok(match (self.steps, self.budget) {
            (Some(steps), None) => steps,
            (steps, Some(budget)) => {
                // The first run pays for what later ones find warm.
                training.probe()?;
                let each = training.probe()? * self.batch as f64;
                steps.unwrap_or(u64::MAX).min((budget / each) as u64).max(1)
            }
            (None, None) => once,
        })
    }
}

/// Runs `tern adapt`.
pub fn adapt(backend: &BackendArgs, args: &AdaptArgs) -> Result<()> {
    let documents = documents(&args.data, Origin::User)?;
    let model = backend.open(&args.model)?;
    let data = Data::new(&model, documents, args.context as usize, args.seed)?;
    if data.learn.is_empty() {
        return Err(Failure::new(Exit::Input, "there is too little text to learn from"));
    }
    if args.plan {
        return plan(&model, args, &data);
    }
    let mut options = args.options();
    let mut training = Training::new(&model, options.clone())?;
    let steps = args.steps(&mut training, data.learn.len() as u64)?;
    options.schedule = Schedule { decay: Decay::Linear, warmup: steps / 20, steps, floor: 0.0 };
    training.set_schedule(options.schedule);
    let watch = interrupt::watch(training.cancel_flag());
    let before = score(&mut training, &data.held_out)?;
    let started = Instant::now();
    let (done, loss) = learn(&mut training, &data.learn, steps, args.batch as usize, &watch)?;
    let seconds = started.elapsed().as_secs_f64();
    // What was learned is kept after Ctrl-C.
    let cancelled = done < steps;
    drop(watch);
    let after = score(&mut training, &data.held_out)?;
    let adapter = training.adapter();
    if let Some(path) = &args.out {
        if path.extension().is_some_and(|e| e == "gguf") {
            adapter.write_gguf(&model, path)?;
        } else {
            adapter.write_peft(&model, path, &args.model.display().to_string())?;
        }
    }
    let bits = |nats: Nats| nats.nats / std::f64::consts::LN_2 / data.held_out_bytes.max(1) as f64;
    let mut out = Out::new();
    if args.json {
        out.json(&json!({
            "steps": done,
            "tokens_per_second": (done * args.batch * args.context) as f64 / seconds,
            "seconds": seconds,
            "loss": loss,
            "held_out_documents": data.held_out_documents,
            "bits_per_byte": [bits(before), bits(after)],
            "parameters": adapter.parameters(),
            "memory_bytes": model.memory().peak,
        }))?;
    } else {
        let steps = count(done as usize, "step");
        out.line(&format!("learned        {steps} in {}, last loss {loss:.3} nats per token", clock(seconds)))?;
        if before.tokens > 0 {
            let change = 100.0 * (bits(after) / bits(before) - 1.0);
            let what = count(data.held_out_documents, "held-out document");
            let (before, after) = (bits(before), bits(after));
            out.line(&format!("bits per byte  {before:.4} -> {after:.4} ({change:+.1} %) on {what}"))?;
        }
        out.flush()?;
    }
    if cancelled { Err(Failure::cancelled()) } else { Ok(()) }
}

/// Steps through the data; how many were done, and the mean loss of the last ones.
fn learn(
    training: &mut Training,
    stretches: &[Sample],
    steps: u64,
    batch: usize,
    watch: &interrupt::Watch,
) -> Result<(u64, f64)> {
    let (mut line, started) = (Progress::new(), Instant::now());
    let mut loss: Option<f64> = None;
    for step in 0..steps {
        let first = step as usize * batch;
        let chosen: Vec<&Sample> = (first..first + batch).map(|i| &stretches[i % stretches.len()]).collect();
        let report = match training.step(&chosen) {
            Err(error) if error.is_cancelled() => return Ok((step, loss.unwrap_or(f64::NAN))),
            result => result?,
        };
        let smoothed = loss.map_or(report.loss, |l| 0.9 * l + 0.1 * report.loss);
        loss = Some(smoothed);
        line.update(|| {
            let left = started.elapsed().as_secs_f64() / (step + 1) as f64 * (steps - step - 1) as f64;
            format!("step {} of {steps}, loss {smoothed:.3}, {} left", step + 1, clock(left))
        });
        if watch.pressed() {
            return Ok((step + 1, smoothed));
        }
    }
    Ok((steps, loss.unwrap_or(f64::NAN)))
}

fn score(training: &mut Training, samples: &[Sample]) -> Result<Nats> {
    let scores = training.score(samples)?;
    let sum = |a: Nats, b: &Nats| Nats { nats: a.nats + b.nats, tokens: a.tokens + b.tokens };
    Ok(scores.iter().fold(Nats::default(), sum))
}

fn plan(model: &Model, args: &AdaptArgs, data: &Data) -> Result<()> {
    let plan = Training::plan(model, &args.options())?;
    // How long a step takes is found out by one.
    let seconds = if plan.fits() {
        let mut training = Training::new(model, args.options())?;
        training.probe()?;
        Some(training.probe()? * args.batch as f64)
    } else {
        None
    };
    let once = (data.learn.len() as u64).div_ceil(args.batch);
    let steps = match (args.budget, seconds) {
        (Some(budget), Some(each)) => args.steps.unwrap_or(u64::MAX).min((budget / each) as u64).max(1),
        _ => args.steps.unwrap_or(once),
    };
    let TrainingPlan { parameters, recompute, layers, factor_bytes, host_bytes, total_bytes, .. } = plan;
    let working_bytes = plan.working_bytes + plan.scoring_bytes;
    let mut out = Out::new();
    if args.json {
        return out.json(&json!({
            "parameters": parameters,
            "layers": layers,
            "layers_computed_twice": recompute.0,
            "factor_bytes": factor_bytes,
            "working_bytes": working_bytes,
            "host_bytes": host_bytes,
            "total_bytes": total_bytes,
            "model_bytes": model.memory().used,
            "available_bytes": plan.available_bytes,
            "fits": plan.fits(),
            "steps": steps,
            "seconds": seconds.map(|s| s * steps as f64),
        }));
    }
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    out.line(&format!("parameters     {parameters}"))?;
    out.line(&format!("working        {}, {} of {layers} layers computed twice", mb(working_bytes), recompute.0))?;
    out.line(&format!("adapter        {}", mb(factor_bytes)))?;
    out.line(&format!("optimizer      {}", mb(host_bytes)))?;
    out.line(&format!("total          {} beside the model's {}", mb(total_bytes), mb(model.memory().used)))?;
    match seconds {
        Some(s) => {
            out.line(&format!("time           {} for {}", clock(s * steps as f64), count(steps as usize, "step")))?
        }
        None => out.line("does not fit: choose a smaller --context or --rank")?,
    }
    out.flush()
}

/// A time: a number and s, m or h.
fn seconds(text: &str) -> std::result::Result<f64, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!((seconds("90s"), seconds("1.5m"), seconds("1h")), (Ok(90.0), Ok(90.0), Ok(3600.0)));
        for text in ["", "2 days", "-1s", "0s", "m"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
