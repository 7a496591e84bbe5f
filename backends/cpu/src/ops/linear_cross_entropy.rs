//! LINEAR_CROSS_ENTROPY: the loss of a linear layer's logits, part by part of the vocabulary.
//!
//! A part is 512 rows of the weight. For each there are a token's largest logit and the sum of exponentials relative to it, which
//! are joined in order: whoever computed a part, and beside which tokens, the loss has the same bits.
//!
//! ```text
//! head.rs   products of tokens with parts
//! grad.rs   gradients
//! ```

pub mod grad;
mod head;

use crate::check::Checker;
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use head::Head;
use tern_abi::plugin::{GraphView, OpView, Result};

struct Loss {
    head: Head,
    out: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "LINEAR_CROSS_ENTROPY");
    let head = Head::new(&c, op, ctx)?;
    let out = c.f32_out(0, "output")?;
    c.shaped(out, &[c.first(head.x)], "output")?;
    Ok(Box::new(Loss { head, out }))
}

impl CompiledOp for Loss {
    fn scratch_bytes(&self) -> usize {
        self.head.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked, the scratch has what was asked for; workers write tokens of their own.
        unsafe {
            self.head.prepare(step, worker);
            self.head.reduce(step, worker);
            let targets = step.i32s(self.head.targets);
            for t in worker.split(targets.len(), 16) {
                let loss = if targets[t] < 0 {
                    0.0
                } else {
                    let (top, total) = self.head.partition(step, t);
                    total.ln() - (f64::from(self.head.picked(step).add(t).read()) - f64::from(top))
                };
                step.f32(self.out).add(t).write(loss as f32);
            }
        }
    }
}
