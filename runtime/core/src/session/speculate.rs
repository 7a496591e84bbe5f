//! Speculative decoding: several tokens a step where they can be guessed, and the same tokens as without.
//!
//! Drafts are computed along with the last token, in one step, which reads the weights once for all of them. The next token is
//! chosen from the logits after the last one just as without drafts; if it is the first draft, the logits after that one are
//! those that its own step would have given, and so on. Results of a step do not depend on how many rows it has, and random
//! numbers are a function of seed and position, so the text, its log-probabilities and the session's state are bit-equal to
//! plain decoding. Chance and time only decide how many drafts there are, and that there are none where they do not pay.
//!
//! ```text
//! lookup.rs    drafts from the text itself
//! model.rs     drafts from a smaller model
//! chances.rs   how many are worth it
//! ```

mod chances;
mod lookup;
mod model;

use super::engine::Served;
use super::{GenerateOptions, Shared};
use crate::error::Error;
use crate::model::Model;
use chances::{Chances, Ledger, Plain};
use lookup::Lookup;
use model::{Ask, Drafter};
use std::fmt;

/// Most drafts of a step.
pub const MOST_DRAFTS: usize = 15;
/// Decoding steps after which a step without drafts is measured again.
const STALE: u64 = 64;
/// First guesses at how likely text goes on as it did after so many equal tokens, from 0 on.
const AGREEMENT: [f64; 13] = [0.0, 0.2, 0.4, 0.55, 0.65, 0.7, 0.75, 0.8, 0.85, 0.85, 0.85, 0.9, 0.9];

/// Speculative decoding of a generation. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Speculation {
    /// Where drafts come from.
    pub drafts: Drafts,
    /// Draft as much as possible, whether or not it pays: for tests and measurements.
    pub always: bool,
}

/// Where drafts come from.
#[derive(Clone, Default)]
pub enum Drafts {
    /// None are made.
    #[default]
    Off,
    /// The text itself: what followed when its last tokens stood there before. For text that repeats, as when a document or
    /// code is quoted or changed. It costs next to nothing where nothing repeats.
    Lookup,
    /// A smaller and faster model with the same vocabulary. Its session takes memory of that model's own, as much as one
    /// with the same context and type of keys and values.
    Model(Model),
}

impl Speculation {
    /// Drafts from the text itself.
    pub fn lookup() -> Self {
        Self { drafts: Drafts::Lookup, always: false }
    }

    /// Drafts from `model`.
    pub fn model(model: Model) -> Self {
        Self { drafts: Drafts::Model(model), always: false }
    }
}

impl fmt::Debug for Drafts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Lookup => f.write_str("Lookup"),
            Self::Model(model) => f.debug_tuple("Model").field(&model.info().name).finish(),
        }
    }
}

/// What drafts for a session; kept from one generation to the next.
pub struct Speculator {
    source: Source,
    ledger: Ledger,
    always: bool,
    /// Drafts of the step under way, with their classes.
    drafts: Vec<(u32, usize)>,
    /// What the text itself would have drafted, if that was not worth it.
    unused: Option<(u32, usize)>,
    /// Rows of others in the last step.
    others: usize,
}

enum Source {
    Text { lookup: Box<Lookup>, chances: Chances },
    Model(Box<Drafter>),
}

impl Speculator {
    /// What drafts as `options` say: `kept` where it is of that kind.
    ///
    /// # Errors
    /// [`Error::DraftVocabulary`], [`Error::Memory`], as [`Model::session`] for the draft model.
    pub fn new(shared: &Shared, options: &Speculation, kept: Option<Self>) -> Result<Option<Self>, Error> {
        let mut ledger = kept.as_ref().map(|k| k.ledger).unwrap_or_default();
        ledger.begin(shared.engine.costs().of(1).unwrap_or(0.0));
        let source = match (&options.drafts, kept.map(|k| k.source)) {
            (Drafts::Off, _) => return Ok(None),
            (Drafts::Lookup, Some(source @ Source::Text { .. })) => source,
            (Drafts::Lookup, _) => Source::Text { lookup: Box::default(), chances: Chances::new(&AGREEMENT) },
            (Drafts::Model(model), Some(Source::Model(drafter))) if drafter.is_of(model) => Source::Model(drafter),
            (Drafts::Model(model), _) => {
                Source::Model(Box::new(Drafter::new(&shared.model, model, &shared.options, shared.capacity)?))
            }
        };
        shared.engine.make_room_for_drafts(&shared.model, shared.place)?;
        let (always, drafts) = (options.always, Vec::new());
        Ok(Some(Self { source, ledger, always, drafts, unused: None, others: 0 }))
    }

