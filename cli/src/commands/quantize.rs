//! `tern quantize`: a model in a smaller type.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{self, Out, Progress, bold, count};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tern::CancelFlag;
use tern_convert::imatrix::Imatrix;
use tern_convert::{ConvertError, Input, MIXES, Mix, Pattern, Plan, Progress as Step, Wish, WriteOptions};
use tern_formats::DType;

const TYPES: &str = "\
Types: names ending in _S, _M, _L, and most others, give sensitive matrices more bits, as files of that name elsewhere \
do. Q4_K_M is a good first choice, Q8_0 is nearly exact. Types below 3 bits need an importance matrix (tern imatrix). \
Rows that are not whole blocks of a type (256 weights for most) get the next larger type that fits, which is reported.

Patterns: attn_v, blk.0 or output.weight name a tensor or a part of its name between dots; with * or ? the whole name \
as a wildcard; between slashes a regular expression. --dry-run lists the names.";

/// Flags of `tern quantize`.
#[derive(Debug, Args)]
#[command(after_help = TYPES)]
pub struct QuantizeArgs {
    /// A .gguf file, or a Hugging Face folder with config.json and *.safetensors
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The .gguf file to write
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Type of the weights: Q8_0, Q6_K, Q4_K_M, IQ4_XS, F16, ...
    #[arg(long = "type", value_name = "TYPE", value_parser = mix)]
    pub mix: &'static Mix,
    /// Type for the tensors that PATTERN means, before all else; may be repeated, the first that matches counts
    #[arg(long, value_name = "PATTERN=TYPE", value_parser = keep)]
    pub keep: Vec<(Pattern, DType)>,
    /// Importance matrix, which makes small types better (see `tern imatrix`)
    #[arg(long, value_name = "FILE")]
    pub imatrix: Option<PathBuf>,
    /// The same type for all matrices
    #[arg(long)]
    pub pure: bool,
    /// Round weights that are rounded already; worse than starting from F16
    #[arg(long)]
    pub allow_requantize: bool,
    #[command(flatten)]
    pub write: WriteArgs,
}

/// What commands that write a model have in common.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Replace OUT if it exists
    #[arg(long)]
    pub force: bool,
    /// Tell what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `tern quantize`.
pub fn quantize(backend: &BackendArgs, args: &QuantizeArgs) -> Result<()> {
    let input = Input::open(&args.input, backend.read_options())?;
    let imatrix = args.imatrix.as_deref().map(Imatrix::read).transpose()?;
    if imatrix.is_none() && args.mix.needs_imatrix() {
        terminal::note(&format!("{} without --imatrix gives a poor model; see tern imatrix", args.mix.name));
    }
    let wish = Wish {
        mix: Some(args.mix),
        pure: args.pure,
        keep: args.keep.clone(),
        allow_requantize: args.allow_requantize,
        imatrix,
    };
    let imatrix_name = args.imatrix.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
    convert(backend, &input, args.output.as_deref(), &wish, &args.write, imatrix_name)
}

/// Plans, writes and reports.
pub fn convert(
    backend: &BackendArgs,
    input: &Input,
    output: Option<&Path>,
    wish: &Wish,
    args: &WriteArgs,
    imatrix_name: String,
) -> Result<()> {
    let plan = Plan::new(input, wish)?;
    let (threads, cancel) = (backend.threads as usize, CancelFlag::new());
    let options = WriteOptions { force: args.force, threads, imatrix_name, cancel };
    carry_out(input, output, &plan, wish, args, &options.cancel, |output, progress| {
        tern_convert::write(input, &plan, wish, output, &options, progress)
    })
}

