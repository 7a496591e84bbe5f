//! FAST_WEIGHT: an inner model per head that learns along the sequence: TTT-Linear here, the delta rule in a file of its own.

mod delta;

use super::Operation;
use super::linear::dot;
use super::norm::standardized;
use crate::state::{StateMemory, fast_weight_head};
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::ops::{FastWeightParams, fast_weight_rule};

/// [`FAST_WEIGHT`](tern_abi::ops::FAST_WEIGHT).
#[derive(Clone, Copy, Debug)]
pub struct FastWeight(pub FastWeightParams);

const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const LR: usize = 3;
const W0: usize = 4;
const B0: usize = 5;
const LN_W: usize = 6;
const LN_B: usize = 7;
const TOKEN_SCALE: usize = 8;
const POSITIONS: usize = 9;
const SEQ_START: usize = 10;
const STATE: usize = 11;
const STATE_SLOTS: usize = 12;
const DECAY: usize = 13;

/// A row that the open mini-batch has taken in: key, gradient at the inner model's output, learning rate (under the delta rule
/// the sum of decays).
#[derive(Clone)]
struct Place<R> {
    k: Vec<R>,
    g: Vec<R>,
    lr: R,
}

/// One head on its way along a sequence.
struct Inner<R> {
    /// `[in][out]`, as at the start of the mini-batch.
    w: Vec<Vec<R>>,
    b: Vec<R>,
    open: Vec<Place<R>>,
}

/// The inner layer norm's parameters of one head.
struct Norm<'a, R> {
    w: &'a [R],
    b: &'a [R],
    eps: f32,
}

impl<R: Real> Norm<'_, R> {
    fn affine(&self, normal: &[R]) -> Vec<R> {
        normal.iter().zip(self.w.iter().zip(self.b)).map(|(&x, (&w, &b))| w * x + b).collect()
    }
}

impl<R: Real> Inner<R> {
    fn column(&self, i: usize) -> Vec<R> {
        self.w.iter().map(|row| row[i]).collect()
    }
    /// `x W + b`.
    fn apply(&self, x: &[R]) -> Vec<R> {
        self.b.iter().enumerate().map(|(i, &b)| dot(x, &self.column(i)) + b).collect()
    }
    /// Gradient of `½ |LN(k W + b) - (v - k)|²` with respect to `k W + b`.
    fn gradient(&self, k: &[R], v: &[R], norm: &Norm<'_, R>) -> Vec<R> {
        let (normal, root) = standardized(&self.apply(k), norm.eps);
        let y = norm.affine(&normal);
        let e: Vec<R> = (0..k.len()).map(|i| (y[i] - (v[i] - k[i])) * norm.w[i]).collect();
        let (sum, along) = (R::sum(e.iter().copied()), dot(&e, &normal));
        let f = R::of(k.len() as f64);
        (0..k.len()).map(|i| (f * e[i] - sum - normal[i] * along) / (f * root)).collect()
    }
    /// Output row, with what the mini-batch has learned so far.
    fn output(&self, q: &[R], s: R, norm: &Norm<'_, R>) -> Vec<R> {
        let z = self.apply(q);
        let one = R::of(1.0);
        let shares: Vec<R> = self.open.iter().map(|p| p.lr * (dot(q, &p.k) + one)).collect();
        let learned = |i: usize| R::dot(shares.iter().copied().zip(self.open.iter().map(|p| p.g[i])));
        let z: Vec<R> = z.into_iter().enumerate().map(|(i, z)| z - s * learned(i)).collect();
        let (normal, _) = standardized(&z, norm.eps);
        norm.affine(&normal).into_iter().zip(q).map(|(y, &q)| q + y).collect()
    }
    /// At the mini-batch's last place: what it learned becomes part of `W` and `b`.
    fn commit(&mut self, s: R) {
        for i in 0..self.b.len() {
            for (a, row) in self.w.iter_mut().enumerate() {
                row[i] = row[i] - s * R::dot(self.open.iter().map(|p| (p.lr * p.k[a], p.g[i])));
            }
            self.b[i] = self.b[i] - s * R::dot(self.open.iter().map(|p| (p.lr, p.g[i])));
        }
        self.open.clear();
    }
}

