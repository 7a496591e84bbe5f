//! FAST_WEIGHT: an inner model per head that learns along the sequence. A layer of it is here; what layers make together, the delta
//! rule, and an inner model with a gate in files of their own.

mod delta;
mod gated;
mod stack;

use super::Operation;
use super::linear::dot;
use crate::state::{StateMemory, fast_weight_head};
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use stack::Norm;
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
const W1: usize = 14;
const B1: usize = 15;
const W2: usize = 16;
const MOMENTUM: usize = 17;

/// A row that the open mini-batch has taken in: the layer's input (the key), gradient at its output, learning rate (under the delta
/// rule the sum of decays).
#[derive(Clone)]
struct Place<R> {
    k: Vec<R>,
    g: Vec<R>,
    lr: R,
}

/// A layer of one head on its way along a sequence.
struct Inner<R> {
    /// `[in][out]`, as at the start of the mini-batch.
    w: Vec<Vec<R>>,
    b: Vec<R>,
    open: Vec<Place<R>>,
}

impl<R: Real> Inner<R> {
    fn column(&self, i: usize) -> Vec<R> {
        self.w.iter().map(|row| row[i]).collect()
    }
    /// `x W + b`.
    fn apply(&self, x: &[R]) -> Vec<R> {
        self.b.iter().enumerate().map(|(i, &b)| dot(x, &self.column(i)) + b).collect()
    }
    /// The same with what the mini-batch has learned so far.
    fn now(&self, x: &[R], s: R) -> Vec<R> {
        let one = R::of(1.0);
        let shares: Vec<R> = self.open.iter().map(|p| p.lr * (dot(x, &p.k) + one)).collect();
        let learned = |i: usize| R::dot(shares.iter().copied().zip(self.open.iter().map(|p| p.g[i])));
        self.apply(x).into_iter().enumerate().map(|(i, z)| z - s * learned(i)).collect()
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
    /// The head of keys that a head has.
    fn key_head(&self, head: usize) -> usize {
        let keys = self.key_heads();
        if self.0.in_turns > 0 { head % keys } else { head / (self.0.heads as usize / keys) }
    }
    /// Inputs and outputs of each layer.
    fn layers(&self) -> Vec<[usize; 2]> {
        let (f, n) = (self.head_dim(), self.value_dim());
        match self.0.hidden as usize {
            0 => vec![[f, n]],
            m => vec![[f, m], [m, n]],
        }
    }
    fn is_delta(&self) -> bool {
        self.0.rule == fast_weight_rule::DELTA
    }
    fn is_gated(&self) -> bool {
        self.0.rule == fast_weight_rule::INNER_PRODUCT
    }
    fn chunk(&self) -> usize {
        self.0.chunk as usize
    }
    /// First element of a head in a state, after checking that the state has it.
    fn head_in_state(&self, state: &StateMemory<'_>, slot: usize, head: usize, momentum: bool) -> Result<u64> {
        let (heads, chunk) = (u64::from(self.0.heads), u64::from(self.0.chunk));
        let (f, hidden, n) = (self.head_dim() as u64, self.0.hidden.into(), self.value_dim() as u64);
        let matrices = if self.is_gated() { 3 + 3 * u64::from(momentum) } else { 0 };
        let per_head =
            fast_weight_head(f, hidden, n, chunk, matrices).ok_or(Error::Internal("a head that overflows"))?;
        let unit = per_head.saturating_mul(heads);
        let units = state.len()? / unit;
        if slot as u64 >= units {
            let (found, high) = (slot as i64, units as i64 - 1);
            return Err(Error::Index { op: Self::NAME, tensor: "state_slots", at: head, found, low: 0, high });
        }
        Ok(slot as u64 * unit + head as u64 * per_head)
    }
    /// The head as the state has it, `open` places into a mini-batch.
    fn load<R: Real>(&self, state: &StateMemory<'_>, from: u64, open: usize) -> Result<Vec<Inner<R>>> {
        let mut at = from;
        let mut layer = |[f, n]: [usize; 2]| {
            let end = at + (f * n + n + self.chunk() * (f + n + 1)) as u64;
            let mut take = |n: usize| -> Result<Vec<R>> {
                let data = state.get(at, n)?;
                at += n as u64;
                Ok(data.into_iter().map(R::of).collect())
            };
            let w = (0..f).map(|_| take(n)).collect::<Result<_>>()?;
            let b = take(n)?;
            let place = |_| Ok(Place { k: take(f)?, g: take(n)?, lr: take(1)?[0] });
            let open = (0..open).map(place).collect::<Result<_>>()?;
            at = end;
            Ok(Inner { w, b, open })
        };
        self.layers().into_iter().map(&mut layer).collect()
    }
    /// Writes the head; places that are not open are zero.
    fn store<R: Real>(&self, state: &StateMemory<'_>, from: u64, layers: &[Inner<R>]) -> Result<()> {
        let mut data: Vec<R> = Vec::new();
        for (layer, [f, n]) in layers.iter().zip(self.layers()) {
            let end = data.len() + f * n + n + self.chunk() * (f + n + 1);
            data.extend(layer.w.concat().iter().chain(&layer.b));
            for place in &layer.open {
                data.extend(place.k.iter().chain(&place.g));
                data.push(place.lr);
            }
            data.resize(end, R::zero());
        }
        state.set(from, &data.into_iter().map(R::value).collect::<Vec<_>>())
    }
    /// The slot of a sequence's state.
    fn slot<R: Real>(&self, x: &Args<'_, R>, sequence: usize) -> Result<usize> {
        x.index(STATE_SLOTS, "state_slots", sequence, usize::MAX)
    }
    /// The head at the start of a text.
    fn first<R: Real>(&self, x: &Args<'_, R>, head: usize) -> Result<Vec<Inner<R>>> {
        let layer = |([f, n], [w, b]): ([usize; 2], [usize; 2])| {
            let zeros = vec![R::zero(); f * n];
            let w = x.optional_real(w)?.map_or(&zeros[..], |w| &w[head * f * n..(head + 1) * f * n]);
            let b = x.optional_real(b)?.map_or(&zeros[..n], |b| &b[head * n..(head + 1) * n]);
            Ok(Inner { w: w.chunks(n).map(<[R]>::to_vec).collect(), b: b.to_vec(), open: Vec::new() })
        };
        self.layers().into_iter().zip([[W0, B0], [W1, B1]]).map(layer).collect()
    }
    /// Are inputs there that the rule takes, and no others?
    fn check_rule(&self, s: &Signature) -> Result<()> {
        let (p, delta, gated) = (&self.0, self.is_delta(), self.is_gated());
        s.parameter(p.rule <= fast_weight_rule::INNER_PRODUCT, "rule", p.rule.into(), "one of fast_weight_rule")?;
        s.parameter(
            delta || gated || self.value_dim() == self.head_dim(),
            "value_dim",
            p.value_dim.into(),
            "head_dim",
        )?;
        s.parameter(delta || self.key_heads() == p.heads as usize, "key_heads", p.key_heads.into(), "heads")?;
        s.parameter(
            p.heads.is_multiple_of(self.key_heads() as u32),
            "key_heads",
            p.key_heads.into(),
            "a divisor of heads",
        )?;
        s.parameter(p.in_turns <= u32::from(delta), "in_turns", p.in_turns.into(), "0, or 1 under the delta rule")?;
        let inner = match p.rule {
            fast_weight_rule::NORMED => p.inner <= 1,
            fast_weight_rule::DELTA => p.inner == 0,
            _ => p.inner == 2,
        };
        s.parameter(inner, "inner", p.inner.into(), "0, 1 under the first rule only, 2 under the last")?;
        s.parameter((p.inner > 0) == (p.hidden > 0), "hidden", p.hidden.into(), "above 0 for two layers, 0 for one")?;
        s.parameter(p.muon <= u32::from(gated), "muon", p.muon.into(), "0, or 1 under the last rule")?;
        let two = p.inner == 1;
        let normed = !delta && !gated;
        // Taken under the rule, and whether it must be there.
        let inputs = [
            (W0, "w0", true, !delta),
            (B0, "b0", normed, normed),
            (LN_W, "ln_w", normed, normed),
            (LN_B, "ln_b", normed, normed),
            (TOKEN_SCALE, "token_scale", normed, normed),
            (DECAY, "decay", delta, false),
            (W1, "w1", two || gated, two || gated),
            (B1, "b1", two, two),
            (W2, "w2", gated, gated),
            (MOMENTUM, "momentum", gated, false),
        ];
        for (i, tensor, taken, needed) in inputs {
            match s.get(i) {
                None if needed => s.need(i, tensor).map(drop)?,
                Some(_) if !taken => return Err(s.shape_error(i, tensor, "none under this rule and inner model")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Operation for FastWeight {
    const NAME: &'static str = "FAST_WEIGHT";

    fn arity(&self) -> (usize, usize) {
        (18, 2)
    }
    fn differentiable(&self, i: usize) -> bool {
        i <= TOKEN_SCALE || matches!(i, DECAY | W1 | B1 | W2 | MOMENTUM)
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter(p.heads > 0, "heads", p.heads.into(), "at least 1")?;
        s.parameter(p.head_dim > 0, "head_dim", p.head_dim.into(), "at least 1")?;
        s.parameter(p.chunk > 0, "chunk", p.chunk.into(), "at least 1")?;
        self.check_rule(s)?;
        let (h, f, n) = (p.heads as usize, self.head_dim(), self.value_dim());
        let [t, _] = s.real(Q, "q")?;
        for (i, tensor, width) in [(Q, "q", self.key_heads() * f), (K, "k", self.key_heads() * f), (V, "v", h * n)] {
            s.real_is(i, tensor, &[t, width])?;
        }
        s.real_is(LR, "lr", &[t, if self.is_gated() { 3 * h } else { h }])?;
        let m = if p.hidden > 0 { p.hidden as usize } else { n };
        s.optional_real_is(W0, "w0", &[h, f, m])?;
        s.optional_real_is(W1, "w1", &[h, m, n])?;
        s.optional_real_is(W2, "w2", &[h, f, m])?;
        for (i, tensor, width) in [(B0, "b0", m), (B1, "b1", n), (LN_W, "ln_w", n), (LN_B, "ln_b", n)] {
            s.optional_real_is(i, tensor, &[h, width])?;
        }
        s.optional_real_is(TOKEN_SCALE, "token_scale", &[p.chunk as usize])?;
        s.optional_real_is(DECAY, "decay", &[t, h])?;
        s.optional_real_is(MOMENTUM, "momentum", &[t, h])?;
        s.int_is(POSITIONS, "positions", [t])?;
        let sequences = s.seq_start(SEQ_START)?;
        let state = s.state_of_sequences(STATE, STATE_SLOTS, sequences)?;
        Ok(vec![s.out(&[t, h * n]), state])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        if self.is_gated() {
            return self.forward_gated(x);
        }
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
                    Some(s) => Some((s, self.head_in_state(&s, self.slot(x, sequence)?, head, false)?)),
                    None => None,
                };
                let mut layers = match place {
                    Some((s, from)) if start > 0 => self.load(&s, from, start % chunk)?,
                    _ => self.first(x, head)?,
                };
                for t in rows.clone() {
                    let o = x.position(POSITIONS, t, rows.start)? % chunk;
                    let key = t * key_heads + self.key_head(head);
                    let (key, at) = (key * f..(key + 1) * f, t * heads + head);
                    let (q, k, v) = (&q[key.clone()], &k[key], &v[at * n..(at + 1) * n]);
                    let s = scales.map_or(R::zero(), |s| s[o].positive());
                    let y = match &mut layers[..] {
                        [only] if self.is_delta() => only.follow(q, k, v, lr[at], decay.map_or(R::zero(), |d| d[at])),
                        layers => {
                            stack::take_in(layers, k, v, lr[at], &norm)?;
                            stack::output(layers, q, s, &norm)?
                        }
                    };
                    out[at * n..(at + 1) * n].copy_from_slice(&y);
                    for layer in layers.iter_mut().filter(|_| o == chunk - 1) {
                        if self.is_delta() { layer.settle() } else { layer.commit(s) }
                    }
                }
                if let Some((s, from)) = place {
                    self.store(&s, from, &layers)?;
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
