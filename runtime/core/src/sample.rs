//! Choosing the next token.
//!
//! Order: logit bias, penalties, constraint, top-k, top-p, min-p, temperature, then one draw. Random numbers are a function of
//! (seed, position), so that a sequence continues alike however it got to its position.

use crate::constraint::Matcher;
use crate::error::Error;
use crate::random::{GOLDEN, mix, unit};

/// How to choose. The default is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits before the draw; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 for all.
    pub min_p: f32,
    /// Tokens of the last `penalty_window` get their logit divided (if positive) or multiplied by this; 1 for none.
    pub repetition_penalty: f32,
    /// Taken off the logit of every token in the window.
    pub presence_penalty: f32,
    /// Taken off the logit of every token in the window, times its count there.
    pub frequency_penalty: f32,
    /// Tokens back that penalties look at.
    pub penalty_window: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Added to the logits of these tokens; minus infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 64,
            seed: 0,
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<(), Error> {
        let bad = |setting, found: f32, expected| Err(Error::Setting { setting, found: found.to_string(), expected });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return bad("temperature", self.temperature, "0 or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p, "more than 0, at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return bad("min_p", self.min_p, "0 to 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return bad("repetition_penalty", self.repetition_penalty, "more than 0");
        }
        if !(self.presence_penalty.is_finite() && self.frequency_penalty.is_finite()) {
            return bad("penalty", self.presence_penalty, "a number");
        }
        Ok(())
    }

    /// The token after `history`, given its `logits`, which it may change.
    pub fn choose(&self, logits: &mut [f32], history: &[u32]) -> u32 {
        self.weigh(logits, history);
        self.pick(logits, history)
    }

    /// The same among the tokens that `matcher` allows, behind which it then is.
    ///
    /// # Errors
    /// [`Error::Constraint`], also where the settings leave none of those tokens.
    pub fn choose_within(&self, logits: &mut [f32], history: &[u32], matcher: &mut dyn Matcher) -> Result<u32, Error> {
        self.weigh(logits, history);
        // The likeliest token of all, if it may come, is the likeliest of those that may: no need to find the others.
        let best = argmax(logits);
        let id = if self.temperature == 0.0 && matcher.allowed(&[best])? == 1 {
            best
        } else {
            matcher.mask(logits)?;
            if !logits.iter().any(|&l| l > f32::NEG_INFINITY) {
                return Err(Error::Constraint { what: "no token is left that may come next".to_owned() });
            }
            self.pick(logits, history)
        };
        matcher.push(id)?;
        Ok(id)
    }

    fn weigh(&self, logits: &mut [f32], history: &[u32]) {
        for &(id, bias) in &self.logit_bias {
            if let Some(l) = logits.get_mut(id as usize) {
                *l += bias;
            }
        }
        self.penalize(logits, history);
    }

    fn pick(&self, logits: &[f32], history: &[u32]) -> u32 {
        if self.temperature == 0.0 {
            return argmax(logits);
        }
        let mut candidates = self.candidates(logits);
        let max = candidates.first().map_or(0.0, |c| c.1);
        for c in &mut candidates {
            c.1 = ((c.1 - max) / self.temperature).exp();
        }
        draw(&candidates, uniform(self.seed, history.len() as u64))
    }

    fn penalize(&self, logits: &mut [f32], history: &[u32]) {
        if self.repetition_penalty == 1.0 && self.presence_penalty == 0.0 && self.frequency_penalty == 0.0 {
            return;
        }
        let mut window = history[history.len().saturating_sub(self.penalty_window)..].to_vec();
        window.sort_unstable();
        for run in window.chunk_by(|a, b| a == b) {
            if let Some(l) = logits.get_mut(run[0] as usize) {
                *l = if *l > 0.0 { *l / self.repetition_penalty } else { *l * self.repetition_penalty };
                *l -= self.presence_penalty + self.frequency_penalty * run.len() as f32;
            }
        }
    }

    /// Tokens that top-k, top-p and min-p leave, likeliest first; equal ones by id.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).filter(|c| c.1 > f32::NEG_INFINITY).collect();
        let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < all.len() {
            all.select_nth_unstable_by(self.top_k - 1, by_logit);
            all.truncate(self.top_k);
        }
        all.sort_unstable_by(by_logit);
        let max = all.first().map_or(0.0, |c| c.1);
        if self.top_p < 1.0 {
            let total: f64 = all.iter().map(|c| f64::from((c.1 - max).exp())).sum();
            let mut sum = 0.0;
            let keep = all.iter().position(|c| {
                sum += f64::from((c.1 - max).exp());
                sum >= f64::from(self.top_p) * total
            });
            all.truncate(keep.map_or(all.len(), |k| k + 1));
        }
        if self.min_p > 0.0 {
            let least = max + self.min_p.ln();
            all.truncate(all.partition_point(|c| c.1 >= least).max(1));
        }
        all
    }
}

