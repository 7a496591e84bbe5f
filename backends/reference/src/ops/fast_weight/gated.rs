//! An inner model with a gate (SwiGLU): rows are answered with the weights of the mini-batch's start, and learned at its end.

use super::super::elementwise::activate;
use super::{FastWeight, K, LR, MOMENTUM, POSITIONS, Q, SEQ_START, STATE, V, W0, W1, W2};
use crate::ops::linear::dot;
use crate::state::StateMemory;
use crate::{Args, Output, Real, Result};
use tern_abi::ops::{MUON, activation};

/// `[in][out]`.
type Matrix<R> = Vec<Vec<R>>;

/// A row that the open mini-batch has. The key is divided by its length; rates are those of W0, W1 and W2.
struct Row<R> {
    k: Vec<R>,
    v: Vec<R>,
    rates: [R; 3],
    gate: R,
}

/// One head on its way along a sequence: W0, W1 and W2 as at the start of the mini-batch, and what the last one learned.
struct Gated<R> {
    w: [Matrix<R>; 3],
    momentum: Option<[Matrix<R>; 3]>,
    open: Vec<Row<R>>,
}

fn column<R: Real>(w: &Matrix<R>, i: usize) -> Vec<R> {
    w.iter().map(|row| row[i]).collect()
}

/// `x W`.
fn apply<R: Real>(x: &[R], w: &Matrix<R>) -> Vec<R> {
    (0..w[0].len()).map(|i| dot(x, &column(w, i))).collect()
}

fn length<R: Real>(x: &[R]) -> R {
    dot(x, x).sqrt()
}

/// `x` divided by its length plus `eps`.
fn directed<R: Real>(x: &[R], eps: f32) -> Vec<R> {
    let length = length(x) + R::of(eps.into());
    x.iter().map(|&x| x / length).collect()
}

/// `Σ_i a_i b_iᵀ` over pairs of rows, in order.
fn outer<R: Real>(a: &[Vec<R>], b: &[Vec<R>]) -> Matrix<R> {
    let element = |i: usize, j: usize| R::dot(a.iter().zip(b).map(|(a, b)| (a[i], b[j])));
    (0..a[0].len()).map(|i| (0..b[0].len()).map(|j| element(i, j)).collect()).collect()
}

fn zip<R: Real>(a: &Matrix<R>, b: &Matrix<R>, f: impl Fn(R, R) -> R) -> Matrix<R> {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()).collect()
}

/// Newton-Schulz's rounds: what is left of `g` are its directions.
fn orthogonal<R: Real>(g: &Matrix<R>) -> Matrix<R> {
    let size = length(&g.concat()) + R::of(1e-7);
    let mut x = zip(g, g, |g, _| g / size);
    for [a, b, c] in MUON.map(|round| round.map(|x| R::of(x.into()))) {
        let gram: Matrix<R> = x.iter().map(|p| x.iter().map(|q| dot(p, q)).collect()).collect();
        let square: Matrix<R> = gram.iter().map(|row| apply(row, &gram)).collect();
        let factors = zip(&gram, &square, |g, s| b * g + c * s);
        let turned: Matrix<R> = factors.iter().map(|row| apply(row, &x)).collect();
        x = zip(&x, &turned, |x, t| a * x + t);
    }
    x
}

impl<R: Real> Gated<R> {
    /// What enters W1, with `x W0` and `x W2` of which it is made.
    fn inner(&self, x: &[R]) -> Result<[Vec<R>; 3]> {
        let (z, u) = (apply(x, &self.w[0]), apply(x, &self.w[2]));
        let h = z.iter().zip(&u).map(|(&z, &u)| Ok(activate(activation::SILU, z)? * u)).collect::<Result<_>>()?;
        Ok([h, z, u])
    }
    fn output(&self, q: &[R]) -> Result<Vec<R>> {
        Ok(apply(&self.inner(q)?[0], &self.w[1]))
    }
    /// What the open rows would have changed: the sums of their gradients, row by row.
    fn learned(&self) -> Result<[Matrix<R>; 3]> {
        let mut sides: [[Vec<Vec<R>>; 2]; 3] = Default::default();
        for row in &self.open {
            let [h, z, u] = self.inner(&row.k)?;
            let d: Vec<R> = self.w[1].iter().map(|w| dot(w, &row.v)).collect();
            let (mut by_z, mut by_u) = (Vec::new(), Vec::new());
            for i in 0..d.len() {
                let s = activate(activation::SIGMOID, z[i])?;
                by_z.push(d[i] * u[i] * s * (R::of(1.0) + z[i] * (R::of(1.0) - s)));
                by_u.push(d[i] * activate(activation::SILU, z[i])?);
            }
            let right = [by_z, row.v.clone(), by_u];
            for (i, (left, right)) in [&row.k, &h, &row.k].into_iter().zip(right).enumerate() {
                sides[i][0].push(left.iter().map(|&x| row.rates[i] * x).collect());
                sides[i][1].push(right);
            }
        }
        Ok(sides.map(|[left, right]| outer(&left, &right)))
    }
    /// The mini-batch's end. `first`: the weights that the sequence began with.
    fn commit(&mut self, first: &[Matrix<R>; 3], eps: f32, muon: bool) -> Result<()> {
        let mut learned = self.learned()?;
        if let Some(before) = &mut self.momentum {
            let share = R::sum(self.open.iter().map(|row| row.gate)) / R::of(self.open.len() as f64);
            learned = std::array::from_fn(|i| zip(&learned[i], &before[i], |g, m| g + share * m));
            *before = learned.clone();
        }
        for (i, (w, first)) in self.w.iter_mut().zip(first).enumerate() {
            let step = if muon { orthogonal(&learned[i]) } else { std::mem::take(&mut learned[i]) };
            *w = zip(w, &step, |w, s| w + s);
            for c in 0..w[0].len() {
                let factor = length(&column(first, c)) / (length(&column(w, c)) + R::of(eps.into()));
                w.iter_mut().for_each(|row| row[c] = row[c] * factor);
            }
        }
        self.open.clear();
        Ok(())
    }
}

