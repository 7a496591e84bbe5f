//! Documents to samples of tokens.

use crate::failure::{Exit, Failure, Result};
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
    /// Samples of at most `context` tokens, those to learn from in an order that the seed of `options` decides, as it does which
    /// documents are held out. There is something to learn from.
    pub fn new(model: &Model, documents: Vec<Document>, context: usize, options: &CorpusOptions) -> Result<Self> {
        let mut corpus = Corpus::new(documents, options);
        // What a document says decides whether it is held out: of a single one that may be all there is.
        if corpus.train.is_empty() {
            corpus.train.append(&mut corpus.held_out);
        }
        let encoder = Encoder::new(model, context, &options.origins)?;
        let samples = |documents: &[Document]| -> std::result::Result<Vec<Sample>, Error> {
            let each = documents.iter().map(|d| encoder.encode(d)).collect::<std::result::Result<Vec<_>, _>>()?;
            Ok(each.concat())
        };
        let (mut learn, held_out) = (samples(&corpus.train)?, samples(&corpus.held_out)?);
        if learn.is_empty() {
            let refused: Vec<&str> = corpus.left.origins.keys().map(|o| o.as_str()).collect();
            let what = match refused.is_empty() {
                true => "there is too little text to learn from".to_owned(),
                false => format!(
                    "all text is of origins that are not learned from ({}); --allow WHO allows one",
                    refused.join(", ")
                ),
            };
            return Err(Failure::new(Exit::Input, what));
        }
        Random::new(options.seed).shuffle(&mut learn);
        let held_out_bytes = held_out.iter().map(|s| s.bytes).sum();
        Ok(Self { learn, held_out, held_out_documents: corpus.held_out.len(), held_out_bytes })
    }
}
