//! The steps of an attempt: samples in a shuffled order, a rate that rises and falls, within a budget.

use super::control::{Control, Phase};
use super::leash::Leash;
use super::options::{Budget, LearnOptions};
use crate::error::Error;
use crate::learn::corpus::{Document, Sample};
use crate::learn::pupil::Pupil;
use crate::random::Random;
use std::time::Duration;
use web_time::Instant;

/// Share of the steps over which the learning rate rises.
const WARM_UP: f64 = 0.05;
/// Steps after which it is known how long one takes.
const TIMED: u64 = 8;
/// Steps get slower where a machine gets hot: how much more time they may take than was planned.
const LATE: f64 = 1.1;

/// How the steps went.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// Documents with anything to learn.
    pub documents: usize,
    /// Bytes in them.
    pub bytes: u64,
    /// Steps.
    pub steps: u64,
    /// Tokens learned from, each time that they were.
    pub tokens: u64,
    /// Bits per byte, each document scored before the first step on it.
    pub first_sight: Option<f64>,
    /// Of work.
    pub seconds: f64,
}

/// Learns from documents. `held` is how many answers the pupil can be held to; `tell` is told of each step.
pub fn take<'a>(
    pupil: &mut dyn Pupil,
    documents: impl IntoIterator<Item = &'a Document>,
    held: usize,
    (options, budget): (&LearnOptions, Budget),
    control: &Control,
    tell: bool,
) -> Result<Steps, Error> {
    let (mut samples, mut found) = (Vec::new(), Steps::default());
    for document in documents {
        let new = pupil.encode(document)?;
        found.documents += usize::from(!new.is_empty());
        samples.extend(new);
    }
    found.bytes = samples.iter().map(|s: &Sample| s.bytes).sum();
    // Reading has an order, and a second time says nothing new.
    let (reads, mut leash) = (pupil.reads(), Leash::new(options, held));
    let (epochs, batch) = if reads { (1, 1) } else { (budget.epochs, options.batch) };
    let mut random = Random::new(options.seed);
    let start = Instant::now();
    let per_epoch = samples.len().div_ceil(batch) as u64;
    let mut total = budget.steps.min(per_epoch.saturating_mul(epochs));
    let (mut first_nats, mut worked) = (0.0, Duration::ZERO);
    'epochs: for epoch in 0..epochs {
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if !reads {
            random.shuffle(&mut order);
        }
        for part in order.chunks(batch) {
            if found.steps == TIMED {
                // The rate falls to nothing by the last step, so their number is fixed early. Where time is no limit it has no
                // influence: the same documents and seed give the same delta.
                let each = start.elapsed().as_secs_f64() / TIMED as f64;
                total = total.min((budget.seconds / each.max(f64::MIN_POSITIVE)) as u64);
            }
            let of_tokens = found.tokens as f64 / budget.tokens.max(1) as f64;
            let done = (found.steps as f64 / total.max(1) as f64).max(of_tokens);
            let late = start.elapsed().as_secs_f64() > budget.seconds * LATE;
            if done >= 1.0 || late || !control.may_go_on()? {
                break 'epochs;
            }
            let chosen: Vec<&Sample> = part.iter().filter_map(|&i| samples.get(i)).collect();
            let targets: usize = chosen.iter().map(|s| s.example.targets()).sum();
            let step = Instant::now();
            let seen = pupil.step(&chosen, leash.hold(), rate(done))?;
            leash.feel(seen.divergence);
            if epoch == 0 {
                first_nats += seen.nats;
            }
            found.steps += 1;
            found.tokens += targets as u64;
            if tell {
                let loss = seen.nats / targets.max(1) as f64;
                control.report(Phase::Learn, found.steps as usize, total as usize, Some(loss));
            }
            worked += step.elapsed();
            rest(step.elapsed(), options.duty);
        }
        if epoch == 0 && found.bytes > 0 {
            found.first_sight = Some(first_nats / std::f64::consts::LN_2 / found.bytes as f64);
        }
    }
    found.seconds = worked.as_secs_f64();
    Ok(found)
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