impl FastWeight {
    /// Inputs and outputs of W0, W1 and W2.
    fn gated_shapes(&self) -> [[usize; 2]; 3] {
        let (f, m, n) = (self.head_dim(), self.0.hidden as usize, self.value_dim());
        [[f, m], [m, n], [f, m]]
    }
    fn load_gated<R: Real>(&self, state: &StateMemory<'_>, from: u64, open: usize, momentum: bool) -> Result<Gated<R>> {
        let mut at = from;
        let mut take = |n: usize| -> Result<Vec<R>> {
            let data = state.get(at, n)?;
            at += n as u64;
            Ok(data.into_iter().map(R::of).collect())
        };
        let mut three = || -> Result<[Matrix<R>; 3]> {
            let [a, b, c] = self.gated_shapes().map(|[f, n]| (0..f).map(|_| take(n)).collect::<Result<_>>());
            Ok([a?, b?, c?])
        };
        let w = three()?;
        let momentum = if momentum { Some(three()?) } else { None };
        let (f, n) = (self.head_dim(), self.value_dim());
        let row = |_| {
            let (k, v, rest) = (take(f)?, take(n)?, take(4)?);
            Ok(Row { k, v, rates: [rest[0], rest[1], rest[2]], gate: rest[3] })
        };
        Ok(Gated { w, momentum, open: (0..open).map(row).collect::<Result<_>>()? })
    }
    fn store_gated<R: Real>(&self, state: &StateMemory<'_>, from: u64, head: &Gated<R>) -> Result<()> {
        let mut data: Vec<R> = head.w.iter().chain(head.momentum.iter().flatten()).flat_map(|w| w.concat()).collect();
        let end = data.len() + self.chunk() * (self.head_dim() + self.value_dim() + 4);
        for row in &head.open {
            data.extend(row.k.iter().chain(&row.v).chain(&row.rates));
            data.push(row.gate);
        }
        data.resize(end, R::zero());
        state.set(from, &data.into_iter().map(R::value).collect::<Vec<_>>())
    }
    /// The op under [`INNER_PRODUCT`](tern_abi::ops::fast_weight_rule::INNER_PRODUCT).
    pub(super) fn forward_gated<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let (heads, f, n, chunk) = (self.0.heads as usize, self.head_dim(), self.value_dim(), self.chunk());
        let [t, _] = x.shape(Q)?;
        let (q, k, v, lr) = (x.real(Q)?, x.real(K)?, x.real(V)?, x.real(LR)?);
        let (gates, state) = (x.optional_real(MOMENTUM)?, x.state(STATE)?);
        let mut out = vec![R::zero(); t * heads * n];
        for (sequence, rows) in x.sequences(SEQ_START, t)?.into_iter().enumerate() {
            for head in (0..heads).filter(|_| !rows.is_empty()) {
                let start = x.position(POSITIONS, rows.start, rows.start)?;
                let shapes = self.gated_shapes();
                let matrix = |i: usize, [f, n]: [usize; 2]| -> Result<Matrix<R>> {
                    let all = x.real(i)?;
                    Ok(all[head * f * n..(head + 1) * f * n].chunks(n).map(<[R]>::to_vec).collect())
                };
                let first = [matrix(W0, shapes[0])?, matrix(W1, shapes[1])?, matrix(W2, shapes[2])?];
                let place = match state {
                    Some(s) => Some((s, self.head_in_state(&s, self.slot(x, sequence)?, head, gates.is_some())?)),
                    None => None,
                };
                let mut model = match place {
                    Some((s, from)) if start > 0 => self.load_gated(&s, from, start % chunk, gates.is_some())?,
                    _ => {
                        let zeros = || std::array::from_fn(|i| zip(&first[i], &first[i], |_, _| R::zero()));
                        Gated { w: first.clone(), momentum: gates.map(|_| zeros()), open: Vec::new() }
                    }
                };
                for t in rows.clone() {
                    let (o, at) = (x.position(POSITIONS, t, rows.start)? % chunk, t * heads + head);
                    let [q, k] = [q, k].map(|x| directed(&x[at * f..(at + 1) * f], self.0.eps));
                    out[at * n..(at + 1) * n].copy_from_slice(&model.output(&q)?);
                    model.open.push(Row {
                        k,
                        v: v[at * n..(at + 1) * n].to_vec(),
                        rates: std::array::from_fn(|i| lr[3 * at + i]),
                        gate: gates.map_or(R::zero(), |g| g[at]),
                    });
                    if o + 1 == chunk {
                        model.commit(&first, self.0.eps, self.0.muon == 1)?;
                    }
                }
                if let Some((s, from)) = place {
                    self.store_gated(&s, from, &model)?;
                }
            }
        }
        Ok([Output::Real(out)].into_iter().chain(state.map(|_| Output::State)).collect())
    }
}

#[cfg(test)]
mod tests;
