//! ATTENTION: checks and memory. How a step is shared among workers is in `share.rs`.

pub mod grad;
mod share;

use super::rope::check_rotation;
use super::sequences::Sequences;
use crate::check::{Checker, fixed};
use crate::kernels::attention::{self as kernel, Finish, Fresh, MAX_HEAD_DIM, Merge, State, Tile, Work};
use crate::kernels::product::Products;
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::state::{KvLayout, LANES};
use tern_abi::dtype;
use tern_abi::graph::NONE;
use tern_abi::ops::AttentionParams;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// Query rows of a tile: enough to pay for converting a page, few enough to stay in the second-level cache.
const TILE_ROWS: usize = 96;
/// Positions of a page where there is no state.
const OWN_PAGE: usize = 64;
/// Up to this many tokens, groups of pages of one row may go to different workers.
const SPLIT_TOKENS: usize = 16;

/// Where keys and values of all positions are.
#[derive(Clone, Copy)]
enum Past {
    /// In a state: `state`, `slots`, `page_table`, and pages per sequence.
    State { state: usize, slots: usize, table: usize, per_sequence: usize },
    /// The step's own rows, which are put into pages of scratch memory.
    Own,
}

struct Attention {
    q: usize,
    k: usize,
    v: usize,
    rope: Option<usize>,
    sequences: Sequences,
    past: Past,
    sinks: Option<usize>,
    out: usize,
    p: AttentionParams,
    layout: KvLayout,
    scratch: Scratch,
    kernels: Kernels,
}

#[derive(Clone, Copy)]
struct Kernels {
    attend: unsafe fn(&Tile, usize),
    products: Products,
    write: unsafe fn(&Fresh),
    merge: unsafe fn(&Merge),
    finish: unsafe fn(&Finish),
    rotate: unsafe fn(&crate::kernels::rope::Row),
}

