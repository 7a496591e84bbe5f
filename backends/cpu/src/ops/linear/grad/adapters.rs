//! What gradients of adapters are made of: inner values `u = s A x` and their gradients `s Bᵀ dy`.

use super::LinearGrad;
use crate::matmul::dense::{Operands, Rows, pad, transpose};
use crate::op::Step;
use crate::ops::linear::inner::{Values, runs};
use crate::pool::Worker;
use std::ops::Range;

/// Tokens that a worker takes at a time.
const CHUNK: usize = 24;

impl LinearGrad {
    /// Copies what must have rows of whole vectors, fills the ones, and computes inner values.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`].
    pub(super) unsafe fn prepare(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let l = &self.layout;
        let tokens = step.rows(self.x);
        let chunks = tokens.div_ceil(CHUNK);
        let banks: usize = self.parts.iter().filter_map(|p| p.lora).map(|l| l.of.banks).sum();
        while let Some(range) = worker.claim(chunks + banks, 1) {
            for item in range {
                // SAFETY: each item writes places of its own.
                unsafe {
                    match item.checked_sub(chunks) {
                        None => self.prepare_tokens(step, item * CHUNK..((item + 1) * CHUNK).min(tokens)),
                        Some(bank) => self.prepare_bank(step, bank),
                    }
                }
            }
        }
        if worker.index() == 0 {
            // SAFETY: as many as the layout has.
            unsafe {
                let ones = step.scratch().add(l.ones).cast::<f32>();
                (0..l.tokens_stride).for_each(|i| ones.add(i).write(1.0));
            }
        }
        worker.barrier();
    }

    unsafe fn prepare_tokens(&self, step: &Step<'_>, tokens: Range<usize>) {
        let l = &self.layout;
        let n = tokens.len();
        let x = Rows { at: step.f32(self.x), stride: self.columns }.from(tokens.start);
        // SAFETY: rows of the tokens in tensors and scratch.
        unsafe {
            if let Some(to) = l.x {
                pad(
                    x,
                    n,
                    self.columns,
                    step.scratch().add(to).cast::<f32>().add(tokens.start * l.x_stride),
                    l.x_stride,
                );
            }
            for (part, place) in self.parts.iter().zip(&l.parts) {
                let Some(dy) = part.dy else { continue };
                if let Some(to) = place.dy {
                    let dy = Rows { at: step.f32(dy), stride: part.rows }.from(tokens.start);
                    let to = step.scratch().add(to).cast::<f32>().add(tokens.start * place.dy_stride);
                    pad(dy, n, part.rows, to, place.dy_stride);
                }
                let Some(lora) = part.lora else { continue };
                let inner = step.scratch().add(place.inner).cast::<f32>();
                let stride = place.rank_stride;
                for (run, adapter) in runs(step, self.adapters, tokens.clone(), lora.of) {
                    let u = inner.add(run.start * stride);
                    u.write_bytes(0, run.len() * stride);
                    let Some((bank, scale)) = adapter else { continue };
                    self.inner.compute(&Values {
                        a: step.f32(lora.of.a).add(bank * lora.of.rank * self.columns),
                        ranks: lora.of.rank,
                        h: x.from(run.start - tokens.start).at,
                        tokens: run.len(),
                        scale,
                        u,
                        stride,
                    });
                }
            }
        }
    }

    /// Bank `bank` of all weights' banks.
    unsafe fn prepare_bank(&self, step: &Step<'_>, mut bank: usize) {
        for (part, place) in self.parts.iter().zip(&self.layout.parts) {
            let Some(lora) = part.lora else { continue };
            if bank >= lora.of.banks {
                bank -= lora.of.banks;
                continue;
            }
            // SAFETY: the bank's rows in tensors and scratch.
            unsafe {
                let b = Rows { at: step.f32(lora.of.b), stride: part.rows }.from(bank * lora.of.rank);
                let to = step.scratch().add(place.b).cast::<f32>().add(bank * part.rows * place.rank_stride);
                to.write_bytes(0, part.rows * place.rank_stride);
                transpose(b, lora.of.rank, part.rows, to, place.rank_stride);
                if let Some(to) = place.a {
                    let stride = self.layout.x_stride;
                    let a = Rows { at: step.f32(lora.of.a), stride: self.columns }.from(bank * lora.of.rank);
                    let to = step.scratch().add(to).cast::<f32>().add(bank * lora.of.rank * stride);
                    pad(a, lora.of.rank, self.columns, to, stride);
                }
            }
            return;
        }
    }

    /// Gradients of inner values, and both transposed.
    ///
    /// # Safety
    /// As [`prepare`](Self::prepare), which has run.
    pub(super) unsafe fn prepare_adapters(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let tokens = step.rows(self.x);
        while let Some(range) = worker.claim(tokens, CHUNK) {
            for (part, place) in self.parts.iter().zip(&self.layout.parts) {
                let (Some(lora), Some(dy)) = (part.lora, part.dy) else { continue };
                // SAFETY: rows and columns of these tokens.
                unsafe {
                    let at = |place: usize| step.scratch().add(place).cast::<f32>();
                    let (stride, across) = (place.rank_stride, self.layout.tokens_stride);
                    let back = at(place.back);
                    for (run, adapter) in runs(step, self.adapters, range.clone(), lora.of) {
                        let to = back.add(run.start * stride);
                        let Some((bank, scale)) = adapter else {
                            to.write_bytes(0, run.len() * stride);
                            continue;
                        };
                        self.dense.multiply(&Operands {
                            a: Rows { at: step.f32(dy), stride: part.rows }.from(run.start),
                            b: Rows { at: at(place.b), stride }.from(bank * part.rows),
                            c: to,
                            c_stride: stride,
                            rows: run.len(),
                            columns: stride,
                            terms: part.rows,
                            resume: false,
                        });
                        (0..run.len() * stride).for_each(|i| *to.add(i) *= scale);
                    }
                    for (from, to) in [(place.inner, place.inner_across), (place.back, place.back_across)] {
                        let from = Rows { at: at(from), stride }.from(range.start);
                        transpose(from, range.len(), stride, at(to).add(range.start), across);
                    }
                }
            }
        }
        worker.barrier();
    }
}
