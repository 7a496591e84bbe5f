//! What drafting is worth: how likely drafts come true, and how many of them to compute.
//!
//! Drafts are of classes, and each class keeps its share of drafts that came true lately. With the time of steps by their
//! rows this gives the number of drafts with the most tokens per second. A ledger bounds what wrong estimates can cost.

use crate::session::engine::Costs;
use crate::session::speculate::MOST_DRAFTS;

/// Weight that an outcome keeps when the next one comes.
const MEMORY: f64 = 0.97;
/// Outcomes that the first guess counts for.
const PRIOR: f64 = 3.0;
/// Gain below which drafting is not worth the risk.
const MARGIN: f64 = 1.02;
/// Share of the time so far that drafts may have cost more than they brought.
const LOSS: f64 = 0.03;
/// The same, to begin with, in plain steps.
const CREDIT: f64 = 0.5;
/// What drafts brought earlier counts for so many plain steps at most.
const EARNED: f64 = 2.0;

/// Shares of drafts that came true, by class.
#[derive(Clone)]
pub struct Chances {
    classes: Vec<Share>,
}

#[derive(Clone, Copy)]
struct Share {
    prior: f64,
    hits: f64,
    tries: f64,
}

impl Chances {
    /// One class for each first guess.
    pub fn new(priors: &[f64]) -> Self {
        Self { classes: priors.iter().map(|&prior| Share { prior, hits: 0.0, tries: 0.0 }).collect() }
    }

    /// How likely a draft of `class` comes true, if those before it did. Classes beyond the last are like it.
    pub fn of(&self, class: usize) -> f64 {
        let share = self.classes.get(class).or(self.classes.last());
        share.map_or(0.0, |s| (s.hits + s.prior * PRIOR) / (s.tries + PRIOR))
    }

    /// A draft of `class`, all before which came true, did or did not.
    pub fn learn(&mut self, class: usize, hit: bool) {
        let last = self.classes.len().saturating_sub(1);
        if let Some(s) = self.classes.get_mut(class.min(last)) {
            s.hits = s.hits * MEMORY + f64::from(u8::from(hit));
            s.tries = s.tries * MEMORY + 1.0;
        }
    }
}

/// A step as it would be without drafts of one's own.
#[derive(Clone, Copy)]
pub struct Plain<'a> {
    /// Rows of others in it, each of which yields a token.
    pub others: usize,
    /// Times of steps.
    pub costs: &'a Costs,
}

impl Plain<'_> {
    /// Its rows.
    pub fn rows(&self) -> usize {
        self.others + 1
    }

    /// Its seconds; `None` where nothing is known yet.
    pub fn seconds(&self) -> Option<f64> {
        self.costs.of(self.rows())
    }

    /// Seconds that so many drafts add.
    pub fn extra(&self, drafts: usize) -> Option<f64> {
        Some((self.costs.of(self.rows() + drafts)? - self.seconds()?).max(0.0))
    }

    /// How many drafts to compute for the most tokens per second, and seconds that they cost. Each comes true with its
    /// chance if those before it did, and is made at a price in seconds.
    pub fn best(&self, chances: &[f64], price: f64) -> Option<(usize, f64)> {
        let plain = self.seconds()?;
        let (mut best, mut most) = (None, self.rows() as f64 / plain * MARGIN);
        let (mut tokens, mut all_before) = (self.rows() as f64, 1.0);
        for (i, chance) in chances.iter().take(MOST_DRAFTS).enumerate() {
            all_before *= chance;
            tokens += all_before;
            let Some(extra) = self.extra(i + 1) else { break };
            let cost = extra + price * (i + 1) as f64;
            if tokens / (plain + cost) > most {
                (best, most) = (Some((i + 1, cost)), tokens / (plain + cost));
            }
        }
        best
    }
}

/// What drafts have cost and brought, in seconds.
#[derive(Clone, Copy, Default)]
pub struct Ledger {
    balance: f64,
    total: f64,
}

impl Ledger {
    /// May so many seconds be spent on drafts? Not where that would have cost more than a small share of all the time, should
    /// none of them come true.
    pub fn allows(&self, cost: f64, plain: f64) -> bool {
        self.balance - cost >= -(CREDIT * plain + LOSS * self.total)
    }

    /// Another generation begins, where plain steps take so long: what was lost is forgotten, and most of what was gained.
    pub fn begin(&mut self, plain: f64) {
        *self = Self { balance: self.balance.clamp(0.0, EARNED * plain), total: 0.0 };
    }

    /// Time that went by, whatever for.
    pub fn pass(&mut self, seconds: f64) {
        self.total += seconds;
    }

    /// Drafts cost so much more than a plain step and saved so much.
    pub fn book(&mut self, cost: f64, saved: f64) {
        self.balance += saved - cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::StepSize;
    use std::time::Duration;

    fn costs(ms: &[(usize, u64)]) -> Costs {
        let mut costs = Costs::default();
        for &(rows, ms) in ms {
            costs.add(StepSize { rows, drafts: rows - 1, prompts: 0 }, Duration::from_millis(ms));
        }
        costs
    }

    #[test]
    fn chances_follow_what_happens() {
        let mut chances = Chances::new(&[0.2, 0.8]);
        let is = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        is(chances.of(0), 0.2);
        is(chances.of(1), 0.8);
        is(chances.of(9), 0.8);
        (0..50).for_each(|_| chances.learn(7, false));
        assert!(chances.of(1) < 0.15);
        is(chances.of(0), 0.2);
        (0..100).for_each(|_| chances.learn(1, true));
        assert!(chances.of(1) > 0.9);
    }

    #[test]
    fn as_many_drafts_as_pay() {
        let costs = costs(&[(1, 100), (2, 120), (4, 160), (8, 240), (16, 400)]);
        let plain = Plain { others: 0, costs: &costs };
        let count = |chance: f64| plain.best(&[chance; MOST_DRAFTS], 0.0).map_or(0, |b| b.0);
        assert_eq!((count(0.0), count(0.15), count(1.0)), (0, 0, MOST_DRAFTS));
        assert!((1..=3).contains(&count(0.4)) && (3..=8).contains(&count(0.8)), "{} {}", count(0.4), count(0.8));
        // Drafts have their price, and are worth less beside others.
        assert_eq!(plain.best(&[0.8; 4], 0.2), None);
        let crowd = Plain { others: 7, costs: &costs };
        assert!(crowd.best(&[0.4; MOST_DRAFTS], 0.0).is_none());
        assert!(Plain { others: 0, costs: &Costs::default() }.best(&[1.0], 0.0).is_none());
    }

    #[test]
    fn losses_are_bounded_whatever_the_estimates() {
        let (mut ledger, mut spent, mut steps) = (Ledger::default(), 0.0, 0);
        while steps < 1000 {
            steps += 1;
            ledger.pass(1.0);
            if ledger.allows(0.3, 1.0) {
                ledger.pass(0.3);
                ledger.book(0.3, 0.0);
                spent += 0.3;
            }
        }
        assert!(spent > 20.0 && spent < 0.04 * f64::from(steps), "{spent}");
        ledger.book(0.0, 100.0);
        assert!(ledger.allows(50.0, 1.0));
        ledger.begin(1.0);
        assert!(ledger.allows(2.4, 1.0) && !ledger.allows(2.6, 1.0));
    }
}
