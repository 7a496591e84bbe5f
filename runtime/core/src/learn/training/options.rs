//! What a training is to do, and what it will take.

use crate::error::Error;
use crate::learn::{AdapterError, Layout, OptimizerKind, Schedule};
use crate::models::AdapterBanks;
use std::collections::BTreeSet;

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingOptions {
    /// Matrices that get factors, by the last part of their names: `attn_q`, `ffn_down`. Empty: all of the layers'.
    pub targets: Vec<String>,
    /// Rank of the factors.
    pub rank: u64,
    /// The factor on B A is alpha / rank.
    pub alpha: f32,
    /// Rank-stabilised: alpha / sqrt(rank) (Kalajdzievski, arXiv 2312.03732).
    pub rslora: bool,
    /// Share of the columns of each A that sit a step out, the others being scaled up. They are chosen anew for every step, the same
    /// for all its tokens.
    pub dropout: f32,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// Learning rate at its height.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// The gradient's length is brought down to this.
    pub clip: Option<f64>,
    /// Of all random numbers.
    pub seed: u64,
    /// Tokens of a micro-batch, and of the longest example.
    pub context: u64,
    /// Most bytes that training may take beside the model.
    pub max_bytes: Option<u64>,
    /// Tokens that [`Training::hold`](super::Training::hold) is to be called for, at most: their memory, and what that and
    /// [`Training::kl`](super::Training::kl) take while they run, is planned for. 0: neither is called.
    pub holds: u64,
    /// Which layers' intermediate values are computed twice rather than kept; the least that fits the bytes if not given.
    pub recompute: Option<Recompute>,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            rank: 8,
            alpha: 16.0,
            rslora: false,
            dropout: 0.0,
            optimizer: OptimizerKind::default(),
            learning_rate: 3e-4,
            schedule: Schedule::default(),
            clip: Some(1.0),
            seed: 0,
            context: 256,
            max_bytes: None,
            holds: 0,
            recompute: None,
        }
    }
}

/// How many layers, from the first on, keep nothing but their input for the way back: what they need then is computed a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recompute(pub u64);

/// What a training takes. All in bytes, beside the model itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPlan {
    /// Numbers that are trained.
    pub parameters: u64,
    /// Layers whose intermediate values are computed twice.
    pub recompute: Recompute,
    /// Layers.
    pub layers: u64,
    /// Factors on the device.
    pub factor_bytes: u64,
    /// Intermediate values of a micro-batch, scratch and inputs.
    pub working_bytes: u64,
    /// The same of [`Training::score`](super::Training::score), once it has been called.
    pub scoring_bytes: u64,
    /// What [`TrainingOptions::holds`] asks for.
    pub holding_bytes: u64,
    /// Factors, gradients and the optimizer's state on the host.
    pub host_bytes: u64,
    /// All of these.
    pub total_bytes: u64,
    /// What there is, where that is known.
    pub available_bytes: Option<u64>,
}

impl TrainingPlan {
    /// Does it fit, as far as is known?
    pub fn fits(&self) -> bool {
        self.available_bytes.is_none_or(|n| self.total_bytes <= n)
    }
}

impl TrainingOptions {
    /// The factor on B A.
    pub(crate) fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// # Errors
    /// [`Error::Setting`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let bad = |setting, found: String, expected| Err(Error::Setting { setting, found, expected });
        if !(1..=1024).contains(&self.rank) {
            return bad("rank", self.rank.to_string(), "1 to 1024");
        }
        if !self.alpha.is_finite() || self.alpha == 0.0 {
            return bad("alpha", self.alpha.to_string(), "a finite number other than 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", self.dropout.to_string(), "0 to less than 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate >= 0.0) {
            return bad("learning rate", self.learning_rate.to_string(), "a finite number from 0 on");
        }
        if let Some(clip) = self.clip.filter(|c| !(c.is_finite() && *c > 0.0)) {
            return bad("clip", clip.to_string(), "a finite number above 0");
        }
        if !(2..=1 << 20).contains(&self.context) {
            return bad("context", self.context.to_string(), "2 to 1048576");
        }
        Ok(())
    }

    /// The banks for the chosen matrices of a model.
    pub(super) fn banks(&self, layout: &Layout<'_>) -> Result<AdapterBanks, Error> {
        let inner =
            |name: &str| Some(name.strip_prefix("blk.")?.split_once('.')?.1.strip_suffix(".weight")?.to_owned());
        let all: Vec<(String, &str)> =
            layout.matrices().filter_map(|s| Some((inner(&s.gguf)?, s.gguf.as_str()))).collect();
        let known: BTreeSet<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
        if let Some(wanted) = self.targets.iter().find(|t| !known.contains(t.as_str())) {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(AdapterError::Targets { wanted: wanted.clone(), known }.into());
        }
        let chosen = all.iter().filter(|(kind, _)| self.targets.is_empty() || self.targets.contains(kind));
        let targets = chosen.map(|(_, name)| (*name).to_owned()).collect();
        Ok(AdapterBanks { count: 1, rank: self.rank, targets })
    }
}
