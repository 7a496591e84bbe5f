//! Where things are in the scratch.

use crate::kernels::attention::grad::{BLOCK, Stats};
use crate::op::Step;
use crate::places::Places;
use crate::simd::LANES;
use tern_abi::ops::AttentionParams;

/// Tensors of which blocks are packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Q,
    K,
    V,
    Dout,
}

impl Of {
    pub const ALL: [Self; 4] = [Self::Q, Self::K, Self::V, Self::Dout];
}

/// Places in the scratch.
pub struct Layout {
    pub bytes: usize,
    /// Heads of each tensor.
    heads: [usize; 4],
    head_dim: usize,
    /// Blocks transposed: `[block][head][head_dim][64]`.
    across: [usize; 4],
    /// Blocks with rows of whole vectors, where the tensors' own are not: `[block][head][64][row]`.
    rows: Option<[usize; 4]>,
    /// Of query heads: `[block][head]`.
    stats: usize,
    workers: usize,
    per_worker: usize,
    /// Keys that a block of queries may see, in whole blocks.
    pub span: usize,
    second: usize,
}

impl Layout {
    /// `None` where sizes overflow.
    pub fn new(p: &AttentionParams, tokens: usize, sequences: usize, threads: usize) -> Option<Self> {
        let (q, kv, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
        let heads = [q, kv, kv, q];
        let blocks = tokens.div_ceil(BLOCK).checked_add(sequences)?;
        let mut all = Places::default();
        let mut each = |row: usize| {
            let mut places = [0; 4];
            for (place, heads) in places.iter_mut().zip(heads) {
                *place = all.take(blocks.checked_mul(heads)?.checked_mul(BLOCK)?, row.checked_mul(4)?)?;
            }
            Some(places)
        };
        let across = each(d)?;
        let rows = if d.is_multiple_of(LANES) { None } else { Some(each(d.next_multiple_of(LANES))?) };
        let stats = all.take(blocks.checked_mul(q)?, Stats::FLOATS * 4)?;
        let mut span = tokens.checked_next_multiple_of(BLOCK)?;
        if p.window > 0 {
            let sides = if p.bidirectional == 0 { 1 } else { 2 };
            span = span.min((sides * p.window as usize + 2 * BLOCK).next_multiple_of(BLOCK));
        }
        let mut own = Places::default();
        own.take(BLOCK.checked_mul(span)?, 4)?;
        let second = own.take(BLOCK.checked_mul(span)?, 4)?;
        let bytes = all.with_workers(&own, threads)?;
        let (workers, per_worker) = (all.bytes(), own.bytes());
        Some(Self { bytes, heads, head_dim: d, across, rows, stats, workers, per_worker, span, second })
    }

    /// Heads of a tensor.
    pub fn heads(&self, of: Of) -> usize {
        self.heads[of as usize]
    }
    /// Elements of a packed row.
    pub fn row(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }
    fn at(step: &Step<'_>, place: usize, floats: usize) -> *mut f32 {
        step.scratch().wrapping_add(place).cast::<f32>().wrapping_add(floats)
    }
    /// A transposed block of a head.
    pub fn across(&self, step: &Step<'_>, of: Of, block: usize, head: usize) -> *mut f32 {
        let nth = block * self.heads(of) + head;
        Self::at(step, self.across[of as usize], nth * BLOCK * self.head_dim)
    }
    /// Its rows, where they are packed.
    pub fn rows(&self, step: &Step<'_>, of: Of, block: usize, head: usize) -> Option<*mut f32> {
        let nth = block * self.heads(of) + head;
        self.rows.map(|rows| Self::at(step, rows[of as usize], nth * BLOCK * self.row()))
    }
    /// Numbers of a block of a query head.
    pub fn stats(&self, step: &Step<'_>, block: usize, head: usize) -> Stats {
        Stats(Self::at(step, self.stats, (block * self.heads(Of::Q) + head) * Stats::FLOATS))
    }
    /// Two pieces of a worker's own memory, 64 times [`span`](Self::span) floats each.
    pub fn worker(&self, step: &Step<'_>, index: usize) -> (*mut f32, *mut f32) {
        let own = self.workers + index * self.per_worker;
        (Self::at(step, own, 0), Self::at(step, own + self.second, 0))
    }
}
