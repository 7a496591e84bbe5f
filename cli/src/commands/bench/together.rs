//! Several texts decoded together.

use super::{BenchArgs, tokens};
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::stats::Spread;
use crate::terminal::Progress;
use std::collections::HashSet;
use std::time::Instant;
use tern::{BatchOptions, CancelFlag, Event, GenerateOptions, Model};

/// Tokens per second of all `sequences` in sum.
pub fn measure(model: &Model, args: &BenchArgs, sequences: usize, progress: &mut Progress) -> Result<Spread> {
    let mut speeds = Vec::new();
    for round in 0..=args.repeats {
        progress.update(|| format!("{sequences} together, round {round} of {}", args.repeats));
        let speed = once(model, args, sequences)?;
        // The first one warms up.
        if round > 0 {
            speeds.push(speed);
        }
    }
    Spread::of(&speeds).ok_or_else(Failure::cancelled)
}

/// One round. Prompts take turns in being read, and texts whose prompt was read first go on meanwhile. So time runs from
/// the first token of the text that is last to have one until it has --tokens more: then every text had a token in every step.
fn once(model: &Model, args: &BenchArgs, sequences: usize) -> Result<f64> {
    let prompt = args.depth.max(1);
    // Steps until all prompts are read: no more than one for each of their tokens, and those of 64 or more are read at once.
    let waiting = sequences * (1 + prompt / 64);
    let context = prompt + waiting + args.tokens + 2;
    let mut batch = model.batch(BatchOptions { sequences, session: args.session(context) })?;
    let ids = tokens(model, prompt + sequences);
    for first in 0..sequences {
        let options = GenerateOptions { max_tokens: context, ignore_end: true, ..GenerateOptions::default() };
        batch.add(ids.get(first..first + prompt).unwrap_or_default().to_vec(), options);
    }
    let watch = interrupt::watch(CancelFlag::new());
    let mut begun = HashSet::new();
    let mut last = None;
    let mut count = 0;
    for (text, event) in batch {
        if watch.pressed() {
            return Err(Failure::cancelled());
        }
        let Event::Token(_) = event? else { break };
        match &mut last {
            None if begun.insert(text) && begun.len() == sequences => last = Some((text, Instant::now(), 0)),
            None => {}
            Some((last, since, tokens)) => {
                count += 1;
                *tokens += usize::from(text == *last);
                if *tokens == args.tokens {
                    return Ok(f64::from(count) / since.elapsed().as_secs_f64());
                }
            }
        }
    }
    Err(Failure::new(
        Exit::Failure,
        "the texts were not decoded together for long enough; measure with a smaller --depth",
    ))
}
