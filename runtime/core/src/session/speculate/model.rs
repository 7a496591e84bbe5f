//! Drafts by a smaller model of the same vocabulary (Leviathan et al. 2022; Chen et al. 2023).
//!
//! It shares nothing with the model but tokens: it has a session of its own, which follows the other's tokens, back and forth,
//! and counts against its own model's memory. Where it falls far behind, as with a long prompt, it goes on from the last few
//! tokens: reading everything could cost more than drafts bring. Its tokens are chosen with the same settings and the same
//! random numbers, so that they are likely the same ones. What is verified decides, so none of this changes the text.

use super::chances::{Chances, Ledger, Plain};
use crate::backend::CancelFlag;
use crate::error::Error;
use crate::model::Model;
use crate::sample::{Sampling, log_sum_exp};
use crate::session::{Session, SessionOptions};
use web_time::Instant;

/// Tokens that it goes on from where it is further behind than that.
const WINDOW: usize = 32;
/// What reading that many takes, in drafts, until it was measured.
const READING: f64 = 6.0;
/// Weight of a new time.
const WEIGHT: f64 = 1.0 / 8.0;
/// Least probabilities of classes of drafts under the draft model, and first guesses at how many come true.
const SURE: [f32; 6] = [0.95, 0.8, 0.6, 0.4, 0.2, 0.0];
const PRIORS: [f64; 6] = [0.9, 0.8, 0.65, 0.5, 0.35, 0.2];
/// The class that drafts are taken to be of before they are made.
const TYPICAL: usize = 2;

/// A model that drafts for one session.
pub struct Drafter {
    session: Session,
    /// Tokens of the session, and which of the text's is the first.
    seen: Vec<u32>,
    start: usize,
    chances: Chances,
    /// All drafts, whatever their class.
    overall: Chances,
    /// Bytes that it reads for a token, as a share of those that the model reads.
    size: f64,
    /// Measured seconds of a draft, and of a token when catching up; 0 where unknown.
    draft_seconds: f64,
    read_seconds: f64,
}

/// What is to be continued, and how tokens are chosen.
pub struct Ask<'a> {
    pub history: &'a [u32],
    pub sampling: &'a Sampling,
    /// Nothing comes after these.
    pub is_end: &'a dyn Fn(u32) -> bool,
    pub cancel: &'a CancelFlag,
    /// Most drafts.
    pub room: usize,
    /// Draft even if it does not pay.
    pub always: bool,
}

impl Drafter {
    /// `draft` drafts for a session of `model` with such `options`.
    ///
    /// # Errors
    /// [`Error::DraftVocabulary`]; as [`Model::session`] for `draft`.
    pub fn new(model: &Model, draft: &Model, options: &SessionOptions, capacity: usize) -> Result<Self, Error> {
        same_vocabulary(model, draft)?;
        let context = (capacity as u64).min(draft.info().context_length.max(1));
        let options = SessionOptions { context: Some(context), chunk: None, speculate: false, ..*options };
        Ok(Self {
            session: draft.session(options)?,
            seen: Vec::new(),
            start: 0,
            chances: Chances::new(&PRIORS),
            overall: Chances::new(&[PRIORS[TYPICAL]]),
            size: draft.info().bytes_per_token as f64 / model.info().bytes_per_token.max(1) as f64,
            draft_seconds: 0.0,
            read_seconds: 0.0,
        })
    }

    /// Does it draft for this model?
    pub fn is_of(&self, draft: &Model) -> bool {
        self.session.model().is_same(draft)
    }

