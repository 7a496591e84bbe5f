//! What comes before the products: norm, quantization, the adapters' inner values.

use super::Linear;
use crate::kernels::norm::Rows;
use crate::matmul::tokens::Tiling;
use crate::op::Step;
use crate::pool::Worker;

/// Kernels that put a row into a tile.
#[derive(Clone, Copy)]
pub struct Quantize {
    /// For block formats.
    pub quantize: unsafe fn(*const f32, usize, *mut u8, usize, usize),
    /// For floats.
    pub spread: unsafe fn(*const f32, usize, *mut u8, usize, usize),
}

/// Prepared activations.
pub struct Input {
    pub tokens: usize,
    /// Tiles for block formats, and for floats; null where no weight wants them.
    pub quantized: *mut u8,
    pub floats: *mut u8,
}

impl Linear {
    /// Prepares all tokens. After it, this worker may read them all.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`].
    pub(super) unsafe fn prepare(&self, step: &Step<'_>, worker: &Worker<'_>, tokens: usize) -> Input {
        let l = &self.layout;
        // SAFETY: the layout's places lie in the scratch.
        unsafe {
            let own = l.is_own(tokens);
            let base = if own { l.worker(step, worker.index()) } else { step.scratch() };
            let place = |at: Option<usize>| at.map_or(std::ptr::null_mut(), |at| base.add(at));
            let input = if own {
                Input { tokens, quantized: place(l.own_quantized), floats: place(l.own_floats) }
            } else {
                Input { tokens, quantized: place(l.quantized), floats: place(l.floats) }
            };
            if own {
                (0..tokens).for_each(|t| self.prepare_token(step, worker, &input, t));
            } else {
                // Whole tiles of both kinds, so that two workers rarely write to one cache line.
                let chunk = (tokens / (4 * worker.count())).max(1).next_multiple_of(24);
                while let Some(range) = worker.claim(tokens, chunk) {
                    range.for_each(|t| self.prepare_token(step, worker, &input, t));
                }
                worker.barrier();
            }
            input
        }
    }

    /// # Safety
    /// As [`prepare`](Self::prepare); `input` has room for the token.
    unsafe fn prepare_token(&self, step: &Step<'_>, worker: &Worker<'_>, input: &Input, token: usize) {
        let l = &self.layout;
        // SAFETY: the token's row of x, and its places in the scratch.
        unsafe {
            let mut h = step.f32(self.x).add(token * self.columns).cast_const();
            if let Some(norm) = self.norm {
                let to = l.worker(step, worker.index()).add(l.row).cast::<f32>();
                (norm.kernel)(&Rows {
                    x: h,
                    w: Self::vector(step, norm.w),
                    b: std::ptr::null(),
                    out: to,
                    rows: 1,
                    n: self.columns,
                    eps: norm.eps,
                });
                h = to;
            }
            let put =
                |to: *mut u8, bytes: usize, tiling: Tiling, f: unsafe fn(*const f32, usize, *mut u8, usize, usize)| {
                    if !to.is_null() {
                        let tile = tiling.tile_of(token);
                        f(h, self.columns, to.add(tile.first * bytes), tile.width, token - tile.first);
                    }
                };
            let bytes = |float| crate::matmul::strip::token_bytes(self.columns, float);
            put(input.quantized, bytes(false), l.tiling(false, input.tokens), self.quantize.quantize);
            put(input.floats, bytes(true), l.tiling(true, input.tokens), self.quantize.spread);
            for (part, &u) in self.parts.iter().zip(&l.inner) {
                let Some(lora) = part.lora else { continue };
                if let Some((bank, _)) = self.adapter(step, token, lora.banks) {
                    let a = step.f32(lora.a).add(bank * lora.rank * self.columns);
                    let u = step.scratch().add(u).cast::<f32>().add(token * lora.rank);
                    (self.finish.down)(a, h, lora.rank, self.columns, u);
                }
            }
        }
    }
}
