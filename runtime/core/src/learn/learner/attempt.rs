//! One attempt: score, learn, check.

use super::anchor::{Anchor, TOGETHER};
use super::control::{Control, Phase};
use super::leash::Leash;
use super::options::LearnOptions;
use super::outcome::{Outcome, Scored};
use super::screen;
use crate::error::Error;
use crate::learn::corpus::{Corpus, Document, Sample};
use crate::learn::evidence::{Harm, MIN_DOCUMENTS, Measure, Verdict, gain, judge};
use crate::learn::pupil::Pupil;
use crate::learn::recall;
use crate::learn::store::Edit;
use crate::random::Random;
use std::time::Duration;
use web_time::Instant;

/// Factors by which a delta that is beyond a bound is shrunk, one after the other, until it is within. Harm falls faster than what was
/// gained: it is of second order in the delta's size where the base is at a minimum of it.
const SHRINK: f32 = 0.8;
const MAX_SHRINKS: usize = 8;
/// Share of a bound that is left free: the check that decides must not stand on the edge.
const ROOM: f64 = 0.95;
/// Share of the steps over which the learning rate rises.
const WARM_UP: f64 = 0.05;
/// Steps after which it is known how long one takes.
const TIMED: u64 = 8;
/// Steps get slower where a machine gets hot: how much more time they may take than was planned.
const LATE: f64 = 1.1;

/// What is tried.
pub struct Attempt<'a> {
    /// To learn from and to test with.
    pub corpus: &'a Corpus,
    /// More to test with: what was held out before.
    pub more: &'a [Document],
    /// What to go on from.
    pub delta: Option<&'a [u8]>,
}

/// What came of it, not yet committed.
pub struct Attempted {
    /// Everything that was measured.
    pub outcome: Outcome,
    /// The delta; empty where nothing was learned.
    pub delta: Vec<u8>,
}

/// A held-out document.
struct Test<'a> {
    document: &'a Document,
    samples: Vec<Sample>,
    measure: Measure,
}

