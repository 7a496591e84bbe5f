//! `tern doctor`: what is here, and what is wrong with it.

use crate::args::BackendArgs;
use crate::commands::inspect::size;
use crate::failure::{Exit, Failure, Result};
use crate::terminal::{Out, Progress, bold, printable};
use crate::{bandwidth, cache, fetch, machine, store, terminal};
use clap::Args;
use serde_json::{Value, json};
use tern::backend::{ENV_PATH, MemoryInfo, Outcome, Registry, Report};

/// About a small model, and more than caches near a core hold.
const ARRAY_BYTES: u64 = 100_000_000;

/// Flags of `tern doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// The device that would be used.
struct Chosen {
    backend: String,
    name: String,
    tier: String,
    deterministic: bool,
    memory: Option<MemoryInfo>,
}

/// Runs `tern doctor`. Fails, after telling all, where there is no backend to use.
pub fn doctor(backend: &BackendArgs, args: &DoctorArgs) -> Result<()> {
    let registry = backend.registry();
    let chosen = choose(&registry, backend);
    let threads = if backend.threads > 0 { backend.threads } else { machine::cores() as u32 };
    let mut progress = Progress::new();
    progress.update(|| "measuring memory bandwidth".to_owned());
    let bandwidth = bandwidth::measure(ARRAY_BYTES, threads);
    drop(progress);
    let mut out = Out::new();
    if args.json {
        out.json(&as_json(&registry, &chosen, threads, bandwidth))?;
    } else {
        print(&mut out, &registry, &chosen, threads, bandwidth)?;
    }
    match chosen {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn choose(registry: &Registry, args: &BackendArgs) -> Result<Chosen> {
    let backend = match &args.backend {
        Some(name) => registry.get(name)?,
        None => registry.best()?,
    };
    let device = backend.open(0, args.threads, &args.tier)?;
    let info = device.info();
    if info.name.is_empty() && info.tier.is_empty() {
        return Err(Failure::new(Exit::Backend, format!("backend {} does not describe its device", backend.name())));
    }
    Ok(Chosen {
        backend: backend.name().to_owned(),
        name: info.name.clone(),
        tier: info.tier.clone(),
        deterministic: info.deterministic,
        memory: device.memory().ok(),
    })
}

fn as_json(registry: &Registry, chosen: &Result<Chosen>, threads: u32, bandwidth: Option<f64>) -> Value {
    let device = chosen.as_ref().ok().map(|c| {
        json!({ "backend": c.backend, "name": c.name, "tier": c.tier, "deterministic": c.deterministic,
                "memory_free": c.memory.map(|m| m.free), "memory_total": c.memory.map(|m| m.total) })
    });
    let features: serde_json::Map<_, _> =
        machine::cpu_features().into_iter().map(|(name, there)| (name.to_owned(), json!(there))).collect();
    let cache = cache::folder().ok();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "backends": registry.reports().iter().map(report_json).collect::<Vec<_>>(),
        "device": device,
        "cores": machine::cores(),
        "cpu_features": features,
        "memory_total": machine::memory().map(|m| m.0),
        "memory_available": machine::memory().map(|m| m.1),
        "bandwidth_gb_s": bandwidth.map(|b| b / 1e9),
        "bandwidth_threads": threads,
        "cache": cache.map(|c| c.display().to_string()),
        "demo_model_cached": fetch::DEMO.is_cached(),
        "store": store::default_folder().ok().map(|s| s.display().to_string()),
    })
}

fn report_json(report: &Report) -> Value {
    let (status, version, score, reason) = match &report.outcome {
        Outcome::Chosen { version, score } => ("chosen", Some(version), Some(score), None),
        Outcome::Found { version, score } => ("found", Some(version), Some(score), None),
        Outcome::Refused(error) => ("refused", None, None, Some(error.to_string())),
    };
    let path = report.path.as_ref().map(|p| p.display().to_string());
    json!({ "name": report.name, "path": path, "status": status, "version": version, "score": score, "reason": reason })
}

fn print(
    out: &mut Out,
    registry: &Registry,
    chosen: &Result<Chosen>,
    threads: u32,
    bandwidth: Option<f64>,
) -> Result<()> {
    out.line(&bold(&format!("tern {}", env!("CARGO_PKG_VERSION"))))?;
    out.line(&bold("backends"))?;
    for report in registry.reports() {
        out.line(&format!("  {}", printable(&describe(report))))?;
    }
    if registry.reports().is_empty() {
        out.line("  none are part of this program, and no folder has any")?;
    }
    out.line(&format!("  (more folders: --backend-path DIR, or {ENV_PATH})"))?;
    out.line(&bold("device"))?;
    match chosen {
        Ok(c) => {
            let exact = if c.deterministic { "the same tokens every time" } else { "results may vary" };
            out.text(&format!("  {}, tier {}, on {}; {exact}\n", c.name, c.tier, c.backend))?;
            if let Some(m) = c.memory.filter(|m| m.total > 0) {
                out.line(&format!("  memory {} free of {}", size(m.free), size(m.total)))?;
            }
        }
        Err(failure) => out.text(&format!("  none: {}\n", failure.message))?,
    }
    out.line(&bold("processor"))?;
    let features = machine::cpu_features();
    let names = |there| features.iter().filter(|f| f.1 == there).map(|f| f.0).collect::<Vec<_>>().join(" ");
    out.line(&format!("  {}, {} cores for this process", std::env::consts::ARCH, machine::cores()))?;
    for (label, list) in [("has", names(true)), ("lacks", names(false))] {
        if !list.is_empty() {
            out.line(&format!("  {label} {list}"))?;
        }
    }
    out.line(&bold("memory"))?;
    if let Some((all, available)) = machine::memory() {
        out.line(&format!("  {} available of {}", size(available), size(all)))?;
    }
    match bandwidth {
        Some(b) => out.line(&format!(
            "  reads {:.1} GB/s with {} ({})",
            b / 1e9,
            terminal::count(threads as usize, "thread"),
            size(ARRAY_BYTES)
        ))?,
        None => out.line("  its bandwidth could not be measured")?,
    }
    out.line(&bold("cache"))?;
    match cache::folder() {
        Ok(folder) => {
            let demo = if fetch::DEMO.is_cached() { "has" } else { "does not have" };
            out.text(&format!("  {}, which {demo} the model of `tern demo`\n", folder.display()))?;
        }
        Err(failure) => out.line(&format!("  {}", failure.message))?,
    }
    out.line(&bold("store of deltas"))?;
    match store::default_folder() {
        Ok(folder) => out.text(&format!("  {}\n", folder.display()))?,
        Err(failure) => out.line(&format!("  {}", failure.message))?,
    }
    out.flush()
}

fn describe(report: &Report) -> String {
    let name = if report.name.is_empty() { "?" } else { &report.name };
    let origin = report.path.as_ref().map_or("built in".to_owned(), |p| p.display().to_string());
    match &report.outcome {
        Outcome::Chosen { version, score } => format!("chosen   {name} {version}, score {score}, {origin}"),
        Outcome::Found { version, score } => format!("usable   {name} {version}, score {score}, {origin}"),
        Outcome::Refused(error) => format!("refused  {name}, {origin}: {error}"),
    }
}
