//! MOE_ROUTE and MOE_COMBINE.

pub mod grad;

use crate::check::{Checker, fixed};
use crate::kernels::elementwise;
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::MoeRouteParams;
use tern_abi::plugin::{GraphView, OpView, Result};

struct Route {
    logits: usize,
    ids: usize,
    weights: usize,
    experts: usize,
    params: MoeRouteParams,
}

/// Compiles MOE_ROUTE.
pub fn compile_route(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "MOE_ROUTE");
    let params: MoeRouteParams = op.params();
    let (logits, ids, weights) = (c.f32_in(0, "logits")?, c.i32_out(0, "ids")?, c.f32_out(1, "weights")?);
    c.ensure(c.dims(logits).len() == 2, "logits is not a matrix")?;
    let (experts, k) = (c.last(logits, "logits")?, params.top_k as usize);
    c.ensure(k >= 1 && k <= experts, format!("top_k {k} of {experts} experts"))?;
    let want = [c.first(logits), fixed(k)];
    c.shaped(ids, &want, "ids")?;
    c.shaped(weights, &want, "weights")?;
    Ok(Box::new(Route { logits, ids, weights, experts, params }))
}

impl Route {
    /// Chooses for one token. By logits, which rank as probabilities do but do not round to equal ones.
    fn choose(&self, logits: &[f32], ids: &mut [i32], weights: &mut [f32]) {
        let p = &self.params;
        for j in 0..ids.len() {
            let mut best: Option<usize> = None;
            for (e, &x) in logits.iter().enumerate() {
                let better = match best {
                    // A NaN ranks last.
                    Some(b) => x > logits[b] || (logits[b].is_nan() && !x.is_nan()),
                    None => true,
                };
                if better && !ids[..j].contains(&(e as i32)) {
                    best = Some(e);
                }
            }
            ids[j] = best.unwrap_or(0) as i32;
        }
        let top = logits[ids[0] as usize];
        let e = |x: f32| (x - top).exp();
        let mut total = 0f32;
        for (w, &id) in weights.iter_mut().zip(&*ids) {
            *w = e(logits[id as usize]);
            total += *w;
        }
        if p.softmax_after == 0 {
            let chosen = total;
            total = logits.iter().map(|&x| e(x)).sum();
            // Dividing by the sum of all and then by the sum of the chosen ones is dividing by the latter.
            if p.normalize != 0 {
                total = chosen;
            }
        }
        let scale = if p.scale == 0.0 { 1.0 } else { p.scale };
        for w in weights {
            *w = *w / total * scale;
        }
    }
}

impl CompiledOp for Route {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let k = self.params.top_k as usize;
        for t in worker.split(step.rows(self.logits), grain(self.experts * k)) {
            // SAFETY: shapes were checked; workers write rows of their own.
            unsafe {
                let ids = step.ptr(self.ids).cast::<i32>();
                self.choose(
                    std::slice::from_raw_parts(step.f32(self.logits).add(t * self.experts), self.experts),
                    std::slice::from_raw_parts_mut(ids.add(t * k), k),
                    std::slice::from_raw_parts_mut(step.f32(self.weights).add(t * k), k),
                );
            }
        }
    }
}

struct Combine {
    y: usize,
    weights: usize,
    residual: Option<usize>,
    out: usize,
    k: usize,
    n: usize,
    kernel: unsafe fn(*const f32, *const f32, *const f32, *mut f32, usize, usize),
}

/// Compiles MOE_COMBINE.
pub fn compile_combine(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "MOE_COMBINE");
    let (y, weights, out) = (c.f32_in(0, "y")?, c.f32_in(1, "weights")?, c.f32_out(0, "output")?);
    let residual = c.f32_maybe(2, "residual")?;
    let (n, k) = (c.last(y, "y")?, c.last(weights, "weights")?);
    match c.dims(y).len() {
        2 => c.ensure(k == 1, "y has no ranks, and there is not one weight")?,
        _ => c.shaped(y, &[c.first(y), fixed(k), fixed(n)], "y")?,
    }
    c.shaped(weights, &[c.first(y), fixed(k)], "weights")?;
    c.shaped(out, &[c.first(y), fixed(n)], "output")?;
    if let Some(residual) = residual {
        c.same(residual, out, "residual")?;
    }
    Ok(Box::new(Combine { y, weights, residual, out, k, n, kernel: elementwise::combine(ctx.tier) }))
}

impl CompiledOp for Combine {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (k, n) = (self.k, self.n);
        for t in worker.split(step.rows(self.out), grain(n * k)) {
            // SAFETY: shapes were checked; the tier is available; workers write rows of their own.
            unsafe {
                let residual = step.f32_or_null(self.residual);
                let residual = if residual.is_null() { residual } else { residual.add(t * n) };
                let y = step.f32(self.y).add(t * k * n);
                (self.kernel)(y, step.f32(self.weights).add(t * k), residual, step.f32(self.out).add(t * n), k, n);
            }
        }
    }
}
