//! Scoring: how likely a model finds a given text.

use crate::backend::CancelFlag;
use crate::context::{Context, Want};
use crate::error::Error;
use crate::model::Model;
use crate::sample::log_sum_exp;
use crate::session::{KvType, SessionOptions};

/// How to score.
#[derive(Clone, Debug, Default)]
pub struct ScoreOptions {
    /// Tokens of a window; the model's own length up to [`crate::DEFAULT_CONTEXT`] otherwise.
    pub context: Option<u64>,
    /// Element type of cached keys and values.
    pub kv: KvType,
    /// The likeliest tokens to report at each position.
    pub top: usize,
    /// Ends the scoring.
    pub cancel: CancelFlag,
}

/// A token of the scored text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Log-probability in nats, given the tokens before it in its window; `None` for the first token.
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place with their log-probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Rows whose logits are fetched in one step: bounds the memory for logits.
const ROWS: u64 = 32;

impl Model {
    /// Scores every token but the first, teacher-forced.
    ///
    /// Windows: texts longer than the context are cut into windows of `context` tokens that overlap by half. Each token is scored once:
    /// in the first window all of them, in later windows the second half, so every later token sees at least half a context.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Cancelled`], [`Error::Memory`], backend errors.
    pub fn score(
        &self,
        tokens: &[u32],
        options: &ScoreOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Scored>, Error> {
        self.check_decoder()?;
        let vocab = self.tokenizer().vocab_size();
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        let wanted = options.context.unwrap_or_else(|| self.default_context());
        let window = wanted.min(tokens.len().max(1) as u64);
        let size = SessionOptions {
            context: Some(window),
            chunk: Some(window.min(256)),
            kv: options.kv,
            ..Default::default()
        };
        let size = size.size(self, ROWS)?;
        let used = self.acquire_adapters(&self.chosen_adapters())?;
        let result = self.context(size, options.kv.dtype()).and_then(|mut context| {
            context.set_adapter(0, used)?;
            self.score_in(&mut context, window as usize, tokens, options, progress)
        });
        self.release_adapters(used);
        self.drop_banks()?;
        result
    }

    fn score_in(
        &self,
        context: &mut Context,
        window: usize,
        tokens: &[u32],
        options: &ScoreOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Scored>, Error> {
        let vocab = self.tokenizer().vocab_size();
        let mut scored = vec![Scored::default(); tokens.len()];
        let mut start = 0;
        let mut done = 1;
        while done < tokens.len() {
            let end = tokens.len().min(start + window);
            // The last window reaches back so that it is a full one.
            start = end.saturating_sub(window);
            context.rollback(0, usize::MAX)?;
            let unscored = done - 1 - start;
            context.push(0, &tokens[start..start + unscored])?;
            if unscored > 0 {
                context.compute(&[0], Want::Last, &options.cancel, &mut |_, _, _| {})?;
            }
            // The last token of a window predicts what lies beyond it.
            context.push(0, &tokens[start + unscored..end - 1])?;
            context.compute(&[0], Want::All, &options.cancel, &mut |_, position, row| {
                let target = start + position + 1;
                scored[target] = score_row(&row[..vocab.min(row.len())], tokens[target], options.top);
                progress(target + 1, tokens.len());
            })?;
            done = end;
            start = end.saturating_sub(window / 2);
        }
        Ok(scored)
    }
}

fn score_row(logits: &[f32], target: u32, top: usize) -> Scored {
    let total = log_sum_exp(logits);
    let mut best: Vec<(u32, f32)> = Vec::new();
    if top > 0 {
        best = (0..).zip(logits.iter().copied()).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top < best.len() {
            best.select_nth_unstable_by(top - 1, order);
            best.truncate(top);
        }
        best.sort_unstable_by(order);
        best.iter_mut().for_each(|b| b.1 -= total);
    }
    Scored { logprob: logits.get(target as usize).map(|l| l - total), top: best }
}
