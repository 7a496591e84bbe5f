//! The learning rate over the steps.

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decay {
    /// Not at all.
    Constant,
    /// In a straight line to the last step.
    #[default]
    Linear,
    /// In half a cosine to the last step (Loshchilov and Hutter, arXiv 1608.03983).
    Cosine,
}

/// A schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// How it falls.
    pub decay: Decay,
    /// Steps in which it rises in a straight line to its full height.
    pub warmup: u64,
    /// Steps in all; from then on it stays where it is. Of no meaning for [`Decay::Constant`].
    pub steps: u64,
    /// Where it ends, as a share of its full height.
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { decay: Decay::Constant, warmup: 0, steps: 0, floor: 0.0 }
    }
}

impl Schedule {
    /// Factor on the learning rate of step `step`, counted from 0.
    ///
    /// The rise ends with a factor of 1 at step `warmup`; the fall reaches the floor one step after the last, so that the last still
    /// counts.
    pub fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let whole = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / whole as f64).min(1.0);
        let height = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        if self.decay == Decay::Constant { 1.0 } else { self.floor + (1.0 - self.floor) * height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_then_falls_to_its_floor() {
        let s = Schedule { decay: Decay::Linear, warmup: 3, steps: 13, floor: 0.1 };
        let factors: Vec<f64> = (0..15).map(|i| s.factor(i)).collect();
        assert_eq!(factors[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!((factors[8] - 0.55).abs() < 1e-12 && (factors[13] - 0.1).abs() < 1e-12 && factors[14] == factors[13]);
        let s = Schedule { decay: Decay::Cosine, floor: 0.0, ..s };
        assert!((s.factor(8) - 0.5).abs() < 1e-12 && s.factor(13).abs() < 1e-12);
        assert_eq!(Schedule::default().factor(1_000_000), 1.0);
    }
}
