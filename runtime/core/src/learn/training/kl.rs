//! How far an adapter takes a model from what it was: the divergence of its predictions.

use super::{Example, Training};
use crate::context::{Context, ContextSize, Want};
use crate::error::Error;
use crate::sample::log_sum_exp;
use crate::session::KvType;

/// Rows of logits that are kept at a time.
const ROWS: usize = 32;
/// Both sides are computed with these keys and values.
pub(super) const KV: KvType = KvType::F32;

/// Of the context in which examples of so many tokens are compared.
pub(super) fn size(positions: u64) -> ContextSize {
    ContextSize::full(2, positions, 2 * ROWS as u64, 2 * ROWS as u64)
}

impl Training {
    /// The mean of `KL(base || adapted)` over the tokens of `examples` that count, in nats per token: how much worse the adapter predicts what
    /// the base model would say than that does itself. 0 where no token counts.
    ///
    /// # Errors
    /// As [`Training::score`].
    pub fn kl(&mut self, examples: &[impl AsRef<Example>]) -> Result<f64, Error> {
        // Checks the examples.
        self.pack(examples)?;
        let positions = examples.iter().map(|e| e.as_ref().tokens.len()).max().unwrap_or(0).max(1) as u64;
        let mut context = self.model.context_with(size(positions), KV.dtype(), self.factors.banks())?;
        let (mut sum, mut tokens) = (0.0, 0);
        for example in examples {
            let (nats, n) = self.divergence(&mut context, example.as_ref())?;
            sum += nats;
            tokens += n;
        }
        Ok(if tokens == 0 { 0.0 } else { sum / tokens as f64 })
    }

    fn divergence(&self, context: &mut Context, example: &Example) -> Result<(f64, usize), Error> {
        context.reset(0)?;
        context.reset(1)?;
        context.set_adapter(1, Some(0.into()))?;
        let (mut sum, mut tokens, vocab) = (0.0, 0, self.model.tokenizer().vocab_size());
        let inputs = &example.tokens[..example.tokens.len().saturating_sub(1)];
        for (start, part) in inputs.chunks(ROWS).enumerate().map(|(i, part)| (i * ROWS, part)) {
            // Both sequences at once: of the first the logits are kept until those of the second come.
            let mut base: Vec<Vec<f32>> = vec![Vec::new(); part.len()];
            let mut adapted = base.clone();
            context.push(0, part)?;
            context.push(1, part)?;
            context.compute(&[0, 1], Want::All, &self.cancel, &mut |sequence, position, row| {
                let place =
                    if sequence == 0 { base.get_mut(position - start) } else { adapted.get_mut(position - start) };
                if let Some(place) = place {
                    *place = row[..vocab.min(row.len())].to_vec();
                }
            })?;
            for (i, (p, q)) in base.iter().zip(&adapted).enumerate() {
                if example.counts[start + i + 1] {
                    sum += divergence(p, q);
                    tokens += 1;
                }
            }
        }
        Ok((sum, tokens))
    }
}

/// `KL(p || q)` of two distributions by their logits.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (total_p, total_q) = (f64::from(log_sum_exp(p)), f64::from(log_sum_exp(q)));
    let each = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) - total_p, f64::from(q) - total_q);
        p.exp() * (p - q)
    });
    each.sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zero_for_the_same_and_known_for_two() {
        let p = [0.25f32.ln(), 0.75f32.ln()];
        let q = [0.5f32.ln(), 0.5f32.ln()];
        assert!(divergence(&p, &p) < 1e-7);
        let expected = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((divergence(&p, &q) - expected).abs() < 1e-6);
    }
}
