//! RoPE frequencies, scaling included: variants are data for the graph, not ops.
//!
//! Variants that depend on the length of a text (dynamic NTK, LongRoPE) are fixed by the length that a model is opened for: what
//! was computed for a position must not change when the text grows.

mod read;

use super::{ConfigError, Hyper};
use std::f64::consts::PI;

/// Rotary positions: Su et al., arXiv 2104.09864.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Wavelengths grow with powers of it.
    pub base: f64,
    /// Rotated dimensions of a head.
    pub n_rot: u64,
    /// For texts longer than those of the training.
    pub scaling: Scaling,
}

/// How long-context scaling changes the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// As trained.
    None,
    /// Positions divided by a factor.
    Linear(f64),
    /// The base grows with the text beyond the original length ("dynamic NTK").
    Dynamic {
        /// Of the length that is supported.
        factor: f64,
        /// Context length of the training.
        original: f64,
    },
    /// Low frequencies divided by a factor, high ones kept, a ramp between: Peng et al., arXiv 2309.00071.
    Yarn {
        /// Divisor of low frequencies.
        factor: f64,
        /// Context length of the training.
        original: f64,
        /// Frequencies that turn more often within it are kept.
        fast: f64,
        /// Frequencies that turn less often within it are divided.
        slow: f64,
        /// Factor on cosine and sine.
        magnitude: f64,
        /// Do the ramp's ends lie on whole frequencies, as most programs have it, rather than where the paper has them?
        rounded: bool,
    },
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
    /// Divisors that were searched for, one list for texts up to the original length and one beyond: Ding et al.,
    /// arXiv 2402.13753.
    Long {
        /// Up to `original`.
        short: Divisors,
        /// Beyond.
        long: Divisors,
        /// Context length of the training.
        original: f64,
        /// Factor on cosine and sine.
        magnitude: f64,
    },
}

/// One number per frequency.
#[derive(Clone, Debug, PartialEq)]
pub enum Divisors {
    /// Known.
    Values(Vec<f32>),
    /// In a vector of the file.
    Tensor(&'static str),
}

/// What [`Scaling::Long`] is divided by, in GGUF.
const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";
/// What frequencies are divided by whatever the length, in GGUF.
pub const FIXED: &str = "rope_freqs.weight";

impl Rope {
    /// Reads what a configuration states for `n_rot` dimensions. Folders with several kinds of layers state it for each
    /// `group`; empty otherwise.
    ///
    /// # Errors
    /// [`ConfigError`] for a kind that is not supported, or values out of range.
    pub fn read(h: &Hyper<'_>, n_rot: u64, group: &str) -> Result<Self, ConfigError> {
        Ok(Self { scaling: Scaling::read(h, n_rot, group, false)?, ..Self::base(h, n_rot, group)? })
    }

    /// The same for an architecture whose YaRN is that of the paper, unless it is said to be rounded.
    ///
    /// # Errors
    /// As [`Rope::read`].
    pub fn read_exact(h: &Hyper<'_>, n_rot: u64) -> Result<Self, ConfigError> {
        Ok(Self { scaling: Scaling::read(h, n_rot, "", true)?, ..Self::base(h, n_rot, "")? })
    }

    fn base(h: &Hyper<'_>, n_rot: u64, group: &str) -> Result<Self, ConfigError> {
        let own = format!("rope_parameters.{group}.rope_theta");
        let paths = [own.as_str(), "rope_theta", "rope_parameters.rope_theta"];
        let base = h.float("rope.freq_base", &paths, 1.0..=1e12, Some(10000.0))?;
        Ok(Self { base, n_rot, scaling: Scaling::None })
    }

    /// Angular frequencies in radians per position, `n_rot / 2` of them, for texts of `length`; before the division by a
    /// tensor of the file.
    pub fn frequencies(&self, length: u64) -> Vec<f32> {
        let n = self.n_rot as f64;
        let base = match self.scaling {
            Scaling::Dynamic { factor, original } if length as f64 > original => {
                self.base * (factor * length as f64 / original - (factor - 1.0)).powf(n / (n - 2.0))
            }
            _ => self.base,
        };
        let ramp = |fast: f64, slow: f64, original: f64, rounded: bool| {
            let turns = |t: f64| n * (original / (t * 2.0 * PI)).ln() / (2.0 * self.base.ln());
            let (low, high) = (turns(fast), turns(slow));
            let (low, high) = if rounded { (low.floor(), high.ceil()) } else { (low, high) };
            let (low, high) = (low.max(0.0), high.min(n - 1.0));
            move |i: f64| ((i - low) / (high - low).max(1e-3)).clamp(0.0, 1.0)
        };
        let divisors = match self.scaling_for(length) {
            Some(Divisors::Values(values)) => Some(values),
            _ => None,
        };
        let scaled = |i: usize| {
            let f = base.powf(-2.0 * i as f64 / n);
            match self.scaling {
                Scaling::None | Scaling::Dynamic { .. } => f,
                Scaling::Linear(factor) => f / factor,
                Scaling::Yarn { factor, original, fast, slow, rounded, .. } => {
                    let t = ramp(fast, slow, original, rounded)(i as f64);
                    f / factor * t + f * (1.0 - t)
                }
                Scaling::Llama3 { factor, low, high, original } => llama3(f, factor, low, high, original),
                Scaling::Long { .. } => f / divisors.and_then(|d| d.get(i)).map_or(1.0, |&d| f64::from(d)),
            }
        };
        (0..self.n_rot as usize / 2).map(|i| scaled(i) as f32).collect()
    }

