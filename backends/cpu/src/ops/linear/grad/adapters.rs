//! What gradients of adapters are made of: inner values `u = s A x` and their gradients `s Bᵀ dy`.

use super::{LinearGrad, Lora};
use crate::matmul::dense::{Operands, Rows, pad, transpose};
use crate::op::Step;
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
        let banks: usize = self.parts.iter().filter_map(|p| p.lora).map(|l| l.banks).sum();
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
                for t in tokens.clone() {
                    let u = std::slice::from_raw_parts_mut(inner.add(t * place.rank_stride), place.rank_stride);
                    u.fill(0.0);
                    if let Some((bank, scale)) = self.adapter(step, t, lora.banks) {
                        let a = step.f32(lora.a).add(bank * lora.rank * self.columns);
                        (self.finish.down)(a, x.from(t - tokens.start).at, lora.rank, self.columns, u.as_mut_ptr());
                        u.iter_mut().for_each(|u| *u *= scale);
                    }
                }
            }
        }
    }

    /// Bank `bank` of all weights' banks.
    unsafe fn prepare_bank(&self, step: &Step<'_>, mut bank: usize) {
        for (part, place) in self.parts.iter().zip(&self.layout.parts) {
            let Some(lora) = part.lora else { continue };
            if bank >= lora.banks {
                bank -= lora.banks;
                continue;
            }
            // SAFETY: the bank's rows in tensors and scratch.
            unsafe {
                let b = Rows { at: step.f32(lora.b), stride: lora.rank }.from(bank * part.rows);
                let to = step.scratch().add(place.b).cast::<f32>().add(bank * part.rows * place.rank_stride);
                pad(b, part.rows, lora.rank, to, place.rank_stride);
                if let Some(to) = place.a {
                    let stride = self.layout.x_stride;
                    let a = Rows { at: step.f32(lora.a), stride: self.columns }.from(bank * lora.rank);
                    let to = step.scratch().add(to).cast::<f32>().add(bank * lora.rank * stride);
                    pad(a, lora.rank, self.columns, to, stride);
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
                    for (run, adapter) in self.runs(step, range.clone(), lora) {
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

    /// Runs of tokens with the same adapter, or without any, in order.
    ///
    /// # Safety
    /// The step is of this op's graph.
    pub(super) unsafe fn runs(
        &self,
        step: &Step<'_>,
        tokens: Range<usize>,
        lora: Lora,
    ) -> impl Iterator<Item = (Range<usize>, Option<(usize, f32)>)> {
        let mut at = tokens.start;
        std::iter::from_fn(move || {
            // SAFETY: passed on.
            let of = |t: usize| unsafe { self.adapter(step, t, lora.banks) };
            let (start, adapter) = (at, if at < tokens.end { of(at) } else { return None });
            while at < tokens.end && of(at) == adapter {
                at += 1;
            }
            Some((start..at, adapter))
        })
    }
}
