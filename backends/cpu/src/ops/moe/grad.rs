//! Gradients of MOE_ROUTE and MOE_COMBINE.

use super::Route;
use crate::check::{Checker, fixed};
use crate::kernels::{elementwise, vector};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::MoeRouteParams;
use tern_abi::plugin::{GraphView, OpView, Result};

struct RouteGrad {
    route: Route,
    dweights: usize,
    out: usize,
}

/// Compiles MOE_ROUTE's gradient.
pub fn compile_route(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "MOE_ROUTE's gradient");
    let params: MoeRouteParams = op.params();
    let (logits, dweights) = (c.f32_in(0, "logits")?, c.f32_in(2, "gradient of weights")?);
    let out = c.f32_out(0, "gradient of logits")?;
    c.ensure(c.dims(logits).len() == 2, "logits is not a matrix")?;
    let (experts, k) = (c.last(logits, "logits")?, params.top_k as usize);
    c.ensure(k >= 1 && k <= experts, format!("top_k {k} of {experts} experts"))?;
    c.shaped(dweights, &[c.first(logits), fixed(k)], "gradient of weights")?;
    c.same(logits, out, "gradient of logits")?;
    // The forward's outputs are chosen anew, in memory of the worker's own.
    Ok(Box::new(RouteGrad { route: Route { logits, ids: 0, weights: 0, experts, params }, dweights, out }))
}

impl RouteGrad {
    /// For one token. With `p` the softmax over all experts or the chosen ones, `d_i = s p_i (g_i - Σ p g)`, where g is 0 for those
    /// that were not chosen: weights that are divided by their sum are a softmax over the chosen ones.
    fn token(&self, logits: &[f32], g: &[f32], ids: &mut [i32], weights: &mut [f32], out: &mut [f32]) {
        let p = &self.route.params;
        self.route.choose(logits, ids, weights);
        let scale = if p.scale == 0.0 { 1.0 } else { p.scale };
        let along: f32 = weights.iter().zip(g).map(|(w, g)| w * g).sum::<f32>() / scale;
        if p.softmax_after != 0 || p.normalize != 0 {
            out.fill(0.0);
        } else {
            let top = logits[ids[0] as usize];
            let total: f32 = logits.iter().map(|x| (x - top).exp()).sum();
            out.iter_mut().zip(logits).for_each(|(d, x)| *d = -(scale * ((x - top).exp() / total) * along));
        }
        for ((&id, w), g) in ids.iter().zip(weights).zip(g) {
            out[id as usize] = *w * (g - along);
        }
    }
}

impl CompiledOp for RouteGrad {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (k, experts) = (self.route.params.top_k as usize, self.route.experts);
        let (mut ids, mut weights) = (vec![0; k], vec![0.0; k]);
        for t in worker.split(step.rows(self.route.logits), grain(experts * k)) {
            // SAFETY: shapes were checked; workers write rows of their own.
            unsafe {
                let logits = std::slice::from_raw_parts(step.f32(self.route.logits).add(t * experts), experts);
                let g = std::slice::from_raw_parts(step.f32(self.dweights).add(t * k), k);
                let out = std::slice::from_raw_parts_mut(step.f32(self.out).add(t * experts), experts);
                self.token(logits, g, &mut ids, &mut weights, out);
            }
        }
    }
}

struct CombineGrad {
    y: usize,
    weights: usize,
    dout: usize,
    dy: Option<usize>,
    dweights: Option<usize>,
    dresidual: Option<usize>,
    k: usize,
    n: usize,
    scale: unsafe fn(*const f32, f32, *mut f32, usize),
    /// Dot products of rows with one.
    dots: unsafe fn(*const f32, *const f32, usize, usize, *mut f32),
}

/// Compiles MOE_COMBINE's gradient.
pub fn compile_combine(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "MOE_COMBINE's gradient");
    let (y, weights, dout) = (c.f32_in(0, "y")?, c.f32_in(1, "weights")?, c.f32_in(3, "gradient of the output")?);
    let (n, k) = (c.last(y, "y")?, c.last(weights, "weights")?);
    match c.dims(y).len() {
        2 => c.ensure(k == 1, "y has no ranks, and there is not one weight")?,
        _ => c.shaped(y, &[c.first(y), fixed(k), fixed(n)], "y")?,
    }
    c.shaped(weights, &[c.first(y), fixed(k)], "weights")?;
    c.shaped(dout, &[c.first(y), fixed(n)], "gradient of the output")?;
    let (dy, dweights) = (c.gradient(0, "gradient of y")?, c.gradient(1, "gradient of weights")?);
    let dresidual = c.gradient(2, "gradient of residual")?;
    if let Some(dresidual) = dresidual {
        c.same(dout, dresidual, "gradient of residual")?;
    }
    let (scale, dots) = (elementwise::scale(ctx.tier), vector::dots(ctx.tier));
    Ok(Box::new(CombineGrad { y, weights, dout, dy, dweights, dresidual, k, n, scale, dots }))
}

impl CompiledOp for CombineGrad {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (k, n) = (self.k, self.n);
        for t in worker.split(step.rows(self.dout), grain(n * k)) {
            // SAFETY: shapes were checked; the tier is available; workers write rows of their own.
            unsafe {
                let g = step.f32(self.dout).add(t * n).cast_const();
                if let Some(dy) = self.dy {
                    for row in t * k..(t + 1) * k {
                        (self.scale)(g, step.f32(self.weights).add(row).read(), step.f32(dy).add(row * n), n);
                    }
                }
                if let Some(to) = self.dweights {
                    (self.dots)(step.f32(self.y).add(t * k * n), g, k, n, step.f32(to).add(t * k));
                }
                if let Some(to) = self.dresidual {
                    step.f32(to).add(t * n).copy_from_nonoverlapping(g, n);
                }
            }
        }
    }
}