impl Attempt<'_> {
    /// Tries.
    pub fn run(
        &self,
        pupil: &mut dyn Pupil,
        store: &Edit,
        name: &str,
        options: &LearnOptions,
        control: &Control,
    ) -> Result<Attempted, Error> {
        let start = Instant::now();
        let mut outcome = Outcome::without(name, Verdict::Commit, 0);
        outcome.base = pupil.base()?.name;
        outcome.bounds = options.bounds;
        outcome.left = self.corpus.left.clone();
        let end = |mut outcome: Outcome, pupil: &dyn Pupil, verdict, delta| {
            (outcome.verdict, outcome.seconds) = (verdict, start.elapsed().as_secs_f64());
            outcome.memory = pupil.memory();
            Ok(Attempted { outcome, delta })
        };
        let refused;
        (outcome.distinct, refused) = screen::cheap(self.corpus);
        if let Some(verdict) = refused {
            return end(outcome, pupil, verdict, Vec::new());
        }
        pupil.begin(None, options.seed)?;
        outcome.order = screen::order(pupil, self.corpus, options.seed, control)?;
        if let Some(verdict) = outcome.order.as_ref().and_then(screen::judge_order) {
            return end(outcome, pupil, verdict, Vec::new());
        }
        let have = self.corpus.held_out.len() + self.more.len();
        if have < MIN_DOCUMENTS || self.corpus.train.is_empty() {
            let verdict = Verdict::NotEnough { have, need: MIN_DOCUMENTS.max(have) };
            return end(outcome, pupil, verdict, Vec::new());
        }
        // It takes the longest of what is not learning, so it comes after all that may end the attempt.
        let anchor = &Anchor::of(pupil, store, control)?;
        outcome.anchor_tokens = anchor.tokens() as u64;
        let anchor_before = anchor.nats(pupil, control)?;
        if !options.facts.is_empty() {
            outcome.recall = Some(recall::before(pupil, &options.facts)?);
        }
        if self.delta.is_some() {
            pupil.begin(self.delta, options.seed)?;
        }
        let mut tests = self.tests(pupil)?;
        measure(pupil, &mut tests, Phase::Before, control, |m, nats| m.before += nats)?;
        self.learn(pupil, anchor, options, control, &mut outcome)?;
        outcome.harm = harm(pupil, anchor, anchor_before, control)?;
        for _ in 0..MAX_SHRINKS {
            if outcome.harm.worst(&options.bounds) <= ROOM {
                break;
            }
            pupil.shrink(SHRINK)?;
            outcome.shrunk *= SHRINK;
            outcome.harm = harm(pupil, anchor, anchor_before, control)?;
        }
        measure(pupil, &mut tests, Phase::After, control, |m, nats| m.after += nats)?;
        if let Some(found) = &mut outcome.recall {
            recall::after(pupil, &options.facts, found)?;
        }
        let measures: Vec<Measure> = tests.iter().map(|t| t.measure).collect();
        outcome.gain = gain(&measures);
        outcome.held_out =
            tests.iter().map(|t| Scored { source: t.document.source.clone(), measure: t.measure }).collect();
        let verdict = judge(&outcome.gain, &outcome.harm, &options.bounds);
        let delta = if verdict == Verdict::Commit { pupil.delta()? } else { Vec::new() };
        end(outcome, pupil, verdict, delta)
    }

    fn tests(&self, pupil: &dyn Pupil) -> Result<Vec<Test<'_>>, Error> {
        let test = |document| {
            let samples = pupil.encode(document)?;
            let bytes = samples.iter().map(|s| s.bytes).sum();
            Ok(Test { document, samples, measure: Measure { bytes, ..Measure::default() } })
        };
        let tests: Result<Vec<_>, Error> = self.corpus.held_out.iter().chain(self.more).map(test).collect();
        Ok(tests?.into_iter().filter(|t| t.measure.bytes > 0).collect())
    }

    fn learn(
        &self,
        pupil: &mut dyn Pupil,
        anchor: &Anchor,
        options: &LearnOptions,
        control: &Control,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let mut samples = Vec::new();
        for document in &self.corpus.train {
            let new = pupil.encode(document)?;
            outcome.trained_documents += usize::from(!new.is_empty());
            samples.extend(new);
        }
        outcome.trained_bytes = samples.iter().map(|s| s.bytes).sum();
        pupil.hold(&anchor.held)?;
        let mut leash = Leash::new(options, anchor.held.len());
        let mut random = Random::new(options.seed);
        // What is done once does not count as time of the first steps, by which that of all is planned.
        let (budget, start) = (options.budget, Instant::now());
        let per_epoch = samples.len().div_ceil(options.batch) as u64;
        let mut total = budget.steps.min(per_epoch.saturating_mul(budget.epochs));
        let (mut first_nats, mut worked) = (0.0, Duration::ZERO);
        'epochs: for epoch in 0..budget.epochs {
            let mut order: Vec<usize> = (0..samples.len()).collect();
            random.shuffle(&mut order);
            for part in order.chunks(options.batch) {
                if outcome.steps == TIMED {
                    // The rate falls to nothing by the last step, so their number is fixed early. Where time is no limit it has no
                    // influence: the same documents and seed give the same delta.
                    let each = start.elapsed().as_secs_f64() / TIMED as f64;
                    total = total.min((budget.seconds / each.max(f64::MIN_POSITIVE)) as u64);
                }
                let of_tokens = outcome.tokens as f64 / budget.tokens.max(1) as f64;
                let done = (outcome.steps as f64 / total.max(1) as f64).max(of_tokens);
                let late = start.elapsed().as_secs_f64() > budget.seconds * LATE;
                if done >= 1.0 || late || !control.may_go_on()? {
                    break 'epochs;
                }
                let batch: Vec<&Sample> = part.iter().filter_map(|&i| samples.get(i)).collect();
                let targets: usize = batch.iter().map(|s| s.example.targets()).sum();
                let step = Instant::now();
                let seen = pupil.step(&batch, leash.hold(), rate(done))?;
                leash.feel(seen.divergence);
                if epoch == 0 {
                    first_nats += seen.nats;
                }
                let loss = seen.nats / targets.max(1) as f64;
                outcome.steps += 1;
                outcome.tokens += targets as u64;
                control.report(Phase::Learn, outcome.steps as usize, total as usize, Some(loss));
                worked += step.elapsed();
                rest(step.elapsed(), options.duty);
            }
            if epoch == 0 && outcome.trained_bytes > 0 {
                outcome.first_sight = Some(first_nats / std::f64::consts::LN_2 / outcome.trained_bytes as f64);
            }
        }
        outcome.learn_seconds = worked.as_secs_f64();
        Ok(())
    }
}

/// The learning rate's factor: up at first, then down to nothing as the budget is used up.
fn rate(done: f64) -> f32 {
    if done < WARM_UP {
        ((done + WARM_UP / 4.0) / WARM_UP).min(1.0) as f32
    } else {
        ((1.0 - done) / (1.0 - WARM_UP)) as f32
    }
}

/// Leaves the machine to others for a while.
fn rest(worked: Duration, duty: f64) {
    if duty < 1.0 {
        std::thread::sleep(worked.mul_f64((1.0 / duty - 1.0).min(100.0)));
    }
}

fn harm(pupil: &mut dyn Pupil, anchor: &Anchor, before: f64, control: &Control) -> Result<Harm, Error> {
    Ok(Harm {
        anchor_rise: anchor.nats(pupil, control)? - before,
        divergence: anchor.divergence(pupil, control)?,
        norm: pupil.norm()?,
    })
}

fn measure(
    pupil: &mut dyn Pupil,
    tests: &mut [Test<'_>],
    phase: Phase,
    control: &Control,
    add: fn(&mut Measure, f64),
) -> Result<(), Error> {
    let total = tests.len();
    for (i, test) in tests.iter_mut().enumerate() {
        control.report(phase, i, total, None);
        for samples in test.samples.chunks(TOGETHER) {
            control.may_go_on()?;
            add(&mut test.measure, pupil.nats(samples)?);
        }
    }
    Ok(())
}