    /// Drafts with their classes, as far as they are worth their time.
    ///
    /// # Errors
    /// [`Error::Cancelled`], backend errors.
    pub fn propose(
        &mut self,
        ask: &Ask<'_>,
        plain: Plain<'_>,
        ledger: &mut Ledger,
    ) -> Result<Vec<(u32, usize)>, Error> {
        self.follow(ask.history, ask.room)?;
        let text = &ask.history[self.start..];
        let room = ask.room.min(self.session.capacity().saturating_sub(text.len()));
        if room == 0 {
            return Ok(Vec::new());
        }
        if !ask.always && !self.pays(text.len() - self.seen.len(), room, plain, ledger) {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let drafts = self.drafts(ask, room, plain)?;
        let spent = started.elapsed().as_secs_f64();
        ledger.pass(spent);
        ledger.book(spent, 0.0);
        Ok(drafts)
    }

    /// Whether drafts of the usual quality would make text come faster after reading `behind` tokens, and may be tried if not.
    fn pays(&self, behind: usize, room: usize, plain: Plain<'_>, ledger: &Ledger) -> bool {
        let Some(step) = plain.seconds() else { return false };
        let draft = if self.draft_seconds > 0.0 { self.draft_seconds } else { step * self.size };
        let token = if self.read_seconds > 0.0 { self.read_seconds } else { draft * READING / WINDOW as f64 };
        let reading = token * behind.saturating_sub(1) as f64;
        if let Some((_, cost)) = plain.best(&vec![self.overall.of(0); room], draft) {
            return ledger.allows(cost + reading, step);
        }
        // Texts change: a single draft as often as the ledger has it, if only it could ever pay.
        let could = plain.best(&vec![1.0; room], draft).is_some();
        could && plain.extra(1).is_some_and(|extra| ledger.allows(extra + draft + reading, step))
    }

    fn drafts(&mut self, ask: &Ask<'_>, room: usize, plain: Plain<'_>) -> Result<Vec<(u32, usize)>, Error> {
        let mut history = ask.history.to_vec();
        let mut drafts = Vec::new();
        let mut all_so_far = 1.0;
        while drafts.len() < room {
            let started = Instant::now();
            let missing = history[self.start + self.seen.len()..].to_vec();
            let mut logits = self.read(&missing, ask.cancel)?;
            let total = log_sum_exp(&logits);
            let raw = logits.clone();
            let token = ask.sampling.choose(&mut logits, &history);
            let probability = raw.get(token as usize).map_or(0.0, |l| (l - total).exp());
            let class = SURE.iter().position(|least| probability >= *least).unwrap_or(SURE.len() - 1);
            history.push(token);
            drafts.push((token, class));
            let seconds = started.elapsed().as_secs_f64();
            match missing.len() {
                1 => update(&mut self.draft_seconds, seconds),
                // Choosing takes its time as well.
                n => update(&mut self.read_seconds, (seconds - self.draft_seconds).max(0.0) / (n - 1) as f64),
            }
            all_so_far *= self.chances.of(class);
            if (ask.is_end)(token) || !(ask.always || self.goes_on(all_so_far, drafts.len(), plain)) {
                break;
            }
        }
        Ok(drafts)
    }

    /// Is one more draft worth its time, where those so far come true with this chance?
    fn goes_on(&self, chance: f64, drafts: usize, plain: Plain<'_>) -> bool {
        let (Some(step), Some(now), Some(then)) = (plain.seconds(), plain.extra(drafts), plain.extra(drafts + 1))
        else {
            return false;
        };
        let saved = chance * self.overall.of(0) * step / plain.rows() as f64;
        saved > self.draft_seconds + then - now
    }

    /// The chance of a draft of `class`.
    pub fn chance(&self, class: usize) -> f64 {
        self.chances.of(class)
    }

    /// A draft of `class`, all before which came true, did or did not.
    pub fn learn(&mut self, class: usize, hit: bool) {
        self.chances.learn(class, hit);
        self.overall.learn(0, hit);
    }

    /// Goes back to where the text went another way, and begins anew where it is far ahead or room runs out.
    fn follow(&mut self, history: &[u32], room: usize) -> Result<(), Error> {
        let text = history.get(self.start..).unwrap_or_default();
        let common = self.seen.iter().zip(text).take_while(|(a, b)| a == b).count();
        let lost = text.is_empty() || text.len() - common > WINDOW || text.len() + room > self.session.capacity();
        // The last token is read for its logits.
        let keep = if lost { 0 } else { common.min(text.len() - 1) };
        if keep < self.seen.len() {
            self.session.rollback(self.seen.len() - keep)?;
            self.seen.truncate(keep);
        }
        if lost {
            self.start = history.len().saturating_sub(WINDOW);
        }
        Ok(())
    }

    fn read(&mut self, tokens: &[u32], cancel: &CancelFlag) -> Result<Vec<f32>, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let logits = self.session.forward(tokens);
        // Some or all may have been taken in before it failed.
        match &logits {
            Ok(_) => self.seen.extend_from_slice(tokens),
            Err(_) => self.seen = self.session.tokens(),
        }
        logits
    }
}

fn update(mean: &mut f64, seconds: f64) {
    *mean = if *mean == 0.0 { seconds } else { *mean + (seconds.min(*mean * 2.0) - *mean) * WEIGHT };
}

/// The same tokens at the same ids, and as many.
fn same_vocabulary(model: &Model, draft: &Model) -> Result<(), Error> {
    let (expected, found) = (model.tokenizer(), draft.tokenizer());
    let (vocab, draft_vocab) = (expected.vocab_size(), found.vocab_size());
    let same = |id: &u32| expected.token_text(*id) == found.token_text(*id);
    let differs = (0..vocab.min(draft_vocab) as u32).find(|id| !same(id));
    if vocab == draft_vocab && differs.is_none() {
        return Ok(());
    }
    let text = |t: Option<&str>| t.map(str::to_owned);
    let id = differs.unwrap_or(vocab.min(draft_vocab) as u32);
    Err(Error::DraftVocabulary {
        vocab,
        draft_vocab,
        id,
        expected: text(expected.token_text(id)),
        found: text(found.token_text(id)),
    })
}
