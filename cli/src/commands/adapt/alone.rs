//! With `--out`: an adapter, without a store and without checks.

use super::AdaptArgs;
use super::data::Data;
use crate::args::BackendArgs;
use crate::commands::quantize::clock;
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::learning::documents;
use crate::terminal::{Out, Progress, count};
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use tern::learn::corpus::Sample;
use tern::learn::{Decay, Nats, Schedule, Training};

/// Trains and writes.
pub fn run(backend: &BackendArgs, args: &AdaptArgs, path: &Path) -> Result<()> {
    let documents = documents(&args.data, args.origin)?;
    let model = backend.open(&args.model)?;
    let (learning, mut options) = (args.learn_options(), args.lora_options().training);
    let batch = learning.batch;
    let data = Data::new(&model, documents, options.context as usize, &learning.corpus)?;
    let mut training = Training::new(&model, options.clone())?;
    let once = data.learn.len().div_ceil(batch) as u64;
    let mut steps = match (args.steps, args.epochs) {
        (Some(steps), None) => steps,
        (steps, epochs) => steps.unwrap_or(u64::MAX).min(once.saturating_mul(epochs.unwrap_or(1))),
    };
    if let Some(budget) = args.budget {
        // The first run pays for what later ones find warm.
        training.probe()?;
        let each = training.probe()? * batch as f64;
        let repeats = if args.steps.is_none() && args.epochs.is_none() { u64::MAX } else { steps };
        steps = repeats.min((budget / each) as u64).max(1);
    }
    options.schedule = Schedule { decay: Decay::Linear, warmup: steps / 20, steps, floor: 0.0 };
    training.set_schedule(options.schedule);
    let watch = interrupt::watch(training.cancel_flag());
    let before = score(&mut training, &data.held_out)?;
    let started = Instant::now();
    let (done, loss) = learn(&mut training, &data.learn, steps, batch, &watch)?;
    let seconds = started.elapsed().as_secs_f64();
    // What was learned is kept after Ctrl-C.
    let cancelled = done < steps;
    drop(watch);
    let adapter = training.adapter();
    if path.extension().is_some_and(|e| e == "gguf") {
        adapter.write_gguf(&model, path)?;
    } else {
        adapter.write_peft(&model, path, &args.model.display().to_string())?;
    }
    let watch = interrupt::watch(training.cancel_flag());
    let after = score(&mut training, &data.held_out)?;
    drop(watch);
    let bits = |nats: Nats| nats.nats / std::f64::consts::LN_2 / data.held_out_bytes.max(1) as f64;
    let mut out = Out::new();
    if args.json {
        out.json(&json!({
            "steps": done,
            "tokens_per_second": (done * batch as u64 * options.context) as f64 / seconds,
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
        out.line(&format!("adapter        {}", path.display()))?;
        out.flush()?;
    }
    if cancelled { Err(Failure::cancelled()) } else { Ok(()) }
}

/// Steps through the data; how many were done, and the mean loss of the last ones.
fn learn(
    training: &mut Training,
    samples: &[Sample],
    steps: u64,
    batch: usize,
    watch: &interrupt::Watch,
) -> Result<(u64, f64)> {
    let (mut line, started) = (Progress::new(), Instant::now());
    let mut loss: Option<f64> = None;
    for step in 0..steps {
        let first = step as usize * batch;
        let chosen: Vec<&Sample> = (first..first + batch).map(|i| &samples[i % samples.len()]).collect();
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
