//! How hard a model is held to its base while it learns: as hard as the bounds ask for.
//!
//! What is learned may take the model as far as the bounds allow, and no farther; so how much a nat of divergence counts follows from
//! how far it has come, as a multiplier follows its constraint. Texts that are foreign to a model pull more than those that it could
//! have written, and one weight would be too much for these, or too little for those.

use super::options::LearnOptions;
use crate::learn::pupil::Hold;

/// Where the divergence on held answers is steered to, as a share of what is allowed on others: on those that a model is not held to it is
/// larger.
const SHARE: f64 = 0.35;
/// What a nat of divergence counts at first. An optimizer's first steps are its largest and least certain ones, and a short run has no
/// others in which to come back.
const WEIGHT: f64 = 4.0;
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.25..=64.0;
/// Steps in which the weight only grows: until they are over, little divergence says no more than that nothing has moved yet.
const EARLY: usize = 8;
/// The most that a step changes the weight by, as an exponent; in the early ones twice that.
const CHANGE: f64 = 0.15;
/// Share of what was seen before in what counts as seen.
const MEMORY: f64 = 0.7;

/// See the module.
pub struct Leash {
    weight: f64,
    /// Nats per token.
    target: f64,
    /// What was seen, each step counting less than the next; and what they count together.
    seen: f64,
    counted: f64,
    steps: usize,
    next: usize,
    held: usize,
    which: Vec<usize>,
    each: usize,
}

impl Leash {
    /// For as many answers as are `held`.
    pub fn new(options: &LearnOptions, held: usize) -> Self {
        // The loss on the base's own words rises about as much as predictions diverge.
        let target = SHARE * options.bounds.divergence.min(options.bounds.anchor_rise * 1.5);
        let (which, each) = (Vec::new(), options.held.min(held));
        Self { weight: WEIGHT, target, seen: 0.0, counted: 0.0, steps: 0, next: 0, held, which, each }
    }

    /// What the next step is held to: answers take turns.
    pub fn hold(&mut self) -> Hold<'_> {
        self.which.clear();
        for _ in 0..self.each {
            self.which.push(self.next);
            self.next = (self.next + 1) % self.held;
        }
        Hold { which: &self.which, weight: self.weight }
    }

    /// A step saw this divergence.
    pub fn feel(&mut self, divergence: f64) {
        if self.each == 0 {
            return;
        }
        self.steps += 1;
        self.seen = MEMORY * self.seen + (1.0 - MEMORY) * divergence;
        self.counted = MEMORY * self.counted + (1.0 - MEMORY);
        let change = (self.seen / self.counted / self.target - 1.0).clamp(-1.0, 1.0) * CHANGE;
        let change = if self.steps <= EARLY { 2.0 * change.max(0.0) } else { change };
        self.weight = (self.weight * change.exp()).clamp(*WEIGHTS.start(), *WEIGHTS.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tightens_beyond_its_target_and_loosens_below() {
        let mut leash = Leash::new(&LearnOptions { held: 2, ..Default::default() }, 3);
        let target = leash.target;
        assert_eq!(leash.hold().which, [0, 1]);
        assert_eq!(leash.hold().which, [2, 0]);
        // At first it does not loosen.
        (0..EARLY).for_each(|_| leash.feel(0.0));
        assert_eq!(leash.hold().weight, WEIGHT);
        (0..50).for_each(|_| leash.feel(3.0 * target));
        assert_eq!(leash.hold().weight, *WEIGHTS.end());
        (0..200).for_each(|_| leash.feel(0.0));
        assert_eq!(leash.hold().weight, *WEIGHTS.start());
        // A model that drifts less the more it is held comes to rest at its target.
        let drift = |weight: f64| 4.0 * target / (1.0 + weight);
        for _ in 0..300 {
            let weight = leash.hold().weight;
            leash.feel(drift(weight));
        }
        assert!((drift(leash.hold().weight) / target - 1.0).abs() < 0.05);
    }

    #[test]
    fn nothing_is_held_where_there_are_no_answers() {
        let mut leash = Leash::new(&LearnOptions::default(), 0);
        assert!(leash.hold().which.is_empty());
        leash.feel(1.0);
        assert_eq!(leash.hold().weight, WEIGHT);
    }
}
