//! FAST_WEIGHT under the gated delta rule. A head of a sequence is one worker's, mini-batch after mini-batch.

use super::heads::{Head, HeadByHead, Heads};
use super::shape::{MAX_CHUNK, MAX_HEAD_DIM};
use super::state_slots;
use crate::check::{Checker, fixed};
use crate::kernels::fast_weight::delta::{self as kernel, Rows, work_len};
use crate::op::{CompiledOp, Ctx, Step};
use crate::ops::sequences::Sequences;
use crate::state::fast_head_len;
use tern_abi::ops::FastWeightParams;
use tern_abi::plugin::{OpView, Result};

/// What the op and its gradient take alike: checked inputs and sizes.
pub struct Shape {
    /// q, k, v, lr.
    pub real: [usize; 4],
    pub w0: Option<usize>,
    pub decay: Option<usize>,
    pub sequences: Sequences,
    pub heads: usize,
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Do heads of different keys come in turns, rather than those of a key one after the other?
    pub in_turns: bool,
    /// Dimensions of a key.
    pub f: usize,
    /// Dimensions of a value.
    pub n: usize,
    pub chunk: usize,
}

impl Shape {
    /// Checks parameters and inputs.
    pub fn new(c: &Checker<'_>, op: &OpView<'_>) -> Result<Self> {
        let p: FastWeightParams = op.params();
        let or = |n: u32, other: usize| if n > 0 { n as usize } else { other };
        let (heads, f, chunk) = (p.heads as usize, p.head_dim as usize, p.chunk as usize);
        let (n, key_heads) = (or(p.value_dim, f), or(p.key_heads, heads));
        c.ensure(heads > 0 && f > 0 && chunk > 0, "heads, head_dim or chunk is 0")?;
        c.ensure(heads.is_multiple_of(key_heads), format!("{key_heads} heads of keys for {heads}"))?;
        c.ensure(p.in_turns <= 1, "in_turns above 1")?;
        if p.inner != 0 || p.hidden != 0 || f.max(n) > MAX_HEAD_DIM || chunk.max(heads) > MAX_CHUNK {
            return Err(c.lacking(format!("inner model {}, {heads} heads of {f} and {n}, chunk {chunk}", p.inner)));
        }
        for (i, what) in [(5, "b0"), (6, "ln_w"), (7, "ln_b"), (8, "token_scale"), (14, "w1"), (15, "b1")] {
            c.ensure(op.input(i).is_none(), format!("{what} has no place in the delta rule"))?;
        }
        let real = [c.f32_in(0, "q")?, c.f32_in(1, "k")?, c.f32_in(2, "v")?, c.f32_in(3, "lr")?];
        let (tokens, h) = (c.first(real[0]), fixed(heads));
        for (i, what) in [(0, "q"), (1, "k")] {
            c.shaped(real[i], &[tokens, fixed(key_heads * f)], what)?;
        }
        c.shaped(real[2], &[tokens, fixed(heads * n)], "v")?;
        c.shaped(real[3], &[tokens, h], "lr")?;
        let (w0, decay) = (c.f32_maybe(4, "w0")?, c.f32_maybe(13, "decay")?);
        if let Some(w0) = w0 {
            c.shaped(w0, &[h, fixed(f), fixed(n)], "w0")?;
        }
        if let Some(decay) = decay {
            c.shaped(decay, &[tokens, h], "decay")?;
        }
        c.given(&[(9, "positions"), (10, "seq_start"), (12, "state_slots")])?;
        let sequences = Sequences::new(c, c.i32_in(9, "positions")?, c.i32_in(10, "seq_start")?, tokens)?;
        let in_turns = p.in_turns == 1;
        Ok(Self { real, w0, decay, sequences, heads, key_heads, in_turns, f, n, chunk })
    }

    /// The head of keys that a head has.
    pub fn key_head(&self, head: usize) -> usize {
        if self.in_turns { head % self.key_heads } else { head / (self.heads / self.key_heads) }
    }

    /// The heads that have a head of keys, in order.
    pub fn heads_of(&self, key_head: usize) -> impl Iterator<Item = usize> + use<> {
        let of = self.heads / self.key_heads;
        let (first, step) = if self.in_turns { (key_head, self.key_heads) } else { (key_head * of, 1) };
        (0..of).map(move |i| first + i * step)
    }
}

struct Delta {
    shape: Shape,
    heads: Heads,
    out: usize,
    kernel: unsafe fn(&Rows),
}

/// Compiles the op.
pub fn compile(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let shape = Shape::new(c, op)?;
    let state = state_slots::compile(c, &shape.sequences, 11, 12)?;
    let out = c.f32_out(0, "output")?;
    c.same(shape.real[2], out, "output")?;
    let (len, work) = (fast_head_len(shape.f, 0, shape.n, shape.chunk), work_len(shape.n, shape.chunk));
    let heads = Heads { sequences: shape.sequences, state, count: shape.heads, len, work, threads: ctx.threads };
    Ok(Box::new(Delta { shape, heads, out, kernel: kernel::learn(ctx.tier) }))
}

impl HeadByHead for Delta {
    fn heads(&self) -> &Heads {
        &self.heads
    }

    unsafe fn head(&self, step: &Step<'_>, head: &Head) {
        let Shape { f, n, chunk, heads, key_heads, decay, .. } = self.shape;
        let (w, rows) = (head.w, &head.rows);
        let [q, k, v, lr] = self.shape.real.map(|t| step.f32(t));
        // SAFETY: shapes and contents were checked; the head's state and memory are this worker's.
        unsafe {
            let mut first = 0;
            if head.fresh {
                w.write_bytes(0, self.heads.len);
                if let Some(w0) = self.shape.w0 {
                    w.copy_from_nonoverlapping(step.f32(w0).add(head.index * f * n), f * n);
                }
                first = head.start % chunk;
            }
            let (mut t, key_head) = (rows.start, self.shape.key_head(head.index));
            while t < rows.end && !step.cancelled() {
                let at = (head.start + t - rows.start) % chunk;
                let count = (chunk - at).min(rows.end - t);
                let (key, row) = ((t * key_heads + key_head) * f, t * heads + head.index);
                (self.kernel)(&Rows {
                    f,
                    n,
                    rows: count,
                    q: q.add(key),
                    k: k.add(key),
                    key_stride: key_heads * f,
                    v: v.add(row * n),
                    out: step.f32(self.out).add(row * n),
                    heads,
                    rate: lr.add(row),
                    decay: decay.map_or(std::ptr::null(), |d| step.f32(d).add(row)),
                    w,
                    places: w.add(f * n + n),
                    first,
                    at,
                    chunk,
                    work: head.work,
                });
                t += count;
                first = 0;
            }
        }
    }
}
