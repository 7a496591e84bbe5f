//! The gain on text that was held out.
//!
//! Documents are the units: the tokens of one depend on each other, so counting tokens would find certainty where there is none.
//! The gain is the ratio of two sums over documents (bits saved, bytes), its variance that of the ratio estimator
//! (Cochran, *Sampling Techniques*, 3rd ed., 6.3), its interval Student's with one degree of freedom less than documents.

use super::student::quantile;
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// A relative gain below this is of no use to anybody, so nobody need wait for evidence of it: 1% of the bits.
pub const MIN_GAIN: f64 = 0.01;
/// Two-sided 95%.
const CONFIDENCE: f64 = 0.975;
/// Chance of finding a gain that is there, which [`needed`] plans for.
const POWER: f64 = 0.8;

/// How well a document was predicted, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Bytes that were predicted.
    pub bytes: u64,
    /// Nats for all of them before.
    pub before: f64,
    /// And after.
    pub after: f64,
}

/// What was gained on held-out documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Documents.
    pub documents: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Bits per byte before.
    pub before: f64,
    /// Bits per byte after.
    pub after: f64,
    /// The lower end of the 95% interval of `before - after`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Standard deviation of a document's gain in bits per byte, weighted by its bytes.
    pub deviation: f64,
}

impl Gain {
    /// Bits per byte gained.
    pub fn bits(&self) -> f64 {
        self.before - self.after
    }

    /// Share of the bits before that was gained.
    pub fn share(&self) -> f64 {
        if self.before > 0.0 { self.bits() / self.before } else { 0.0 }
    }
}

/// The gain over documents.
pub fn gain(documents: &[Measure]) -> Gain {
    let n = documents.len();
    let bytes: u64 = documents.iter().map(|d| d.bytes).sum();
    if bytes == 0 {
        return Gain { documents: n, low: f64::NEG_INFINITY, high: f64::INFINITY, ..Gain::default() };
    }
    let total = bytes as f64;
    let bits = |nats: f64| nats / LN_2 / total;
    let before = bits(documents.iter().map(|d| d.before).sum());
    let after = bits(documents.iter().map(|d| d.after).sum());
    let saved = before - after;
    let off = |d: &Measure| (d.before - d.after) / LN_2 - saved * d.bytes as f64;
    let squares: f64 = documents.iter().map(|d| off(d).powi(2)).sum();
    let count = n as f64;
    let deviation = (squares / (count - 1.0).max(1.0)).sqrt() * count / total;
    // One document says nothing about others.
    let half = if n < 2 { f64::INFINITY } else { quantile(CONFIDENCE, count - 1.0) * deviation / count.sqrt() };
    Gain { documents: n, bytes, before, after, low: saved - half, high: saved + half, deviation }
}

/// About how many documents it takes to show a gain of `bits` per byte where a document's varies by `deviation`: the usual
/// formula for a paired test with a power of 80%, with Student's quantile for the number itself.
pub fn needed(bits: f64, deviation: f64) -> usize {
    /// More than anybody collects.
    const MOST: f64 = 1e6;
    if bits <= 0.0 {
        return MOST as usize;
    }
    let mut n = 2.0_f64;
    for _ in 0..20 {
        let quantiles = quantile(CONFIDENCE, n - 1.0) + quantile(POWER, n - 1.0);
        let next = (quantiles * deviation / bits).powi(2).ceil().clamp(2.0, MOST);
        // Between two counts that ask for each other the larger one is enough.
        if next == n {
            break;
        }
        n = if next < n { ((next + n) / 2.0).ceil() } else { next };
        if next < n && next + 1.0 >= n {
            break;
        }
    }
    n as usize
}
