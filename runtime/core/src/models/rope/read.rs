//! Scalings of RoPE, from a configuration's words.

use super::super::hyper::unsupported;
use super::super::{ConfigError, Hyper};
use super::{Divisors, LONG, SHORT, Scaling};

impl Scaling {
    /// See [`Rope::read`](super::Rope::read) and, for `exact`, [`Rope::read_exact`](super::Rope::read_exact).
    pub(super) fn read(h: &Hyper<'_>, n_rot: u64, group: &str, exact: bool) -> Result<Self, ConfigError> {
        let paths = |name: &str| {
            [
                format!("rope_scaling.{name}"),
                format!("rope_parameters.{group}.{name}"),
                format!("rope_parameters.{name}"),
            ]
        };
        let get = |gguf: &str, hf: &str, default: Option<f64>| {
            h.float(gguf, &paths(hf).each_ref().map(String::as_str), 1e-6..=1e9, default)
        };
        let factor = || get("rope.scaling.factor", "factor", None);
        let trained = |default: Option<u64>| {
            let original = "original_max_position_embeddings";
            let [a, b, c] = paths(original);
            let key = "rope.scaling.original_context_length";
            Ok::<_, ConfigError>(h.int(key, &[&a, &b, &c, original], 1..=1 << 30, default)? as f64)
        };
        // Parts of other variants, which would change these.
        for part in ["mscale", "mscale_all_dim", "short_mscale", "long_mscale"] {
            paths(part).iter().try_for_each(|path| h.absent(path))?;
        }
        let [a, b, c] = paths("rope_type");
        let stated = ["rope_scaling.type", &a, &b, &c];
        let default = if h.has_tensor(LONG, "") { "longrope" } else { "none" };
        let kind = h.text_or("rope.scaling.type", &stated, default)?;
        match kind.as_str() {
            "none" | "default" if default == "none" => Ok(Self::None),
            "linear" => Ok(Self::Linear(factor()?)),
            "dynamic" => Ok(Self::Dynamic { factor: factor()?, original: trained(Some(h.context_length()?))? }),
            "yarn" => {
                let truncate = paths("truncate");
                let rounded = if exact {
                    let stated = truncate.each_ref().map(String::as_str);
                    h.flag("rope.scaling.yarn_truncate", &stated, h.folder().is_some())?
                } else {
                    // GGUF has no key for it.
                    truncate.iter().try_for_each(|path| h.switch(path, true))?;
                    true
                };
                let factor = factor()?;
                let usual = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
                // GGUF has what is multiplied with the usual.
                let stated = h.folder_float(&paths("attention_factor"))?.map_or(1.0, |f| f / usual);
                let more = h.float("rope.scaling.attn_factor", &[], 1e-6..=1e6, Some(stated))?;
                let ext = h.float("rope.scaling.yarn_ext_factor", &[], -1e9..=1e9, Some(1.0))?;
                if ext != 1.0 {
                    return Err(unsupported("rope.scaling.yarn_ext_factor", &ext.to_string(), "1"));
                }
                Ok(Self::Yarn {
                    factor,
                    original: trained(Some(h.context_length()?))?,
                    fast: get("rope.scaling.yarn_beta_fast", "beta_fast", Some(32.0))?,
                    slow: get("rope.scaling.yarn_beta_slow", "beta_slow", Some(1.0))?,
                    magnitude: usual * more,
                    rounded,
                })
            }
            "llama3" => Ok(Self::Llama3 {
                factor: factor()?,
                low: get("rope.scaling.low_freq_factor", "low_freq_factor", Some(1.0))?,
                high: get("rope.scaling.high_freq_factor", "high_freq_factor", Some(4.0))?,
                original: trained(Some(8192))?,
            }),
            "longrope" | "su" => {
                let original = trained(None)?;
                let grown = h.context_length()? as f64 / original;
                let usual = if grown > 1.0 { (1.0 + grown.ln() / original.ln()).sqrt() } else { 1.0 };
                let stated = h.folder_float(&paths("attention_factor"))?.unwrap_or(usual);
                let divisors = |hf: &str, gguf| match h.folder() {
                    Some(_) => h.folder_floats(&paths(hf), n_rot / 2).map(Divisors::Values),
                    None => h.rows_of(gguf, "").map(|_| Divisors::Tensor(gguf)),
                };
                Ok(Self::Long {
                    short: divisors("short_factor", SHORT)?,
                    long: divisors("long_factor", LONG)?,
                    original,
                    magnitude: h.float("rope.scaling.attn_factor", &[], 1e-6..=1e6, Some(stated))?,
                })
            }
            _ => Err(unsupported("rope scaling", &kind, "none, linear, dynamic, yarn, llama3, longrope")),
        }
    }
}