/// Index of the largest value; of equal ones the first.
pub fn argmax(values: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &v) in (0..).zip(values) {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}

/// Logarithm of the sum of exponentials, in nats: what a logit loses to become a log-probability.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return max;
    }
    // Sixteen sums at once: the compiler keeps them in one vector.
    let mut sums = [0.0f32; 16];
    let chunks = logits.chunks_exact(16);
    for (s, &l) in sums.iter_mut().zip(chunks.remainder()) {
        *s += (l - max).exp();
    }
    for chunk in chunks {
        for (s, &l) in sums.iter_mut().zip(chunk) {
            *s += exp(l - max);
        }
    }
    max + sums.iter().map(|&s| f64::from(s)).sum::<f64>().ln() as f32
}

/// `exp(x)` for `x <= 0` to about 1e-7 relative, in a form that compilers vectorise.
#[inline]
fn exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    // Rounds to the nearest integer: at this size a float's unit is 1.
    const SHIFT: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + SHIFT) - SHIFT;
    // ln 2 in two parts; the first has few bits, so that its product is exact.
    let f = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0 + f / 720.0)))));
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

fn draw(weights: &[(u32, f32)], u: f64) -> u32 {
    let total: f64 = weights.iter().map(|w| f64::from(w.1)).sum();
    let mut left = u * total;
    for &(id, w) in weights {
        left -= f64::from(w);
        if left < 0.0 {
            return id;
        }
    }
    weights.last().map_or(0, |w| w.0)
}

/// A number in [0, 1) for a seed and a position.
fn uniform(seed: u64, position: u64) -> f64 {
    unit(mix(mix(seed.wrapping_add(GOLDEN)) ^ position.wrapping_add(1).wrapping_mul(GOLDEN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_exponential_is_close() {
        for i in 0..8700 {
            let x = -(i as f32) / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-7, "{x}: {} {}", exp(x), x.exp());
        }
    }

    #[test]
    fn log_sum_exp_matches_f64() {
        let logits: Vec<f32> = (0..1003).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let exact = logits.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
        assert!((f64::from(log_sum_exp(&logits)) - exact).abs() < 1e-6);
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(Sampling::default().choose(&mut [1.0, 3.0, 3.0, 2.0], &[]), 1);
    }

    #[test]
    fn filters_leave_the_likeliest() {
        let logits = [0.0, 5.0, 4.0, -3.0, 4.5];
        let ids = |s: Sampling| s.candidates(&logits).iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(ids(Sampling { top_k: 2, ..Default::default() }), [1, 4]);
        assert_eq!(ids(Sampling { top_p: 0.5, ..Default::default() }), [1]);
        assert_eq!(ids(Sampling { top_p: 0.7, ..Default::default() }), [1, 4]);
        assert_eq!(ids(Sampling { min_p: 0.3, ..Default::default() }), [1, 4, 2]);
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let s = |seed| Sampling { temperature: 1.0, seed, ..Default::default() };
        let mut counts = [0u32; 3];
        for position in 0..20_000 {
            let history = vec![0; position % 500];
            counts[s(position as u64 / 500).choose(&mut [0.0, 2f32.ln(), f32::NEG_INFINITY], &history) as usize] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((f64::from(counts[1]) / 20_000.0 - 2.0 / 3.0).abs() < 0.015, "{counts:?}");
        let again = |seed| (0..50).map(|n| s(seed).choose(&mut [0.0; 9], &vec![0; n])).collect::<Vec<_>>();
        assert_eq!(again(5), again(5));
        assert_ne!(again(5), again(6));
    }

    #[test]
    fn penalties_and_bias_apply_before_the_choice() {
        let s = Sampling { repetition_penalty: 2.0, ..Default::default() };
        assert_eq!(s.choose(&mut [1.0, 1.5], &[1]), 0);
        let s = Sampling { logit_bias: vec![(0, f32::NEG_INFINITY)], ..Default::default() };
        assert_eq!(s.choose(&mut [9.0, 1.5], &[]), 1);
        let s = Sampling { frequency_penalty: 0.3, ..Default::default() };
        assert_eq!(s.choose(&mut [1.0, 1.5], &[1, 1, 0]), 1);
    }
}
