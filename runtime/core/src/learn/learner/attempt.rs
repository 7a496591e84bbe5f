//! One attempt: score, learn, check.

use super::anchor::{Anchor, TOGETHER};
use super::control::{Control, Phase};
use super::options::{Budget, Evidence, LearnOptions};
use super::outcome::{Outcome, Scored};
use super::{screen, steps};
use crate::error::Error;
use crate::learn::corpus::{Corpus, Document, Sample};
use crate::learn::evidence::{Harm, MIN_DOCUMENTS, Measure, Verdict, gain, judge};
use crate::learn::pupil::Pupil;
use crate::learn::recall;
use crate::learn::store::Edit;
use web_time::Instant;

/// What a delta that is beyond a bound is shrunk by at once, at least and at most, until it is within.
const SHRINK: std::ops::RangeInclusive<f64> = 0.3..=0.95;
const MAX_SHRINKS: usize = 8;
/// Share of a bound that is left free: the check that decides must not stand on the edge.
const ROOM: f64 = 0.95;
/// Times that the rest is learned with some documents left out, at most: where there are more documents, several are left out at once.
const MAX_FOLDS: usize = 16;

/// Tokens that are measured of all documents to test with, about: of one that is longer than its share, stretches from all over it. Gains
/// differ more from one document to the next than within one, and measuring is done twice.
const MEASURED: usize = 16_000;

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

/// A document to test with.
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
        pupil.obey(&control.cancel);
        let mut outcome = Outcome::without(name, Verdict::Commit, 0);
        outcome.base = pupil.base()?.name;
        outcome.bounds = options.bounds;
        outcome.evidence = options.evidence;
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
        let left_out = match options.evidence {
            Evidence::HeldOut => &[][..],
            Evidence::LeaveOneOut => &self.corpus.train,
        };
        let have = self.corpus.held_out.len() + self.more.len() + left_out.len();
        if self.corpus.documents().next().is_none() || (self.corpus.train.is_empty() && have >= MIN_DOCUMENTS) {
            return end(outcome, pupil, Verdict::Nothing, Vec::new());
        }
        pupil.begin(None, options.seed)?;
        outcome.order = screen::order(pupil, self.corpus, options.seed, control)?;
        if let Some(verdict) = outcome.order.as_ref().and_then(screen::judge_order) {
            return end(outcome, pupil, verdict, Vec::new());
        }
        if have < MIN_DOCUMENTS {
            let verdict = Verdict::NotEnough { have, need: MIN_DOCUMENTS };
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
        let held_out: Vec<&Document> = self.corpus.held_out.iter().chain(self.more).collect();
        let mut tests = tests(pupil, &held_out)?;
        let mut left_out = self::tests(pupil, &left_out.iter().collect::<Vec<_>>())?;
        measure(pupil, &mut tests, Phase::Before, control, |m, nats| m.before += nats)?;
        measure(pupil, &mut left_out, Phase::Before, control, |m, nats| m.before += nats)?;
        // What is done once does not count as time of the first steps, by which that of all is planned.
        pupil.hold(&anchor.held)?;
        let folds = left_out.len().min(MAX_FOLDS);
        let budget = Budget { seconds: options.budget.seconds / (1 + folds) as f64, ..options.budget };
        let taken = steps::take(pupil, &self.corpus.train, anchor.held.len(), (options, budget), control, true)?;
        outcome.harm = harm(pupil, anchor, anchor_before, control)?;
        for _ in 0..MAX_SHRINKS {
            let worst = outcome.harm.worst(&options.bounds);
            if !pupil.shrinks() || worst <= ROOM {
                break;
            }
            // Harm is of second order in the delta's size, where the base is at a minimum of it; what was gained of the first.
            let factor = (ROOM / worst).sqrt().clamp(*SHRINK.start(), *SHRINK.end()) as f32;
            pupil.shrink(factor)?;
            outcome.shrunk *= factor;
            outcome.harm = harm(pupil, anchor, anchor_before, control)?;
        }
        measure(pupil, &mut tests, Phase::After, control, |m, nats| m.after += nats)?;
        if let Some(found) = &mut outcome.recall {
            recall::after(pupil, &options.facts, found)?;
        }
        outcome.took(&taken);
        let delta = pupil.delta()?;
        let budget = Budget { steps: taken.steps, seconds: f64::INFINITY, ..options.budget };
        self.leave_out(pupil, &mut left_out, anchor, (options, budget), outcome.shrunk, control)?;
        tests.extend(left_out);
        let measures: Vec<Measure> = tests.iter().map(|t| t.measure).collect();
        outcome.gain = gain(&measures);
        outcome.held_out =
            tests.iter().map(|t| Scored { source: t.document.source.clone(), measure: t.measure }).collect();
        let verdict = judge(&outcome.gain, &outcome.harm, &options.bounds);
        let delta = if verdict == Verdict::Commit { delta } else { Vec::new() };
        end(outcome, pupil, verdict, delta)
    }

    /// Measures each document after learning from the others as from all: as often, in no more steps, shrunk as much.
    fn leave_out(
        &self,
        pupil: &mut dyn Pupil,
        tests: &mut [Test<'_>],
        anchor: &Anchor,
        (options, budget): (&LearnOptions, Budget),
        shrunk: f32,
        control: &Control,
    ) -> Result<(), Error> {
        let (total, together) = (tests.len(), tests.len().div_ceil(MAX_FOLDS).max(1));
        for first in (0..total).step_by(together) {
            let fold = first..total.min(first + together);
            control.report(Phase::After, first, total, None);
            pupil.begin(self.delta, options.seed)?;
            let others = tests.iter().enumerate().filter(|(i, _)| !fold.contains(i)).map(|(_, t)| t.document);
            steps::take(pupil, others, anchor.held.len(), (options, budget), control, false)?;
            if shrunk < 1.0 {
                pupil.shrink(shrunk)?;
            }
            let tests = tests.get_mut(fold).unwrap_or_default();
            measure(pupil, tests, Phase::After, &control.untold(), |m, nats| m.after += nats)?;
        }
        Ok(())
    }
}

