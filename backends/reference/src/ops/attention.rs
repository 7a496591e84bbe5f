//! ATTENTION: a plain two-pass softmax over the positions a row may see, in order.

use super::Operation;
use super::linear::dot;
use super::rope::{check_rotation, rotate};
use crate::state::StateMemory;
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
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

/// Where keys and values of a position are read from.
trait Past<R> {
    /// Key (0) or value (1) of a head at a position that the sequence of row `row` has reached.
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>>;
}

/// The rows of the step itself.
struct Fresh<'a, R> {
    rows: [&'a [Vec<R>]; 2],
    /// First row and first position of each sequence.
    starts: Vec<(usize, usize)>,
    head_dim: usize,
}

impl<R: Real> Past<R> for Fresh<'_, R> {
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>> {
        let (row, first) = self.starts[sequence];
        let row = &self.rows[which][row + position - first];
        Ok(row[head * self.head_dim..(head + 1) * self.head_dim].to_vec())
    }
}

/// KV pages, through the page table `[S, per_sequence]`.
struct Pages<'a> {
    state: StateMemory<'a>,
    table: &'a [i32],
    per_sequence: usize,
    p: AttentionParams,
}

impl Pages<'_> {
    /// First element of key (0) or value (1) of a head at a place (page index times page size plus offset).
    fn element(&self, which: usize, head: usize, place: usize) -> u64 {
        let (size, dim, heads) = (self.p.page_size as usize, self.p.head_dim as usize, self.p.kv_heads as usize);
        let (page, offset) = (place / size, place % size);
        ((((page * 2 + which) * heads + head) * size + offset) * dim) as u64
    }
    fn pages(&self) -> Result<usize> {
        let page = 2 * u64::from(self.p.kv_heads) * u64::from(self.p.head_dim) * u64::from(self.p.page_size);
        Ok((self.state.len()? / page) as usize)
    }
    /// The place of a position.
    fn place(&self, sequence: usize, position: usize) -> Result<usize> {
        let (size, pages) = (self.p.page_size as usize, self.pages()?);
        let at = sequence * self.per_sequence + position / size;
        let error = |found: i64, high: usize| Error::Index {
            op: Attention::NAME,
            tensor: "page_table",
            at,
            found,
            low: 0,
            high: high as i64 - 1,
        };
        if position / size >= self.per_sequence {
            return Err(error((position / size) as i64, self.per_sequence));
        }
        let page = self.table[at];
        let ok = usize::try_from(page).ok().filter(|&page| page < pages);
        Ok(ok.ok_or_else(|| error(i64::from(page), pages))? * size + position % size)
    }
}

impl<R: Real> Past<R> for Pages<'_> {
    fn get(&self, which: usize, sequence: usize, head: usize, position: usize) -> Result<Vec<R>> {
        let place = self.place(sequence, position)?;
        let data = self.state.get(self.element(which, head, place), self.p.head_dim as usize)?;
        Ok(data.into_iter().map(R::of).collect())
    }
}

impl Attention {
    /// Positions that a row at `position` attends to.
    fn seen(&self, first: usize, position: usize) -> std::ops::RangeInclusive<usize> {
        let window = self.0.window as usize;
        let low = if window > 0 { (position + 1).saturating_sub(window) } else { 0 };
        low.max(first)..=position
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
                    pages.state.set(pages.element(which, head, want as usize), &data)?;
                }
            }
        }
        Ok(())
    }
}

/// A row's sequence and position, and the first position its sequence has here.
struct Row {
    sequence: usize,
    position: usize,
    first: usize,
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
            let own = matches!(p.kv_dtype, dtype::F16 | dtype::F32 | dtype::F64);
            s.parameter(own, "kv_dtype", p.kv_dtype.into(), "F16 or F32")?;
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
            rows.extend((0..range.len()).map(|i| Row { sequence, position: first + i, first }));
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
            let seen = self.seen(if state.is_some() { 0 } else { row.first }, row.position);
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
mod tests {
    use super::*;
    use crate::oracle::forward;
    use crate::{Kernel, Value};

