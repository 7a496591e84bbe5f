//! Which documents are learned from, and which are kept to see whether it helped.

use super::document::{Content, Document, Origin};
use super::near::Seen;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// What may be learned from, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorpusOptions {
    /// Origins that may be learned from.
    pub origins: Vec<Origin>,
    /// Most bytes of one source: nobody else's text should drown in it.
    pub max_source_bytes: u64,
    /// Share of the documents that is held out, 0 to 1.
    pub held_out: f64,
    /// Decides which documents are held out.
    pub seed: u64,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { origins: vec![Origin::User], max_source_bytes: 16 << 20, held_out: 0.2, seed: 0 }
    }
}

/// Documents and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Documents.
    pub documents: usize,
    /// Bytes that would have been learned.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.documents += 1;
        self.bytes += bytes;
    }
}

/// What was left out, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// By origin, where it is not allowed.
    pub origins: BTreeMap<Origin, Count>,
    /// The same text again.
    pub duplicates: Count,
    /// Nearly the same text.
    pub near_duplicates: Count,
    /// Beyond the cap of their source.
    pub capped: Count,
    /// Nothing to learn in it.
    pub empty: Count,
}

/// Documents to learn from and to test with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// To learn from.
    pub train: Vec<Document>,
    /// Never learned from.
    pub held_out: Vec<Document>,
    /// The rest.
    pub left: Left,
}

impl Corpus {
    /// Sorts documents. The order of `documents` decides which of two equal ones stays; whether one is held out depends on
    /// what it says and the seed alone, so that it stays so when others come.
    pub fn new(documents: impl IntoIterator<Item = Document>, options: &CorpusOptions) -> Self {
        let mut corpus = Self::default();
        let (mut exact, mut near) = (HashSet::new(), Seen::default());
        let mut sources: BTreeMap<String, u64> = BTreeMap::new();
        for document in documents {
            let left = &mut corpus.left;
            let total: u64 = document.learned().iter().map(|(text, _)| text.len() as u64).sum();
            let allowed = |o: Origin| options.origins.contains(&o);
            let refused = document.learned().into_iter().map(|(_, o)| o).find(|&o| !allowed(o));
            let size: u64 =
                document.learned().iter().filter(|(_, o)| allowed(*o)).map(|(text, _)| text.trim().len() as u64).sum();
            match refused {
                Some(origin) if size == 0 => {
                    left.origins.entry(origin).or_default().add(total);
                    continue;
                }
                None if size == 0 => {
                    left.empty.add(total);
                    continue;
                }
                _ => {}
            }
            if !exact.insert(document.digest()) {
                left.duplicates.add(size);
                continue;
            }
            if !near.is_new(&document.all().join("\n")) {
                left.near_duplicates.add(size);
                continue;
            }
            let used = sources.entry(document.source.clone()).or_default();
            let room = options.max_source_bytes.saturating_sub(*used);
            let Some(document) = fit(document, size, room) else {
                left.capped.add(size);
                continue;
            };
            *used += size.min(room);
            if is_held_out(&document, options) { &mut corpus.held_out } else { &mut corpus.train }.push(document);
        }
        corpus
    }

    /// All documents that are of use.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.train.iter().chain(&self.held_out)
    }
}

/// The document, or as many whole lines of a text as there is room for. Conversations are not cut.
fn fit(mut document: Document, size: u64, room: u64) -> Option<Document> {
    if size <= room {
        return Some(document);
    }
    let Content::Text(text) = &mut document.content else { return None };
    let most = usize::try_from(room).unwrap_or(usize::MAX).min(text.len());
    // Line breaks are whole characters, so what ends with one can be cut there.
    let end = text.as_bytes().iter().take(most).rposition(|&b| b == b'\n')?;
    text.truncate(end + 1);
    Some(document)
}

/// By a hash with the seed as key, so that nobody who writes documents can choose.
fn is_held_out(document: &Document, options: &CorpusOptions) -> bool {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&options.seed.to_le_bytes());
    let hash = blake3::keyed_hash(&key, &document.digest());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    (u64::from_le_bytes(first) as f64) < options.held_out * u64::MAX as f64
}
