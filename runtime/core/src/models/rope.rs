//! RoPE frequencies, scaling included: variants are data for the graph, not ops.

use super::{ConfigError, Hyper};

/// How long-context scaling changes the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// As trained.
    None,
    /// Positions divided by a factor.
    Linear(f64),
    /// Llama 3: low frequencies divided by `factor`, high ones kept, a smooth step between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths longer than `original / low` are scaled.
        low: f64,
        /// Wavelengths shorter than `original / high` are kept.
        high: f64,
        /// Context length of the first training.
        original: f64,
    },
}

impl Scaling {
    /// Reads the scaling that a configuration states.
    ///
    /// # Errors
    /// [`ConfigError`] for a kind that is not supported, or values out of range.
    pub fn read(hyper: &Hyper<'_>) -> Result<Self, ConfigError> {
        // GGUF states linear scaling by keys; Llama 3's is a tensor of divisors (`rope_freqs.weight`).
        let kind = hyper.text_or(
            "rope.scaling.type",
            &["rope_scaling.rope_type", "rope_scaling.type", "rope_parameters.rope_type"],
            "none",
        )?;
        let get = |gguf: &str, hf: &str, default: Option<f64>| {
            let paths = [format!("rope_scaling.{hf}"), format!("rope_parameters.{hf}")];
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            hyper.float(gguf, &paths, 1e-6..=1e9, default)
        };
        match kind.as_str() {
            "none" | "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear(get("rope.scaling.factor", "factor", None)?)),
            "llama3" => Ok(Self::Llama3 {
                factor: get("rope.scaling.factor", "factor", None)?,
                low: get("rope.scaling.low_freq_factor", "low_freq_factor", Some(1.0))?,
                high: get("rope.scaling.high_freq_factor", "high_freq_factor", Some(4.0))?,
                original: get(
                    "rope.scaling.original_context_length",
                    "original_max_position_embeddings",
                    Some(8192.0),
                )?,
            }),
            _ => Err(ConfigError::Unsupported {
                key: "rope scaling".into(),
                found: kind,
                supported: "none, linear, llama3".into(),
            }),
        }
    }

    /// `n_rot / 2` angular frequencies, in radians per position.
    pub fn frequencies(&self, base: f64, n_rot: u64) -> Vec<f32> {
        (0..n_rot / 2)
            .map(|i| {
                let f = base.powf(-2.0 * i as f64 / n_rot as f64);
                match *self {
                    Self::None => f as f32,
                    Self::Linear(factor) => (f / factor) as f32,
                    Self::Llama3 { factor, low, high, original } => llama3(f, factor, low, high, original) as f32,
                }
            })
            .collect()
    }
}

fn llama3(f: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / f;
    if wavelength < original / high {
        f
    } else if wavelength > original / low {
        f / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * f / factor + smooth * f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_fall_geometrically() {
        let f = Scaling::None.frequencies(10000.0, 8);
        assert_eq!(f, [1.0, 0.1, 0.01, 0.001]);
        assert_eq!(Scaling::Linear(2.0).frequencies(10000.0, 8)[1], 0.05);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let s = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let plain = Scaling::None.frequencies(500_000.0, 128);
        let scaled = s.frequencies(500_000.0, 128);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] * 8.0 / plain[63] - 1.0).abs() < 1e-6);
        assert!(scaled.iter().zip(&plain).all(|(s, p)| s <= p && s * 8.01 > *p));
    }
}
