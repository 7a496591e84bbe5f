//! Where things are in the op's scratch.

use super::Part;
use crate::matmul::tokens::{Form, Tiling};
use crate::op::Step;
use crate::places::Places;

/// Tokens times columns that every worker prepares for itself: about a microsecond, as a barrier.
const OWN: usize = 4096;
/// So many tokens are prepared by every worker, however wide they are: one worker would do them alone, and the others wait.
const OWN_TOKENS: usize = 8;
/// Tokens that a worker prepares between two looks at the adapters, in a step with many.
pub const TOGETHER: usize = 24;

/// Places in the scratch.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All bytes.
    pub bytes: usize,
    /// Tiles of each form, where a weight wants them. Floats are normed rows; without a norm they are `x` itself.
    pub tiles: ByForm,
    /// Per weight, inner values of its adapters with scale, `[token][rank]`.
    pub inner: Vec<usize>,
    /// Where workers' own memory begins, and how much each has.
    workers: usize,
    per_worker: usize,
    /// In a worker's memory: normed rows that no weight wants as they are, few tokens as above, decoded strips.
    pub rows: usize,
    pub own_tiles: ByForm,
    pub strips: Vec<usize>,
    /// Tokens of full tiles.
    full: [usize; Form::ALL.len()],
    /// Most bytes of a token in any form that is wanted.
    pub token_bytes: usize,
    /// Tokens that workers may prepare for themselves.
    own_tokens: usize,
}

/// A place for each of [`Form::ALL`] that is there.
pub type ByForm = [Option<usize>; Form::ALL.len()];

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
        let mut common = Places::default();
        let of = |form: Form| parts.iter().find(|p| p.multiplier.form() == form);
        // Where gate and up want different forms, tiles must still go together.
        let mixed = gated && Form::ALL.into_iter().filter(|&f| of(f).is_some()).count() > 1;
        let full = Form::ALL.map(|form| of(form).map_or(4, |p| if mixed { 4 } else { p.multiplier.tile() }));
        let token_bytes = parts.iter().map(|p| p.multiplier.token_bytes()).max().unwrap_or(0);
        let wanted = |form: Form| of(form).is_some() && (norm || form != Form::Floats);
        let take_tiles = |places: &mut Places, tokens: usize| {
            let mut tiles = [None; Form::ALL.len()];
            for (tiles, form) in tiles.iter_mut().zip(Form::ALL).filter(|(_, form)| wanted(*form)) {
                *tiles = Some(places.take(tokens, form.bytes(columns))?);
            }
            Some(tiles)
        };
        let tiles = take_tiles(&mut common, tokens)?;
        let inner = parts.iter().map(|p| common.take(tokens, p.lora.map_or(0, |l| l.rank * 4)));
        let inner = inner.collect::<Option<Vec<_>>>()?;

        let mut own = Places::default();
        let own_tokens = (OWN / columns).max(OWN_TOKENS).min(tokens);
        // Adapters need a row after it was quantized.
        let rows = if adapters { own_tokens.max(TOGETHER).min(tokens) } else { 1 };
        let rows = own.take(if norm && !wanted(Form::Floats) { rows } else { 0 }, columns.checked_mul(4)?)?;
        let own_tiles = take_tiles(&mut own, own_tokens)?;
        let strips = parts.iter().map(|p| own.take(1, p.multiplier.scratch_bytes())).collect::<Option<Vec<_>>>()?;
        let bytes = common.with_workers(&own, threads)?;
        Some(Self {
            bytes,
            tiles,
            inner,
            workers: common.bytes(),
            per_worker: own.bytes(),
            rows,
            own_tiles,
            strips,
            full,
            token_bytes,
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
    /// How tokens of a form are cut.
    pub fn tiling(&self, form: Form, tokens: usize) -> Tiling {
        Tiling::new(tokens, self.full[form as usize])
    }
}
