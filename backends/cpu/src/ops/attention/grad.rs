//! Gradients of ATTENTION within a step, block by block (Dao et al., FlashAttention, arXiv 2205.14135).
//!
//! ```text
//! layout.rs   where packed operands and kept numbers are in the scratch
//! blocks.rs   blocks of 64 rows: gradients of queries, then of keys and values
//! ```
//!
//! Blocks are counted from each sequence's first row. A worker takes a block of queries of one head with all keys they see: it finds
//! the softmax's sums and the queries' gradients. Then one takes a block of keys with all queries that see them. Scores are
//! computed for either; nothing larger than a block times a sequence is kept. All sums run in order of heads and rows.

mod blocks;
mod layout;

use crate::check::{Checker, fixed};
use crate::kernels::attention::MAX_HEAD_DIM;
use crate::kernels::attention::grad::{self as kernel, KeyRow, QueryRow, Rule};
use crate::matmul::dense::Dense;
use crate::op::{CompiledOp, Ctx, Step};
use crate::ops::sequences::Sequences;
use crate::pool::Worker;
use layout::Layout;
use tern_abi::ops::AttentionParams;
use tern_abi::plugin::{GraphView, OpView, Result};

/// Inputs of the op, before the gradients of its outputs.
const INPUTS: usize = 10;

struct AttentionGrad {
    q: usize,
    k: usize,
    v: usize,
    dout: usize,
    sequences: Sequences,
    sinks: Option<usize>,
    dq: Option<usize>,
    dk: Option<usize>,
    dv: Option<usize>,
    dsinks: Option<usize>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: usize,
    bidirectional: bool,
    rule: Rule,
    layout: Layout,
    dense: Dense,
    query: unsafe fn(&QueryRow),
    key: unsafe fn(&KeyRow),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ATTENTION's gradient");
    let p: AttentionParams = op.params();
    let (heads, kv_heads, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    c.ensure(kv_heads > 0 && heads > 0 && heads.is_multiple_of(kv_heads), format!("{heads} heads over {kv_heads}"))?;
    if d == 0 || d > MAX_HEAD_DIM || heads > 4096 {
        return Err(c.lacking(format!("{heads} heads of {d}; head_dim goes up to {MAX_HEAD_DIM}")));
    }
    if op.input(3).is_some() || op.input(6).is_some() {
        return Err(c.lacking("only of the form without rope table and state"));
    }
    c.ensure(p.bidirectional <= 1, format!("bidirectional is {}, expected 0 or 1", p.bidirectional))?;
    let (q, k, v, dout) =
        (c.f32_in(0, "q")?, c.f32_in(1, "k")?, c.f32_in(2, "v")?, c.f32_in(INPUTS, "gradient of the output")?);
    let tokens = c.first(q);
    c.shaped(q, &[tokens, fixed(heads * d)], "q")?;
    c.shaped(k, &[tokens, fixed(kv_heads * d)], "k")?;
    c.shaped(v, &[tokens, fixed(kv_heads * d)], "v")?;
    c.same(q, dout, "gradient of the output")?;
    let sequences = Sequences::new(&c, c.i32_in(4, "positions")?, c.i32_in(5, "seq_start")?, tokens)?;
    c.given(&[(4, "positions"), (5, "seq_start")])?;
    let sinks = c.f32_maybe(9, "sinks")?;
    if let Some(sinks) = sinks {
        c.shaped(sinks, &[fixed(heads)], "sinks")?;
    }
    [3, 4, 5, 6, 7, 8].into_iter().try_for_each(|i| c.no_gradient(i))?;
    c.elements(q)?;
    let layout = Layout::new(&p, c.max_of(tokens), sequences.max(&c), ctx.threads)
        .ok_or_else(|| c.lacking("its scratch memory exceeds the address space"))?;
    Ok(Box::new(AttentionGrad {
        q,
        k,
        v,
        dout,
        sequences,
        sinks,
        dq: c.gradient(0, "gradient of q")?,
        dk: c.gradient(1, "gradient of k")?,
        dv: c.gradient(2, "gradient of v")?,
        dsinks: c.gradient(9, "gradient of sinks")?,
        heads,
        kv_heads,
        head_dim: d,
        window: p.window as usize,
        bidirectional: p.bidirectional == 1,
        rule: Rule { scale: p.scale, softcap: p.softcap },
        layout,
        dense: Dense::of(ctx.tier),
        query: kernel::query(ctx.tier),
        key: kernel::key(ctx.tier),
    }))
}

impl CompiledOp for AttentionGrad {
    fn scratch_bytes(&self) -> usize {
        self.layout.bytes
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.sequences.check(step, "ATTENTION's gradient")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes and contents were checked, passed on.
        unsafe { self.share(step, worker) }
    }
}