    /// Factor on cosine and sine.
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { magnitude, .. } | Scaling::Long { magnitude, .. } => magnitude as f32,
            _ => 1.0,
        }
    }

    /// The vector of a GGUF file that frequencies for texts of `length` are divided by, if there is one.
    pub fn tensor(&self, length: u64) -> &'static str {
        match self.scaling_for(length) {
            Some(Divisors::Tensor(name)) => name,
            _ => FIXED,
        }
    }

    /// Longest text that frequencies chosen for `length` are right for.
    pub fn reach(&self, length: u64) -> u64 {
        match self.scaling {
            Scaling::Long { original, .. } | Scaling::Dynamic { original, .. } if length as f64 <= original => {
                original as u64
            }
            Scaling::Dynamic { .. } => length,
            _ => u64::MAX,
        }
    }

    /// Vectors that a GGUF file of the model has, where the configuration has other things.
    pub fn vectors(&self) -> Vec<(&'static str, Vec<f32>)> {
        match &self.scaling {
            Scaling::Long { short: Divisors::Values(short), long: Divisors::Values(long), .. } => {
                vec![(LONG, long.clone()), (SHORT, short.clone())]
            }
            Scaling::Llama3 { .. } => {
                let plain = Self { scaling: Scaling::None, ..self.clone() }.frequencies(0);
                vec![(FIXED, plain.iter().zip(self.frequencies(0)).map(|(plain, f)| plain / f).collect())]
            }
            _ => Vec::new(),
        }
    }

    fn scaling_for(&self, length: u64) -> Option<&Divisors> {
        match &self.scaling {
            Scaling::Long { short, original, .. } if length as f64 <= *original => Some(short),
            Scaling::Long { long, .. } => Some(long),
            _ => None,
        }
    }
}

fn llama3(f: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * PI / f;
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

    fn rope(base: f64, n_rot: u64, scaling: Scaling) -> Rope {
        Rope { base, n_rot, scaling }
    }

    #[test]
    fn plain_frequencies_fall_geometrically() {
        let f = rope(10000.0, 8, Scaling::None).frequencies(1);
        assert_eq!(f, [1.0, 0.1, 0.01, 0.001]);
        assert_eq!(rope(10000.0, 8, Scaling::Linear(2.0)).frequencies(1)[1], 0.05);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let plain = rope(500_000.0, 128, Scaling::None).frequencies(1);
        let scaled = rope(500_000.0, 128, scaling);
        let f = scaled.frequencies(1);
        assert_eq!(f[0], plain[0]);
        assert!((f[63] * 8.0 / plain[63] - 1.0).abs() < 1e-6);
        assert!(f.iter().zip(&plain).all(|(s, p)| s <= p && s * 8.01 > *p));
        let vectors = scaled.vectors();
        assert_eq!((vectors[0].0, vectors[0].1[0]), (FIXED, 1.0));
        assert!((vectors[0].1[63] - 8.0).abs() < 1e-5);
    }

    #[test]
    fn dynamic_grows_its_base_beyond_the_original_length() {
        let dynamic = rope(10000.0, 8, Scaling::Dynamic { factor: 4.0, original: 100.0 });
        assert_eq!(dynamic.frequencies(100), rope(10000.0, 8, Scaling::None).frequencies(0));
        // base * (4 * 2 - 3)^(8/6)
        let grown = rope(10000.0 * 5f64.powf(8.0 / 6.0), 8, Scaling::None);
        assert_eq!(dynamic.frequencies(200), grown.frequencies(0));
        assert_eq!((dynamic.reach(50), dynamic.reach(200)), (100, 200));
    }

    #[test]
    fn yarn_keeps_high_frequencies_and_divides_low_ones() {
        let scaling =
            Scaling::Yarn { factor: 4.0, original: 64.0, fast: 8.0, slow: 1.0, magnitude: 1.5, rounded: true };
        let (plain, yarn) = (rope(100.0, 16, Scaling::None), rope(100.0, 16, scaling));
        let (p, y) = (plain.frequencies(0), yarn.frequencies(0));
        // 16 ln(64 / (8 * 2π)) / (2 ln 100) = 0.42, 16 ln(64 / 2π) / (2 ln 100) = 4.03: a ramp from 0 to 5.
        assert_eq!(y[0], p[0]);
        assert!((y[1] / p[1] - 0.85).abs() < 1e-6 && (y[6] * 4.0 / p[6] - 1.0).abs() < 1e-6);
        assert_eq!((yarn.magnitude(), yarn.reach(9)), (1.5, u64::MAX));
        let Scaling::Yarn { factor, original, fast, slow, magnitude, .. } = yarn.scaling else { panic!() };
        let exact = Scaling::Yarn { factor, original, fast, slow, magnitude, rounded: false };
        let y = rope(100.0, 16, exact).frequencies(0);
        // (1 - 0.42) / (4.03 - 0.42) of three quarters.
        assert!((y[1] / p[1] - 0.8795).abs() < 1e-3, "{}", y[1] / p[1]);
    }

    #[test]
    fn long_chooses_by_length() {
        let (short, long) = (Divisors::Values(vec![1.0, 2.0]), Divisors::Tensor(LONG));
        let long = rope(10000.0, 4, Scaling::Long { short, long, original: 10.0, magnitude: 1.0 });
        assert_eq!((long.frequencies(10), long.tensor(10)), (vec![1.0, 0.005], FIXED));
        assert_eq!((long.frequencies(11), long.tensor(11)), (vec![1.0, 0.01], LONG));
        assert_eq!((long.reach(5), long.reach(11)), (10, u64::MAX));
    }
}
