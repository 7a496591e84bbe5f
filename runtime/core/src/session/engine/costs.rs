//! How long steps take, by their number of rows: measured, never assumed for long.
//!
//! The time of a step with one row follows what it depends on, such as the length of the context and who else uses the
//! machine. Steps with more rows are kept as multiples of it, which change little. Times decide how much is drafted and so how
//! fast tokens come, never which.

use crate::context::StepSize;
use std::time::Duration;

/// Steps with more rows are not told apart.
const ROWS: usize = 64;
/// What a row more is taken to cost where nothing is known, as a share of the first. Less than it will be, so that it is tried.
const GUESS: f64 = 0.04;
/// Weight of a new measurement, once there are as many as that.
const WEIGHT: f64 = 1.0 / 8.0;
/// Steps after which a measurement that was not repeated is believed less by `FADING`, so that it is tried again.
const OLD: u64 = 512;
const FADING: f64 = 0.75;

/// See the module.
#[derive(Clone)]
pub struct Costs {
    /// Seconds of a step with one row.
    unit: Mean,
    /// Multiples of it, by the number of rows.
    multiples: Vec<Mean>,
    /// Steps seen.
    clock: u64,
}

#[derive(Clone, Copy, Default)]
struct Mean {
    value: f64,
    count: u32,
    /// The clock at the last measurement.
    at: u64,
}

impl Default for Costs {
    fn default() -> Self {
        Self { unit: Mean::default(), multiples: vec![Mean::default(); ROWS + 1], clock: 0 }
    }
}

impl Costs {
    /// A step of `size` took so long.
    pub fn add(&mut self, size: StepSize, took: Duration) {
        self.clock += 1;
        let (rows, seconds) = (size.rows, took.as_secs_f64());
        // Some clocks are too coarse for fast steps.
        if size.prompts > 0 || !(1..=ROWS).contains(&rows) || seconds <= 0.0 {
            return;
        }
        if rows == 1 {
            self.unit.add(seconds, self.clock);
        } else {
            if self.unit.count == 0 {
                self.unit = Mean { value: seconds / guess(rows), count: 1, at: 0 };
            }
            self.multiples[rows].add(seconds / self.unit.value, self.clock);
        }
    }

    /// Seconds of a step with so many rows; `None` where nothing is known or it has too many.
    pub fn of(&self, rows: usize) -> Option<f64> {
        if self.unit.count == 0 || !(1..=ROWS).contains(&rows) {
            return None;
        }
        Some(self.unit.value * self.multiple(rows))
    }

    /// Were steps with so many rows measured in the last `steps`?
    pub fn is_fresh(&self, rows: usize, steps: u64) -> bool {
        let mean = if rows == 1 { &self.unit } else { self.multiples.get(rows).unwrap_or(&self.unit) };
        mean.count > 0 && self.clock - mean.at <= steps
    }

    /// Between measured numbers of rows on a line, beyond them by the guess.
    fn multiple(&self, rows: usize) -> f64 {
        let known = |n: usize| match n {
            1 => Some(1.0),
            _ => self.multiples.get(n).filter(|m| m.count > 0).map(|m| self.faded(m)),
        };
        if let Some(multiple) = known(rows) {
            return multiple;
        }
        let (below, low) = (1..rows).rev().find_map(|n| Some((n, known(n)?))).unwrap_or((1, 1.0));
        match (rows + 1..=ROWS).find_map(|n| Some((n, known(n)?))) {
            Some((above, high)) => low + (high - low) * (rows - below) as f64 / (above - below) as f64,
            None => low * guess(rows) / guess(below),
        }
    }

    fn faded(&self, mean: &Mean) -> f64 {
        1.0 + (mean.value - 1.0) * FADING.powi(((self.clock - mean.at) / OLD).min(20) as i32)
    }
}

impl Mean {
    fn add(&mut self, value: f64, clock: u64) {
        // Half the time or twice as long is another process's doing, unless it stays so.
        let value = if self.count >= 3 { value.clamp(self.value / 2.0, self.value * 2.0) } else { value };
        self.count = self.count.saturating_add(1);
        self.value += (value - self.value) * (1.0 / f64::from(self.count)).max(WEIGHT);
        self.at = clock;
    }
}

fn guess(rows: usize) -> f64 {
    1.0 + (rows - 1) as f64 * GUESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(costs: &mut Costs, rows: usize, ms: u64) {
        costs.add(StepSize { rows, drafts: rows - 1, prompts: 0 }, Duration::from_millis(ms));
    }

    #[test]
    fn what_was_not_measured_lies_between_what_was() {
        let mut costs = Costs::default();
        assert_eq!(costs.of(1), None);
        add(&mut costs, 1, 100);
        add(&mut costs, 5, 180);
        let ms = |costs: &Costs, rows| (costs.of(rows).unwrap() * 1e3).round();
        assert_eq!([1, 2, 3, 5].map(|n| ms(&costs, n)), [100.0, 120.0, 140.0, 180.0]);
        assert!((180.0..220.0).contains(&ms(&costs, 6)));
        assert_eq!((costs.of(0), costs.of(65)), (None, None));
        // Everything gets slower with a longer context.
        (0..40).for_each(|_| add(&mut costs, 1, 200));
        assert_eq!(ms(&costs, 3), 280.0);
        assert!(costs.is_fresh(1, 0) && !costs.is_fresh(5, 8) && costs.is_fresh(5, 64));
    }

    #[test]
    fn prompts_say_nothing_and_one_outlier_little() {
        let mut costs = Costs::default();
        costs.add(StepSize { rows: 10, drafts: 0, prompts: 9 }, Duration::from_millis(700));
        assert_eq!(costs.of(1), None);
        (0..10).for_each(|_| add(&mut costs, 1, 100));
        add(&mut costs, 1, 5000);
        assert!(costs.of(1).unwrap() < 0.12);
    }

    #[test]
    fn what_was_dear_long_ago_is_tried_again() {
        let mut costs = Costs::default();
        add(&mut costs, 1, 100);
        add(&mut costs, 2, 300);
        let then = costs.of(2).unwrap();
        (0..2 * OLD).for_each(|_| add(&mut costs, 1, 100));
        assert!(costs.of(2).unwrap() < then * 0.8);
    }
}