impl FastWeight {
    fn head_dim(&self) -> usize {
        self.0.head_dim as usize
    }
    fn value_dim(&self) -> usize {
        if self.0.value_dim > 0 { self.0.value_dim as usize } else { self.head_dim() }
    }
    fn key_heads(&self) -> usize {
        if self.0.key_heads > 0 { self.0.key_heads as usize } else { self.0.heads as usize }
    }
    fn is_delta(&self) -> bool {
        self.0.rule == fast_weight_rule::DELTA
    }
    fn chunk(&self) -> usize {
        self.0.chunk as usize
    }
    /// First element of a head in a state, after checking that the state has it.
    fn head_in_state(&self, state: &StateMemory<'_>, slot: usize, head: usize) -> Result<u64> {
        let (heads, chunk) = (u64::from(self.0.heads), u64::from(self.0.chunk));
        let per_head = fast_weight_head(self.head_dim() as u64, self.value_dim() as u64, chunk)
            .ok_or(Error::Internal("a head that overflows"))?;
        let unit = per_head.saturating_mul(heads);
        let units = state.len()? / unit;
        if slot as u64 >= units {
            let (found, high) = (slot as i64, units as i64 - 1);
            return Err(Error::Index { op: Self::NAME, tensor: "state_slots", at: head, found, low: 0, high });
        }
        Ok(slot as u64 * unit + head as u64 * per_head)
    }
    /// The head as the state has it, `open` places into a mini-batch.
    fn load<R: Real>(&self, state: &StateMemory<'_>, from: u64, open: usize) -> Result<Inner<R>> {
        let (f, n) = (self.head_dim(), self.value_dim());
        let mut at = from;
        let mut take = |n: usize| -> Result<Vec<R>> {
            let data = state.get(at, n)?;
            at += n as u64;
            Ok(data.into_iter().map(R::of).collect())
        };
        let w = (0..f).map(|_| take(n)).collect::<Result<_>>()?;
        let b = take(n)?;
        let place = |_| Ok(Place { k: take(f)?, g: take(n)?, lr: take(1)?[0] });
        Ok(Inner { w, b, open: (0..open).map(place).collect::<Result<_>>()? })
    }
    /// Writes the head; places that are not open are zero.
    fn store<R: Real>(&self, state: &StateMemory<'_>, from: u64, inner: &Inner<R>) -> Result<()> {
        let (f, n) = (self.head_dim(), self.value_dim());
        let mut data: Vec<R> = inner.w.concat();
        data.extend(&inner.b);
        for place in &inner.open {
            data.extend(place.k.iter().chain(&place.g));
            data.push(place.lr);
        }
        data.resize(f * n + n + self.chunk() * (f + n + 1), R::zero());
        state.set(from, &data.into_iter().map(R::value).collect::<Vec<_>>())
    }
    /// The slot of a sequence's state.
    fn slot<R: Real>(&self, x: &Args<'_, R>, sequence: usize) -> Result<usize> {
        x.index(STATE_SLOTS, "state_slots", sequence, usize::MAX)
    }
    /// The head at the start of a text.
    fn first<R: Real>(&self, x: &Args<'_, R>, head: usize) -> Result<Inner<R>> {
        let (f, n) = (self.head_dim(), self.value_dim());
        let zeros = vec![R::zero(); f * n];
        let w = x.optional_real(W0)?.map_or(&zeros[..], |w| &w[head * f * n..(head + 1) * f * n]);
        let b = x.optional_real(B0)?.map_or(&zeros[..n], |b| &b[head * n..(head + 1) * n]);
        Ok(Inner { w: w.chunks(n).map(<[R]>::to_vec).collect(), b: b.to_vec(), open: Vec::new() })
    }
    /// Are inputs there that the rule takes, and no others?
    fn check_rule(&self, s: &Signature) -> Result<()> {
        let (p, delta) = (&self.0, self.is_delta());
        s.parameter(p.rule <= fast_weight_rule::DELTA, "rule", p.rule.into(), "one of fast_weight_rule")?;
        s.parameter(delta || self.value_dim() == self.head_dim(), "value_dim", p.value_dim.into(), "head_dim")?;
        s.parameter(delta || self.key_heads() == p.heads as usize, "key_heads", p.key_heads.into(), "heads")?;
        s.parameter(
            p.heads.is_multiple_of(self.key_heads() as u32),
            "key_heads",
            p.key_heads.into(),
            "a divisor of heads",
        )?;
        let needed = [(W0, "w0"), (B0, "b0"), (LN_W, "ln_w"), (LN_B, "ln_b"), (TOKEN_SCALE, "token_scale")];
        if !delta {
            needed.iter().try_for_each(|&(i, tensor)| s.need(i, tensor).map(drop))?;
            return match s.get(DECAY) {
                None => Ok(()),
                Some(_) => Err(s.shape_error(DECAY, "decay", "none under this rule")),
            };
        }
        match needed[1..].iter().find(|&&(i, _)| s.get(i).is_some()) {
            None => Ok(()),
            Some(&(i, tensor)) => Err(s.shape_error(i, tensor, "none under this rule")),
        }
    }
}

