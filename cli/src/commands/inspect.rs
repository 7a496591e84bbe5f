//! `tern inspect`: what is in a model file.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::setup;
use crate::terminal::{Out, bold, printable};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use tern::{DEFAULT_CONTEXT, Model, ModelInfo};

/// Flags of `tern inspect`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("part"))]
pub struct InspectArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    pub model: PathBuf,
    /// List the tensors
    #[arg(long, group = "part")]
    pub tensors: bool,
    /// List the steps of a token's computation, as the backend runs them
    #[arg(long, group = "part")]
    pub plan: bool,
    /// Print the chat template
    #[arg(long, group = "part")]
    pub template: bool,
    /// Context for --plan; what the model was made for, but not more than 4096, if not given
    #[arg(long, value_name = "N", requires = "plan")]
    pub ctx: Option<u64>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern inspect`.
pub fn inspect(backend: &BackendArgs, args: &InspectArgs) -> Result<()> {
    let model = backend.open(&args.model)?;
    let mut out = Out::new();
    if args.tensors {
        tensors(&mut out, &model, args.json)?;
    } else if args.plan {
        let lines = model.plan_listing(args.ctx.unwrap_or(model.info().context_length.min(DEFAULT_CONTEXT)))?;
        match args.json {
            true => out.json(&json!({ "plan": lines }))?,
            false => lines.iter().try_for_each(|line| out.line(&printable(line)))?,
        }
    } else if args.template {
        let Some(template) = model.template_source() else {
            return Err(Failure::new(Exit::Failure, format!("{}: no chat template", args.model.display())));
        };
        match args.json {
            true => out.json(&json!({ "template": template }))?,
            false => out.text(template)?,
        }
    } else {
        match args.json {
            true => out.json(&summary(&model))?,
            false => table(&mut out, &model)?,
        }
    }
    out.flush()
}

fn summary(model: &Model) -> Value {
    let info = model.info();
    let dtypes: serde_json::Map<_, _> = info.dtypes.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect();
    json!({
        "format": info.format,
        "architecture": info.architecture,
        "name": info.name,
        "parameters": info.parameters,
        "context_length": info.context_length,
        "vocab": info.vocab,
        "layers": info.layers,
        "width": info.width,
        "file_bytes": info.file_bytes,
        "bytes_per_token": info.bytes_per_token,
        "dtypes": dtypes,
        "resident_bytes": info.resident_bytes,
        "kv_bytes_per_token": info.kv_bytes_per_token,
        "has_template": model.template_source().is_some(),
        "backend": info.backend,
        "tier": info.tier,
        "threads": setup::threads(model),
        "load_ms": info.load_ms,
    })
}

fn table(out: &mut Out, model: &Model) -> Result<()> {
    let info: &ModelInfo = model.info();
    let name = info.name.as_deref().unwrap_or("(no name)");
    let dtypes: Vec<_> = info.dtypes.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
    let tokenizer = model.tokenizer();
    let ends: Vec<_> = tokenizer.end_ids().iter().map(|&id| tokenizer.token_text(id).unwrap_or("?")).collect();
    let rows = [
        ("model", name.to_owned()),
        ("format", format!("{}, architecture {}", info.format, info.architecture)),
        ("size", format!("{:.1} M parameters, {}", info.parameters as f64 / 1e6, size(info.file_bytes))),
        ("shape", format!("{} layers, width {}, vocabulary {}", info.layers, info.width, info.vocab)),
        ("context", format!("{} tokens", info.context_length)),
        ("weights", dtypes.join(", ")),
        ("per token", format!("{} of weights are read", size(info.bytes_per_token))),
        (
            "memory",
            format!(
                "{} of weights, {} for each token of context",
                size(info.resident_bytes),
                size(info.kv_bytes_per_token)
            ),
        ),
        ("ends with", ends.join(" ")),
        ("template", if model.template_source().is_some() { "yes (--template)" } else { "none" }.to_owned()),
        ("runs on", setup::place(model)),
        ("loaded in", format!("{:.0} ms", info.load_ms)),
    ];
    for (label, value) in rows {
        out.line(&format!("{} {}", bold(&format!("{label:<10}")), printable(&value)))?;
    }
    Ok(())
}

fn tensors(out: &mut Out, model: &Model, as_json: bool) -> Result<()> {
    let tensors = model.tensors();
    if as_json {
        let list: Vec<_> = tensors
            .iter()
            .map(|t| json!({ "name": t.name, "dtype": t.dtype, "shape": t.shape, "bytes": t.bytes }))
            .collect();
        return out.json(&json!({ "tensors": list }));
    }
    let width = tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or_default();
    for t in &tensors {
        let shape: Vec<_> = t.shape.iter().map(u64::to_string).collect();
        let (name, shape) = (printable(&t.name), shape.join(" x "));
        out.line(&format!("{name:<width$}  {:<6} {shape:<16} {:>12}", t.dtype, t.bytes))?;
    }
    Ok(())
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