    const ONE: AttentionParams = AttentionParams {
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        page_size: 0,
        kv_dtype: 0,
        scale: 1.0,
        window: 0,
        softcap: 0.0,
        rope_layout: 0,
        n_rot: 0,
    };

    fn run(p: AttentionParams, q: &[f64], k: &[f64], v: &[f64], starts: &[i32], sinks: Option<Vec<f64>>) -> Vec<f64> {
        let t = q.len() / (p.heads * p.head_dim) as usize;
        let mut positions = Vec::new();
        for w in starts.windows(2) {
            positions.extend(0..w[1] - w[0]);
        }
        let real = |x: &[f64]| Some(Value::real(&[t, x.len() / t], x.to_vec()));
        let inputs = [
            real(q),
            real(k),
            real(v),
            None,
            Some(Value::int(&[t], positions)),
            Some(Value::int(&[starts.len()], starts.to_vec())),
            None,
            None,
            None,
            sinks.map(|s| Value::real(&[s.len()], s)),
        ];
        forward(&Kernel::Attention(Attention(p)), &inputs).unwrap().remove(0)
    }

    fn close(got: &[f64], want: &[f64]) {
        assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {want:?}");
    }

    /// Keys are logarithms, so that with q = 1 the weights are proportional to 1, 2, 1.
    fn keys() -> [f64; 3] {
        [0.0, 2f64.ln(), 0.0]
    }

    #[test]
    fn causal_by_hand() {
        let y = run(ONE, &[1.0; 3], &keys(), &[4.0, 1.0, 10.0], &[0, 3], None);
        close(&y, &[4.0, (4.0 + 2.0) / 3.0, (4.0 + 2.0 + 10.0) / 4.0]);
    }

    #[test]
    fn window_sink_and_softcap_by_hand() {
        let v = [4.0, 1.0, 10.0];
        let y = run(AttentionParams { window: 2, ..ONE }, &[1.0; 3], &keys(), &v, &[0, 3], None);
        close(&y, &[4.0, 2.0, (2.0 + 10.0) / 3.0]);
        // A sink of ln 4 adds 4 to every sum.
        let y = run(ONE, &[1.0; 3], &keys(), &v, &[0, 3], Some(vec![4f64.ln()]));
        close(&y, &[4.0 / 5.0, 6.0 / 7.0, 16.0 / 8.0]);
        // c tanh(s / c): s = ln 2, c = ln 2 gives ln 2 tanh 1.
        let cap = 2f32.ln();
        let y = run(AttentionParams { softcap: cap, ..ONE }, &[1.0; 2], &keys()[..2], &v[..2], &[0, 2], None);
        let w = (f64::from(cap) * (2f64.ln() / f64::from(cap)).tanh()).exp();
        close(&y, &[4.0, (4.0 + w) / (1.0 + w)]);
    }

    #[test]
    fn sequences_do_not_see_each_other() {
        let y = run(ONE, &[1.0; 3], &keys(), &[4.0, 1.0, 10.0], &[0, 1, 3], None);
        close(&y, &[4.0, 1.0, (2.0 + 10.0) / 3.0]);
    }

    #[test]
    fn query_heads_share_key_heads() {
        let p = AttentionParams { heads: 4, kv_heads: 2, ..ONE };
        let y = run(p, &[1.0, 2.0, 3.0, 4.0], &[0.0, 0.0], &[5.0, 7.0], &[0, 1], None);
        close(&y, &[5.0, 5.0, 7.0, 7.0]);
    }

    #[test]
    fn gaps_between_positions_are_refused() {
        let row = || Some(Value::real(&[2, 1], vec![1.0, 1.0]));
        let ints = |x: Vec<i32>| Some(Value::int(&[x.len()], x));
        let inputs = [row(), row(), row(), None, ints(vec![3, 5]), ints(vec![0, 2])];
        let error = forward(&Kernel::Attention(Attention(ONE)), &inputs).unwrap_err();
        assert!(matches!(error, Error::Index { tensor: "positions", at: 1, found: 5, low: 4, .. }), "{error}");
    }
}
