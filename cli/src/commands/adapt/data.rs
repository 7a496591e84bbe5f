//! Documents to stretches of tokens.

use crate::failure::Result;
use tern::learn::corpus::{Encoder, Sample};
use tern::learn::{Corpus, CorpusOptions, Document, Random};
use tern::{Error, Model};

/// What is learned from, and what is held out.
pub struct Data {
    pub learn: Vec<Sample>,
    pub held_out: Vec<Sample>,
    pub held_out_documents: usize,
    /// Bytes that the held-out tokens that count stand for.
    pub held_out_bytes: u64,
}

impl Data {
    /// Stretches of at most `context` tokens, those to learn from in an order that `seed` decides, as it does which documents
    /// are held out.
    pub fn new(model: &Model, documents: Vec<Document>, context: usize, seed: u64) -> Result<Self> {
        let options = CorpusOptions { seed, ..CorpusOptions::default() };
        let corpus = Corpus::new(documents, &options);
        let encoder = Encoder::new(model, context, &options.origins)?;
        let samples = |documents: &[Document]| -> std::result::Result<Vec<Sample>, Error> {
            let each = documents.iter().map(|d| encoder.encode(d)).collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(each.concat())
        };
        let (mut learn, held_out) = (samples(&corpus.train)?, samples(&corpus.held_out)?);
        Random::new(seed).shuffle(&mut learn);
        let held_out_bytes = held_out.iter().map(|s| s.bytes).sum();
        Ok(Self { learn, held_out, held_out_documents: corpus.held_out.len(), held_out_bytes })
    }
}