/// Byte offsets of the parts of scratch memory.
#[derive(Clone, Copy)]
struct Scratch {
    /// Bytes of one worker's part.
    worker: usize,
    /// Partial results.
    parts: usize,
    /// Pages, where there is no state.
    pages: usize,
    /// Numbers of those pages, for every sequence.
    numbers: usize,
    total: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ATTENTION");
    let p: AttentionParams = op.params();
    let (heads, kv_heads, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    c.ensure(kv_heads > 0 && heads > 0 && heads % kv_heads == 0, format!("{heads} heads over {kv_heads}"))?;
    if d == 0 || d > MAX_HEAD_DIM || heads > 4096 {
        return Err(c.lacking(format!("{heads} heads of {d}; head_dim goes up to {MAX_HEAD_DIM}")));
    }
    let (q, k, v, out) = (c.f32_in(0, "q")?, c.f32_in(1, "k")?, c.f32_in(2, "v")?, c.f32_out(0, "output")?);
    let tokens = c.first(q);
    c.shaped(q, &[tokens, fixed(heads * d)], "q")?;
    c.shaped(k, &[tokens, fixed(kv_heads * d)], "k")?;
    c.shaped(v, &[tokens, fixed(kv_heads * d)], "v")?;
    c.same(q, out, "output")?;
    c.ensure(p.bidirectional <= 1, format!("bidirectional is {}, expected 0 or 1", p.bidirectional))?;
    c.ensure(p.bidirectional == 0 || op.input(6).is_none(), "bidirectional with a state")?;
    let rope = c.f32_maybe(3, "rope_table")?;
    if let Some(table) = rope {
        check_rotation(&c, p.n_rot, p.head_dim, p.rope_layout)?;
        c.shaped(table, &[tokens, fixed(p.n_rot as usize)], "rope_table")?;
    }
    let sequences = Sequences::new(&c, c.i32_in(4, "positions")?, c.i32_in(5, "seq_start")?, tokens)?;
    let max_sequences = sequences.max(&c);
    let (past, layout) = match c.state(6, 1)? {
        Some(state) => {
            let (slots, table) = (c.i32_in(7, "slots")?, c.i32_in(8, "page_table")?);
            c.shaped(slots, &[tokens], "slots")?;
            let dims = c.dims(table);
            let rows_fit = dims.len() == 2 && c.max_of(dims[0]) >= max_sequences;
            c.ensure(rows_fit, format!("page_table does not have a row for each of {max_sequences} sequences"))?;
            let per_sequence = c.last(table, "page_table")?;
            let layout = KvLayout::new(p.kv_heads.into(), p.head_dim.into(), p.page_size.into(), p.kv_dtype)?;
            (Past::State { state, slots, table, per_sequence }, layout)
        }
        None => {
            c.ensure(op.outputs.get(1).is_none_or(|&o| o == NONE), "a state is yielded but none is given")?;
            (Past::Own, KvLayout::new(p.kv_heads.into(), p.head_dim.into(), OWN_PAGE as u64, dtype::F32)?)
        }
    };
    c.given(&[(4, "positions"), (5, "seq_start"), (7, "slots"), (8, "page_table")])?;
    let sinks = c.f32_maybe(9, "sinks")?;
    if let Some(sinks) = sinks {
        c.shaped(sinks, &[fixed(heads)], "sinks")?;
    }
    c.elements(q)?;
    let kernels = Kernels {
        attend: match layout.element {
            1 => kernel::attend_i8(ctx.tier),
            2 => kernel::attend_f16(ctx.tier),
            _ => kernel::attend_f32(ctx.tier),
        },
        products: Products::of(ctx.tier),
        write: match layout.element {
            1 => kernel::write_i8(ctx.tier),
            2 => kernel::write_f16(ctx.tier),
            _ => kernel::write_f32(ctx.tier),
        },
        merge: kernel::merge(ctx.tier),
        finish: kernel::finish(ctx.tier),
        rotate: crate::kernels::rope::rotate(ctx.tier),
    };
    let scratch = Scratch::new(&p, &layout, past, c.max_of(tokens), max_sequences, ctx.threads)
        .ok_or_else(|| c.lacking("its scratch memory exceeds the address space"))?;
    Ok(Box::new(Attention { q, k, v, rope, sequences, past, sinks, out, p, layout, scratch, kernels }))
}

impl Scratch {
    fn new(
        p: &AttentionParams,
        layout: &KvLayout,
        past: Past,
        tokens: usize,
        sequences: usize,
        threads: usize,
    ) -> Option<Self> {
        let group = (p.heads / p.kv_heads) as usize;
        let worker = 4 * worker_parts(group, layout).2;
        let parts = worker.checked_mul(threads)?;
        let (mut pages, mut own) = (parts, 0);
        match past {
            Past::State { per_sequence, .. } => {
                let groups = per_sequence.div_ceil(kernel::group_pages(layout.page_size));
                let states = tokens.min(SPLIT_TOKENS) * p.kv_heads as usize;
                let bytes = 4 * part_floats(group, layout);
                pages = parts.checked_add(states.checked_mul(groups)?.checked_mul(bytes)?)?;
            }
            Past::Own => own = tokens.div_ceil(layout.page_size).checked_add(sequences)?,
        }
        let numbers = pages.checked_add(own.checked_mul(layout.page_bytes())?)?;
        let total = numbers.checked_add(own.checked_mul(4)?)?.checked_next_multiple_of(64)?;
        (total <= isize::MAX as usize).then_some(Self { worker, parts, pages, numbers, total })
    }
}

/// Floats of the state of one token's query heads of one key/value head.
fn part_floats(group: usize, layout: &KvLayout) -> usize {
    State::floats(group, kernel::state_stride(layout)).next_multiple_of(LANES)
}

/// A worker's part of scratch memory: the tile's queries, then its result, then [`Work`]. Yields where the latter
/// two begin and where the part ends, in floats.
fn worker_parts(group: usize, layout: &KvLayout) -> (usize, usize, usize) {
    let rows = max_rows(group);
    let result = (rows * layout.head_dim).next_multiple_of(LANES);
    let work = result + State::floats(rows, kernel::state_stride(layout));
    (result, work, (work + Work::floats(rows, layout)).next_multiple_of(LANES))
}

/// Query rows of the largest tile.
fn max_rows(group: usize) -> usize {
    group.max(TILE_ROWS)
}

impl CompiledOp for Attention {
    fn scratch_bytes(&self) -> usize {
        self.scratch.total
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.sequences.check(step, "ATTENTION")?;
        let Past::State { state, slots, table, per_sequence } = self.past else { return Ok(()) };
        let page_size = self.layout.page_size;
        let pages = step.bytes(state) / self.layout.page_bytes();
        let outside = |what: &str, found: i32, n: usize| {
            Err(PluginError::argument(format!("ATTENTION: {what} {found} is outside 0..{n}")))
        };
        // SAFETY: I32 inputs, which nothing writes now.
        let (slots, table, positions) =
            unsafe { (step.i32s(slots), step.i32s(table), step.i32s(self.sequences.positions)) };
        for &slot in slots {
            if slot < 0 || slot as usize >= pages * page_size {
                return outside("slot", slot, pages * page_size);
            }
        }
        for s in 0..self.sequences.count(step) {
            // SAFETY: checked above.
            let rows = unsafe { self.sequences.rows(step, s) };
            if rows.is_empty() {
                continue;
            }
            let (first, last) = (positions[rows.start] as usize, positions[rows.end - 1] as usize);
            let seen = Tile::first_seen(first, self.p.window as usize) / page_size..last / page_size + 1;
            if seen.end > per_sequence {
                return outside("position", positions[rows.end - 1], per_sequence * page_size);
            }
            for &page in table.get(s * per_sequence..).and_then(|t| t.get(seen)).unwrap_or(&[-1]) {
                if page < 0 || page as usize >= pages {
                    return outside("page", page, pages);
                }
            }
        }
        Ok(())
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes and contents were checked, passed on.
        unsafe { self.share(step, worker) }
    }
}
