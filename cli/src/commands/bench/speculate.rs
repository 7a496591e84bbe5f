//! Generation with and without speculative decoding, over a text that repeats itself and one that does not.

use super::BenchArgs;
use crate::answer::Drafted;
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::stats::Spread;
use crate::terminal::Progress;
use serde::Serialize;
use tern::{Event, Finish, GenerateOptions, Model, Session, SessionOptions, Speculation, StopReason};

/// Code, and the beginning of the same code again: much of what follows was there before.
const REPEATING: &str = "\
Original:

class Account:
    def __init__(self, owner, balance):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        self.balance = self.balance + amount
        return self.balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError(\"not enough money\")
        self.balance = self.balance - amount
        return self.balance

    def transfer(self, other, amount):
        self.withdraw(amount)
        other.deposit(amount)

The same, with a name for every account:

class Account:
    def __init__(self, owner, balance, name):
";

/// The beginning of a story: little of what follows was there before.
const NEW: &str = "\
The harbour lay quiet that morning. An old woman walked along the pier with a basket of bread, and she told me about the year \
when the ice came";

/// What was measured with one of the texts.
#[derive(Debug, Serialize)]
pub struct Speculated {
    pub text: &'static str,
    pub plain_tok_s: Spread,
    pub speculative_tok_s: Spread,
    pub ratio: f64,
    /// In the last round.
    #[serde(flatten)]
    pub drafts: Drafted,
}

/// Plain and speculative rounds take turns, so that both find the machine alike. The first round of both warms up.
pub fn measure(
    model: &Model,
    args: &BenchArgs,
    speculation: &Speculation,
    progress: &mut Progress,
) -> Result<Vec<Speculated>> {
    let measure_one = |(name, text): (&'static str, &str)| {
        let prompt = model.encode(text)?;
        let options = args.session(prompt.len() + args.tokens + 1);
        let session = model.session(SessionOptions { speculate: true, ..options })?;
        let (mut plain, mut speculative, mut drafts) = (Vec::new(), Vec::new(), Drafted::default());
        for round in 0..=args.repeats {
            progress.update(|| format!("{name} text, round {round} of {}", args.repeats));
            let (without, _) = once(&session, &prompt, args.tokens, Speculation::default())?;
            let (with, told) = once(&session, &prompt, args.tokens, speculation.clone())?;
            drafts = told;
            if round > 0 {
                plain.push(without);
                speculative.push(with);
            }
        }
        let (plain, speculative) = Spread::of(&plain).zip(Spread::of(&speculative)).ok_or_else(Failure::cancelled)?;
        let ratio = speculative.median / plain.median;
        Ok(Speculated { text: name, plain_tok_s: plain, speculative_tok_s: speculative, ratio, drafts })
    };
    [("repeating", REPEATING), ("new", NEW)].into_iter().map(measure_one).collect()
}

/// Tokens per second after the first one, and drafts.
fn once(session: &Session, prompt: &[u32], tokens: usize, speculation: Speculation) -> Result<(f64, Drafted)> {
    session.reset()?;
    let options = GenerateOptions { max_tokens: tokens, ignore_end: true, speculation, ..GenerateOptions::default() };
    let events = session.generate(prompt, options)?;
    let watch = interrupt::watch(session.cancel_flag());
    let end = events.last().transpose()?;
    drop(watch);
    let Some(Event::Done(Finish { timings, reason, .. })) = end else { return Err(Failure::cancelled()) };
    if reason == StopReason::Cancelled {
        return Err(Failure::cancelled());
    }
    let after_first = timings.generated_tokens.saturating_sub(1);
    let drafts = Drafted { proposed: timings.proposed_tokens, accepted: timings.accepted_tokens };
    Ok((after_first as f64 / timings.generate_ms * 1e3, drafts))
}
