//! Where things are in the op's scratch.

use super::Part;
use crate::matmul::strip::token_bytes;
use crate::matmul::tokens::Tiling;
use crate::op::Step;
use crate::weight::STRIP;

/// Tokens times columns that every worker prepares for itself: about a microsecond, as a barrier.
const OWN: usize = 4096;

/// Places in the scratch.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All bytes.
    pub bytes: usize,
    /// Tiles for block formats.
    pub quantized: Option<usize>,
    /// Normed rows for floats, which take `x` itself where there is no norm.
    pub normed: Option<usize>,
    /// Per weight, inner values of its adapters `[token][rank]`.
    pub inner: Vec<usize>,
    /// Where workers' own memory begins, and how much each has.
    workers: usize,
    per_worker: usize,
    /// In a worker's memory: a normed row that only block formats want, few tokens as above, an adapter's rows,
    /// decoded strips.
    pub row: usize,
    pub own_quantized: Option<usize>,
    pub own_normed: Option<usize>,
    pub bank: usize,
    pub strips: Vec<usize>,
    /// Full tiles of block formats and of floats.
    full: [usize; 2],
    /// Tokens that workers may prepare for themselves.
    own_tokens: usize,
}

impl Layout {
    /// `None` where sizes overflow.
    pub(super) fn new(
        parts: &[Part],
        columns: usize,
        tokens: usize,
        threads: usize,
        adapters: bool,
        norm: bool,
        gated: bool,
    ) -> Option<Self> {
        let mut end = 0usize;
        let mut take = |n: usize, size: usize| -> Option<usize> {
            let at = end;
            end = n.checked_mul(size)?.checked_next_multiple_of(64)?.checked_add(end)?;
            Some(at)
        };
        let of = |float: bool| parts.iter().find(|p| p.multiplier.takes_floats() == float);
        // Where gate and up are of different kinds, tiles must still go together.
        let mixed = gated && of(false).is_some() && of(true).is_some();
        let full = [false, true].map(|float| of(float).map_or(4, |p| if mixed { 4 } else { p.multiplier.tile() }));
        let wanted = |float: bool| of(float).is_some() && (norm || !float);
        let mut tiles = |float: bool| -> Option<Option<usize>> {
            if wanted(float) { take(tokens, token_bytes(columns, float)).map(Some) } else { Some(None) }
        };
        let (quantized, normed) = (tiles(false)?, tiles(true)?);
        let inner = parts.iter().map(|p| take(tokens, p.lora.map_or(0, |l| l.rank * 4)));
        let inner = inner.collect::<Option<Vec<_>>>()?;
        let workers = end;

        let mut end = 0usize;
        let mut take = |bytes: usize| -> Option<usize> {
            let at = end;
            end = bytes.checked_next_multiple_of(64)?.checked_add(end)?;
            Some(at)
        };
        let row = take(if norm && !wanted(true) { columns.checked_mul(4)? } else { 0 })?;
        let own_tokens = if adapters { 0 } else { (OWN / columns).min(tokens) };
        let mut own_tiles = |float: bool| -> Option<Option<usize>> {
            if wanted(float) { take(own_tokens * token_bytes(columns, float)).map(Some) } else { Some(None) }
        };
        let (own_quantized, own_normed) = (own_tiles(false)?, own_tiles(true)?);
        let rank = parts.iter().filter_map(|p| p.lora).map(|l| l.rank).max().unwrap_or(0);
        let bank = take(rank.checked_mul(STRIP * 4)?)?;
        let strips = parts.iter().map(|p| take(p.multiplier.scratch_bytes())).collect::<Option<Vec<_>>>()?;
        let bytes = threads.checked_mul(end)?.checked_add(workers).filter(|&n| n <= isize::MAX as usize)?;
        let per_worker = end;
        Some(Self {
            bytes,
            quantized,
            normed,
            inner,
            workers,
            per_worker,
            row,
            own_quantized,
            own_normed,
            bank,
            strips,
            full,
            own_tokens,
        })
    }

    /// A worker's own memory.
    ///
    /// # Safety
    /// The step's scratch has [`bytes`](Self::bytes).
    pub unsafe fn worker(&self, step: &Step<'_>, index: usize) -> *mut u8 {
        // SAFETY: inside the scratch.
        unsafe { step.scratch().add(self.workers + index * self.per_worker) }
    }
    /// Does every worker prepare so many tokens itself?
    pub fn is_own(&self, tokens: usize) -> bool {
        tokens <= self.own_tokens
    }
    /// How tokens are cut for block formats or floats.
    pub fn tiling(&self, float: bool, tokens: usize) -> Tiling {
        Tiling::new(tokens, self.full[usize::from(float)])
    }
}