fn tests<'a>(pupil: &dyn Pupil, documents: &[&'a Document]) -> Result<Vec<Test<'a>>, Error> {
    let total = documents.len();
    let test = |document| {
        let mut samples = pupil.encode(document)?;
        if !pupil.reads() {
            samples = spread(samples, MEASURED / total.max(1));
        }
        let bytes = samples.iter().map(|s| s.bytes).sum();
        Ok(Test { document, samples, measure: Measure { bytes, ..Measure::default() } })
    };
    let tests: Result<Vec<_>, Error> = documents.iter().map(|document| test(*document)).collect();
    Ok(tests?.into_iter().filter(|t| t.measure.bytes > 0).collect())
}

/// Samples from all over, of about so many tokens that count; at least one.
fn spread(samples: Vec<Sample>, most: usize) -> Vec<Sample> {
    let tokens: usize = samples.iter().map(|s| s.example.targets()).sum();
    let (all, wanted) = (samples.len(), (samples.len() * most / tokens.max(1)).max(1));
    if wanted >= all {
        return samples;
    }
    let is_taken = |i: usize| i * wanted / all != (i + 1) * wanted / all;
    samples.into_iter().enumerate().filter(|&(i, _)| is_taken(i)).map(|(_, sample)| sample).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Example;

    #[test]
    fn stretches_from_all_over() {
        let example = |i| Example { tokens: vec![i; 5], counts: vec![true; 5] };
        let sample = |i: u32| Sample { example: example(i), bytes: 9, goes_on: false };
        let all: Vec<Sample> = (0..10).map(sample).collect();
        let taken = |most: usize| spread(all.clone(), most).iter().map(|s| s.example.tokens[0]).collect::<Vec<_>>();
        let each = all[0].example.targets();
        assert_eq!(taken(10 * each), (0..10).collect::<Vec<_>>());
        assert_eq!(taken(5 * each), [1, 3, 5, 7, 9]);
        assert_eq!(taken(3 * each), [3, 6, 9]);
        assert_eq!(taken(0), [9]);
        assert!(spread(Vec::new(), 5).is_empty());
    }
}
