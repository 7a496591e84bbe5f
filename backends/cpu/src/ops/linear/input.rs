//! What comes before the products: norm, quantization, the adapters' inner values.

use super::Linear;
use crate::kernels::norm::Rows;
use crate::matmul::tokens::Form;
use crate::op::Step;
use crate::pool::Worker;

/// Prepared activations.
pub struct Input {
    pub tokens: usize,
    /// Where tiles of each of [`Form::ALL`] are; null where no weight wants them. Floats are the norm's, which are ours, or
    /// `x` itself.
    tiles: [*mut u8; Form::ALL.len()],
}

impl Input {
    /// Tiles of a form that some weight wants.
    pub fn tiles(&self, form: Form) -> *mut u8 {
        self.tiles[form as usize]
    }
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
            let places = if own { l.own_tiles } else { l.tiles };
            let mut tiles = places.map(|at| at.map_or(std::ptr::null_mut(), |at| base.add(at)));
            if places[Form::Floats as usize].is_none() {
                tiles[Form::Floats as usize] = step.f32(self.x).cast();
            }
            let input = Input { tokens, tiles };
            if places.iter().all(Option::is_none) && self.adapters.is_none() {
                return input;
            }
            if own {
                (0..tokens).for_each(|t| self.prepare_token(step, worker, &input, t));
            } else {
                // Whole tiles of all forms, so that two workers rarely write to one cache line.
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
                let to = match l.tiles[Form::Floats as usize] {
                    Some(_) => input.tiles(Form::Floats).cast::<f32>().add(token * self.columns),
                    None => l.worker(step, worker.index()).add(l.row).cast(),
                };
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
            for (form, put) in [Form::Blocks, Form::Whole].into_iter().zip(self.quantize) {
                if l.tiles[form as usize].is_some() {
                    let tile = l.tiling(form, input.tokens).tile_of(token);
                    let to = input.tiles(form).add(tile.first * form.bytes(self.columns));
                    put(h, self.columns, to, tile.width, token - tile.first);
                }
            }
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
