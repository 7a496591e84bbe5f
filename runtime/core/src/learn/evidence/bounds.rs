//! What must not be exceeded, and the verdict.

use super::paired::{Gain, MIN_GAIN, needed};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Share of the bytes that somebody wrote who may not be learned from.
    Origin,
    /// Share of repeated word sequences.
    Repetition,
    /// What the order of words is worth to the base, as a share of the bits: at least.
    Order,
    /// Gain in bits per byte on held-out documents: at least.
    HeldOut,
    /// Rise of the loss on the base's own answers, in nats per token.
    AnchorRise,
    /// Divergence from the base on its own answers, in nats per token.
    Divergence,
    /// Size of the change of a matrix, relative to the matrix.
    Norm,
}

impl Bound {
    /// In a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Origin => "share of text of origins that are not allowed",
            Self::Repetition => "share of text that repeats what was said",
            Self::Order => "what the order of words is worth (share of bits)",
            Self::HeldOut => "gain on held-out documents (bits per byte)",
            Self::AnchorRise => "rise of the loss on the model's own answers (nats per token)",
            Self::Divergence => "divergence from the base model (nats per token)",
            Self::Norm => "relative size of the change of a matrix",
        }
    }

    /// Whether `limit` is the least rather than the most.
    pub fn is_least(self) -> bool {
        matches!(self, Self::Order | Self::HeldOut)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The most that learning may change what the base model does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Rise of the loss on the anchor, nats per token.
    pub anchor_rise: f64,
    /// Divergence on the anchor, nats per token.
    pub divergence: f64,
    /// Largest relative Frobenius norm of a matrix's change.
    pub norm: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { anchor_rise: 0.02, divergence: 0.05, norm: 0.05 }
    }
}

/// What learning changed where nothing was to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    /// See [`Bounds::anchor_rise`].
    pub anchor_rise: f64,
    /// See [`Bounds::divergence`].
    pub divergence: f64,
    /// See [`Bounds::norm`].
    pub norm: f64,
}

impl Harm {
    /// The first bound that is broken. A number that is none breaks it.
    pub fn broken(&self, bounds: &Bounds) -> Option<Verdict> {
        let all = [
            (Bound::AnchorRise, self.anchor_rise, bounds.anchor_rise),
            (Bound::Divergence, self.divergence, bounds.divergence),
            (Bound::Norm, self.norm, bounds.norm),
        ];
        let broken = all.into_iter().find(|&(_, found, limit)| found.is_nan() || found > limit);
        broken.map(|(bound, found, limit)| Verdict::Refused { bound, found, limit })
    }

    /// How much of its bound the worst one takes: 1 is at the bound.
    pub fn worst(&self, bounds: &Bounds) -> f64 {
        let shares =
            [self.anchor_rise / bounds.anchor_rise, self.divergence / bounds.divergence, self.norm / bounds.norm];
        shares.into_iter().fold(0.0, |worst, s| if s.is_nan() { f64::INFINITY } else { worst.max(s) })
    }
}

/// What became of an attempt to learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It helped, and harmed nothing.
    Commit,
    /// A bound stopped it; nothing has changed.
    Refused {
        /// Which.
        bound: Bound,
        /// What was found.
        found: f64,
        /// What is allowed.
        limit: f64,
    },
    /// There is nothing to learn from that was not learned before; nothing has changed.
    Nothing,
    /// It may help, but that cannot be told yet. The text is kept for the next time.
    NotEnough {
        /// Held-out documents that there are.
        have: usize,
        /// How many it takes, roughly.
        need: usize,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("learned"),
            Self::Refused { bound, found, limit } => {
                let word = if bound.is_least() { "at least" } else { "at most" };
                write!(f, "not learned: {bound} is {found:.4}, {word} {limit:.4} is required")
            }
            Self::Nothing => f.write_str("nothing new to learn from"),
            Self::NotEnough { have, need } => {
                write!(f, "not enough evidence: have {have} documents to test with, need about {need}")
            }
        }
    }
}

/// The verdict: harm first, then whether held-out text gained for sure.
///
/// A gain whose interval leaves out 0 is one. What is not sure is *not enough evidence* where more documents could still show it:
/// while the interval's upper end is a gain worth having.
pub fn judge(gain: &Gain, harm: &Harm, bounds: &Bounds) -> Verdict {
    if let Some(refused) = harm.broken(bounds) {
        return refused;
    }
    let worth = MIN_GAIN * gain.before;
    if gain.low > 0.0 && gain.bits().is_finite() {
        return Verdict::Commit;
    }
    if gain.high < worth || gain.bits().is_nan() {
        return Verdict::Refused { bound: Bound::HeldOut, found: gain.bits(), limit: worth };
    }
    let have = gain.documents;
    // Gains smaller than what is worth having are planned for as if they were that large.
    let need = if have < 2 { MIN_DOCUMENTS } else { needed(gain.bits().max(worth), gain.deviation) };
    Verdict::NotEnough { have, need: need.max(have + 1) }
}

/// Held-out documents below which nothing is tried: Student's quantiles fall off steeply up to there.
pub const MIN_DOCUMENTS: usize = 5;
