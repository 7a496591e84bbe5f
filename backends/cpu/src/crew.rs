//! How many of the workers a run has.
//!
//! At every barrier all wait for the slowest, and the slowest is one whose processor does something else. Beside as many busy
//! programs as there are processors that costs little; beside more, a run of two workers takes ten times as long as
//! one of a single worker, who waits for nobody. Results do not depend on the number of workers, so it may follow the load: where
//! more than half of the workers' time went into waiting, half as many get as much done, with half the processor time.

/// Runs are judged once they have taken so long in all, in nanoseconds: the odd interruption is not a load.
const WINDOW: u64 = 30_000_000;
/// Least and greatest time until a smaller crew tries again to be a larger one.
const REST: std::ops::RangeInclusive<u64> = 30_000_000..=30_000_000_000;
/// A smaller crew rests for so many times what was lost: first once, since most disturbances are short and half a crew is half as
/// fast without them; after each try in vain twice as often, until a load that stays costs one part in this many.
const PATIENCE: u64 = 20;

/// See the module text. Times are in nanoseconds.
pub struct Crew {
    full: usize,
    active: usize,
    /// Of the runs since the last decision: how long they took, and what all workers waited in them.
    ran: u64,
    waited: u64,
    /// Time that a smaller crew has worked, and how long it is to.
    rested: u64,
    rest: u64,
    /// See [`PATIENCE`].
    patience: u64,
}

impl Crew {
    /// A crew of `full` workers at most.
    pub fn new(full: usize) -> Self {
        Self { full, active: full, ran: 0, waited: 0, rested: 0, rest: 0, patience: 1 }
    }

    /// Workers of the next run.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Tells of a run that took `ran`, in which the workers waited for each other for `waited` in all.
    pub fn learn(&mut self, ran: u64, waited: u64) {
        self.ran += ran;
        self.waited += waited;
        self.rested += ran;
        if self.active > 1 && self.ran >= WINDOW {
            let spent = self.ran.saturating_mul(self.active as u64);
            if self.waited > spent / 2 {
                let lost = self.waited / self.active as u64;
                self.rest = lost.saturating_mul(self.patience).clamp(*REST.start(), *REST.end());
                self.patience = (2 * self.patience).min(PATIENCE);
                return self.become_of(self.active / 2);
            }
            if self.active == self.full {
                self.patience = 1;
            }
            (self.ran, self.waited) = (0, 0);
        }
        if self.active < self.full && self.rested >= self.rest {
            self.become_of((self.active * 2).min(self.full));
        }
    }

    fn become_of(&mut self, active: usize) {
        *self = Self { active, ran: 0, waited: 0, rested: 0, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 2_000_000;

    #[test]
    fn waiting_alone_makes_it_smaller() {
        let mut crew = Crew::new(8);
        for _ in 0..1000 {
            crew.learn(STEP, STEP);
        }
        assert_eq!(crew.active(), 8);
        // One run in which all but one waited for a long time.
        crew.learn(5 * STEP, 7 * 5 * STEP);
        for _ in 0..20 {
            crew.learn(STEP, 0);
        }
        assert_eq!(crew.active(), 8);
        for expected in [4, 2, 1] {
            crew.learn(100 * STEP, expected * 2 * 90 * STEP);
            assert_eq!(crew.active() as u64, expected);
        }
    }

    /// Two workers beside a load: a run alone takes 8 steps, together 200, of which both wait 190. Time alone, and time lost.
    fn beside_a_load(crew: &mut Crew, runs: usize) -> (u64, u64) {
        let (mut alone, mut lost) = (0, 0);
        for _ in 0..runs {
            if crew.active() == 2 {
                crew.learn(200 * STEP, 2 * 190 * STEP);
                lost += 190 * STEP;
            } else {
                crew.learn(8 * STEP, 0);
                alone += 8 * STEP;
            }
        }
        (alone, lost)
    }

    #[test]
    fn it_tries_again_and_loses_little() {
        let mut crew = Crew::new(2);
        let (_, lost) = beside_a_load(&mut crew, 2000);
        assert!(lost > 190 * STEP);
        let (alone, lost) = beside_a_load(&mut crew, 20_000);
        assert!(lost > 0 && lost * PATIENCE <= alone + alone / 20, "{lost} lost, {alone} alone");
        // The load is gone.
        for _ in 0..10_000 {
            crew.learn(STEP, 0);
        }
        assert_eq!(crew.active(), 2);
    }

    #[test]
    fn what_was_short_is_soon_forgotten() {
        let mut crew = Crew::new(2);
        for _ in 0..5 {
            crew.learn(20 * STEP, 2 * 19 * STEP);
            assert_eq!(crew.active(), 1);
            let mut alone = 0;
            while crew.active() == 1 {
                crew.learn(STEP, 0);
                alone += STEP;
            }
            assert!(alone <= 20 * STEP, "{alone} alone");
            for _ in 0..20 {
                crew.learn(STEP, 0);
            }
            assert_eq!(crew.active(), 2);
        }
    }
}
