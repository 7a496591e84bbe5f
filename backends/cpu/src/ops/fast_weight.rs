//! FAST_WEIGHT. A head of a sequence is one worker's, row after row.

mod delta;
mod delta_grad;
mod gated;
mod gated_grad;
pub mod grad;
mod heads;
mod shape;

use super::state_slots;
use crate::check::Checker;
use crate::kernels::fast_weight::{self as kernel, Layer, Row, work_len};
use crate::op::{CompiledOp, Ctx, Step};
use crate::state::{fast_head_len, fast_layer_len};
use heads::{Head, HeadByHead, Heads};
use shape::Shape;
use tern_abi::ops::{FastWeightParams, fast_weight_rule};
use tern_abi::plugin::{GraphView, OpView, Result};

/// Rows between two looks at the cancel flag.
const POLL: usize = 16;

struct FastWeight {
    /// q, k, v, lr, w0, b0, ln_w, ln_b, token_scale.
    real: [usize; 9],
    /// w1 and b1, where the inner model has a second layer.
    second: Option<[usize; 2]>,
    heads: Heads,
    out: usize,
    f: usize,
    /// Outputs of the first layer.
    hidden: usize,
    chunk: usize,
    eps: f32,
    kernel: unsafe fn(&Row),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "FAST_WEIGHT");
    match op.params::<FastWeightParams>().rule {
        fast_weight_rule::DELTA => return delta::compile(&c, op, ctx),
        fast_weight_rule::INNER_PRODUCT => return gated::compile(&c, op, ctx),
        _ => {}
    }
    let Shape { real, second, sequences, heads, f, hidden, chunk, eps } = Shape::new(&c, op)?;
    let state = state_slots::compile(&c, &sequences, 11, 12)?;
    let out = c.f32_out(0, "output")?;
    c.same(real[0], out, "output")?;
    let (len, work) = (fast_head_len(f, hidden, f, chunk), work_len(f, hidden));
    let heads = Heads { sequences, state, count: heads, len, work, threads: ctx.threads };
    Ok(Box::new(FastWeight { real, second, heads, out, f, hidden, chunk, eps, kernel: kernel::learn(ctx.tier) }))
}

impl HeadByHead for FastWeight {
    fn heads(&self) -> &Heads {
        &self.heads
    }

    unsafe fn head(&self, step: &Step<'_>, head: &Head) {
        let (f, heads, at_head) = (self.f, self.heads.count, head.index);
        let layers = match self.hidden {
            0 => [Layer::new(head.w, f, f), Layer::NONE],
            m => [Layer::new(head.w, f, m), Layer::new(head.w.wrapping_add(fast_layer_len(f, m, self.chunk)), m, f)],
        };
        let [q, k, v, lr, w0, b0, ln_w, ln_b, token_scale] = self.real.map(|t| step.f32(t));
        // SAFETY: shapes and contents were checked; the head's state and memory are this worker's.
        unsafe {
            let positions = step.i32s(self.heads.sequences.positions);
            let mut first = 0;
            if head.fresh {
                head.w.write_bytes(0, self.heads.len);
                let starts = [Some([w0, b0]), self.second.map(|s| s.map(|t| step.f32(t)))];
                for (layer, [w, b]) in layers.iter().zip(starts.into_iter().flatten()) {
                    let n = layer.inputs * layer.outputs;
                    layer.w.copy_from_nonoverlapping(w.add(at_head * n), n);
                    layer.b.copy_from_nonoverlapping(b.add(at_head * layer.outputs), layer.outputs);
                }
                first = head.start % self.chunk;
            }
            for t in head.rows.clone() {
                if t % POLL == 0 && step.cancelled() {
                    return;
                }
                let at = positions[t] as usize % self.chunk;
                let row = (t * heads + at_head) * f;
                (self.kernel)(&Row {
                    f,
                    q: q.add(row),
                    k: k.add(row),
                    v: v.add(row),
                    lr: *lr.add(t * heads + at_head),
                    scale: (*token_scale.add(at)).max(0.0),
                    ln_w: ln_w.add(at_head * f),
                    ln_b: ln_b.add(at_head * f),
                    eps: self.eps,
                    layers,
                    first,
                    at,
                    chunk: self.chunk,
                    out: step.f32(self.out).add(row),
                    work: head.work,
                });
                if at + 1 == self.chunk {
                    first = 0;
                }
            }
        }
    }
}