    /// Drafts for the step after `history`, at most `room`.
    ///
    /// # Errors
    /// [`Error::Cancelled`], the draft model's backend errors.
    pub fn propose(
        &mut self,
        shared: &Shared,
        options: &GenerateOptions,
        history: &[u32],
        room: usize,
    ) -> Result<Vec<u32>, Error> {
        self.drafts.clear();
        self.unused = None;
        let (room, costs) = (room.min(MOST_DRAFTS), shared.engine.costs());
        let plain = Plain { others: self.others, costs: &costs };
        // Gains are measured against plain steps, so now and then there must be one.
        let measured = self.always || costs.is_fresh(plain.rows(), STALE);
        match &mut self.source {
            Source::Text { lookup, chances } => {
                lookup.follow(history);
                let Some(guess) = lookup.guess(room.max(1)) else { return Ok(Vec::new()) };
                let classes = guess.agreement..;
                let drafts: Vec<(u32, usize)> = guess.tokens.into_iter().zip(classes).collect();
                let likely: Vec<f64> = drafts.iter().map(|d| chances.of(d.1)).collect();
                let worth = match (self.always, measured) {
                    (true, _) => room,
                    (_, false) => 0,
                    _ => affordable(plain, &likely[..room], self.ledger),
                };
                self.unused = drafts.first().copied().filter(|_| worth == 0);
                self.drafts.extend(drafts.into_iter().take(worth));
            }
            Source::Model(drafter) if measured && room > 0 => {
                let is_end = |id| !options.ignore_end && shared.model.tokenizer().is_end(id);
                let (sampling, cancel, always) = (&options.sampling, &shared.cancel, self.always);
                let ask = Ask { history, sampling, is_end: &is_end, cancel, room, always };
                let drafts = drafter.propose(&ask, plain, &mut self.ledger)?;
                let likely: Vec<f64> = drafts.iter().map(|d| drafter.chance(d.1)).collect();
                // They are there, so their price no longer counts; at least one is looked at, to know what they are worth.
                let worth = if self.always { room } else { plain.best(&likely, 0.0).map_or(1, |b| b.0) };
                self.drafts.extend(drafts.into_iter().take(worth));
            }
            Source::Model(_) => {}
        }
        Ok(self.drafts.iter().map(|d| d.0).collect())
    }

    /// Drafts of the step under way, with their classes.
    pub fn drafts(&self) -> &[(u32, usize)] {
        &self.drafts
    }

    /// Which tokens were chosen: from the logits after the last token, and after each draft that came true.
    pub fn learn(&mut self, shared: &Shared, chosen: &[u32], served: &Served) {
        let computed = served.logits.len().saturating_sub(1);
        let hits = self.drafts.iter().zip(chosen).take_while(|(draft, token)| draft.0 == **token).count();
        let outcomes = self.drafts.iter().zip(chosen).take(computed).enumerate().map(|(i, (d, _))| (d.1, i < hits));
        match &mut self.source {
            Source::Text { chances, .. } => {
                outcomes
                    .chain(self.unused.zip(chosen.first()).map(|(d, token)| (d.1, d.0 == *token)))
                    .for_each(|(class, hit)| chances.learn(class, hit));
            }
            Source::Model(drafter) => outcomes.for_each(|(class, hit)| drafter.learn(class, hit)),
        }
        let size = served.size;
        self.others = size.rows.saturating_sub(size.prompts + size.drafts + 1);
        let seconds = served.took.as_secs_f64();
        if size.prompts > 0 {
            return;
        }
        self.ledger.pass(seconds);
        let rows = size.rows - size.drafts;
        if let (Some(plain), true) = (shared.engine.costs().of(rows), computed > 0) {
            let share = computed as f64 / size.drafts.max(1) as f64;
            self.ledger.book((seconds - plain) * share, hits.min(computed) as f64 * plain / rows.max(1) as f64);
        }
    }
}

/// How many drafts with these chances to compute, as far as the ledger goes.
fn affordable(plain: Plain<'_>, chances: &[f64], ledger: Ledger) -> usize {
    let Some((count, cost)) = plain.best(chances, 0.0) else { return 0 };
    let allowed = |cost: f64| plain.seconds().is_some_and(|step| ledger.allows(cost, step));
    if allowed(cost) {
        return count;
    }
    (1..count).rev().find(|&n| plain.extra(n).is_some_and(allowed)).unwrap_or(0)
}
