//! Embeddings: a text as one vector, near to those of texts that mean alike.
//!
//! The vector is made of the hidden states that an encoder yields, or that a decoder's head would get, one per token
//! ([`Pooling`]). Each text is a sequence of its own; several share steps, which changes no result.

mod decoder;
mod encoder;
mod kept;

use crate::backend::CancelFlag;
use crate::error::Error;
use crate::model::Model;
pub(crate) use encoder::size as encoder_size;
pub(crate) use kept::Kept;
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
#[derive(Clone, Debug, Default)]
pub struct EmbedOptions {
    /// How to pool; as the model's files say, and the mean where they say nothing.
    pub pooling: Option<Pooling>,
    /// Scale to length 1, so that the dot product of two is the cosine of their angle? As the model's files say, and yes where they
    /// say nothing.
    pub normalize: Option<bool>,
    /// Leave out what is behind the model's context; otherwise such a text is an error. What the model's files put behind a text
    /// stays there ([`Model::embed`]).
    pub truncate: bool,
    /// Ends the work.
    pub cancel: CancelFlag,
}

impl Model {
    /// Embeds texts: a vector of [`ModelInfo::width`](crate::ModelInfo::width) numbers for each. Tokens that the model's files
    /// put around a text are put there.
    ///
    /// # Errors
    /// [`Error::ContextFull`] for a text that is too long, [`Error::Empty`] for one without tokens, [`Error::Cancelled`],
    /// [`Error::Memory`], backend errors.
    pub fn embed(&self, texts: &[&str], options: &EmbedOptions) -> Result<Vec<Vec<f32>>, Error> {
        let capacity = self.default_context() as usize;
        let encode = |text: &&str| {
            let mut tokens = self.tokenizer().encode(text, EncodeOptions { special: false, bos: Bos::Auto })?;
            if options.truncate && tokens.len() > capacity {
                let after = self.tokenizer().after();
                tokens.truncate(capacity.saturating_sub(after.len()));
                tokens.extend_from_slice(after);
            }
            Ok::<_, Error>(tokens)
        };
        let texts = texts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        self.embed_tokens(&texts, options)
    }

    /// The same for texts that are tokens.
    ///
    /// # Errors
    /// As [`Model::embed`]; [`Error::Token`].
    pub fn embed_tokens(&self, texts: &[Vec<u32>], options: &EmbedOptions) -> Result<Vec<Vec<f32>>, Error> {
        let texts = self.fitting(texts, options.truncate)?;
        let stated = self.stated();
        let pooling = options.pooling.or(stated.pooling).unwrap_or(Pooling::Mean);
        let normalize = options.normalize.or(stated.normalize).unwrap_or(true);
        let pools = match texts.is_empty() {
            true => Vec::new(),
            false if self.info().encoder => encoder::pools(self, &texts, pooling, &options.cancel)?,
            false => decoder::pools(self, &texts, pooling, &options.cancel)?,
        };
        Ok(pools.into_iter().map(|p| p.vector(normalize)).collect())
    }

    /// The texts as they are embedded.
    fn fitting<'a>(&self, texts: &'a [Vec<u32>], truncate: bool) -> Result<Vec<&'a [u32]>, Error> {
        let (vocab, context) = (self.tokenizer().vocab_size(), self.default_context());
        if self.info().encoder && context > self.reach() {
            let (found, expected) = (context.to_string(), "no more than the model has positions for");
            return Err(Error::Setting { setting: "context", found, expected });
        }
        let capacity = context as usize;
        let fitting = |text: &'a Vec<u32>| {
            let fits = if truncate { text.len().min(capacity) } else { text.len() };
            let text = text.get(..fits).unwrap_or(text);
            match text.iter().find(|&&id| id as usize >= vocab) {
                Some(&id) => Err(Error::Token { id, vocab }),
                None if text.is_empty() => Err(Error::Empty),
                None if fits > capacity => Err(Error::ContextFull { used: 0, wanted: fits, capacity }),
                None => Ok(text),
            }
        };
        texts.iter().map(fitting).collect()
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
