//! SHORT_CONV: each channel convolved along the sequence.

use super::Operation;
use crate::state::StateMemory;
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::ops::ShortConvParams;

/// [`SHORT_CONV`](tern_abi::ops::SHORT_CONV).
#[derive(Clone, Copy, Debug)]
pub struct ShortConv(pub ShortConvParams);

const X: usize = 0;
const W: usize = 1;
const BIAS: usize = 2;
const POSITIONS: usize = 3;
const SEQ_START: usize = 4;
const STATE: usize = 5;
const STATE_SLOTS: usize = 6;

impl ShortConv {
    /// Rows that an output sees before its own.
    fn before(&self) -> usize {
        self.0.width as usize - 1
    }

    /// First element of a sequence's unit, after checking that the state has it.
    fn unit<R: Real>(&self, x: &Args<'_, R>, state: &StateMemory<'_>, sequence: usize, channels: usize) -> Result<u64> {
        let slot = x.index(STATE_SLOTS, "state_slots", sequence, usize::MAX)?;
        let unit = ((self.before() + self.0.chunk as usize) * channels) as u64;
        let units = state.len()? / unit;
        if slot as u64 >= units {
            let (found, high) = (slot as i64, units as i64 - 1);
            return Err(Error::Index { op: Self::NAME, tensor: "state_slots", at: sequence, found, low: 0, high });
        }
        Ok(slot as u64 * unit)
    }
}

impl Operation for ShortConv {
    const NAME: &'static str = "SHORT_CONV";

    fn arity(&self) -> (usize, usize) {
        (7, 2)
    }
    fn differentiable(&self, i: usize) -> bool {
        i <= BIAS
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter(p.width > 0, "width", p.width.into(), "at least 1")?;
        s.parameter(p.chunk > 0, "chunk", p.chunk.into(), "at least 1")?;
        let [t, channels] = s.real(X, "x")?;
        s.real_is(W, "w", &[channels, p.width as usize])?;
        s.optional_real_is(BIAS, "bias", &[channels])?;
        s.int_is(POSITIONS, "positions", [t])?;
        let sequences = s.seq_start(SEQ_START)?;
        let state = s.state_of_sequences(STATE, STATE_SLOTS, sequences)?;
        Ok(vec![s.out(&[t, channels]), state])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (width, before, chunk) = (self.0.width as usize, self.before(), self.0.chunk as usize);
        let [t, channels] = x.shape(X)?;
        let (values, w, bias, state) = (x.real(X)?, x.real(W)?, x.optional_real(BIAS)?, x.state(STATE)?);
        let mut out = vec![R::zero(); t * channels];
        for (sequence, rows) in x.sequences(SEQ_START, t)?.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let start = x.position(POSITIONS, rows.start, rows.start)?;
            let end = x.position(POSITIONS, rows.end - 1, rows.start)? + 1;
            let unit = match &state {
                Some(s) => Some((s, self.unit(x, s, sequence, channels)?)),
                None => None,
            };
            // Rows from `before` ahead of the open mini-batch on, up to the last of this step.
            let opened = start / chunk * chunk;
            let mut known = match unit {
                Some((s, at)) if start > 0 => {
                    s.get(at, (before + start - opened) * channels)?.into_iter().map(R::of).collect()
                }
                _ => vec![R::zero(); (before + start - opened) * channels],
            };
            known.extend(&values[rows.start * channels..rows.end * channels]);
            for t in rows.clone() {
                let first = t - rows.start + start - opened;
                for c in 0..channels {
                    let seen = (0..width).map(|j| (w[c * width + j], known[(first + j) * channels + c]));
                    let sum = R::dot(seen);
                    out[t * channels + c] = bias.map_or(sum, |b| sum + b[c]);
                }
            }
            if let Some((s, at)) = unit {
                let mut kept: Vec<f64> =
                    known[(end / chunk * chunk - opened) * channels..].iter().map(|v| v.value()).collect();
                kept.resize((before + chunk) * channels, 0.0);
                s.set(at, &kept)?;
            }
        }
        let mut outputs = vec![Output::Real(out)];
        outputs.extend(state.map(|_| Output::State));
        Ok(outputs)
    }
}