/// Writes as `write` does it, with progress, and reports; or tells what would be written.
pub fn carry_out(
    input: &Input,
    output: Option<&Path>,
    plan: &Plan,
    wish: &Wish,
    args: &WriteArgs,
    cancel: &CancelFlag,
    write: impl FnOnce(&Path, &mut dyn FnMut(Step<'_>)) -> std::result::Result<(), ConvertError>,
) -> Result<()> {
    let mut out = Out::new();
    let Some(output) = output.filter(|_| !args.dry_run) else {
        notes(plan, wish);
        return if args.json { out.json(&record(input, plan, wish, None)) } else { listing(&mut out, input, plan) };
    };
    let watch = interrupt::watch(cancel.clone());
    let (mut shown, started) = (Progress::new(), Instant::now());
    write(output, &mut |p| {
        shown.update(|| {
            let share = p.done as f64 / p.total.max(1) as f64;
            let left = started.elapsed().as_secs_f64() * (1.0 / share.max(1e-9) - 1.0);
            format!("{:3.0} %, {} left, tensor {} of {}: {}", share * 100.0, clock(left), p.number, p.tensors, p.tensor)
        });
    })?;
    drop((shown, watch));
    notes(plan, wish);
    if args.json {
        return out.json(&record(input, plan, wish, Some((output, started.elapsed()))));
    }
    out.line(&format!("{}: {}", terminal::printable(&output.display().to_string()), totals(input, plan)))?;
    out.flush()
}

/// What people should know before they use the result.
fn notes(plan: &Plan, wish: &Wish) {
    for f in plan.fallbacks() {
        let (tensors, block) = (count(f.tensors, "tensor"), f.wanted.block_len());
        let first = terminal::printable(&f.first);
        terminal::note(&format!(
            "{} instead of {}: {tensors} ({first}{}), rows that are no multiple of {block}",
            f.to,
            f.wanted,
            if f.tensors > 1 { ", ..." } else { "" },
        ));
    }
    for pattern in &plan.unmatched {
        terminal::note(&format!("--keep {}: no tensor has such a name", terminal::printable(pattern)));
    }
    if wish.imatrix.is_some() && !plan.assignments.iter().any(|a| a.weighted) {
        terminal::note("the importance matrix has nothing for the tensors that are quantized");
    }
    if wish.allow_requantize && plan.assignments.iter().any(|a| a.from.is_quantized() && a.to != a.from) {
        terminal::note("weights that are rounded already are rounded again: quality suffers");
    }
}

fn listing(out: &mut Out, input: &Input, plan: &Plan) -> Result<()> {
    let width = plan.assignments.iter().map(|a| a.name.chars().count()).max().unwrap_or(0);
    for a in &plan.assignments {
        let change = if a.from == a.to { a.to.to_string() } else { format!("{} -> {}", a.from, a.to) };
        out.line(&format!("{:width$}  {change}", terminal::printable(&a.name)))?;
    }
    out.line("")?;
    for (dtype, tensors, bytes) in by_type(plan) {
        out.line(&format!("{dtype:8}  {:>12}  {:>9.1} MB", count(tensors, "tensor"), bytes as f64 / 1e6))?;
    }
    out.line(&bold(&totals(input, plan)))?;
    out.flush()
}

fn by_type(plan: &Plan) -> Vec<(DType, usize, u64)> {
    let mut types: Vec<(DType, usize, u64)> = Vec::new();
    for a in &plan.assignments {
        match types.iter_mut().find(|t| t.0 == a.to) {
            Some(t) => (t.1, t.2) = (t.1 + 1, t.2.saturating_add(a.bytes)),
            None => types.push((a.to, 1, a.bytes)),
        }
    }
    types.sort_by_key(|t| std::cmp::Reverse(t.2));
    types
}

fn totals(input: &Input, plan: &Plan) -> String {
    let (before, after) = (input.bytes() as f64 / 1e6, plan.bytes() as f64 / 1e6);
    format!("{after:.1} MB of {before:.1} MB, {:.2} bits per weight", bits(plan))
}

fn bits(plan: &Plan) -> f64 {
    let elements: u64 = plan.assignments.iter().map(|a| a.elements).fold(0, u64::saturating_add);
    plan.bytes() as f64 * 8.0 / elements.max(1) as f64
}

/// The JSON form. `done`: what was written, and how long it took.
fn record(input: &Input, plan: &Plan, wish: &Wish, done: Option<(&Path, Duration)>) -> Value {
    let tensors = plan.assignments.iter().map(|a| {
        json!({
            "name": a.name, "from": a.from.name(), "to": a.to.name(), "wanted": a.wanted.name(),
            "elements": a.elements, "bytes": a.bytes, "weighted": a.weighted,
        })
    });
    json!({
        "input": input.path.display().to_string(),
        "output": done.map(|d| d.0.display().to_string()),
        "type": wish.mix.map(|m| m.name),
        "input_bytes": input.bytes(),
        "bytes": plan.bytes(),
        "bits_per_weight": bits(plan),
        "seconds": done.map(|d| d.1.as_secs_f64()),
        "unmatched": plan.unmatched,
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

/// "0:07", "1:02:03".
pub fn clock(seconds: f64) -> String {
    let s = seconds.round().min(359_999.0) as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

pub fn mix(name: &str) -> std::result::Result<&'static Mix, String> {
    Mix::find(name).ok_or_else(|| {
        let names: Vec<&str> = MIXES.iter().map(|m| m.name).collect();
        format!("there are: {}", names.join(" "))
    })
}

/// `PATTERN=TYPE`. A pattern may have an equals sign, a type has none.
fn keep(text: &str) -> std::result::Result<(Pattern, DType), String> {
    let expected = "expected a pattern, '=' and a type, as in attn_v=Q6_K";
    let (pattern, dtype) = text.rsplit_once('=').ok_or(expected)?;
    let dtype: DType = dtype.trim().parse().map_err(|_| format!("no type is called {dtype:?}; {expected}"))?;
    if !(dtype.is_quantized() || matches!(dtype, DType::F32 | DType::F16 | DType::BF16)) {
        return Err(format!("weights cannot be {dtype}"));
    }
    Ok((Pattern::new(pattern.trim()).map_err(|e| e.to_string())?, dtype))
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        let exit = match error {
            ConvertError::Cancelled => return Self::cancelled(),
            ConvertError::Model(error) => return error.into(),
            ConvertError::Format(error) => return tern::Error::from(error).into(),
            ConvertError::Exists { .. }
            | ConvertError::SameFile { .. }
            | ConvertError::UnknownType { .. }
            | ConvertError::Pattern { .. }
            | ConvertError::Requantize { .. }
            | ConvertError::Quantized { .. } => Exit::Usage,
            ConvertError::Output { .. } => Exit::Failure,
            ConvertError::OutOfMemory { .. } => Exit::Capacity,
            _ => Exit::Input,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_left() {
        assert_eq!((clock(7.4), clock(62.0), clock(3723.0)), ("0:07".into(), "1:02".into(), "1:02:03".into()));
    }

    #[test]
    fn kept_types() {
        let (pattern, dtype) = keep("attn_v=q6_k").unwrap();
        assert_eq!((pattern.text(), dtype), ("attn_v", DType::Q6_K));
        assert_eq!(keep("/a=b/=F16").unwrap().0.text(), "/a=b/");
        for text in ["attn_v", "attn_v=Q9", "=Q8_0", "/(/=Q8_0", "x=I32"] {
            assert!(keep(text).is_err(), "{text}");
        }
    }
}
