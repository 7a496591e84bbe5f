//! Embeddings: a text as one vector, near to those of texts that mean alike.
//!
//! The vector is made of the hidden states that the head would get, one per token ([`Pooling`]). Each text is a sequence of
//! its own; several share steps, which changes no result.

use crate::backend::CancelFlag;
use crate::context::{ContextSize, Want};
use crate::error::Error;
use crate::model::Model;
use crate::session::{KvType, SessionOptions};
use tern_text::{Bos, EncodeOptions};

/// How a text's hidden states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token, which encoders put there for it.
    Cls,
    /// That of the last token: the only one of a decoder that has seen all others.
    Last,
}

impl Pooling {
    /// "mean", "cls" or "last".
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        }
    }
}

/// How to embed.
#[derive(Clone, Debug)]
pub struct EmbedOptions {
    /// How to pool; as the model's files say, and the mean where they say nothing.
    pub pooling: Option<Pooling>,
    /// Scale to length 1, so that the dot product of two is the cosine of their angle.
    pub normalize: bool,
    /// Leave out what is behind the model's context; otherwise such a text is an error.
    pub truncate: bool,
    /// Ends the work.
    pub cancel: CancelFlag,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self { pooling: None, normalize: true, truncate: false, cancel: CancelFlag::new() }
    }
}

/// Texts of a step.
const SEQUENCES: usize = 16;
/// Rows of a step.
const CHUNK: u64 = 256;

impl Model {
    /// Embeds texts: a vector of [`ModelInfo::width`](crate::ModelInfo::width) numbers for each. Tokens that the model's files
    /// put around a text are put there.
    ///
    /// # Errors
    /// [`Error::ContextFull`] for a text that is too long, [`Error::Empty`] for one without tokens, [`Error::Cancelled`],
    /// [`Error::Memory`], backend errors.
    pub fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Vec<Vec<f32>>, Error> {
        let encode = |text: &&str| self.tokenizer().encode(text, EncodeOptions { special: false, bos: Bos::Auto });
        let texts = texts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        self.embed_tokens(&texts, options)
    }

    /// The same for texts that are tokens.
    ///
    /// # Errors
    /// As [`Model::embed`]; [`Error::Token`].
    pub fn embed_tokens(&self, texts: &[Vec<u32>], options: &EmbedOptions) -> Result<Vec<Vec<f32>>, Error> {
        let (vocab, capacity) = (self.tokenizer().vocab_size(), self.default_context() as usize);
        let mut fitting = Vec::new();
        for text in texts {
            let fits = if options.truncate { text.len().min(capacity) } else { text.len() };
            let text = text.get(..fits).unwrap_or(text);
            match text.iter().find(|&&id| id as usize >= vocab) {
                Some(&id) => return Err(Error::Token { id, vocab }),
                None if text.is_empty() => return Err(Error::Empty),
                None if fits > capacity => return Err(Error::ContextFull { used: 0, wanted: fits, capacity }),
                None => fitting.push(text),
            }
        }
        let Some(longest) = fitting.iter().map(|t| t.len()).max() else { return Ok(Vec::new()) };
        let session = SessionOptions {
            context: Some(longest as u64),
            chunk: Some(CHUNK.min(longest as u64)),
            ..SessionOptions::default()
        };
        // Checked as a session's sizes are.
        let one = session.size(self, CHUNK)?;
        let sequences = fitting.len().min(SEQUENCES);
        let size = ContextSize::full(sequences as u64, one.positions, CHUNK, CHUNK);
        let (mut context, stated) = self.hidden_context(size, KvType::F32.dtype())?;
        let pooling = options.pooling.or(stated).unwrap_or(Pooling::Mean);
        let want = if pooling == Pooling::Last { Want::Last } else { Want::All };
        let mut pools = Vec::with_capacity(fitting.len());
        for group in fitting.chunks(sequences) {
            for (i, text) in group.iter().enumerate() {
                context.reset(i)?;
                // Every row is wanted, and what others have computed is not looked at.
                context.configure(i, None, true)?;
                context.push(i, text)?;
            }
            let mut found = vec![Pool::default(); group.len()];
            let all: Vec<usize> = (0..group.len()).collect();
            context.compute(&all, want, &options.cancel, &mut |i, position, row| match pooling {
                Pooling::Cls if position > 0 => {}
                _ => found[i].add(row),
            })?;
            pools.append(&mut found);
        }
        Ok(pools.into_iter().map(|p| p.vector(options.normalize)).collect())
    }
}

/// Rows on their way to a mean, in the order of their positions.
#[derive(Clone, Default)]
struct Pool {
    sum: Vec<f64>,
    rows: usize,
}

impl Pool {
    fn add(&mut self, row: &[f32]) {
        self.sum.resize(row.len(), 0.0);
        self.sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        self.rows += 1;
    }

    fn vector(self, normalize: bool) -> Vec<f32> {
        let length = self.sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        let divisor = if normalize { length } else { self.rows as f64 };
        // Nothing but zeros has no direction.
        let divisor = if divisor > 0.0 { divisor } else { 1.0 };
        self.sum.into_iter().map(|x| (x / divisor) as f32).collect()
    }
}