impl Operation for FastWeight {
    const NAME: &'static str = "FAST_WEIGHT";

    fn arity(&self) -> (usize, usize) {
        (14, 2)
    }
    fn differentiable(&self, i: usize) -> bool {
        i <= TOKEN_SCALE || i == DECAY
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter(p.heads > 0, "heads", p.heads.into(), "at least 1")?;
        s.parameter(p.head_dim > 0, "head_dim", p.head_dim.into(), "at least 1")?;
        s.parameter(p.chunk > 0, "chunk", p.chunk.into(), "at least 1")?;
        s.parameter(p.inner == 0, "inner", p.inner.into(), "0")?;
        self.check_rule(s)?;
        let (h, f, n) = (p.heads as usize, self.head_dim(), self.value_dim());
        let [t, _] = s.real(Q, "q")?;
        for (i, tensor, width) in [(Q, "q", self.key_heads() * f), (K, "k", self.key_heads() * f), (V, "v", h * n)] {
            s.real_is(i, tensor, &[t, width])?;
        }
        s.real_is(LR, "lr", &[t, h])?;
        s.optional_real_is(W0, "w0", &[h, f, n])?;
        for (i, tensor) in [(B0, "b0"), (LN_W, "ln_w"), (LN_B, "ln_b")] {
            s.optional_real_is(i, tensor, &[h, n])?;
        }
        s.optional_real_is(TOKEN_SCALE, "token_scale", &[p.chunk as usize])?;
        s.optional_real_is(DECAY, "decay", &[t, h])?;
        s.int_is(POSITIONS, "positions", [t])?;
        let sequences = s.seq_start(SEQ_START)?;
        let state = s.state_of_sequences(STATE, STATE_SLOTS, sequences)?;
        Ok(vec![s.out(&[t, h * n]), state])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (heads, f, n, chunk) = (self.0.heads as usize, self.head_dim(), self.value_dim(), self.chunk());
        let key_heads = self.key_heads();
        let [t, _] = x.shape(Q)?;
        let (q, k, v, lr) = (x.real(Q)?, x.real(K)?, x.real(V)?, x.real(LR)?);
        let (ln_w, ln_b) = (x.optional_real(LN_W)?, x.optional_real(LN_B)?);
        let (scales, decay) = (x.optional_real(TOKEN_SCALE)?, x.optional_real(DECAY)?);
        let state = x.state(STATE)?;
        let mut out = vec![R::zero(); t * heads * n];
        for (sequence, rows) in x.sequences(SEQ_START, t)?.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let start = x.position(POSITIONS, rows.start, rows.start)?;
            for head in 0..heads {
                let own = |x: Option<&'_ [R]>| x.map(|x| x[head * n..(head + 1) * n].to_vec()).unwrap_or_default();
                let (w, b) = (own(ln_w), own(ln_b));
                let norm = Norm { w: &w, b: &b, eps: self.0.eps };
                let place = match state {
                    Some(s) => Some((s, self.head_in_state(&s, self.slot(x, sequence)?, head)?)),
                    None => None,
                };
                let mut inner = match place {
                    Some((s, from)) if start > 0 => self.load(&s, from, start % chunk)?,
                    _ => self.first(x, head)?,
                };
                for t in rows.clone() {
                    let o = x.position(POSITIONS, t, rows.start)? % chunk;
                    let key = t * key_heads + head / (heads / key_heads);
                    let (key, at) = (key * f..(key + 1) * f, t * heads + head);
                    let (q, k, v) = (&q[key.clone()], &k[key], &v[at * n..(at + 1) * n]);
                    let y = if self.is_delta() {
                        inner.follow(q, k, v, lr[at], decay.map_or(R::zero(), |d| d[at]))
                    } else {
                        let s = scales.map_or(R::zero(), |s| s[o].positive());
                        let g = inner.gradient(k, v, &norm);
                        inner.open.push(Place { k: k.to_vec(), g, lr: lr[at] });
                        inner.output(q, s, &norm)
                    };
                    out[at * n..(at + 1) * n].copy_from_slice(&y);
                    match scales {
                        _ if o < chunk - 1 => {}
                        Some(scales) => inner.commit(scales[o].positive()),
                        None => inner.settle(),
                    }
                }
                if let Some((s, from)) = place {
                    self.store(&s, from, &inner)?;
                }
            }
        }
        let mut outputs = vec![Output::Real(out)];
        outputs.extend(state.map(|_| Output::State));
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
