//! What `tern bench` tells.

use super::BenchArgs;
use super::profile::Profile;
use super::speculate::Speculated;
use crate::commands::inspect::size;
use crate::experts::ExpertsUsed;
use crate::failure::Result;
use crate::setup;
use crate::stats::Spread;
use crate::terminal::Out;
use serde::Serialize;
use tern::Model;

/// The JSON form is an interface. What was not measured is null.
#[derive(Debug, Serialize)]
pub struct Report {
    pub prefill_tok_s: Option<Spread>,
    pub decode_tok_s: Option<Spread>,
    pub load_ms: f64,
    pub bytes_per_token: u64,
    pub bandwidth_gb_s: Option<f64>,
    pub share_of_bandwidth: Option<f64>,
    /// Of the bytes of weights that decoding read, those that were in memory: the rest came from the mapped file.
    pub hit_rate: Option<f64>,
    /// Of experts on disk, what decoding counted; only where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsUsed>,
    pub peak_rss_bytes: Option<u64>,
    pub tier: String,
    /// These only where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_together_tok_s: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Vec<Speculated>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl Report {
    /// The form for people.
    pub fn print(&self, out: &mut Out, model: &Model, args: &BenchArgs) -> Result<()> {
        let info = model.info();
        let name = info.name.as_deref().unwrap_or(&info.architecture);
        out.text(&format!("{name}, {}\n", setup::place(model)))?;
        if let Some(spread) = self.prefill_tok_s {
            out.line(&row(&format!("prefill {}", args.prompt), spread))?;
        }
        if let Some(spread) = self.decode_tok_s {
            let depth = if args.depth > 0 { format!(" @ {}", args.depth) } else { String::new() };
            out.line(&row(&format!("decode {}{depth}", args.tokens), spread))?;
        }
        if let (Some(sequences), Some(spread)) = (self.sequences, self.decode_together_tok_s) {
            let ratio = self.decode_tok_s.map(|one| format!(", {:.2} times one", spread.median / one.median));
            let label = format!("{sequences} together");
            out.line(&format!("{}{}", row(&label, spread), ratio.unwrap_or_default()))?;
        }
        for one in self.speculation.iter().flatten() {
            out.line(&format!("{} text", one.text))?;
            out.line(&row("  plain", one.plain_tok_s))?;
            let (ratio, drafts) = (one.ratio, one.drafts);
            let told = format!("{ratio:.2} times plain; {} of {} drafts right", drafts.accepted, drafts.proposed);
            out.line(&format!("{}, {told}", row("  speculative", one.speculative_tok_s)))?;
        }
        if let (Some(bandwidth), Some(share)) = (self.bandwidth_gb_s, self.share_of_bandwidth) {
            let read = size(self.bytes_per_token);
            out.line(&format!(
                "{:<18} {:>8.1} %      of {bandwidth:.1} GB/s, at {read} a token",
                "share of bandwidth",
                share * 100.0
            ))?;
        }
        if let Some(rate) = self.hit_rate.filter(|&rate| rate < 0.9995) {
            out.line(&format!("{:<18} {:>8.1} %      of the weights' bytes were in memory", "hit rate", rate * 100.0))?;
        }
        if let Some((rate, more)) = self.experts.and_then(|e| e.told()) {
            out.line(&format!("{:<18} {:>8.1} %      {more}", "experts", rate * 100.0))?;
        }
        out.line(&format!("{:<18} {:>8.1} ms", "load", self.load_ms))?;
        if let Some(peak) = self.peak_rss_bytes {
            out.line(&format!("{:<18} {:>8.1} MB", "peak memory", peak as f64 / 1e6))?;
        }
        if let Some(profile) = &self.profile {
            profile.print(out)?;
        }
        out.flush()
    }
}

fn row(label: &str, spread: Spread) -> String {
    format!("{label:<18} {:>8.1} tok/s  ({:.1} to {:.1})", spread.median, spread.min, spread.max)
}
