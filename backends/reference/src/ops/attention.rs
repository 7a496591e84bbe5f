//! ATTENTION: a plain two-pass softmax over the positions a row may see, in order.

mod past;

use super::Operation;
use super::linear::dot;
use super::rope::{check_rotation, rotate};
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use past::{Fresh, Pages, Past};
use tern_abi::dtype;
use tern_abi::ops::AttentionParams;

/// [`ATTENTION`](tern_abi::ops::ATTENTION).
#[derive(Clone, Copy, Debug)]
pub struct Attention(pub AttentionParams);

const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const TABLE: usize = 3;
const POSITIONS: usize = 4;
const SEQ_START: usize = 5;
const STATE: usize = 6;
const SLOTS: usize = 7;
const PAGES: usize = 8;
const SINKS: usize = 9;

impl Attention {
    /// Positions that a row at `position` attends to, of a sequence that has `first..end` in memory.
    fn seen(&self, (first, end): (usize, usize), position: usize) -> std::ops::Range<usize> {
        let window = if self.0.window > 0 { self.0.window as usize } else { usize::MAX };
        let low = (position + 1).saturating_sub(window);
        let ahead = if self.0.bidirectional == 1 { window } else { 1 };
        low.max(first)..position.saturating_add(ahead).min(end)
    }

    /// The output of one query head.
    fn attend<R: Real>(&self, q: &[R], past: &[(Vec<R>, Vec<R>)], sink: Option<R>) -> Vec<R> {
        let score = |k: &[R]| {
            let score = R::of(f64::from(self.0.scale)) * dot(q, k);
            let cap = R::of(f64::from(self.0.softcap));
            if self.0.softcap > 0.0 { cap * (score / cap).tanh() } else { score }
        };
        let scores: Vec<R> = past.iter().map(|(k, _)| score(k)).chain(sink).collect();
        let max = R::of(scores.iter().map(|s| s.value()).fold(f64::NEG_INFINITY, f64::max));
        let e: Vec<R> = scores.into_iter().map(|s| (s - max).exp()).collect();
        let sum = R::sum(e.iter().copied());
        // A sink has a share of the sum but no value: `zip` leaves it out.
        let p: Vec<R> = e.into_iter().map(|e| e / sum).collect();
        (0..q.len()).map(|i| R::dot(p.iter().copied().zip(past.iter().map(|(_, v)| v[i])))).collect()
    }

    /// First position of each sequence; positions must be consecutive.
    fn first_positions<R: Real>(x: &Args<'_, R>, sequences: &[std::ops::Range<usize>]) -> Result<Vec<usize>> {
        let positions = x.int(POSITIONS)?;
        let mut firsts = Vec::new();
        for rows in sequences {
            let first = positions.get(rows.start).copied().unwrap_or(0);
            for (i, at) in rows.clone().enumerate() {
                let (found, want) = (i64::from(positions[at]), i64::from(first.max(0)) + i as i64);
                if found != want {
                    return Err(Error::Index { op: Self::NAME, tensor: "positions", at, found, low: want, high: want });
                }
            }
            firsts.push(first.max(0) as usize);
        }
        Ok(firsts)
    }

    /// Rounds and writes the fresh keys and values to their places.
    fn store<R: Real>(&self, x: &Args<'_, R>, pages: &Pages<'_>, fresh: [&[Vec<R>]; 2], rows: &[Row]) -> Result<()> {
        let dim = self.0.head_dim as usize;
        for (t, row) in rows.iter().enumerate() {
            let (found, want) = (x.int(SLOTS)?[t], pages.place(row.sequence, row.position)? as i64);
            if i64::from(found) != want {
                let found = i64::from(found);
                return Err(Error::Index { op: Self::NAME, tensor: "slots", at: t, found, low: want, high: want });
            }
            for (which, fresh) in fresh.iter().enumerate() {
                for (head, data) in fresh[t].chunks(dim).enumerate() {
                    let data: Vec<f64> = data.iter().map(|x| x.value()).collect();
                    pages.write(which, head, want as usize, &data)?;
                }
            }
        }
        Ok(())
    }
}

/// A row's sequence and position, and the first position its sequence has here, and the one after its last.
struct Row {
    sequence: usize,
    position: usize,
    first: usize,
    end: usize,
}

impl Operation for Attention {
    const NAME: &'static str = "ATTENTION";

