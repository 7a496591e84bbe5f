//! `--plan`: bytes and time, before anything is learned.

use super::AdaptArgs;
use super::data::Data;
use crate::args::BackendArgs;
use crate::commands::quantize::clock;
use crate::failure::Result;
use crate::learning::documents;
use crate::terminal::{Out, count};
use serde_json::json;
use std::time::Instant;
use tern::Model;
use tern::learn::corpus::Sample;
use tern::learn::{Hold, LoraOptions, Mode, Training, TrainingOptions, TrainingPlan};

/// Tokens of one of the base's own answers with its prompt, roughly.
const ANSWER: f64 = 90.0;

/// Samples that are read to find out how long it takes.
const TIMED: usize = 4;

/// Plans.
pub fn plan(backend: &BackendArgs, args: &AdaptArgs) -> Result<()> {
    let documents = documents(&args.data, args.origin)?;
    let model = backend.open(&args.model)?;
    let (learning, lora) = (args.learn_options(), args.lora_options());
    if args.name.is_some() && args.mode(&model)? == Mode::State {
        let data = Data::new(&model, documents, lora.training.context as usize, &learning.corpus)?;
        return reading(&model, lora, &data, args.json);
    }
    let holds = if args.name.is_some() { lora.holds() } else { 0 };
    let options = TrainingOptions { holds, ..lora.training };
    let data = Data::new(&model, documents, options.context as usize, &learning.corpus)?;
    let (plan, context) = (Training::plan(&model, &options)?, options.context as f64);
    // How long a step takes is found out by one; the first run pays for what later ones find warm.
    let seconds = if plan.fits() {
        let mut training = Training::new(&model, options)?;
        training.probe()?;
        let held = if args.name.is_some() { learning.held as f64 * ANSWER / context } else { 0.0 };
        Some(training.probe()? * (learning.batch as f64 + held))
    } else {
        None
    };
    let times = args.name.as_ref().map_or(args.epochs.unwrap_or(1), |_| learning.budget.epochs);
    let once = data.learn.len().div_ceil(learning.batch.max(1)) as u64;
    let all = once.saturating_mul(times);
    let limit = args.budget.or(args.name.as_ref().map(|_| learning.budget.seconds));
    let mut steps = match (&args.name, args.steps) {
        (Some(_), steps) => steps.unwrap_or(learning.budget.steps).min(all),
        (None, Some(steps)) => steps,
        (None, None) if args.budget.is_some() && args.epochs.is_none() => u64::MAX,
        (None, None) => all,
    };
    if let (Some(limit), Some(each)) = (limit, seconds) {
        steps = steps.min((limit / each) as u64).max(1);
    }
    let TrainingPlan { parameters, recompute, layers, factor_bytes, holding_bytes, host_bytes, total_bytes, .. } = plan;
    let working_bytes = plan.working_bytes + plan.scoring_bytes;
    let mut out = Out::new();
    if args.json {
        return out.json(&json!({
            "parameters": parameters,
            "layers": layers,
            "layers_computed_twice": recompute.0,
            "factor_bytes": factor_bytes,
            "working_bytes": working_bytes,
            "holding_bytes": holding_bytes,
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
    if holding_bytes > 0 {
        out.line(&format!("holding        {}, to keep and to measure what must not change", mb(holding_bytes)))?;
    }
    out.line(&format!("total          {} beside the model's {}", mb(total_bytes), mb(model.memory().used)))?;
    match seconds {
        Some(s) => {
            let what = count(steps as usize, "step");
            let more = if args.name.is_some() { "; measuring before and after comes on top" } else { "" };
            out.line(&format!("time           {} for {what}{more}", clock(s * steps as f64)))?;
        }
        None => out.line("does not fit: choose a smaller --context or --rank")?,
    }
    out.flush()
}

/// What reading takes, where a state is what is learned.
fn reading(model: &Model, lora: LoraOptions, data: &Data, as_json: bool) -> Result<()> {
    let tokens: usize = data.learn.iter().map(|s| s.example.tokens.len()).sum();
    let before = model.memory().used;
    let mut pupil = Mode::State.pupil(model, lora)?;
    let state_bytes = model.memory().used.saturating_sub(before);
    pupil.begin(None, 0)?;
    let some: Vec<&Sample> = data.learn.iter().take(TIMED).collect();
    let start = Instant::now();
    pupil.step(&some, Hold::default(), 1.0)?;
    let read: usize = some.iter().map(|s| s.example.tokens.len()).sum();
    let seconds = start.elapsed().as_secs_f64() * tokens as f64 / read as f64;
    let (mut out, model_bytes) = (Out::new(), model.memory().used - state_bytes);
    if as_json {
        return out.json(&json!({
            "mode": "state",
            "tokens": tokens,
            "state_bytes": state_bytes,
            "model_bytes": model_bytes,
            "seconds": seconds,
        }));
    }
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    out.line(&format!(
        "states         {} beside the model's {}; nothing is trained",
        mb(state_bytes),
        mb(model_bytes)
    ))?;
    let what = count(tokens, "token");
    out.line(&format!(
        "time           {} to read {what} once; measuring before and after comes on top",
        clock(seconds)
    ))?;
    out.flush()
}
