//! Is it worth trying? What costs nothing is asked first.

use super::control::{Control, Phase};
use crate::error::Error;
use crate::learn::corpus::{Content, Corpus, Document};
use crate::learn::evidence::{Bound, MIN_ORDER, MIN_SHINGLES, Measure, Order, Verdict, distinct, gain, shuffled};
use crate::learn::pupil::Pupil;
use crate::random::Random;

/// Pieces of text whose order is tested.
const PIECES: usize = 48;
/// So many, from all over the text, are enough where the interval of what they say lies at twice the bound or above.
const FIRST: usize = 16;
/// Bytes of a piece: enough for words to depend on each other.
const PIECE_BYTES: usize = 1500;
/// Least bytes of a piece that tells anything.
const LEAST_BYTES: usize = 100;

/// Without a model: who wrote it, and does it repeat itself? With the share of different word sequences.
pub fn cheap(corpus: &Corpus) -> (f64, Option<Verdict>) {
    let refused: u64 = corpus.left.origins.values().map(|c| c.bytes).sum();
    let texts = || corpus.documents().flat_map(|d| d.learned()).map(|(text, _)| text);
    let allowed: u64 = texts().map(|t| t.len() as u64).sum();
    if refused > 0 && allowed == 0 {
        return (1.0, Some(Verdict::Refused { bound: Bound::Origin, found: 1.0, limit: 0.0 }));
    }
    let share = if allowed == 0 { 1.0 } else { distinct(texts()) };
    let repeats = Verdict::Refused { bound: Bound::Repetition, found: 1.0 - share, limit: 1.0 - MIN_SHINGLES };
    (share, (share < MIN_SHINGLES).then_some(repeats))
}

/// With the base model: does the order of words matter?
pub fn order(pupil: &mut dyn Pupil, corpus: &Corpus, seed: u64, control: &Control) -> Result<Option<Order>, Error> {
    let pieces = pieces(corpus);
    let mut measures = Vec::new();
    let mut places: Vec<usize> = (0..pieces.len()).collect();
    Random::new(seed).shuffle(&mut places);
    for (n, i) in places.into_iter().enumerate() {
        let piece = &pieces[i];
        control.may_go_on()?;
        control.report(Phase::Screen, n, pieces.len(), None);
        if n == FIRST && is_clear(&gain(&measures)) {
            break;
        }
        let other = changed(piece, |text| shuffled(text, seed.wrapping_add(i as u64)));
        let (own, other) = (pupil.encode(piece)?, pupil.encode(&other)?);
        let (after, before) = (pupil.nats(&own)?, pupil.nats(&other)?);
        measures.push(Measure { bytes: own.iter().map(|s| s.bytes).sum(), before, after });
    }
    // One piece alone says nothing.
    Ok((measures.len() > 1).then(|| gain(&measures)))
}

/// Is the order of words surely worth more than is asked for?
fn is_clear(order: &Order) -> bool {
    order.low > 2.0 * MIN_ORDER * order.before
}

/// The verdict on it.
pub fn judge_order(order: &Order) -> Option<Verdict> {
    let found = if order.low > 0.0 { order.share() } else { order.share().min(0.0) };
    (found < MIN_ORDER).then_some(Verdict::Refused { bound: Bound::Order, found, limit: MIN_ORDER })
}

/// The beginnings of all documents, then what follows them, and so on.
fn pieces(corpus: &Corpus) -> Vec<Document> {
    let mut pieces = Vec::new();
    for round in 0..PIECES {
        let before = pieces.len();
        for document in corpus.documents() {
            let mut long = false;
            let piece = changed(document, |text| {
                let part = part(text, round);
                long |= part.len() >= LEAST_BYTES;
                part.to_owned()
            });
            if long && pieces.len() < PIECES {
                pieces.push(piece);
            }
        }
        if pieces.len() == before {
            break;
        }
    }
    pieces
}

/// The part of a text of that number.
fn part(text: &str, round: usize) -> &str {
    let boundary = |at: usize| (at..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
    text.get(boundary(round * PIECE_BYTES)..boundary((round + 1) * PIECE_BYTES)).unwrap_or_default()
}

/// The same with other text where it is learned.
fn changed(document: &Document, mut change: impl FnMut(&str) -> String) -> Document {
    let mut document = document.clone();
    match &mut document.content {
        Content::Text(text) => *text = change(text),
        Content::Turns(turns) => {
            turns.iter_mut().filter(|t| t.is_answer()).for_each(|t| t.content = change(&t.content));
        }
    }
    document
}