    fn arity(&self) -> (usize, usize) {
        (10, 2)
    }
    fn differentiable(&self, i: usize) -> bool {
        matches!(i, Q | K | V | SINKS)
    }
    fn infer(&self, s: &Signature) -> Result<Vec<Option<Meta>>> {
        let p = &self.0;
        s.parameter(p.head_dim > 0, "head_dim", p.head_dim.into(), "at least 1")?;
        let grouped = p.kv_heads > 0 && p.heads > 0 && p.heads.is_multiple_of(p.kv_heads);
        s.parameter(grouped, "kv_heads", p.kv_heads.into(), "a divisor of heads")?;
        s.parameter(p.softcap >= 0.0, "softcap", p.softcap.into(), "0 or more")?;
        let most = if s.get(STATE).is_some() { 0 } else { 1 };
        let rows_alone = p.bidirectional <= most;
        s.parameter(rows_alone, "bidirectional", p.bidirectional.into(), "0, or 1 without a state")?;
        let [t, _] = s.real(Q, "q")?;
        let width = |heads: u32| (u64::from(heads) * u64::from(p.head_dim)) as usize;
        s.real_is(Q, "q", &[t, width(p.heads)])?;
        s.real_is(K, "k", &[t, width(p.kv_heads)])?;
        s.real_is(V, "v", &[t, width(p.kv_heads)])?;
        if s.get(TABLE).is_some() {
            check_rotation(s, p.n_rot, p.head_dim, p.rope_layout)?;
            s.real_is(TABLE, "rope_table", &[t, p.n_rot as usize])?;
        }
        s.int_is(POSITIONS, "positions", [t])?;
        let sequences = s.seq_start(SEQ_START)?;
        s.optional_real_is(SINKS, "sinks", &[p.heads as usize])?;
        let state = if s.get(STATE).is_some() {
            let state = s.state(STATE, "state")?.clone();
            let own = matches!(p.kv_dtype, dtype::I8 | dtype::F16 | dtype::F32 | dtype::F64);
            s.parameter(own, "kv_dtype", p.kv_dtype.into(), "I8, F16 or F32")?;
            s.parameter(p.page_size > 0, "page_size", p.page_size.into(), "at least 1")?;
            s.int_is(SLOTS, "slots", [t])?;
            let [rows, _] = s.int(PAGES, "page_table")?;
            if rows < sequences {
                return Err(s.shape_error(PAGES, "page_table", format!("at least {sequences} rows")));
            }
            Some(state)
        } else {
            None
        };
        Ok(vec![s.out(&[t, width(p.heads)]), state])
    }
    fn forward<R: Real>(&self, x: &Args<'_, R>) -> Result<Vec<Output<R>>> {
        let p = &self.0;
        let (dim, group) = (p.head_dim as usize, (p.heads / p.kv_heads) as usize);
        let [t, _] = x.shape(Q)?;
        let load = |input: usize, rotated: bool| -> Result<Vec<Vec<R>>> {
            let mut rows = Vec::new();
            for t in 0..t {
                let mut row = x.row(input, t)?;
                if rotated {
                    let table = x.row(TABLE, t)?;
                    row.chunks_mut(dim).for_each(|head| rotate(head, &table, p.rope_layout, false));
                }
                rows.push(row);
            }
            Ok(rows)
        };
        let rotated = x.has(TABLE);
        let (q, k, v) = (load(Q, rotated)?, load(K, rotated)?, load(V, false)?);
        let sequences = x.sequences(SEQ_START, t)?;
        let firsts = Self::first_positions(x, &sequences)?;
        let mut rows = Vec::new();
        for (sequence, range) in sequences.iter().enumerate() {
            let first = firsts[sequence];
            let end = first + range.len();
            rows.extend((first..end).map(|position| Row { sequence, position, first, end }));
        }

        let state = x.state(STATE)?;
        let past: Box<dyn Past<R>> = match state {
            Some(state) => {
                let [_, per_sequence] = x.shape(PAGES)?;
                let pages = Pages { state, table: x.int(PAGES)?, per_sequence, p: *p };
                self.store(x, &pages, [&k, &v], &rows)?;
                Box::new(pages)
            }
            None => {
                let starts = sequences.iter().zip(&firsts).map(|(rows, &first)| (rows.start, first)).collect();
                Box::new(Fresh { rows: [&k, &v], starts, head_dim: dim })
            }
        };
        let sinks = x.optional_real(SINKS)?;
        let mut out = Vec::new();
        for (q, row) in q.iter().zip(&rows) {
            let seen = self.seen((if state.is_some() { 0 } else { row.first }, row.end), row.position);
            for (head, q) in q.chunks(dim).enumerate() {
                let get = |which, position| past.get(which, row.sequence, head / group, position);
                let past: Result<Vec<_>> = seen.clone().map(|at| Ok((get(0, at)?, get(1, at)?))).collect();
                out.extend(self.attend(q, &past?, sinks.map(|s| s[head])));
            }
        }
        let mut outputs = vec![Output::Real(out)];
        outputs.extend(state.map(|_| Output::State));
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
