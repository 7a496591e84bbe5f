//! `tern plan`: the memory that a model and its sessions will take, before any of it is taken.

use crate::args::{BackendArgs, ContextArgs};
use crate::commands::inspect::size;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, bold};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tern::{MemoryPlan, ModelOptions};

const NOTES: &str = "\
Nothing is loaded: the model's headers are read, and the backend is asked. Mapped weights count, though the system may \
drop them and read them again; experts on disk (--experts-on-disk) count with their cache alone. Where it does not fit, the exit code is 4, and the output says what to change.";

/// Flags of `tern plan`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct PlanArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// Sessions at the same time, each with a context of its own
    #[arg(short, long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub sequences: u16,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub context: ContextArgs,
}

/// The JSON form.
#[derive(Serialize)]
struct Report<'a> {
    context: u64,
    sequences: u64,
    weights_bytes: u64,
    mapped_bytes: u64,
    paged_bytes: u64,
    kv_bytes: u64,
    working_bytes: u64,
    host_bytes: u64,
    total_bytes: u64,
    loading_bytes: u64,
    /// The limit, or what is free here if that is less; null where neither is known.
    available_bytes: Option<u64>,
    fits: bool,
    fitting_context: u64,
    fitting_context_i8: u64,
    /// What to change; null where it fits.
    advice: Option<&'a str>,
}

/// Runs `tern plan`.
pub fn plan(backend: &BackendArgs, args: &PlanArgs) -> Result<()> {
    let options = ModelOptions { context: args.context.ctx, ..backend.options() };
    let runtime = backend.runtime()?;
    let plan = runtime.plan(&args.model, &options, &args.context.session(), u64::from(args.sequences))?;
    let advice = plan.advice();
    let mut out = Out::new();
    if args.json {
        out.json(&Report::new(&plan, advice.as_deref()))?;
    } else {
        table(&mut out, &plan)?;
    }
    match advice {
        None => Ok(()),
        Some(advice) => Err(Failure::new(Exit::Capacity, format!("it does not fit; {advice}"))),
    }
}

impl<'a> Report<'a> {
    fn new(plan: &MemoryPlan, advice: Option<&'a str>) -> Self {
        Self {
            context: plan.context,
            sequences: plan.sequences,
            weights_bytes: plan.weights_bytes,
            mapped_bytes: plan.mapped_bytes,
            paged_bytes: plan.paged_bytes,
            kv_bytes: plan.kv_bytes,
            working_bytes: plan.working_bytes,
            host_bytes: plan.host_bytes,
            total_bytes: plan.total_bytes,
            loading_bytes: plan.loading_bytes,
            available_bytes: plan.available_bytes,
            fits: plan.fits(),
            fitting_context: plan.fitting_context,
            fitting_context_i8: plan.fitting_context_i8,
            advice,
        }
    }
}

fn table(out: &mut Out, plan: &MemoryPlan) -> Result<()> {
    let mut stay = Vec::new();
    if plan.mapped_bytes > 0 {
        stay.push(format!("{} of them begin in the file, mapped", size(plan.mapped_bytes)));
    }
    if plan.paged_bytes > 0 {
        stay.push(format!("besides, {} of experts stay on disk", size(plan.paged_bytes)));
    }
    let kv = match plan.sequences {
        1 => format!("{} tokens", plan.context),
        n => format!("{n} sequences of {} tokens", plan.context),
    };
    let rows = [
        ("weights", plan.weights_bytes, stay.join("; ")),
        ("keys and values", plan.kv_bytes, kv),
        ("working memory", plan.working_bytes, String::new()),
        ("tokenizer etc.", plan.host_bytes, "about".to_owned()),
        ("total", plan.total_bytes, String::new()),
    ];
    for (label, bytes, more) in rows {
        out.line(format!("{} {:>10}  {more}", bold(&format!("{label:<16}")), size(bytes)).trim_end())?;
    }
    if plan.loading_bytes > plan.total_bytes {
        out.line(&format!("{} {:>10}  while loading", bold(&format!("{:<16}", "at most")), size(plan.loading_bytes)))?;
    }
    if let Some(available) = plan.available_bytes {
        out.line(&format!("{} {:>10}", bold(&format!("{:<16}", "available")), size(available)))?;
        if plan.fits() {
            out.line(&format!("It fits; a context of {} tokens would, too.", plan.fitting_context))?;
        }
    }
    out.flush()
}
