//! `tern inspect`: what is in a model file.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, bold, printable};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use tern::models::ARCHITECTURES;
use tern::{DEFAULT_CONTEXT, Package};

/// Flags of `tern inspect`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("part"))]
pub struct InspectArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    #[arg(required_unless_present = "supported")]
    pub model: Option<PathBuf>,
    /// List the architectures that can be run, and what files call them
    #[arg(long, group = "part", conflicts_with = "model")]
    pub supported: bool,
    /// List keys and values; long ones are shortened
    #[arg(long, group = "part")]
    pub metadata: bool,
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
    let mut out = Out::new();
    let Some(path) = &args.model else {
        supported(&mut out, args.json)?;
        return out.flush();
    };
    if args.plan {
        let model = backend.open_for(path, args.ctx)?;
        let lines = model.plan_listing(args.ctx.unwrap_or(model.info().context_length.min(DEFAULT_CONTEXT)))?;
        match args.json {
            true => out.json(&json!({ "plan": lines }))?,
            false => lines.iter().try_for_each(|line| out.line(&printable(line)))?,
        }
        return out.flush();
    }
    let package = Package::open(path, &backend.options())?;
    if args.tensors {
        tensors(&mut out, &package, args.json)?;
    } else if args.metadata {
        metadata(&mut out, &package, args.json)?;
    } else if args.template {
        let Some(template) = package.template()? else {
            return Err(Failure::new(Exit::Failure, format!("{}: no chat template", path.display())));
        };
        match args.json {
            true => out.json(&json!({ "template": template }))?,
            false => out.text(&template)?,
        }
    } else {
        let summary = Summary::of(&package)?;
        match args.json {
            true => out.json(&summary)?,
            false => summary.print(&mut out)?,
        }
    }
    out.flush()
}

/// The registry.
fn supported(out: &mut Out, json: bool) -> Result<()> {
    if json {
        let all = ARCHITECTURES.iter().map(|a| json!({ "name": a.name, "gguf": a.gguf, "safetensors": a.hf }));
        return out.json(&json!({ "supported": all.collect::<Vec<_>>() }));
    }
    let rows = || ARCHITECTURES.iter().map(|a| [a.name.to_owned(), a.gguf.join(", "), a.hf.join(", ")]);
    let head = ["models", "general.architecture in GGUF", "architectures in config.json"].map(str::to_owned);
    let width = |i: usize| rows().chain([head.clone()]).map(|row| row[i].len()).max().unwrap_or(0);
    let line = |row: &[String; 3]| format!("{:a$}  {:b$}  {}", row[0], row[1], row[2], a = width(0), b = width(1));
    out.line(&bold(&line(&head)))?;
    rows().try_for_each(|row| out.line(&line(&row)))
}

/// What is in the files, as far as it can be told without running the model.
#[derive(Serialize)]
struct Summary {
    format: &'static str,
    files: usize,
    architecture: Option<String>,
    name: Option<String>,
    parameters: u64,
    file_bytes: u64,
    /// Bytes by element type, largest first.
    dtypes: Map<String, Value>,
    has_template: bool,
    /// Why this version cannot run it.
    unsupported: Option<String>,
    context_length: Option<u64>,
    layers: Option<u64>,
    width: Option<u64>,
    /// With keys and values in half precision.
    kv_bytes_per_token: Option<u64>,
    vocab: Option<usize>,
    ends: Vec<String>,
    /// Why there is no tokenizer.
    no_tokenizer: Option<String>,
}

impl Summary {
    fn of(package: &Package) -> Result<Self> {
        let tensors = package.tensors();
        let mut sizes: Vec<(&str, u64)> = Vec::new();
        for t in &tensors {
            match sizes.iter_mut().find(|(dtype, _)| *dtype == t.dtype) {
                Some((_, bytes)) => *bytes += t.bytes,
                None => sizes.push((&t.dtype, t.bytes)),
            }
        }
        sizes.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        let (common, tokenizer) = (package.common(), package.tokenizer());
        let ends =
            tokenizer.iter().flat_map(|t| t.end_ids().iter().map(|&id| t.token_text(id).unwrap_or("?").to_owned()));
        Ok(Self {
            format: package.format(),
            files: package.files(),
            architecture: package.architecture()?,
            name: package.name()?,
            parameters: tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum(),
            file_bytes: tensors.iter().map(|t| t.bytes).sum(),
            dtypes: sizes.iter().map(|&(dtype, bytes)| (dtype.to_owned(), json!(bytes))).collect(),
            has_template: package.template()?.is_some(),
            unsupported: common.as_ref().err().map(ToString::to_string),
            context_length: common.as_ref().ok().map(|c| c.context_length),
            layers: common.as_ref().ok().map(|c| c.layers),
            width: common.as_ref().ok().map(|c| c.width),
            kv_bytes_per_token: common.as_ref().ok().map(|c| 2 * c.kv_elements),
            vocab: tokenizer.as_ref().ok().map(|t| t.vocab_size()),
            ends: ends.collect(),
            no_tokenizer: tokenizer.as_ref().err().map(ToString::to_string),
        })
    }

    fn print(&self, out: &mut Out) -> Result<()> {
        let text = |text: &Option<String>, absent: &str| text.as_deref().unwrap_or(absent).to_owned();
        let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let dtypes: Vec<_> = self
            .dtypes
            .iter()
            .map(|(name, bytes)| format!("{name} {}", size(bytes.as_u64().unwrap_or_default())))
            .collect();
        let files = if self.files == 1 { String::new() } else { format!(" in {} files", self.files) };
        let mut rows = vec![
            ("model", text(&self.name, "(no name)")),
            ("format", format!("{}, architecture {}", self.format, text(&self.architecture, "(none)"))),
            ("size", format!("{:.1} M parameters, {}{files}", self.parameters as f64 / 1e6, size(self.file_bytes))),
            ("weights", dtypes.join(", ")),
        ];
        match &self.unsupported {
            Some(why) => rows.push(("runs", format!("not here: {why}"))),
            None => rows.extend([
                ("shape", format!("{} layers, width {}", known(self.layers), known(self.width))),
                (
                    "context",
                    format!(
                        "{} tokens, {} for each",
                        known(self.context_length),
                        size(self.kv_bytes_per_token.unwrap_or_default())
                    ),
                ),
            ]),
        }
        match &self.no_tokenizer {
            Some(why) => rows.push(("tokens", format!("none here: {why}"))),
            None => rows.extend([("tokens", known(self.vocab.map(|n| n as u64))), ("ends with", self.ends.join(" "))]),
        }
        rows.push(("template", if self.has_template { "yes (--template)" } else { "none" }.to_owned()));
        for (label, value) in rows {
            out.line(&format!("{} {}", bold(&format!("{label:<10}")), printable(&value)))?;
        }
        Ok(())
    }
}

fn metadata(out: &mut Out, package: &Package, as_json: bool) -> Result<()> {
    let entries = package.metadata();
    if as_json {
        let map: Map<_, _> = entries.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        return out.json(&json!({ "metadata": map }));
    }
    entries.iter().try_for_each(|(key, value)| out.line(&printable(&format!("{key} = {value}"))))
}

fn tensors(out: &mut Out, package: &Package, as_json: bool) -> Result<()> {
    let tensors = package.tensors();
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
