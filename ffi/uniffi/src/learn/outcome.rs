//! What came of it.

use super::options::Bounds;
use tern::learn::{evidence, report};

/// What became of an attempt to learn.
#[derive(Debug, uniffi::Enum)]
pub enum Verdict {
    /// It helped, and harmed nothing.
    Committed,
    /// A bound stopped it; nothing has changed.
    Refused {
        /// Which.
        bound: Bound,
        /// What was found.
        found: f64,
        /// What is allowed: at most, or for `Order` and `HeldOut` at least.
        limit: f64,
    },
    /// There is nothing to learn from that was not learned before; nothing has changed.
    NothingNew,
    /// It may help, but that cannot be told yet; nothing has changed. The documents wait in the store for more.
    NotEnough {
        /// Held-out documents that there are.
        have: u64,
        /// How many it takes, roughly.
        need: u64,
    },
}

/// Something that is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Bound {
    /// Share of text of origins that are not allowed.
    Origin,
    /// Share of text that repeats what was said.
    Repetition,
    /// What the order of words is worth, as a share of the bits: too little where it is no text.
    Order,
    /// Gain on held-out documents, in bits per byte.
    HeldOut,
    /// Rise of the loss on the model's own answers, in nats per token.
    AnchorRise,
    /// Divergence from the base model, in nats per token.
    Divergence,
    /// Relative size of the change of a matrix.
    Norm,
}

/// How much better held-out documents are predicted, in bits per byte.
#[derive(Clone, Copy, Debug, uniffi::Record)]
pub struct Gain {
    /// Held-out documents.
    pub documents: u64,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// Lower end of the 95% interval of what was gained.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// What changed where nothing was to change; see `Bounds`.
#[derive(Clone, Copy, Debug, uniffi::Record)]
pub struct Harm {
    /// In nats per token.
    pub anchor_rise: f64,
    /// In nats per token.
    pub divergence: f64,
    /// Relative to the matrix.
    pub norm: f64,
}

/// How well facts are remembered: nats per token of the answers, less is better.
#[derive(Clone, Copy, Debug, uniffi::Record)]
pub struct Recall {
    /// Facts that were asked for.
    pub facts: u64,
    /// The base model, without the text.
    pub base: f64,
    /// The model with what it learned, without the text.
    pub learned: f64,
    /// The base model, with the text at hand.
    pub ceiling: f64,
    /// Of what reading the text gives, the share that having learned it gives; none where reading does not help.
    pub share: Option<f64>,
}

/// What came of an attempt to learn.
#[derive(Debug, uniffi::Record)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in one line.
    pub summary: String,
    /// The generation that counts now; 0 is the base model as it is.
    pub generation: u64,
    /// On held-out documents; none where it was not tried.
    pub gain: Option<Gain>,
    /// On the model's own answers; none where it was not tried.
    pub harm: Option<Harm>,
    /// What of it is allowed.
    pub bounds: Bounds,
    /// Facts, where some were given.
    pub recall: Option<Recall>,
    /// Steps taken.
    pub steps: u64,
    /// Tokens learned from, each time that they were.
    pub tokens: u64,
    /// Factor by which what was learned was shrunk to keep within the bounds.
    pub shrunk: f32,
    /// Seconds of learning.
    pub learn_seconds: f64,
    /// Seconds of everything.
    pub seconds: f64,
    /// Most bytes of memory, where known.
    pub memory_bytes: Option<u64>,
    /// All of it as a page for people: plain HTML, without scripts or anything from elsewhere.
    pub report: String,
    /// All of it as JSON.
    pub json: String,
}

impl From<tern::learn::Outcome> for Outcome {
    fn from(o: tern::learn::Outcome) -> Self {
        let (g, h) = (&o.gain, &o.harm);
        let tried = g.documents > 0;
        let gain = Gain { documents: g.documents as u64, before: g.before, after: g.after, low: g.low, high: g.high };
        let harm = Harm { anchor_rise: h.anchor_rise, divergence: h.divergence, norm: h.norm };
        let recall = o.recall.as_ref().map(|r| Recall {
            facts: r.facts as u64,
            base: r.base,
            learned: r.learned,
            ceiling: r.ceiling,
            share: r.share(),
        });
        Self {
            summary: o.verdict.to_string(),
            report: report::html(&o),
            // Numbers that are none become null.
            json: serde_json::to_string(&o).unwrap_or_default(),
            verdict: o.verdict.into(),
            generation: o.generation,
            gain: tried.then_some(gain),
            harm: tried.then_some(harm),
            bounds: o.bounds.into(),
            recall,
            steps: o.steps,
            tokens: o.tokens,
            shrunk: o.shrunk,
            learn_seconds: o.learn_seconds,
            seconds: o.seconds,
            memory_bytes: o.memory,
        }
    }
}

impl From<evidence::Verdict> for Verdict {
    fn from(verdict: evidence::Verdict) -> Self {
        match verdict {
            evidence::Verdict::Commit => Self::Committed,
            evidence::Verdict::Refused { bound, found, limit } => Self::Refused { bound: bound.into(), found, limit },
            evidence::Verdict::Nothing => Self::NothingNew,
            evidence::Verdict::NotEnough { have, need } => Self::NotEnough { have: have as u64, need: need as u64 },
        }
    }
}

impl From<evidence::Bound> for Bound {
    fn from(bound: evidence::Bound) -> Self {
        match bound {
            evidence::Bound::Origin => Self::Origin,
            evidence::Bound::Repetition => Self::Repetition,
            evidence::Bound::Order => Self::Order,
            evidence::Bound::HeldOut => Self::HeldOut,
            evidence::Bound::AnchorRise => Self::AnchorRise,
            evidence::Bound::Divergence => Self::Divergence,
            evidence::Bound::Norm => Self::Norm,
        }
    }
}
